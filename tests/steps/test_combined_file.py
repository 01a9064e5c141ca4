"""Part files come to their places, whatever the sizes, and the kernel copies or does not."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns.totals import Checksum
from pipeline.steps import combined_file
from pipeline.steps.combined_file import CombinedFile, part_file
from pipeline.steps.write import Written

HEADER = b"customer_id\n"


def blocks(folder: Path, texts: list[bytes], in_parts: list[bool]) -> list[Written]:
    """Write blocks as `write_combined` does: some into the file, the others into part files."""
    path = folder / "combined.csv"
    place, written = len(HEADER), []
    with path.open("wb") as file:
        file.write(HEADER)
        for block, (text, in_part) in enumerate(zip(texts, in_parts, strict=True)):
            if in_part:
                Path(part_file(str(path), block)).write_bytes(text)
            else:
                file.seek(place)
                file.write(text)
            offset = None if in_part else place
            written.append(Written(block, offset, len(text), 1, Checksum.of(text), 0))
            place += len(text)
    return written


def put_in_place(written: list[Written], folder: Path) -> int:
    """Assemble; return how many tasks that took."""
    frames = CombinedFile(str(folder / "combined.csv"), HEADER).assemble(written)
    return sum(len(frame.compute(scheduler="synchronous")) for frame in frames)


@given(st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=8), st.integers(1, 50))
def test_the_file_is_the_blocks_in_order(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[bytes, bool]], size: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    texts, in_parts = [text for text, _ in parts], [in_part for _, in_part in parts]
    written = blocks(folder, texts, in_parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combined_file, "_RANGE", size)
        tasks = put_in_place(written, folder)

    assert (folder / "combined.csv").read_bytes() == HEADER + b"".join(texts)
    place, ranges = len(HEADER), set[int]()
    for text, in_part in parts:
        ranges |= {at // size for at in range(place, place + len(text)) if in_part}
        place += len(text)
    assert tasks == len(ranges)


@pytest.mark.parametrize("error", [errno.EXDEV, errno.ENOSYS])
def test_where_the_kernel_does_not_copy_it_is_done_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    text = os.urandom(3 << 20)
    written = blocks(tmp_path, [b"first", text], [False, True])

    put_in_place(written, tmp_path)

    assert (tmp_path / "combined.csv").read_bytes() == HEADER + b"first" + text


def test_a_part_file_that_was_cut_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    written = blocks(tmp_path, [b"all of it"], [True])
    Path(part_file(str(tmp_path / "combined.csv"), 0)).write_bytes(b"all")

    with pytest.raises(OSError, match="part-0 is shorter than expected"):
        put_in_place(written, tmp_path)


def test_a_full_disk_keeps_its_error_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", refuse)

    with pytest.raises(OSError, match="No space left") as caught:
        put_in_place(blocks(tmp_path, [b"text"], [True]), tmp_path)

    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "combined.csv")
