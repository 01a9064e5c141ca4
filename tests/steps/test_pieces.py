"""The pieces of a block: every record is in one of them, and comes back as it was."""

from __future__ import annotations

import errno
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import text

from pipeline.columns.arrow import NUMBER, TEXT
from pipeline.steps.pieces import (
    from_cells,
    gather,
    partition_numbers,
    read_cells,
    split,
    write_cells,
)

IDS = st.sampled_from([None, "", " ", "7", "007", " 7", "8", "-1", "x", " x", "1" * 20])
DECIMALS = {
    pa.decimal128(19, 2): [Decimal("1.25"), None, Decimal("-3.00")],
    pa.decimal128(19, 0): [Decimal(10**19 - 1), None, Decimal(-1)],
    NUMBER: [Decimal("0.000000000000000001"), Decimal(10**20 - 1), None],
}


def one_cell(columns: dict[str, pa.Array]) -> pa.Array:
    """Return the cell of a block that goes into one partition."""
    size = len(next(iter(columns.values())))
    return split(columns, np.zeros(size, np.int64), 1)


def one_piece(columns: dict[str, pa.Array]) -> list[pa.RecordBatch]:
    """Return the piece in that cell."""
    return from_cells([one_cell(columns)])


@given(ids=st.lists(IDS, max_size=30), count=st.integers(1, 300))
def test_equal_ids_have_the_same_partition(ids: list[str | None], count: int) -> None:
    numbers = partition_numbers(text(*ids), count).tolist()

    assert all(0 <= number < count for number in numbers)
    places: dict[str, set[int]] = {}
    for id, number in zip(ids, numbers, strict=True):
        if id and id.strip():
            places.setdefault(id.strip(), set()).add(number)
    assert all(len(found) == 1 for found in places.values())
    missing = [number for id, number in zip(ids, numbers, strict=True) if not (id or "").strip()]
    assert missing == [place % count for place in range(len(missing))]


@pytest.mark.parametrize("kept", ["in files", "in cells"])
@pytest.mark.parametrize("type", DECIMALS, ids=str)
def test_pieces_come_back_as_they_were(kept: str, type: pa.DataType, tmp_path: Path) -> None:
    columns = {
        "text": pa.array(["a", None, "é\n"], TEXT),
        "number": pa.array(DECIMALS[type], type),
        "flag": pa.array([True, False, True]),
    }
    first, second = (split(columns, np.array([2, 0, 2]), 4) for _ in range(2))

    if kept == "in files":
        write_cells(first, tmp_path, 11)
        write_cells(second, tmp_path, 10)
        cells = [read_cells(tmp_path, number, 4) for number in range(4)]
        assert [blocks for blocks, _ in cells] == [[10, 11]] * 4
        back = [from_cells(arrays) for _, arrays in cells]
    else:
        back = [from_cells([first.slice(at, 1), second.slice(at, 1)]) for at in range(4)]

    for name, column in columns.items():
        found = [gather(pieces, name, column.type) for pieces in back]
        assert {part.type for part in found} == {column.type}
        values = column.to_pylist()
        assert [part.to_pylist() for part in found] == [
            [values[1]] * 2,
            [],
            [values[0], values[2]] * 2,
            [],
        ]


def test_blocks_with_decimals_of_different_types_come_together() -> None:
    pieces = [
        piece
        for type, values in DECIMALS.items()
        for piece in one_piece({"number": pa.array(values, type)})
    ]

    numbers = gather(pieces, "number", NUMBER)

    assert numbers.type == NUMBER
    assert numbers.to_pylist() == [value for values in DECIMALS.values() for value in values]


def test_the_files_of_a_partition_are_in_the_order_of_blocks(tmp_path: Path) -> None:
    for block in (10, 9, 100, 0):
        write_cells(one_cell({"number": pa.array([block])}), tmp_path, block)

    blocks, cells = read_cells(tmp_path, 0, 1)

    assert blocks == [0, 9, 10, 100]
    assert gather(from_cells(cells), "number", pa.int64()).to_pylist() == blocks


def test_a_block_that_is_written_again_replaces_the_first(tmp_path: Path) -> None:
    for value in (1, 2):
        write_cells(one_cell({"number": pa.array([value])}), tmp_path, 5)

    blocks, cells = read_cells(tmp_path, 0, 1)

    assert blocks == [5]
    assert gather(from_cells(cells), "number", pa.int64()).to_pylist() == [2]


def test_files_of_pieces_are_not_mapped(tmp_path: Path) -> None:
    write_cells(one_cell({"number": pa.array(range(1000))}), tmp_path, 0)

    _, cells = read_cells(tmp_path, 0, 1)

    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert gather(from_cells(cells), "number", pa.int64()).to_pylist() == list(range(1000))


@given(st.lists(st.tuples(IDS, st.none() | st.integers(-99, 99), st.integers(0, 4)), max_size=30))
def test_every_partition_gets_its_records_whole_and_in_order(
    rows: list[tuple[str | None, int | None, int]],
) -> None:
    frame = pd.DataFrame(rows, columns=["id", "number", "partition"], dtype=object)
    columns = {"id": text(*frame["id"]), "number": pa.array(frame["number"].tolist(), pa.int64())}

    cells = split(columns, np.array(frame["partition"], np.int64), 5)

    assert len(cells) == 5
    for number in range(5):
        pieces = from_cells([cells.slice(number, 1)])
        found = [gather(pieces, name, column.type) for name, column in columns.items()]
        wanted = frame[frame["partition"] == number]
        assert [part.to_pylist() for part in found] == [wanted[name].tolist() for name in columns]


@pytest.mark.parametrize("type", [TEXT, NUMBER, pa.int64()], ids=str)
def test_a_block_without_records_has_empty_pieces(type: pa.DataType) -> None:
    cells = split({"column": pa.array([], type)}, np.zeros(0, np.int64), 3)

    assert [len(piece) for piece in from_cells([cells])] == [0, 0, 0]


def test_small_pieces_stay_small() -> None:
    ids = pa.array([str(number) for number in range(1000)], TEXT)
    prices = pa.array([Decimal("1.25")] * 1000, pa.decimal128(19, 2))

    (piece,) = one_piece({"id": ids, "price": prices})

    assert [str(type) for type in piece.schema.types] == ["string", "decimal64(18, 2)"]


def test_an_error_names_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "gone"

    with pytest.raises(OSError) as caught:
        write_cells(one_cell({"a": pa.array([1])}), folder, 0)

    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(folder))
