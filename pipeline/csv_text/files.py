"""Input files as streams of plain bytes: decompressed, in an encoding that extends ASCII."""

from __future__ import annotations

import codecs
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from pipeline.csv_text.compression import COMPRESSIONS, UnpackedStream, compression_of
from pipeline.csv_text.formats import HEAD_SIZE, refuse_other_formats
from pipeline.csv_text.messages import printable
from pipeline.errors import StorageError, UsageError, is_storage_fault
from pipeline.settings import Dialect
from pipeline.storage.remote import (
    AT_ONCE,
    RemoteFile,
    is_remote,
    read_range,
    shown_url,
    version_of_url,
)
from pipeline.storage.versions import Version, input_ends_early, read_on

T = TypeVar("T")
U = TypeVar("U")

_CHUNK = 1 << 20
_ENDS = 1 << 12  # bytes at each end of a file, for its checksum
# UTF-32 first: its mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}
_ASCII = bytes(range(128)).decode("ascii")
# In these, a byte below 0x80, even a quote or a comma, may be part of another character.
_SHIFTING = re.compile(r"iso2022_.*|hz|utf-7")


def shown(path: str) -> str:
    """Return a path or URL as messages show it: relative if it is in the current folder.

    A URL is shown without its user, password or signature (see also `messages`).
    """
    if is_remote(path):
        return printable(shown_url(path))
    return printable(path.removeprefix(f"{os.getcwd()}/"))


class _LocalFile(io.FileIO):
    """A local file, which ends where its version ends: the given one, or the current one.

    Read it through a buffer. Raises InputChangedError if the file ends earlier.
    """

    def __init__(self, path: str, version: Version | None = None) -> None:
        super().__init__(path)
        self.version = version or Version.of_open(self)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            return super().seek(self.version.size + offset)
        return super().seek(offset, whence)

    def readinto(self, target: Any) -> int:
        wanted = min(len(target), max(self.version.size - self.tell(), 0))
        read = super().readinto(memoryview(target)[:wanted]) or 0
        if wanted and not read:
            raise input_ends_early(shown(str(self.name)), self.version.size)
        return read


def version_of(path: str) -> Version:
    """Return the version of the file at a local path or a URL; raise OSError if there is none."""
    if is_remote(path):
        return version_of_url(path)
    with _LocalFile(path) as file:
        return file.version


def read_bytes(path: str, start: int, stop: int, version: Version | None = None) -> bytes:
    """Return bytes `start` to `stop` of a file; S3 sends only those of that `version`.

    Raises InputChangedError if a store has another version, or if the file ends earlier.
    """
    if is_remote(path):
        return read_range(path, start, stop, version)
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        # A file system may return fewer bytes than it is asked for.
        data = read_on(start, stop, lambda offset, stop: file.read(stop - offset))
    if start + len(data) < stop:
        raise input_ends_early(shown(path), stop)
    return data


def call_at_once(function: Callable[[T], U], files: Sequence[T]) -> Iterator[U]:
    """Call a function for each file, many at a time; yield the results in order."""
    if len(files) == 1:
        yield function(files[0])
        return
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield from pool.map(function, files)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def checksum_of_ends(path: str, size: int) -> int:
    """Return a checksum of the first and last few KiB of the first `size` bytes of a file."""
    first = read_bytes(path, 0, min(_ENDS, size))
    return zlib.crc32(read_bytes(path, max(0, size - _ENDS), size), zlib.crc32(first))


class TextFile:
    """An open input file: its decompressed bytes, and their encoding.

    A byte order mark decides the encoding; without one, the dialect does. Text that cannot be cut
    at the bytes of delimiters is converted to UTF-8. If `is_plain`, the bytes are the file's own,
    so any part of the file can be read by itself. `stored` holds the file's bytes if they have been
    fetched already. Raises UsageError if the file cannot be read or has another format,
    StorageError if its file system fails, or if it `was_read` before and can no longer be.
    """

    def __init__(
        self,
        path: str,
        dialect: Dialect,
        ahead: int = _CHUNK,
        version: Version | None = None,
        stored: bytes | None = None,
        was_read: bool = False,
    ) -> None:
        """Open a file, in that `version` if one is given; read `ahead` bytes of it at a time."""
        self._path, self._was_read = path, was_read
        with ExitStack() as opened, self._explain_errors():
            make: Any = RemoteFile if is_remote(path) else _LocalFile
            raw: Any = make(path, version) if stored is None else io.BytesIO(stored)
            self._raw = opened.enter_context(raw)
            self.version = cast(Version, getattr(self._raw, "version", version))
            file = io.BufferedReader(self._raw, ahead)
            self._unpacked = self._unpack(opened.enter_context(file), ahead)
            self._stream = io.BufferedReader(self._unpacked, _CHUNK) if self._unpacked else file
            head = opened.enter_context(self._stream).peek(HEAD_SIZE)[:HEAD_SIZE]
            if self._unpacked and (again := compression_of(head)):
                raise UsageError(
                    f"{shown(path)}: unpacks to {again.name} data; unpack it once, and pass the "
                    "unpacked file"
                )
            refuse_other_formats(shown(path), head)
            self._opened = opened.pop_all()
        marked = (name for mark, name in _BYTE_ORDER_MARKS.items() if head.startswith(mark))
        self.encoding = next(marked, dialect.encoding)
        self.is_plain = self._unpacked is None
        if not cuts_at_bytes(self.encoding, max(dialect.delimiter, dialect.quote, dialect.escape)):
            self.is_plain = False
            self._stream = io.BufferedReader(_ToUtf8(self._stream, self.encoding), _CHUNK)
            self.encoding = "utf-8"

    def __enter__(self) -> TextFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        with self._explain_errors():
            return self._stream.read(size)

    @property
    def position(self) -> int:
        """How many bytes of the stored file have been read so far."""
        return self._unpacked.position if self._unpacked else int(self._raw.tell())

    def _unpack(self, file: io.BufferedReader, ahead: int) -> UnpackedStream | None:
        """Return the plain bytes of a compressed file, None if it is not compressed."""
        head, name = file.peek(16), shown(self._path)
        if kind := compression_of(head):
            return UnpackedStream(name, file, kind, ahead)
        claimed = COMPRESSIONS.get(suffix := Path(self._path).suffix.lower())
        if claimed and head:
            raise UsageError(f"{name}: ends in {suffix}, but is not {claimed.name} data")
        return None

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            why = (
                f"{shown(self._path)}: cannot be read: {getattr(error, 'strerror', None) or error}"
            )
            was_readable = self._was_read and isinstance(error, OSError) and error.errno
            if is_storage_fault(error) or was_readable:
                raise StorageError(
                    f"{why}; check its disk or file server, then run again"
                ) from error
            raise UsageError(why) from error


class _ToUtf8(io.RawIOBase):
    """Reads text in another encoding as UTF-8.

    Bytes that are invalid in that encoding become invalid UTF-8, so their record is rejected like
    any other such record.
    """

    def __init__(self, stream: Any, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("pipeline-undecodable")
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._ready and not self._ended:
            chunk = self._stream.read(_CHUNK)
            self._ended = not chunk
            text = self._decoder.decode(chunk, final=self._ended)
            self._ready = text.encode("utf-8", "surrogatepass")
        size = min(len(target), len(self._ready))
        target[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def cuts_at_bytes(encoding: str, mark: str) -> bool:
    """Return whether text in `encoding` can be cut at the bytes of newlines and of `mark`.

    It can if these bytes are never part of another character, and no other bytes mean the same.
    """
    if encoding == "utf-8":
        return True
    text = bytes(range(256)).decode(encoding, "replace")
    if _SHIFTING.fullmatch(encoding) or text[:128] != _ASCII:
        return False
    if len(text) == 256:  # one byte per character
        return not any(char.isascii() for char in text[128:])
    # In a multibyte character, all bytes but the first may be ASCII from "0" on.
    return mark < "0"


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\ud800", error.end  # a lone surrogate: invalid in UTF-8


codecs.register_error("pipeline-undecodable", _mark_undecodable)
