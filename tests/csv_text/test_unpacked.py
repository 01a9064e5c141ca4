"""A file that is read from its front has the same blocks, in whatever order they are asked for."""

from __future__ import annotations

import gzip
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reference import spans

from pipeline.csv_text.files import TextFile
from pipeline.csv_text.headers import open_source
from pipeline.csv_text.sources import SourceFile
from pipeline.csv_text.unpacked import BlockStream
from pipeline.errors import InputChangedError, StorageError, UsageError
from pipeline.settings import Dialect
from pipeline.storage.versions import Version

HEADER = b"id,n\n"


def opened(folder: Path, body: bytes) -> SourceFile:
    (folder / "t.csv.gz").write_bytes(gzip.compress(HEADER + body))
    (file,) = open_source("sales", [str(folder / "t.csv.gz")], {}, Dialect()).files
    return file


PIECES = st.lists(
    st.sampled_from(
        [b"1,2\n", b"3,4\r\n", b"5,6\r", b'7,"8"\n', b'9,"a\nb"\n', b'"', b"\n", b'1,"open\n',
         b"y" * 20]
    ),
    max_size=25,
).map(b"".join)  # fmt: skip


@given(PIECES, st.integers(1, 40), st.data())
def test_blocks_are_whole_records_and_the_same_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, size: int, data: st.DataObject
) -> None:
    file = opened(tmp_path_factory.mktemp("stream"), body)
    stream = BlockStream(file, size)
    blocks = [stream.block(0)]
    while not blocks[-1].is_last:
        assert stream.next == len(blocks)
        blocks.append(stream.block(len(blocks)))

    borders = {len(HEADER) + span.start for span in spans(body, b",", 1 << 20)}
    assert b"".join(block.text for block in blocks) == body
    assert {block.start for block in blocks[1:]} <= borders
    assert all(len(block.text) == block.stop - block.start for block in blocks)
    assert sum(block.stored for block in blocks) == file.size
    for index in data.draw(st.lists(st.sampled_from(range(len(blocks))), max_size=6)):
        again = stream.block(index)
        assert (again.start, again.stop, again.text) == (
            blocks[index].start,
            blocks[index].stop,
            blocks[index].text,
        )


def test_after_the_last_block_come_empty_ones(tmp_path: Path) -> None:
    stream = BlockStream(opened(tmp_path, b"1,2\n"), 100)

    assert [stream.block(index).text for index in range(3)] == [b"1,2\n", b"", b""]


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(tmp_path, b"1,2\n" * 1000)
    openings: list[str] = []

    class Counted(TextFile):
        def __init__(self, path: str, dialect: Dialect, version: Version) -> None:
            openings.append(path)
            super().__init__(path, dialect, version=version)

    monkeypatch.setattr("pipeline.csv_text.unpacked.TextFile", Counted)
    stream = BlockStream(file, 100)
    while not stream.block(stream.next).is_last:
        pass

    assert openings == [file.path]


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    file = opened(tmp_path, b"1,2\n" * 100_000)
    whole = Path(file.path).read_bytes()
    Path(file.path).write_bytes(whole[: len(whole) // 2].ljust(len(whole), b"\0"))

    with pytest.raises(UsageError, match=r"t\.csv\.gz: cannot be read: "):
        BlockStream(file, 1 << 20).block(0)


def test_a_file_that_ends_before_its_planned_end_has_changed(tmp_path: Path) -> None:
    file = opened(tmp_path, b"1,2\n" * 100_000)
    whole = Path(file.path).read_bytes()
    for size in (len(whole) // 2, 0):
        Path(file.path).write_bytes(whole[:size])
        with pytest.raises(InputChangedError, match=r"t\.csv\.gz: changed while it was read"):
            BlockStream(file, 1 << 20).block(0)


def test_what_is_appended_is_not_read(tmp_path: Path) -> None:
    file = opened(tmp_path, b"1,2\n")
    with Path(file.path).open("ab") as more:
        more.write(gzip.compress(b"3,4\n"))

    assert BlockStream(file, 1 << 20).block(0).text == b"1,2\n"


def test_a_file_that_is_gone_could_be_read_before(tmp_path: Path) -> None:
    file = opened(tmp_path, b"1,2\n")
    Path(file.path).unlink()

    with pytest.raises(StorageError, match=r"t\.csv\.gz: cannot be read: No such file"):
        BlockStream(file, 1 << 20).block(0)


def test_a_stream_that_is_closed_has_no_file_open(tmp_path: Path) -> None:
    file = opened(tmp_path, b"1,2\n" * 1000)
    stream = BlockStream(file, 100)
    first = stream.block(0)
    assert files_open(tmp_path) == [file.path]

    stream.close()
    assert files_open(tmp_path) == []

    assert stream.block(0).text == first.text  # for a task that comes late
    assert files_open(tmp_path) == []


def test_to_close_a_stream_does_not_wait_for_the_block_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = opened(tmp_path, b"1,2\n" * 1000)
    reading, closed = Event(), Event()

    class Slow(TextFile):
        def read(self, size: int) -> bytes:
            reading.set()
            assert closed.wait(60)
            return super().read(size)

    monkeypatch.setattr("pipeline.csv_text.unpacked.TextFile", Slow)
    stream = BlockStream(file, 100)
    with ThreadPoolExecutor(1) as pool:
        block = pool.submit(stream.block, 0)
        assert reading.wait(60)
        stream.close()
        closed.set()
        assert block.result().text.startswith(b"1,2\n")

    assert files_open(tmp_path) == []


def files_open(folder: Path) -> list[str]:
    links = (os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.exists())
    return [path for path in links if path.startswith(str(folder))]
