"""Cuts files that can only be read from the start into blocks of whole records."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from threading import Lock

from pipeline.csv_text.files import TextFile, at_once, read_bytes
from pipeline.csv_text.marks import next_record
from pipeline.csv_text.sources import Block, FileText, SourceFile, UnpackedBlock
from pipeline.storage.remote import is_remote

_AHEAD = 1 << 12  # bytes read past a block, for the end of its last record


class BlockStream:
    """The blocks of the files of a `whole` block, in order; `size` is that of one in plain bytes.

    A block holds the records that begin within the next `size` bytes. So files always have the
    same blocks, wherever they are read from.
    """

    def __init__(self, whole: Block, size: int) -> None:
        self._files, self._size = whole.files, size
        self._text: TextFile | None = None
        self._fetched: Iterator[bytes | None]
        self._lock = Lock()
        self._is_ended = False
        self._rewind()

    @property
    def next(self) -> int:
        """The index, from 0, of the block that comes next."""
        return self._next

    def block(self, index: int) -> UnpackedBlock:
        """Return a block, numbered by its index; unpack the files anew if that is behind.

        After the last block come empty ones. Raises UsageError if a file cannot be read,
        StorageError if its file system fails.
        """
        try:
            return self._block(index)
        finally:
            if self._is_ended:
                self.close()

    def close(self) -> None:
        """Close the file, or have the thread that reads a block close it; never wait for that."""
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
        self._next = 0
        # Of several files in a store, each is asked for before the one before it has come.
        self._fetched = at_once(_fetch, self._files) if len(self._files) > 1 else repeat(None)
        self._begin(0)

    def _begin(self, file: int) -> None:
        """Go to the start of a file, given its place among them."""
        self._close()
        self._at, self._file = file, self._files[file]
        self._place, self._stored, self._left = self._file.start, 0, b""
        self._at_end = False

    def _close(self) -> None:
        if self._text is not None:
            self._text.__exit__()
            self._text = None

    def _read_next(self) -> UnpackedBlock:
        texts: list[FileText] = []
        room, consumed, unpacked, is_last = self._size, 0, 0, False
        while room > 0 and not is_last:
            stored = self._stored
            texts.append(self._read_text(room))
            room -= len(texts[-1].text)
            consumed += self._stored - stored
            if self._at_end and not self._left:
                unpacked += self._place
                is_last = self._at + 1 == len(self._files)
                if is_last:
                    self._close()
                else:
                    self._begin(self._at + 1)
            else:
                break
        last = texts[-1]
        block = UnpackedBlock(
            texts[0].file,
            texts[0].start,
            last.start + len(last.text),
            self._next,
            texts=tuple(texts),
            consumed=consumed,
            unpacked=unpacked,
            is_last=is_last,
        )
        self._next += 1
        return block

    def _read_text(self, size: int) -> FileText:
        """Return the records of the current file that begin within the next `size` bytes."""
        text = self._read_on(self._left, size + _AHEAD)
        ahead, dialect = _AHEAD, self._file.dialect
        while (found := next_record(text, min(size, len(text)), self._at_end, dialect)) is None:
            # Not far past the end of a long record.
            ahead = min(4 * ahead, max(_AHEAD, len(text) // 4))
            text = self._read_on(text, len(text) + ahead)
        start = self._place
        self._left, self._place = text[found:], start + found
        if self._text is not None:
            self._stored = self._text.position
        return FileText(self._file, start, text[:found])

    def _read_on(self, text: bytes, size: int) -> bytes:
        """Return `text` with what follows it, `size` bytes in all, fewer only at the end."""
        if self._at_end or len(text) >= size:
            return text
        if self._text is None:
            file = self._file
            stored = next(self._fetched) if is_remote(file.path) else None
            self._text = TextFile(
                file.path, file.dialect, version=file.version, stored=stored, was_read=True
            )
            self._text.read(file.start)
        more = self._text.read(size - len(text))
        self._at_end = len(text) + len(more) < size
        return text + more


def _fetch(file: SourceFile) -> bytes:
    return read_bytes(file.path, 0, file.size, file.version)


def nth_block(whole: Block, index: int, size: int) -> UnpackedBlock:
    """Return the block of some files with this index, from 0 (see `BlockStream`)."""
    return BlockStream(whole, size).block(index)
