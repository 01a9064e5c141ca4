"""Which customers were matched is known for any slice, from every process that has marked some."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.places import Folder
from pipeline.steps.matched import find_matched, mark_matched

COUNT = 41
ROWS = st.lists(st.integers(0, COUNT - 1))


@given(
    st.lists(ROWS, max_size=4),
    st.tuples(st.integers(0, COUNT), st.integers(0, COUNT)).map(sorted),
)
def test_a_slice_tells_what_any_block_has_marked(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[list[int]], bounds: list[int]
) -> None:
    folder = Folder(str(tmp_path_factory.mktemp("matched")))
    for rows in blocks:
        mark_matched(folder, np.array(rows, np.int64), COUNT, 0)

    found = find_matched(folder, *bounds)

    every = {row for rows in blocks for row in rows}
    assert found.tolist() == [row in every for row in range(*bounds)]


def test_processes_add_to_each_other(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np\n"
        "from pipeline.engine.places import Folder\n"
        "from pipeline.steps.matched import mark_matched\n"
        "mark_matched(Folder(sys.argv[1]), np.array([int(sys.argv[2])]), 20, 0)\n"
    )
    for row in ("3", "17"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path), row], check=True)
    mark_matched(Folder(str(tmp_path)), np.array([5]), 20, 0)

    assert np.flatnonzero(find_matched(Folder(str(tmp_path)), 0, 20)).tolist() == [3, 5, 17]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_is_not_all_there_yet_is_no_error(tmp_path: Path) -> None:
    mark_matched(Folder(str(tmp_path)), np.array([1, 30]), 41, 0)
    (tmp_path / "begun").write_bytes(b"\x80")
    (tmp_path / "empty").write_bytes(b"")

    assert np.flatnonzero(find_matched(Folder(str(tmp_path)), 0, 41)).tolist() == [0, 1, 30]
    assert np.flatnonzero(find_matched(Folder(str(tmp_path)), 16, 41)).tolist() == [14]


def test_what_could_not_be_written_is_written_by_the_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            mark_matched(Folder(str(tmp_path)), np.array([2]), 10, 0)

    mark_matched(Folder(str(tmp_path)), np.array([2]), 10, 0)

    assert find_matched(Folder(str(tmp_path)), 2, 3).tolist() == [True]


def test_nothing_new_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark_matched(Folder(str(tmp_path)), np.array([2, 3]), 10, 0)
    monkeypatch.setattr(os, "pwrite", None)

    mark_matched(Folder(str(tmp_path)), np.array([3, 2, 2]), 10, 0)

    assert np.flatnonzero(find_matched(Folder(str(tmp_path)), 0, 10)).tolist() == [2, 3]


def test_a_late_worker_does_not_bring_the_folder_back(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mark_matched(Folder(str(tmp_path / "gone")), np.array([1]), 10, 0)

    assert not (tmp_path / "gone").exists()


def test_each_customer_counts_once_for_the_block_that_matched_it_first(tmp_path: Path) -> None:
    folder, count = Folder(str(tmp_path)), 5
    blocks = [[1, 1, 4], [1, 2], [2]]  # the last row stands for ids without a customer

    marks = [mark_matched(folder, np.array(rows), count, n) for n, rows in enumerate(blocks)]
    again = mark_matched(folder, np.array(blocks[0]), count, 0)

    assert [first for _, first in marks] == [1, 1, 0]
    assert again == marks[0]
    assert {process for process, _ in marks} == {file.name for file in tmp_path.iterdir()}
