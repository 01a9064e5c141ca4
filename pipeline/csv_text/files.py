"""Input files as streams of plain bytes: decompressed, in an encoding that extends ASCII."""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline.csv_text.compression import COMPRESSIONS, UnpackedStream
from pipeline.csv_text.formats import refuse_other_formats
from pipeline.csv_text.remote import RemoteFile, file_system, is_remote, read_range
from pipeline.errors import StorageError, UsageError, is_storage_fault
from pipeline.settings import Dialect

_CHUNK = 1 << 20
# UTF-32 first: its mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}
_ASCII = bytes(range(128)).decode("ascii")
# In these, a byte below 0x80 may be part of another character, even that of a quote or comma.
_SHIFTING = re.compile(r"iso2022_.*|hz|utf-7")


def shown(path: str) -> str:
    """Return a path or URL as messages show it: relative if it is below the current folder.

    A URL is shown without the user, password or signature that it may have.
    """
    if is_remote(path):
        scheme, _, rest = path.partition("://")
        host, slash, place = rest.partition("?")[0].partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{place}"
    return path.removeprefix(f"{os.getcwd()}/")


def open_binary(path: str) -> Any:
    """Open a local path or an fsspec URL for reading bytes."""
    return RemoteFile(path) if is_remote(path) else open(path, "rb")


def read_bytes(path: str, start: int, stop: int) -> bytes:
    """Return bytes `start` to `stop` of a file, fewer only at its end; read nothing else."""
    if is_remote(path):
        return read_range(path, start, stop)
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        return file.read(stop - start)


def modified(path: str) -> str | None:
    """Return the time of a file's last change (ISO 8601); None if that is unknown."""
    system, inner = file_system(path)
    try:
        return str(system.modified(inner).isoformat())
    except (NotImplementedError, OSError):  # not every file system knows it
        return None


class TextFile:
    """An open input file: its decompressed bytes, and their encoding.

    The encoding is the dialect's, or that of a byte order mark. Text that cannot be cut at the
    bytes of delimiters is converted to UTF-8. `is_plain`: the bytes are the file's own, so any part
    of it can be read by itself. Raises UsageError if the file cannot be read or has another format,
    StorageError if its file system fails.
    """

    def __init__(self, path: str, dialect: Dialect, ahead: int = _CHUNK) -> None:
        """Open a file and read `ahead` bytes of it at a time."""
        self._path = path
        with ExitStack() as opened, self._told():
            self._raw = opened.enter_context(open_binary(path))
            file = io.BufferedReader(self._raw, ahead)
            self._unpacked = self._unpack(opened.enter_context(file), ahead)
            self._stream = io.BufferedReader(self._unpacked, _CHUNK) if self._unpacked else file
            begins = opened.enter_context(self._stream).peek(64)[:64]
            refuse_other_formats(shown(path), begins)
            self._opened = opened.pop_all()
        marked = (name for mark, name in _BYTE_ORDER_MARKS.items() if begins.startswith(mark))
        self.encoding = next(marked, dialect.encoding)
        self.is_plain = self._unpacked is None
        if not cuts_at_bytes(self.encoding, dialect.delimiter):
            self.is_plain = False
            self._stream = io.BufferedReader(_ToUtf8(self._stream, self.encoding), _CHUNK)
            self.encoding = "utf-8"

    def __enter__(self) -> TextFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        with self._told():
            return self._stream.read(size)

    @property
    def position(self) -> int:
        """How many bytes of the file, as stored, have been read so far."""
        return self._unpacked.position if self._unpacked else int(self._raw.tell())

    def _unpack(self, file: io.BufferedReader, ahead: int) -> UnpackedStream | None:
        """Return the plain bytes of a compressed file, None if it is not compressed."""
        begins, name = file.peek(16), shown(self._path)
        for kind in COMPRESSIONS.values():
            if kind.magic.match(begins):
                return UnpackedStream(name, file, kind, ahead)
        claimed = COMPRESSIONS.get(suffix := Path(self._path).suffix.lower())
        if claimed and begins:
            raise UsageError(f"{name}: ends in {suffix}, but is not {claimed.name} data")
        return None

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            why = (
                f"{shown(self._path)}: cannot be read: {getattr(error, 'strerror', None) or error}"
            )
            if is_storage_fault(error):
                raise StorageError(
                    f"{why}; see to its disk or file server, then run again"
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


def cuts_at_bytes(encoding: str, delimiter: str) -> bool:
    """Tell whether text in `encoding` can be cut at the bytes of quotes, line ends and `delimiter`.

    It can if these bytes are never part of another character and no other bytes encode them.
    """
    if encoding == "utf-8":
        return True
    text = bytes(range(256)).decode(encoding, "replace")
    if _SHIFTING.fullmatch(encoding) or text[:128] != _ASCII:
        return False
    if len(text) == 256:  # one byte per character
        return not any(char.isascii() for char in text[128:])
    # In a multibyte character, all bytes but the first may be ASCII from "0" on.
    return delimiter < "0"


def _undecodable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\ud800", error.end  # a lone surrogate: invalid in UTF-8


codecs.register_error("pipeline-undecodable", _undecodable)
