"""Totals travel with their partition, through any step, and come out at the end."""

from __future__ import annotations

import pickle
from copy import copy, deepcopy
from dataclasses import dataclass

import dask
import pandas as pd
import pytest
from distributed import Client
from support.frames import in_partitions

from pipeline.engine.ledger import (
    NO_ENTRIES,
    Entry,
    Ledger,
    Number,
    as_entry,
    entries_in,
    entry_of,
    entry_with,
    with_totals,
)
from pipeline.engine.partitions import on_partitions

NUMBERS = pd.DataFrame({"n": range(10)})


@dataclass(frozen=True)
class Rows:
    """How many rows a partition has."""

    count: int


@dataclass(frozen=True)
class Total:
    """The sum of a partition."""

    value: int


@dataclass(frozen=True)
class Larger(Total):
    """Totals of another type, though they are made like the first."""


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    return with_totals(frame.copy(), Rows(len(frame)), before=frame)


def tripled(frame: pd.DataFrame) -> pd.DataFrame:
    return with_totals(frame * 3, Total(int(frame["n"].sum() * 3)), before=frame)


@pytest.mark.parametrize("partitions", [1, 2, 9, 70])
def test_every_partition_gives_one_entry(client: Client, partitions: int) -> None:
    numbers = on_partitions(counted, in_partitions(NUMBERS, partitions), step="read")
    tripling = on_partitions(tripled, numbers, step="triple")

    frame, rows = dask.compute(tripling, on_partitions(as_entry, tripling, step="ledger"))

    entries = entries_in(rows)
    assert frame["n"].tolist() == [3 * n for n in range(10)]
    assert len(entries) == partitions
    assert sum(entry[Rows].count for entry in entries) == 10
    assert sum(entry[Total].value for entry in entries) == 135


def test_the_steps_of_a_partition_are_one_task_with_their_names(client: Client) -> None:
    steps = on_partitions(counted, in_partitions(NUMBERS, 5), step="count")
    steps = on_partitions(as_entry, on_partitions(tripled, steps, step="triple"), step="write")

    graph = steps.optimize().__dask_graph__()

    assert len(graph) == 5
    assert all("count-triple-write" in name for name, _ in graph)


def test_later_totals_take_the_place_of_those_of_the_same_type() -> None:
    first = with_totals(NUMBERS.copy(), Rows(1), Total(2))
    second = with_totals(NUMBERS.copy(), Rows(3), before=first)

    assert entry_of(second) == Entry(Rows(3), Total(2))
    assert entry_of(first) == Entry(Rows(1), Total(2))


def test_a_frame_starts_anew_unless_it_was_made_from_another() -> None:
    frame = with_totals(NUMBERS.copy(), Rows(1))

    assert entry_of(with_totals(frame, Total(2))) == Entry(Total(2))


def test_an_entry_has_one_object_of_each_type() -> None:
    entry = Entry(Rows(1), Total(2), Larger(3), Total(4))

    assert (entry[Rows], entry[Total], entry[Larger]) == (Rows(1), Total(4), Larger(3))
    assert list(entry) == [Rows(1), Total(4), Larger(3)]
    assert Rows in entry
    assert Larger not in Entry(Total(2))
    assert Entry(Larger(3)).get(Total) is None
    with pytest.raises(KeyError):
        Entry(Larger(3))[Total]


def test_entries_are_equal_if_their_totals_are() -> None:
    assert Entry(Rows(1), Total(2)) == Entry(Total(2), Rows(1))
    assert Entry(Total(2)) != Entry(Larger(2))
    assert Entry(Total(2)) != Entry(Total(3))
    assert Entry() != ()


def test_a_frame_without_totals_has_an_empty_entry() -> None:
    assert entry_of(NUMBERS) == Entry()
    assert entries_in(as_entry(NUMBERS)) == [Entry()]
    assert entries_in(NO_ENTRIES) == []


def test_a_task_without_data_returns_an_entry_like_those_with_data() -> None:
    rows = entry_with(Rows(1), Total(2))

    assert entries_in(pd.concat([rows, entry_with()])) == [Entry(Rows(1), Total(2)), Entry()]
    assert rows.dtypes.equals(NO_ENTRIES.dtypes)


def test_pandas_does_not_copy_an_entry_and_workers_may_send_it() -> None:
    frame = with_totals(NUMBERS.copy(), Rows(10))
    entry = entry_of(frame)

    assert entry_of(deepcopy(frame)[["n"]].assign(m=1)) is entry
    assert deepcopy(entry) is entry
    for sent in (frame, deepcopy(frame)):
        assert entry_of(pickle.loads(pickle.dumps(sent))) == entry
    assert entries_in(pickle.loads(pickle.dumps(as_entry(frame)))) == [entry]
    assert pickle.loads(pickle.dumps(Entry())) == Entry() == copy(Entry())


def test_a_ledger_gives_the_totals_of_a_type_in_the_order_of_blocks() -> None:
    arrived = [3, 0, 10, 2, 1]
    ledger = Ledger()
    for block in arrived:
        ledger.add(Entry(Number(block, block + 1), Total(block)))
        ledger.add(Entry(Number(block, block + 1), Rows(-block)))
    ledger.add(Entry())

    assert [one.value for one in ledger.all(Total)] == [0, 1, 2, 3, 10]
    assert [one.count for one in ledger.all(Rows)] == [0, -1, -2, -3, -10]
    assert [entry[Number].block for entry in ledger.having(Rows)] == [0, 1, 2, 3, 10]
    assert ledger.all(Larger) == []
    assert len(ledger.all(Number)) == 2 * len(arrived)


def test_entries_of_no_block_come_first_in_their_order() -> None:
    ledger = Ledger([Entry(Number(1, 2), Total(1)), Entry(Total(3)), Entry(Total(2))])

    assert [one.value for one in ledger.all(Total)] == [3, 2, 1]
