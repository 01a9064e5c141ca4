"""A process keeps the memory of columns that are gone, also where Dask would have it given back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from distributed.config import defaults

FAULTS = """
import resource
import sys
import numpy as np

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    import pipeline.columns
faults()
print(faults())
"""


@pytest.mark.parametrize(("kept", "least", "most"), [("kept", 0, 50), ("freed", 500, 999)])
def test_the_second_column_takes_the_memory_of_the_first(kept: str, least: int, most: int) -> None:
    """2 MiB are 512 pages, each of which the kernel fills with zeros where it is new."""
    environment = defaults["distributed"]["nanny"]["pre-spawn-environ"]
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, kept],
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
        check=True,
    )
    assert least <= int(done.stdout) <= most
