"""Cuts a file that can only be read from its front into blocks of whole records."""

from __future__ import annotations

from threading import Lock

from pipeline.csv_text.files import TextFile
from pipeline.csv_text.marks import next_record
from pipeline.csv_text.sources import SourceFile, UnpackedBlock

_AHEAD = 1 << 12  # bytes read past a block, for the end of its last record


class BlockStream:
    """The blocks of one file, read in order; `size` is that of a block in plain bytes.

    A block holds the records that begin within the next `size` bytes. So a file always has the
    same blocks, wherever it is read from.
    """

    def __init__(self, file: SourceFile, size: int) -> None:
        self._file, self._size = file, size
        self._text: TextFile | None = None
        self._lock = Lock()
        self._is_ended = False
        self._rewind()

    @property
    def next(self) -> int:
        """The index, from 0, of the block that comes next."""
        return self._next

    def block(self, index: int) -> UnpackedBlock:
        """Return a block, numbered by its index; unpack the file anew if that is behind.

        After the last block come empty ones. Raises UsageError if the file cannot be read,
        StorageError if its file system fails.
        """
        try:
            return self._block(index)
        finally:
            if self._is_ended:
                self.close()

    def close(self) -> None:
        """Close the file, or have the thread close it that reads a block; never wait for that."""
        self._is_ended = True
        if self._lock.acquire(blocking=False):
            try:
                self._rewind()
            finally:
                self._lock.release()

    def __del__(self) -> None:
        self._close()

    def _block(self, index: int) -> UnpackedBlock:
        with self._lock:
            if index < self._next:
                self._rewind()
            try:
                while self._next < index:
                    self._read_next()
                return self._read_next()
            except BaseException:
                self._rewind()
                raise

    def _rewind(self) -> None:
        self._close()
        self._next, self._place, self._stored, self._left = 0, self._file.start, 0, b""
        self._at_end = False

    def _close(self) -> None:
        if self._text is not None:
            self._text.__exit__()
            self._text = None

    def _read_next(self) -> UnpackedBlock:
        text = self._read_on(self._left, self._size + _AHEAD)
        ahead, dialect = _AHEAD, self._file.dialect
        while (
            found := next_record(text, min(self._size, len(text)), self._at_end, dialect)
        ) is None:
            # Not far past the end of a long record.
            ahead = min(4 * ahead, max(_AHEAD, len(text) // 4))
            text = self._read_on(text, len(text) + ahead)
        start, stored = self._place, self._stored
        self._left, self._place = text[found:], start + found
        is_last = self._at_end and not self._left
        if self._text is not None:
            self._stored = self._text.position
        if is_last:
            self._close()
        block = UnpackedBlock(
            self._file,
            start,
            self._place,
            self._next,
            text=text[:found],
            consumed=self._stored - stored,
            is_last=is_last,
        )
        self._next += 1
        return block

    def _read_on(self, text: bytes, size: int) -> bytes:
        """Return `text` with what follows it, `size` bytes in all, fewer only at the end."""
        if self._at_end or len(text) >= size:
            return text
        if self._text is None:
            file = self._file
            self._text = TextFile(file.path, file.dialect, version=file.version)
            self._text.read(file.start)
        more = self._text.read(size - len(text))
        self._at_end = len(text) + len(more) < size
        return text + more


def nth_block(file: SourceFile, index: int, size: int) -> UnpackedBlock:
    """Return the block of a file with this index, from 0 (see `BlockStream`)."""
    return BlockStream(file, size).block(index)
