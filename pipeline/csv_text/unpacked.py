"""Cuts files that can only be read from the start into blocks of whole records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from threading import Lock

from pipeline.csv_text.files import TextFile, call_at_once, read_bytes
from pipeline.csv_text.marks import AHEAD, next_record, read_further
from pipeline.csv_text.sources import Block, FileText, SourceFile, UnpackedBlock
from pipeline.settings import Dialect
from pipeline.storage.remote import is_remote


class BlockStream:
    """Cuts the files of a `whole` block into blocks of `size` plain bytes.

    A block holds the records that begin within the next `size` bytes, so the blocks are the same in
    whatever order they are asked for.
    """

    def __init__(self, whole: Block, size: int) -> None:
        self._files, self._size = whole.files, size
        self._next, self._blocks = 0, _cut(self._files, self._size)
        self._lock = Lock()
        self._is_ended = False

    @property
    def next(self) -> int:
        """The index, from 0, of the block that comes next."""
        return self._next

    def block(self, index: int) -> UnpackedBlock:
        """Return a block, numbered by its index; to go back, unpack the files again.

        Raises UsageError if a file cannot be read, StorageError if its file system fails.
        """
        try:
            with self._lock:
                return self._block(index)
        finally:
            if self._is_ended:
                self.close()

    def close(self) -> None:
        """Close the file at once; if another thread is reading, let that one close it."""
        self._is_ended = True
        if self._lock.acquire(blocking=False):
            try:
                self._rewind()
            finally:
                self._lock.release()

    def _block(self, index: int) -> UnpackedBlock:
        if index < self._next:
            self._rewind()
        try:
            skipped = index - self._next
            (block,) = islice(self._blocks, skipped, skipped + 1)
        except BaseException:
            self._rewind()
            raise
        self._next = index + 1
        return block

    def _rewind(self) -> None:
        self._next = 0
        # Nothing else refers to the previous generator, so its file is closed.
        self._blocks = _cut(self._files, self._size)


def nth_block(whole: Block, index: int, size: int) -> UnpackedBlock:
    """Return the block with an `index`, from 0, of the files of a whole block."""
    return BlockStream(whole, size).block(index)


def _cut(files: Sequence[SourceFile], size: int) -> Iterator[UnpackedBlock]:
    # Several files in a store are fetched at the same time.
    fetched = call_at_once(_fetch, files) if len(files) > 1 else repeat(None)
    texts: list[FileText] = []
    number = consumed = unpacked = 0
    for file in files:
        stored = next(fetched) if is_remote(file.path) else None
        with TextFile(
            file.path, file.dialect, version=file.version, stored=stored, was_read=True
        ) as opened:
            opened.read(file.start)
            offset, left, is_end, used = file.start, b"", False, 0
            while left or not is_end:
                room = size - sum(len(one.text) for one in texts)
                if texts and (texts[-1].file is file or room <= 0):
                    yield _block(texts, number, consumed, unpacked)
                    texts, number, consumed, unpacked, room = [], number + 1, 0, 0, size
                text, stop, is_end = _read_records(opened, left, is_end, room, file.dialect)
                texts.append(FileText(file, offset, text[:stop]))
                offset, left = offset + stop, text[stop:]
                consumed, used = consumed + opened.position - used, opened.position
            unpacked += offset
    yield _block(texts, number, consumed, unpacked, is_last=True)


def _read_records(
    file: TextFile, text: bytes, is_end: bool, size: int, dialect: Dialect
) -> tuple[bytes, int, bool]:
    """Read on until all records that begin in the next `size` bytes are whole.

    Return `text` with what follows it, where these records end in it, and whether the file ends.
    """
    ahead, wanted = AHEAD, size + AHEAD
    while True:
        if len(text) < wanted and not is_end:
            text += file.read(wanted - len(text))
            is_end = len(text) < wanted
        stop = next_record(text, min(size, len(text)), is_end, dialect)
        if stop is not None:
            return text, stop, is_end
        ahead = read_further(ahead, len(text))
        wanted = len(text) + ahead


def _block(
    texts: Sequence[FileText], number: int, consumed: int, unpacked: int, is_last: bool = False
) -> UnpackedBlock:
    first, last = texts[0], texts[-1]
    return UnpackedBlock(
        *(first.file, first.start, last.start + len(last.text), number),
        texts=tuple(texts),
        consumed=consumed,
        unpacked=unpacked,
        is_last=is_last,
    )


def _fetch(file: SourceFile) -> bytes:
    return read_bytes(file.path, 0, file.size, file.version)
