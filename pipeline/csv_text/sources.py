"""Turns paths, globs, folders and URLs into files with headers, and those into blocks."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from shlex import quote
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.csv_text.compression import COMPRESSIONS
from pipeline.csv_text.files import TextFile, checksum_of_ends, shown
from pipeline.csv_text.marks import count_lines, next_record
from pipeline.csv_text.parse import parse
from pipeline.csv_text.remote import file_system, is_remote, is_web, told
from pipeline.csv_text.versions import Version
from pipeline.errors import StorageError, UsageError, is_storage_fault
from pipeline.settings import Dialect

_BOM = b"\xef\xbb\xbf"
_HEADER = 1 << 12  # bytes; most headers fit
_EXPANDS = 4  # a guess: compressed CSV is often a quarter of the text
_DELIMITERS = ",;\t|"
_ENDINGS = tuple(f".csv{ending}" for ending in ("", *COMPRESSIONS))


@dataclass(frozen=True)
class SourceFile:
    """One input file: its header, where its first record begins, and the version to read.

    `path` is where it is, `name` is what messages call it, `encoding` is that of the plain bytes,
    `dialect` how it is written.
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

    A block that is still to be made by a task may be that task's future.
    """

    name: str
    columns: tuple[str, ...]
    files: tuple[SourceFile, ...]
    blocks: tuple[Any, ...] = ()

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
        return f"{self.name}: {files}, {self.size / 1e6:,.1f} MB"


def find_files(table: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the files of one table, in input order: absolute paths, or URLs; open none.

    `paths` are files, globs or folders (all `*.csv` in them, compressed ones too), local or fsspec
    URLs. Files of a glob or folder are in order of their names. Raises UsageError naming the path
    at which no file is, or the file that is found twice, in any form, and StorageError if a file
    system fails.
    """
    files: list[str] = []
    for path in paths:
        found = _find(path)
        if not found:
            raise UsageError(
                f"{table}: no file at '{shown(path)}'; name a file, a glob or a folder of CSV"
            )
        files += found
    places = Counter(file if is_remote(file) else os.path.realpath(file) for file in files)
    if twice := [place for place, times in places.items() if times > 1]:
        raise UsageError(
            f"{table}: '{shown(min(twice))}' is named twice; its records would count twice"
        )
    return tuple(files)


def open_source(
    name: str, files: Iterable[str], required: dict[str, str], dialect: Dialect
) -> Source:
    """Read and check the headers of one table's files (see `find_files`); cut no blocks yet.

    `required` maps each required column to the option that renames it. Raises UsageError naming the
    file and the column.
    """
    with ThreadPoolExecutor() as pool:
        opened = list(pool.map(_read_header, files, repeat(dialect)))
    for file in opened:
        _check_columns(name, file, opened[0], required, dialect)
    return Source(name, opened[0].columns, tuple(opened))


def _find(path: str) -> list[str]:
    if is_web(path):  # a web server has no folders; to look for one would fetch the file
        return [path]
    try:
        with told(path):
            return _find_in(*file_system(path), path)
    except OSError as error:
        kind = StorageError if is_storage_fault(error) else UsageError
        raise kind(f"{shown(path)}: cannot be read: {error.strerror or error}") from error


def _find_in(system: fsspec.AbstractFileSystem, inner: str, path: str) -> list[str]:
    if system.isdir(inner):
        names = filter(_is_visible, system.ls(inner, detail=False))
        found = [file for file in names if file.endswith(_ENDINGS)]
        if not found:
            raise UsageError(f"no *.csv file in the folder '{shown(path)}'")
    elif system.isfile(inner):  # first: a file's name may hold the characters of a glob
        return [_with_protocol(path, system, inner)]
    else:
        # As in a shell, a glob matches hidden files only if its own last name begins like one.
        matches = system.glob(inner)
        named = matches if not _is_visible(inner) else filter(_is_visible, matches)
        found = [file for file in named if system.isfile(file)]
    _refuse_two_forms(found, path)
    return [_with_protocol(path, system, file) for file in sorted(found)]


def _refuse_two_forms(found: Iterable[str], path: str) -> None:
    """Raise UsageError if a folder or glob has a file and its compressed form: records twice."""
    forms: dict[str, str] = {}
    for file in sorted(found):
        ending = next((ending for ending in COMPRESSIONS if file.endswith(ending)), "")
        other = forms.setdefault(file.removesuffix(ending), file)
        if other != file:
            one, two = (shown(each.rpartition("/")[2]) for each in (other, file))
            raise UsageError(
                f"'{shown(path)}' has both '{one}' and '{two}', whose records would count twice; "
                "name a glob that takes one of them, such as '*.csv', or each file to take both"
            )


def _is_visible(path: str) -> bool:
    """Tell whether a file is neither hidden nor the lock of an open document, as `~$a.csv`."""
    return not path.rpartition("/")[2].startswith((".", "~$"))


def _with_protocol(path: str, system: fsspec.AbstractFileSystem, inner: str) -> str:
    if isinstance(system, LocalFileSystem) or not is_remote(path):  # also at file://
        return inner
    found: str = system.unstrip_protocol(inner)
    # A chain of URLs, such as simplecache::file://, may end at a local file as well.
    return found.removeprefix("file://")


def _read_header(path: str, dialect: Dialect) -> SourceFile:
    with TextFile(path, dialect, _HEADER) as file:
        head = _read_head(file, dialect)
    version = file.version
    if file.is_plain and not is_remote(path):
        version = replace(version, ends=checksum_of_ends(path, version.size))
    start = len(_BOM) if head.startswith(_BOM) else 0
    begin = start + _blank(head[start:])
    if begin == len(head):
        raise UsageError(f"{shown(path)}: is empty; its first line should name the columns")
    # Of a header that is too long, no more than that was read.
    size = next_record(head[begin:], 1, True, dialect)
    assert size is not None, "at the end, any record ends"
    stop = begin + min(size, dialect.max_record_size)
    return SourceFile(
        path,
        shown(path),
        _columns(path, head[begin : begin + size], file.encoding, dialect),
        stop,
        count_lines(head[:stop]),
        version,
        file.encoding,
        file.is_plain,
        dialect,
    )


def _read_head(file: TextFile, dialect: Dialect) -> bytes:
    """Read as much of a file as its header needs, and a little more."""
    head, size = b"", _HEADER
    while True:
        # One byte more than the longest header shows whether the header ends there.
        more = file.read(min(size, len(_BOM) + dialect.max_record_size + 1 - len(head)))
        head += more
        text = head.removeprefix(_BOM)
        if not more or next_record(text, _blank(text) + 1, False, dialect) is not None:
            return head
        size *= 2


def _blank(text: bytes) -> int:
    """Return how many line ends a text begins with, in bytes."""
    return len(text) - len(text.lstrip(b"\r\n"))


def _columns(path: str, header: bytes, encoding: str, dialect: Dialect) -> tuple[str, ...]:
    rejected = parse(header, (), "latin-1", dialect).rejected
    fault, hint = rejected[0].reason, "the first line should name the columns"
    if b"\0" in header:
        fault, hint = "NUL byte", "is it text, in another encoding such as utf-16? see --encoding"
    elif fault == "record too long":
        hint = f"is it text? a header has at most {dialect.max_record_size:,} bytes"
    elif fault == "too many fields":  # as any number is
        try:
            text = header.decode(encoding).rstrip("\r\n")
            return tuple(next(csv.reader([text], **_format(dialect), strict=True)))
        except UnicodeDecodeError as error:
            fault, hint = f"{error.reason} at byte {error.start}", "see --encoding"
        except csv.Error as error:
            fault = str(error)
    raise UsageError(
        f"{shown(path)}: its first line is no CSV header in {encoding}: {fault}; {hint}"
    )


def _format(dialect: Dialect) -> dict[str, Any]:
    return {
        "delimiter": dialect.delimiter,
        "quotechar": dialect.quote or None,
        "quoting": csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        "escapechar": dialect.escape or None,
    }


def _check_columns(
    table: str, file: SourceFile, first: SourceFile, required: dict[str, str], dialect: Dialect
) -> None:
    columns = file.columns
    for number, column in enumerate(columns, start=1):
        if not column.strip():
            raise UsageError(f"{file.name}: column {number} has no name; {_has(columns)}")
        if columns.count(column) > 1:
            raise UsageError(f"{file.name}: column '{column}' stands twice in the header")
    for column, option in required.items():
        if column not in columns:
            raise UsageError(
                f"{file.name}: {table} need a column '{column}'; {_has(columns)}; "
                f"{_hint(table, columns, column, option, dialect)}"
            )
    if set(columns) != set(first.columns):
        missing = [column for column in first.columns if column not in columns]
        extra = [column for column in columns if column not in first.columns]
        differs = "; ".join(
            f"{what} {', '.join(repr(column) for column in which)}"
            for what, which in (("lacks", missing), ("has also", extra))
            if which
        )
        raise UsageError(f"{file.name}: other columns than {first.name}: it {differs}")


def _has(columns: tuple[str, ...]) -> str:
    return f"it has: {', '.join(columns)}"


def _hint(table: str, columns: tuple[str, ...], column: str, option: str, dialect: Dialect) -> str:
    """Suggest how to fix a header that lacks `column`."""
    for name in columns:
        if name.strip().casefold() == column.strip().casefold():
            return (
                f"names count to the letter: rename '{name}', or give {_given(table, option, name)}"
            )
    for other in _DELIMITERS.replace(dialect.delimiter, ""):
        if any(other in name for name in columns):
            return f"is its delimiter {other!r}? see --delimiter"
    if any(name.strip().lstrip("+-")[:1].isdigit() for name in columns):
        return "is that a record? the first line should name the columns"
    return f"name it with {option}"


def _given(table: str, option: str, value: str) -> str:
    """Return what to write for a value of an option; that of the id holds for one table."""
    return f"{option} {quote(f'{table}={value}' if option == '--id-column' else value)}"
