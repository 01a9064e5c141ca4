"""The files of a table and the blocks they are cut into."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.csv_text.messages import agreeing, counted, list_names
from pipeline.settings import Dialect
from pipeline.storage.versions import Version

_EXPANDS = 4  # a guess: text is often four times its compressed size
_ALIKE = "is_plain", "columns", "encoding", "dialect"


@dataclass(frozen=True)
class SourceFile:
    """One input file: its header, where its first record begins, and the version to read.

    `name` is what messages call it, `encoding` is that of the plain bytes, and `header` is its
    first record without the newline. If `is_plain` is False, the file can only be read from the
    start (see `unpacked`). `header_lines` is the number of physical lines before the first record.
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

    def is_like(self, other: SourceFile) -> bool:
        """Return whether the records of two files can be read together."""
        return all(getattr(self, name) == getattr(other, name) for name in _ALIKE)


class FileText(NamedTuple):
    """Text of whole records that begins at byte `start` of a file, counted in plain bytes."""

    file: SourceFile
    start: int
    text: bytes


@dataclass(frozen=True)
class Block:
    """Bytes `start` to `stop` of a file: whole records if `exact`, else just a range of bytes.

    `more` holds the small files that follow and whose records all belong to the block as well.
    `number` increases in input order. `following` is the number of the table's next block; None
    means `number + 1`.
    """

    file: SourceFile
    start: int
    stop: int
    number: int
    exact: bool = True
    following: int | None = None
    more: tuple[SourceFile, ...] = ()

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """The files whose records it has."""
        return self.file, *self.more

    @property
    def next_number(self) -> int:
        """The number of the table's next block."""
        return self.number + 1 if self.following is None else self.following

    @property
    def stored(self) -> int:
        """How many stored bytes of its files it covers."""
        return self.stop - self.start + sum(file.size - file.start for file in self.more)

    @property
    def plain_size(self) -> int:
        """The expected size of its text in bytes."""
        if self.file.is_plain:
            return self.stored
        return sum(file.plain_size for file in self.files)


@dataclass(frozen=True)
class UnpackedBlock(Block):
    """A block of files that can only be read from the start, with its `texts`.

    `start` is where the first text begins, `stop` where the last one ends. `consumed` is the number
    of stored bytes that were read for it. `unpacked` is the total unpacked size of the files that
    end in it.
    """

    texts: tuple[FileText, ...] = ()
    consumed: int = 0
    unpacked: int = 0
    is_last: bool = False

    @property
    def stored(self) -> int:
        """How many stored bytes of its files it covers."""
        return self.consumed

    def __sizeof__(self) -> int:
        return sum(sys.getsizeof(one.text) for one in self.texts)


@dataclass(frozen=True)
class Source:
    """One table: its files in input order, its columns in the first file's order, its blocks.

    Instead of a block that a task has yet to make, there may be its future. `left_out` has the
    names in the table's folders that are not read.
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
        """Whether every part of every file can be read by itself."""
        return all(file.is_plain for file in self.files)

    @property
    def end(self) -> int:
        """The number after those of all its blocks."""
        return int(self.blocks[-1].next_number)

    def describe_copies(self) -> Iterator[str]:
        """Warn of files that seem to be copies, by their sizes and their ends or ETags."""
        first: dict[Any, SourceFile] = {}
        pairs = []
        for file in self.files:
            version = file.version
            known = version.ends or (version.etag if file.is_plain else None)
            if known and (file.start < file.size or not file.is_plain):
                other = first.setdefault((file.size, known), file)
                if other is not file:
                    pairs.append((other, file))
        if pairs:
            one, two = pairs[0]
            same = "size, beginning and end" if one.version.ends else "size and ETag"
            more, do = len(pairs) - 1, agreeing(len(pairs) - 1, "does", "do")
            others = f" (as {do} {counted(more, 'other pair')})" if more else ""
            yield (
                f"{self.name}: '{one.name}' and '{two.name}' have the same {same}{others}; if one "
                "is a copy of the other, its records count twice"
            )

    def __str__(self) -> str:
        """Describe what there is to read."""
        files = self.files[0].name if len(self.files) == 1 else f"{len(self.files)} files"
        left_out = f"; not read: {list_names(self.left_out)}" if self.left_out else ""
        return f"{self.name}: {files}, {self.size / 1e6:,.1f} MB{left_out}"
