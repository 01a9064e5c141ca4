"""What is imported in less time does the same, and leaves no trace in Dask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_a_configuration_that_dask_cannot_read_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("distributed: [a, b\n x: {\n")

    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "--output-dir", str(tmp_path / "out")],
        env={**os.environ, "DASK_CONFIG": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("error: Dask cannot start: A dask config file at ")
    assert "broken.yaml" in done.stderr
    assert done.stderr.endswith("; fix Dask's configuration\n")
    assert done.stderr.count("\n") == 1
