"""Input files as streams of plain bytes: decompressed, in an encoding that extends ASCII."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.settings import Dialect

# By the ending of a file's name: its compression, and how its first bytes look.
COMPRESSIONS = {
    ".gz": ("gzip", re.compile(rb"\x1f\x8b\x08")),
    ".bz2": ("bzip2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")),
    ".xz": ("xz", re.compile(rb"\xfd7zXZ\0")),
    ".zst": ("zstd", re.compile(rb"\x28\xb5\x2f\xfd")),
}
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
# In these, bytes below 0x80 may be part of another character, also those of quotes and commas.
_SHIFTING = re.compile(r"iso2022_.*|hz|utf-7")


def shown(path: str) -> str:
    """Return a path or URL as a message names it: relative where it lies below this folder."""
    return path.removeprefix(f"{os.getcwd()}/")


def open_binary(path: str) -> Any:
    """Open a local path or an fsspec URL for reading bytes."""
    return fsspec.open(path, "rb").open()


class TextFile:
    """An opened input file: its bytes without compression, and the encoding of those.

    The encoding is the dialect's, or the one of a byte order mark; one whose text cannot be cut at
    the bytes of delimiters is turned into UTF-8 on the way. `is_plain`: the bytes are the file's
    own, so that any part of it can be read by itself. Raises UsageError where it cannot be read.
    """

    def __init__(self, path: str, dialect: Dialect) -> None:
        self._path = path
        with ExitStack() as opened, self._told():
            file = io.BufferedReader(opened.enter_context(open_binary(path)), _CHUNK)
            compression = self._compression(opened.enter_context(file).peek(16))
            self._stream = opened.enter_context(_decompressed(file, compression))
            begins = self._stream.peek(4)[:4]
            self._opened = opened.pop_all()
        marked = (name for mark, name in _BYTE_ORDER_MARKS.items() if begins.startswith(mark))
        self.encoding = next(marked, dialect.encoding)
        self.is_plain = not compression
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

    def unpack(self, target: Path) -> None:
        """Write the bytes that are left into `target`."""
        with target.open("wb") as out:
            while chunk := self.read(_CHUNK):
                out.write(chunk)

    def _compression(self, begins: bytes) -> str | None:
        for name, magic in COMPRESSIONS.values():
            if magic.match(begins):
                return name
        claimed = COMPRESSIONS.get(Path(self._path).suffix.lower())
        if claimed and begins:
            raise UsageError(f"{shown(self._path)}: is named as {claimed[0]} data, but holds none")
        return None

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(f"{shown(self._path)}: cannot be read: {why}") from error


class _ToUtf8(io.RawIOBase):
    """Reads text in some encoding as UTF-8.

    Code that is no text in that encoding becomes bytes that are none in UTF-8, so that its
    record is rejected as any other such record.
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

    It can where these bytes are never part of another character, and no other bytes mean them.
    """
    if encoding == "utf-8":
        return True
    text = bytes(range(256)).decode(encoding, "replace")
    if _SHIFTING.fullmatch(encoding) or text[:128] != _ASCII:
        return False
    if len(text) == 256:  # one byte for each character
        return not any(char.isascii() for char in text[128:])
    # Of a character of several bytes, all but the first may be ASCII from here on.
    return delimiter < "0"


def _undecodable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\ud800", error.end  # a lone surrogate: no text in UTF-8


codecs.register_error("pipeline-undecodable", _undecodable)


def _decompressed(stream: Any, compression: str | None) -> Any:
    """Return a stream of the decompressed bytes that can be peeked into."""
    if compression == "gzip":
        return gzip.GzipFile(fileobj=stream)
    if compression == "bzip2":
        return bz2.BZ2File(stream)
    if compression == "xz":
        return lzma.LZMAFile(stream)
    if compression == "zstd":
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"))
    return stream
