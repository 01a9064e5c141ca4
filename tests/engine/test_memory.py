"""A process keeps the memory of columns that are gone, also where Dask would have it given back."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pandas as pd
import psutil
import pytest
from distributed import Client, Worker
from distributed.config import defaults
from support.frames import in_blocks
from support.processes import wait_until

from pipeline.engine.cluster import connect
from pipeline.engine.compute import compute_entries
from pipeline.engine.internals import worker_states
from pipeline.engine.ledger import Entry, with_totals
from pipeline.engine.partitions import on_partitions
from pipeline.settings import ClusterSettings

FAULTS = """
import resource
import sys
import numpy as np

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

import pipeline.job  # an import alone changes nothing
from pipeline.engine.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.parametrize(
    ("kept", "least", "most"),
    [("kept", 0, 50), pytest.param("freed", 500, 999, marks=pytest.mark.slow("memory"))],
)
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


def fill(size: int) -> list[bytearray]:
    """Have this process take so many bytes, and keep most of them free, but in pieces."""
    process, held, free = psutil.Process(), [], []
    while process.memory_info().rss < size:
        free.append(bytearray(b"x" * (1 << 16)))
        held.append(bytearray(1 << 10))
    return held


@pytest.mark.cluster
@pytest.mark.slow("memory")
def test_workers_that_pause_for_the_memory_they_keep_give_it_back() -> None:
    limit = 1 << 30
    settings = ClusterSettings(
        workers=2, memory_limit=f"{limit}B", dashboard_address="127.0.0.1:0", wait_for_workers=10
    )

    def take(dask_worker: Worker) -> None:
        dask_worker.taken = fill(limit * 87 // 100)

    with connect(settings) as client:
        client.run(take)
        wait_until(lambda: {worker["status"] for worker in states(client)} == {"paused"})
        entries: list[Entry] = []
        numbers = in_blocks(pd.DataFrame({"n": range(10)}), 5)
        compute_entries(client, [on_partitions(with_totals, numbers, step="step")], entries.append)
        assert len(entries) == 5


def states(client: Client) -> list[dict[str, Any]]:
    return client.sync(worker_states, client)
