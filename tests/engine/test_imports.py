"""What is imported in less time does the same, and leaves no trace in Dask."""

from __future__ import annotations

import subprocess
import sys

QUICK = """
import gc
from pipeline.engine.imports import quick_imports

with quick_imports():
    import dask.dataframe as dd
    assert not gc.isenabled()

import dask.utils
import pandas as pd

assert gc.isenabled()
assert dask.utils.derived_from.__module__ == "dask.utils"
assert "pandas" not in (dd.DataFrame.count.__doc__ or "")
print(dd.from_pandas(pd.DataFrame({"a": [1, 2, None]}), npartitions=2)["a"].count().compute())
"""


def test_dask_works_without_its_docs() -> None:
    done = subprocess.run([sys.executable, "-c", QUICK], capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("2\n", "")
