"""What is counted of partitions on their way comes together, whatever the partitions."""

from __future__ import annotations

import dask
import pandas as pd
import pytest
from distributed import Client
from frames import in_partitions

from pipeline.counting import apply, count, counted, counts, frames, merged

NUMBERS = pd.DataFrame({"n": range(10)})


def doubled(frame: pd.DataFrame, by: int = 2) -> pd.DataFrame:
    return frame * by


def size_of(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"rows": [len(frame)], "total": [frame["n"].sum()]})


def summed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sum().to_frame().T


@pytest.mark.parametrize("partitions", [1, 2, 9, 70])
def test_counts_are_kept_beside_the_frames(client: Client, partitions: int) -> None:
    numbers = counted(in_partitions(NUMBERS, partitions))
    before = count("before", size_of, numbers)
    after = count("after", size_of, apply(doubled, before, 3), merge=summed)

    frame, found = dask.compute(frames(after), counts(after))

    assert frame["n"].tolist() == [3 * n for n in range(10)]
    rows = merged([found])
    assert list(rows) == ["before", "after"]
    assert len(rows["before"]) == partitions
    assert rows["before"]["rows"].sum() == 10
    assert rows["before"]["total"].sum() == 45
    assert rows["after"].to_dict("records") == [{"rows": 10, "total": 135}]


def test_counts_of_one_name_come_together(client: Client) -> None:
    first = count("size", size_of, counted(in_partitions(NUMBERS, 3)), merge=summed)
    second = count("size", size_of, counted(in_partitions(NUMBERS.iloc[:4], 2)), merge=summed)
    other = count("other", size_of, counted(in_partitions(NUMBERS.iloc[:1], 1)))

    found = merged(dask.compute(*map(counts, (first, second, other))))

    assert found["size"].to_dict("records") == [{"rows": 14, "total": 51}]
    assert found["other"].to_dict("records") == [{"rows": 1, "total": 0}]


def test_the_steps_of_a_partition_are_one_task(client: Client) -> None:
    steps = count("size", size_of, apply(doubled, counted(in_partitions(NUMBERS, 5))))

    assert len(frames(steps).optimize().__dask_graph__()) == 5
