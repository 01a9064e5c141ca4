"""A file that is read from its front has the same blocks, in whatever order they are asked for."""

from __future__ import annotations

import gzip
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reference import spans

from pipeline.csv_text.files import TextFile
from pipeline.csv_text.headers import open_source
from pipeline.csv_text.sources import Block, UnpackedBlock
from pipeline.csv_text.unpacked import BlockStream
from pipeline.errors import InputChangedError, StorageError, UsageError
from pipeline.settings import Dialect

HEADER = b"id,n\n"


def opened(folder: Path, *bodies: bytes) -> Block:
    """Return files of these records as one block."""
    paths = [folder / f"{number}.csv.gz" for number in range(len(bodies))]
    for path, body in zip(paths, bodies, strict=True):
        path.write_bytes(gzip.compress(HEADER + body))
    first, *more = open_source("sales", map(str, paths), {}, Dialect()).files
    return Block(first, first.start, first.size, 0, more=tuple(more))


def text_of(block: UnpackedBlock) -> bytes:
    return b"".join(one.text for one in block.texts)


PIECES = st.lists(
    st.sampled_from(
        [b"1,2\n", b"3,4\r\n", b"5,6\r", b'7,"8"\n', b'9,"a\nb"\n', b'"', b"\n", b'1,"open\n',
         b"y" * 20]
    ),
    max_size=25,
).map(b"".join)  # fmt: skip


@given(st.lists(PIECES, min_size=1, max_size=3), st.integers(1, 40), st.data())
def test_blocks_are_whole_records_and_the_same_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], size: int, data: st.DataObject
) -> None:
    whole = opened(tmp_path_factory.mktemp("stream"), *bodies)
    stream = BlockStream(whole, size)
    blocks = [stream.block(0)]
    while not blocks[-1].is_last:
        assert stream.next == len(blocks)
        blocks.append(stream.block(len(blocks)))

    for file, body in zip(whole.files, bodies, strict=True):
        texts = [one for block in blocks for one in block.texts if one.file == file]
        borders = {len(HEADER) + span.start for span in spans(body, b",", 1 << 20)}
        assert b"".join(one.text for one in texts) == body
        assert {one.start for one in texts[1:]} <= borders | {len(HEADER) + len(body)}
    assert sum(block.stored for block in blocks) == sum(file.size for file in whole.files)
    assert sum(block.unpacked for block in blocks) == sum(len(HEADER + body) for body in bodies)
    # Only the last record of a block may end beyond its size.
    assert all(len(b"".join(p.text for p in block.texts[:-1])) < size for block in blocks)
    for index in data.draw(st.lists(st.sampled_from(range(len(blocks))), max_size=6)):
        assert stream.block(index).texts == blocks[index].texts


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = opened(tmp_path, b"1,2\n" * 1000)
    openings: list[str] = []

    class Counted(TextFile):
        def __init__(self, path: str, dialect: Dialect, **how: Any) -> None:
            openings.append(path)
            super().__init__(path, dialect, **how)

    monkeypatch.setattr("pipeline.csv_text.unpacked.TextFile", Counted)
    stream = BlockStream(whole, 100)
    while not stream.block(stream.next).is_last:
        pass

    assert openings == [whole.file.path]


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    whole = opened(tmp_path, b"1,2\n" * 100_000)
    data = Path(whole.file.path).read_bytes()
    Path(whole.file.path).write_bytes(data[: len(data) // 2].ljust(len(data), b"\0"))

    with pytest.raises(UsageError, match=r"0\.csv\.gz: cannot be read: "):
        BlockStream(whole, 1 << 20).block(0)


def test_a_file_that_ends_before_its_planned_end_has_changed(tmp_path: Path) -> None:
    whole = opened(tmp_path, b"1,2\n" * 100_000)
    data = Path(whole.file.path).read_bytes()
    for size in (len(data) // 2, 0):
        Path(whole.file.path).write_bytes(data[:size])
        with pytest.raises(InputChangedError, match=r"0\.csv\.gz: changed during the run"):
            BlockStream(whole, 1 << 20).block(0)


def test_what_is_appended_is_not_read(tmp_path: Path) -> None:
    whole = opened(tmp_path, b"1,2\n")
    with Path(whole.file.path).open("ab") as more:
        more.write(gzip.compress(b"3,4\n"))

    assert text_of(BlockStream(whole, 1 << 20).block(0)) == b"1,2\n"


def test_a_file_that_is_gone_could_be_read_before(tmp_path: Path) -> None:
    whole = opened(tmp_path, b"1,2\n")
    Path(whole.file.path).unlink()

    with pytest.raises(StorageError, match=r"0\.csv\.gz: cannot be read: No such file"):
        BlockStream(whole, 1 << 20).block(0)


def test_a_stream_that_is_closed_has_no_file_open(tmp_path: Path) -> None:
    whole = opened(tmp_path, b"1,2\n" * 1000)
    stream = BlockStream(whole, 100)
    first = stream.block(0)
    assert files_open(tmp_path) == [whole.file.path]

    stream.close()
    assert files_open(tmp_path) == []

    assert text_of(stream.block(0)) == text_of(first)  # for a task that comes late
    assert files_open(tmp_path) == []


def test_to_close_a_stream_does_not_wait_for_the_block_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = opened(tmp_path, b"1,2\n" * 1000)
    reading, closed = Event(), Event()

    class Slow(TextFile):
        def read(self, size: int) -> bytes:
            reading.set()
            assert closed.wait(60)
            return super().read(size)

    monkeypatch.setattr("pipeline.csv_text.unpacked.TextFile", Slow)
    stream = BlockStream(whole, 100)
    with ThreadPoolExecutor(1) as pool:
        block = pool.submit(stream.block, 0)
        assert reading.wait(60)
        stream.close()
        closed.set()
        assert text_of(block.result()).startswith(b"1,2\n")

    assert files_open(tmp_path) == []


def files_open(folder: Path) -> list[str]:
    links = (os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.exists())
    return [path for path in links if path.startswith(str(folder))]
