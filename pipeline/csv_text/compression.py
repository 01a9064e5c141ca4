"""Compressed files as one stream of plain bytes, read up to the last byte of the file.

Gzip files are sequences of members, xz and bzip2 files of streams, zstd files of frames; a zip file
is one archive. Each of these is called a unit here. Python's `BZ2File` and `LZMAFile` end without
an error at a later unit whose beginning is damaged. So this module reads one unit after the other,
and accounts for every byte between them.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
from isal import igzip_lib

from pipeline.csv_text.formats import open_zip

_FEED = 1 << 16  # bytes that a decompressor gets at a time
_CHUNK = 1 << 20  # bytes that it returns at a time, at most


class DamageError(ValueError):
    """A compressed file is truncated, damaged, or holds other data; the message says where."""


# What decompressors raise; zipfile raises NotImplementedError for methods that it does not know. An
# OSError with a number comes from the file system.
_DAMAGE: tuple[Any, ...] = (
    *(igzip_lib.IsalError, lzma.LZMAError, OSError, ValueError),
    *(zlib.error, zipfile.BadZipFile, NotImplementedError),
)


# Fragments of zstd's messages for intact frames that it refuses here: the fault, the remedy.
_REFUSED = {
    "too much memory": (
        "has a window of more than 128 MiB",
        "compress the file again without --long and --ultra",
    ),
    "ictionary mismatch": ("needs a dictionary", "compress the file again without one"),
}


class _Unit(Protocol):
    def read(self, size: int) -> bytes:
        """Return up to `size` of the next plain bytes; none at the end of the unit.

        Raises EOFError if the file ends within the unit, one of `_DAMAGE` if the unit is damaged.
        """


@dataclass(frozen=True)
class Compression:
    """A format of compressed files.

    `magic` matches the first bytes of each unit. NUL bytes in multiples of `padding` may follow
    the last unit; if `padded_between`, they may follow any unit.
    """

    name: str
    unit: str
    magic: re.Pattern[bytes]
    begin: Callable[[_Stored], _Unit]
    padding: int = 0
    padded_between: bool = False


class UnpackedStream(io.RawIOBase):
    """The plain bytes of a compressed file; reading may raise DamageError or OSError."""

    def __init__(self, name: str, stream: Any, compression: Compression, feed: int) -> None:
        """Read the stream of a file called `name` from the start, up to `feed` bytes at a time."""
        self._stored = _Stored(name, stream, min(feed, _FEED))
        self._compression = compression
        self._unit: _Unit | None = None
        self._start = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    @property
    def position(self) -> int:
        """How many bytes of the file have been consumed so far."""
        return self._stored.offset

    def readinto(self, target: Any) -> int:
        """Read the next plain bytes into `target`; return how many, 0 only at the end."""
        while self._unit is not None or self._begin_unit():
            assert self._unit is not None
            with self._locating_damage():
                # Some decompressors allocate as much as they are asked for.
                data = self._unit.read(min(len(target), _CHUNK))
            if data:
                target[: len(data)] = data
                return len(data)
            self._unit = None
        return 0

    def _begin_unit(self) -> bool:
        """Begin the next unit; return False at the end of the file."""
        stored, kind = self._stored, self._compression
        zeros = stored.skip_zeros() if kind.padding and stored.offset else 0
        is_padding = zeros == 0 or zeros % kind.padding == 0
        head = stored.peek(16)
        if is_padding and not head:
            return False
        may_begin = not zeros or (is_padding and kind.padded_between)
        if not (may_begin and kind.magic.match(head)):
            offset = stored.offset - (0 if is_padding and kind.padded_between else zeros)
            raise DamageError(
                f"at byte {offset:,} there is data other than {kind.name} {kind.unit}s; remove it, "
                "or copy the file again"
            )
        self._start = stored.offset
        with self._locating_damage():
            self._unit = kind.begin(stored)
        return True

    @contextmanager
    def _locating_damage(self) -> Iterator[None]:
        kind = self._compression
        unit = f"the {kind.name} {kind.unit} that begins at byte {self._start:,}"
        try:
            yield
        except EOFError as error:
            raise DamageError(
                f"{unit} is cut off at byte {self._stored.offset:,}, the end of the file; "
                "copy the file again"
            ) from error
        except _DAMAGE as error:
            if getattr(error, "errno", None) is not None:
                raise
            for sign, (what, remedy) in _REFUSED.items():
                if sign in str(error):
                    raise DamageError(f"{unit} {what}; {remedy}") from error
            raise DamageError(f"{unit} is damaged ({error}); copy the file again") from error


class _Stored:
    """The bytes of a file as they are stored, read in order; reading raises EOFError at the end."""

    def __init__(self, name: str, stream: io.BufferedReader, feed: int) -> None:
        self.name, self.stream, self._feed = name, stream, feed

    @property
    def offset(self) -> int:
        """The offset of the next byte in the file."""
        return self.stream.tell()

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end, without consuming them."""
        data = self.stream.read(size)
        self.give_back(len(data))
        return data

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        data = self.stream.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def read_some(self) -> bytes:
        """Return the next bytes, as many as a decompressor gets at a time."""
        if data := self.stream.read1(self._feed):
            return data
        raise EOFError

    def give_back(self, size: int) -> None:
        """Go back by `size` bytes, which are then read again."""
        self.stream.seek(-size, io.SEEK_CUR)

    def skip(self, size: int) -> None:
        """Skip bytes."""
        while size:
            size -= len(self.read(min(size, self._feed)))

    def skip_text(self) -> None:
        """Skip bytes up to and including a zero byte."""
        while (zero := (data := self.read_some()).find(0)) < 0:
            pass
        self.give_back(len(data) - zero - 1)

    def skip_zeros(self) -> int:
        """Skip zero bytes, if there are any; return how many."""
        start = self.offset
        while data := self.stream.read1(self._feed):
            if rest := data.lstrip(b"\0"):
                self.give_back(len(rest))
                break
        return self.offset - start


class _Decompressed:
    """A unit that is read with a decompressor like those of Python's `bz2` and `lzma`."""

    def __init__(self, stored: _Stored, decompressor: Any) -> None:
        self._stored, self._decompressor = stored, decompressor

    def read(self, size: int) -> bytes:
        decompressor = self._decompressor
        while not decompressor.eof:
            stored = self._stored.read_some() if decompressor.needs_input else b""
            data: bytes = decompressor.decompress(stored, size)
            if decompressor.eof:
                self._stored.give_back(len(decompressor.unused_data))
            if data:
                return data
        return b""


def _gzip_member(stored: _Stored) -> _Unit:
    # Parsed here: igzip_lib reports some intact headers as damaged if they arrive in two pieces.
    flags = stored.read(10)[3]
    if flags & 0xE0:
        raise ValueError(f"unknown flags 0x{flags:02x} in its header")
    if flags & 4:  # extra fields
        stored.skip(int.from_bytes(stored.read(2), "little"))
    for flag in (8, 16):  # a file name, a comment
        if flags & flag:
            stored.skip_text()
    if flags & 2:  # a checksum of the header
        stored.skip(2)
    decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP_NO_HDR_VER)
    return _Decompressed(stored, decompressor)


def _zstd_frame(stored: _Stored) -> _Unit:
    if stored.peek(4)[1:] == b"\x2a\x4d\x18":  # a skippable frame, RFC 8878, section 3.1.2
        stored.skip(4)
        stored.skip(int.from_bytes(stored.read(4), "little"))
        return io.BytesIO()  # it has no plain bytes
    frame = pa.PythonFile(_ZstdFrame(stored), "r")
    stream: _Unit = pa.CompressedInputStream(frame, "zstd")
    return stream


class _ZstdFrame(io.RawIOBase):
    """The stored bytes of one zstd frame, as a file for Arrow.

    Arrow's decompressor does not say where a frame ends; the sizes of its parts do.
    """

    def __init__(self, stored: _Stored) -> None:
        self._stored, self._parts, self._left = stored, _sizes_of_parts(stored), 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes of the frame, none at its end; Arrow always passes a size."""
        self._left = self._left or next(self._parts, 0)
        data = self._stored.read(min(size, self._left))
        self._left -= len(data)
        return data


def _sizes_of_parts(stored: _Stored) -> Iterator[int]:
    """Yield the sizes of a frame's header, blocks and checksum (RFC 8878, section 3.1.1)."""
    flags = stored.peek(5)[-1]
    is_single, has_checksum = flags & 32, flags & 4
    size_of_size = (1 if is_single else 0, 2, 4, 8)[flags >> 6]
    yield 5 + (not is_single) + (0, 1, 2, 4)[flags & 3] + size_of_size
    is_last = 0
    while not is_last:
        header = int.from_bytes(stored.read(3), "little")
        stored.give_back(3)
        is_last, is_repeated = header & 1, header >> 1 & 3 == 1  # one byte, repeated
        yield 3 + (1 if is_repeated else header >> 3)
    if has_checksum:
        yield 4


class _ZipArchive:
    """A zip archive of one file."""

    def __init__(self, stored: _Stored) -> None:
        self._stored = stored
        self._member, self._end = open_zip(stored.name, stored.stream, stored.offset)

    def read(self, size: int) -> bytes:
        data: bytes = self._member.read(size)
        if not data:
            self._stored.stream.seek(self._end)
        return data


# By the suffix of a file's name.
COMPRESSIONS = {
    ".gz": Compression("gzip", "member", re.compile(rb"\x1f\x8b\x08"), _gzip_member, padding=1),
    ".bz2": Compression(
        "bzip2",
        "stream",
        re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
        lambda stored: _Decompressed(stored, bz2.BZ2Decompressor()),
    ),
    ".xz": Compression(
        "xz",
        "stream",
        re.compile(rb"\xfd7zXZ\0"),
        lambda stored: _Decompressed(stored, lzma.LZMADecompressor(lzma.FORMAT_XZ)),
        padding=4,
        padded_between=True,
    ),
    ".zst": Compression(
        "zstd", "frame", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _zstd_frame
    ),
    ".zip": Compression("zip", "archive", re.compile(rb"PK(?:\x03\x04|\x05\x06)"), _ZipArchive),
}


def compression_of(head: bytes) -> Compression | None:
    """Return the compression of a file with these first 16 bytes; None if it is not compressed."""
    return next((kind for kind in COMPRESSIONS.values() if kind.magic.match(head)), None)
