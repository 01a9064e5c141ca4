"""The marks of matched customers are found again as they were put, or the run fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.steps.matched import in_slice, put_marks, union_of, united
from pipeline.storage.places import Folder

COUNT = 2_000
ROWS = st.one_of(
    st.lists(st.integers(0, COUNT - 1)),
    st.integers(1, 9).map(lambda step: list(range(0, COUNT, step))),
)


@given(st.lists(ROWS, max_size=4), st.tuples(*[st.integers(0, COUNT)] * 2).map(sorted))
def test_the_union_has_what_any_block_has_marked(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[list[int]], bounds: list[int]
) -> None:
    folder = Folder(str(tmp_path_factory.mktemp("matched")))
    marks = [
        put_marks(folder, number, np.array([*rows, COUNT], np.int64), COUNT)
        for number, rows in enumerate(blocks)
    ]

    bitmap = united([union_of(folder, part, COUNT) for part in (marks[:2], marks[2:])])

    every = {row for rows in blocks for row in rows}
    assert in_slice(bitmap, *bounds).tolist() == [row in every for row in range(*bounds)]


def test_a_block_that_runs_twice_leaves_the_same_marks(tmp_path: Path) -> None:
    folder, rows = Folder(str(tmp_path)), np.array([5, 3, 5])

    assert put_marks(folder, 7, rows, COUNT) == put_marks(folder, 7, rows, COUNT)
    assert [path.name for path in tmp_path.iterdir()] == ["7"]


@pytest.mark.parametrize("how", ["lost", "empty", "torn", "old", "of another block"])
def test_marks_that_are_not_those_of_the_block_are_noticed(tmp_path: Path, how: str) -> None:
    folder = Folder(str(tmp_path))
    put_marks(folder, 0, np.array([1, 2]), COUNT)
    old = (tmp_path / "0").read_bytes()
    marks = [put_marks(folder, number, np.array([number + 1, 900]), COUNT) for number in range(2)]
    if how == "lost":
        (tmp_path / "0").unlink()
    else:
        data = {"empty": b"", "old": old, "torn": (tmp_path / "0").read_bytes()[:-1]}
        (tmp_path / "0").write_bytes(data.get(how, (tmp_path / "1").read_bytes()))

    with pytest.raises(DataError, match=r"^the matches of block 0 in .* are missing or damaged; "):
        union_of(folder, marks, COUNT)


def test_no_marks_are_a_bitmap_of_nothing(tmp_path: Path) -> None:
    empty = put_marks(Folder(str(tmp_path)), 0, np.array([0]), 0)

    assert union_of(Folder(str(tmp_path)), [empty], 0).tolist() == []


@pytest.mark.parametrize("matched", [10, 1_000, 100_000])
def test_marks_take_little_for_each_row(tmp_path: Path, matched: int) -> None:
    customers = 1_000_000
    rows = np.linspace(0, customers - 1, matched, dtype=np.int64)

    put_marks(Folder(str(tmp_path)), 0, rows, customers)

    assert (tmp_path / "0").stat().st_size <= 2 * matched + customers // 200
