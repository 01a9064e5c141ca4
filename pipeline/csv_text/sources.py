"""The files of a table and the blocks they are cut into."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from pipeline.csv_text.names import list_names
from pipeline.settings import Dialect
from pipeline.storage.versions import Version

_EXPANDS = 4  # a guess: compressed CSV is often a quarter of the text


@dataclass(frozen=True)
class SourceFile:
    """One input file: its header, where its first record begins, and the version to read.

    `path` is where it is, `name` is what messages call it, `encoding` is that of the plain bytes,
    `dialect` how it is written, `header` its first record, without line end.
    If `is_plain` is False, the file can only be read from its front (see `unpacked`).
    `header_lines` is the number of physical lines before the first record.
    """

    path: str
    name: str
    columns: tuple[str, ...]
    start: int
    header_lines: int
    version: Version
    encoding: str
    is_plain: bool
    dialect: Dialect
    header: bytes = b""

    @property
    def size(self) -> int:
        """The size in bytes, as stored."""
        return self.version.size

    @property
    def plain_size(self) -> int:
        """The expected size in bytes, once unpacked."""
        return self.size * (1 if self.is_plain else _EXPANDS)


@dataclass(frozen=True)
class Block:
    """Bytes `start` to `stop` of a file: whole records if `exact`, else just a range of bytes.

    `number` increases in input order. The next block of the table has the number `following`, or
    the next one if that is None.
    """

    file: SourceFile
    start: int
    stop: int
    number: int
    exact: bool = True
    following: int | None = None

    @property
    def next_number(self) -> int:
        """The number of the table's next block."""
        return self.number + 1 if self.following is None else self.following

    @property
    def stored(self) -> int:
        """How many bytes of the file, as stored, it stands for."""
        return self.stop - self.start


@dataclass(frozen=True)
class UnpackedBlock(Block):
    """A block with its `text`: whole records of a file that can only be read from its front.

    `start` and `stop` are places in the plain bytes. `consumed` bytes of the file, as stored, were
    read for it.
    """

    text: bytes = b""
    consumed: int = 0
    is_last: bool = False

    @property
    def stored(self) -> int:
        """How many bytes of the file, as stored, it stands for."""
        return self.consumed

    def __sizeof__(self) -> int:
        return sys.getsizeof(self.text)


@dataclass(frozen=True)
class Source:
    """One table: its files in input order, its columns in the first file's order, its blocks.

    A block that is still to be made by a task may be that task's future. `left_out` are names in
    its folders that are not read.
    """

    name: str
    columns: tuple[str, ...]
    files: tuple[SourceFile, ...]
    blocks: tuple[Any, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The total size of all files in bytes, as stored."""
        return sum(file.size for file in self.files)

    @property
    def plain_size(self) -> int:
        """The expected size of all files in bytes, once unpacked."""
        return sum(file.plain_size for file in self.files)

    @property
    def is_plain(self) -> bool:
        """Whether any part of any file can be read by itself."""
        return all(file.is_plain for file in self.files)

    @property
    def end(self) -> int:
        """The number that follows those of all blocks."""
        return int(self.blocks[-1].next_number)

    def __str__(self) -> str:
        """Describe what there is to read."""
        files = self.files[0].name if len(self.files) == 1 else f"{len(self.files)} files"
        left_out = f"; not read: {list_names(self.left_out)}" if self.left_out else ""
        return f"{self.name}: {files}, {self.size / 1e6:,.1f} MB{left_out}"
