"""Control totals travel with their partition, through any step, and come out at the end."""

from __future__ import annotations

import pickle
from copy import deepcopy

import dask
import pandas as pd
import pytest
from distributed import Client
from support.frames import in_partitions

from pipeline.engine.ledger import as_entry, entries_in, entry_of, with_totals
from pipeline.engine.partitions import on_partitions

NUMBERS = pd.DataFrame({"n": range(10)})


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    return with_totals(frame.copy(), frame, read=len(frame))


def tripled(frame: pd.DataFrame) -> pd.DataFrame:
    return with_totals(frame * 3, frame, total=int(frame["n"].sum() * 3))


@pytest.mark.parametrize("partitions", [1, 2, 9, 70])
def test_every_partition_gives_one_entry(client: Client, partitions: int) -> None:
    numbers = on_partitions(counted, in_partitions(NUMBERS, partitions), step="read")
    tripling = on_partitions(tripled, numbers, step="triple")

    frame, rows = dask.compute(tripling, on_partitions(as_entry, tripling, step="ledger"))

    entries = entries_in(rows)
    assert frame["n"].tolist() == [3 * n for n in range(10)]
    assert len(entries) == partitions
    assert sum(entry["read"] for entry in entries) == 10
    assert sum(entry["total"] for entry in entries) == 135


def test_the_steps_of_a_partition_are_one_task_with_their_names(client: Client) -> None:
    steps = on_partitions(counted, in_partitions(NUMBERS, 5), step="count")
    steps = on_partitions(as_entry, on_partitions(tripled, steps, step="triple"), step="write")

    graph = steps.optimize().__dask_graph__()

    assert len(graph) == 5
    assert all("count-triple-write" in name for name, _ in graph)


def test_a_later_total_takes_the_place_of_one_with_the_same_name() -> None:
    first = with_totals(NUMBERS.copy(), rows=1, path="a")

    assert entry_of(with_totals(NUMBERS.copy(), first, rows=2)) == {"rows": 2, "path": "a"}
    assert entry_of(first) == {"rows": 1, "path": "a"}


def test_a_frame_without_totals_has_an_empty_entry() -> None:
    assert entry_of(NUMBERS) == {}
    assert entries_in(as_entry(NUMBERS)) == [{}]


def test_pandas_does_not_copy_an_entry_and_workers_may_send_it() -> None:
    rejected = ["a record"]
    frame = with_totals(NUMBERS.copy(), rejected=rejected)

    assert entry_of(deepcopy(frame)[["n"]].assign(m=1))["rejected"] is rejected
    assert entry_of(pickle.loads(pickle.dumps(frame))) == {"rejected": rejected}
