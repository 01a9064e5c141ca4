"""The totals of what a shuffle sends and receives."""

from __future__ import annotations

from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import in_blocks, read_purchases, rendered_customers, text

from pipeline.columns.totals import modulo
from pipeline.engine.compute import ledger_of
from pipeline.engine.ledger import Ledger, entries_in
from pipeline.engine.partitions import schema
from pipeline.steps.pieces import CELL, partition_numbers
from pipeline.steps.render import totals_of
from pipeline.steps.shuffle import Received, Sent, Shuffle, count_misplaced, total_of_cells


@given(st.permutations(range(4)))
def test_the_total_of_cells_tells_which_cell_is_whose(order: list[int]) -> None:
    texts, blocks, partitions = [b"a", b"b", b"", b"c"], [0, 0, 1, 1], [0, 1, 0, 1]

    def total(cells: list[bytes]) -> int:
        return total_of_cells([pa.array(cells, CELL)], blocks, partitions)

    moved = total_of_cells(
        [pa.array([texts[at]], CELL) for at in order],
        [blocks[at] for at in order],
        [partitions[at] for at in order],
    )
    assert moved == total(texts)
    assert (total([texts[at] for at in order]) == moved) == (order == sorted(order))
    assert total([b"a", b"b", b"", b"d"]) != moved
    assert total([b"a", b"b", b"\0", b"c"]) != moved


def test_ids_in_another_partition_than_theirs_are_counted() -> None:
    ids = text("1", " 1 ", "2", "3", None, " ")
    numbers = partition_numbers(ids, 3)

    for number in range(3):
        wrong = [id for id, own in zip("1123", numbers[:4].tolist(), strict=True) if own != number]
        for hot in ((), ("1",)):
            shuffle = Shuffle(3, hot, "nobody", pd.DataFrame(), pd.DataFrame())
            expected = len([id for id in wrong if id not in hot])
            assert count_misplaced(ids, number, shuffle) == expected


def counted(*frames: dd.DataFrame) -> Ledger:
    computed = [ledger_of(frame).compute(scheduler="synchronous") for frame in frames]
    return Ledger([entry for rows in computed for entry in entries_in(rows)])


@pytest.mark.parametrize("hot", [(), ("7",)])
def test_what_partitions_receive_is_what_the_blocks_sent(
    tmp_path: Path, hot: tuple[str, ...]
) -> None:
    ids = ["9", "7", None, " 7", "007", "8", "", "x"]
    everyone = rendered_customers(ids, ["Young"] * len(ids))
    customers, purchases = in_blocks(everyone, 2), in_blocks(read_purchases([*ids, *"7777"]), 3)
    shuffle = Shuffle(3, hot, "nobody", schema(purchases), schema(customers))
    of_purchases, of_customers = shuffle.into(tmp_path / "p"), shuffle.into(tmp_path / "c")

    sent = counted(of_purchases.split(purchases), of_customers.split(customers)).all(Sent)
    received = counted(shuffle.join_files(of_purchases, of_customers)).all(Received)

    for table in ("purchases", "customers"):
        totals = [modulo(sum(getattr(one, table) for one in some)) for some in (sent, received)]
        assert totals[0] == totals[1] != 0
    assert sum(one.text for one in received) == totals_of(everyone).text
    assert [one.misplaced for one in received] == [0, 0, 0]


@pytest.mark.parametrize("method", [None, "disk", "tasks"])
def test_machines_exchange_pieces_directly_whatever_dask_would_choose(method: str | None) -> None:
    customers = in_blocks(rendered_customers(["1", "2"], ["Young"] * 2), 2)
    purchases = in_blocks(read_purchases(["2", "3"]), 2)
    shuffle = Shuffle(3, (), "nobody", schema(purchases), schema(customers))

    with dask.config.set({"dataframe.shuffle.method": method}):
        joined = shuffle.join(shuffle.split(purchases), shuffle.split(customers)).optimize()

    barriers = [key for key in joined.__dask_graph__() if str(key).startswith("shuffle-barrier-")]
    assert len(barriers) == 2
