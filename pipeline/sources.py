"""Paths, globs, folders and URLs become files with headers, and those become blocks."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

import fsspec

from pipeline.errors import UsageError
from pipeline.files import COMPRESSIONS, TextFile, open_binary, shown
from pipeline.records import Record, count_lines, grammar
from pipeline.settings import Dialect

_BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t|"
_ENDINGS = tuple(f".csv{ending}" for ending in ("", *COMPRESSIONS))


@dataclass(frozen=True)
class SourceFile:
    """One input file: its header, where its first record begins, and its size in bytes.

    `path` is where its plain bytes are, `name` what people call it; `encoding` is of those bytes.
    Where `is_plain` is not set the file has yet to be unpacked. `header_lines` are the physical
    lines before the first record.
    """

    path: str
    name: str
    columns: tuple[str, ...]
    start: int
    header_lines: int
    size: int
    encoding: str
    is_plain: bool


@dataclass(frozen=True)
class Block:
    """A run of whole records: bytes `start` to `stop` of a file.

    `number` counts a table's blocks from 0, in input order.
    """

    file: SourceFile
    start: int
    stop: int
    number: int


@dataclass(frozen=True)
class Source:
    """One table: its files in input order, its columns in the first file's order, its blocks."""

    name: str
    columns: tuple[str, ...]
    files: tuple[SourceFile, ...]
    blocks: tuple[Block, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of all files, as they lie there."""
        return sum(file.size for file in self.files)

    def __str__(self) -> str:
        """Say what there is to read."""
        files = self.files[0].name if len(self.files) == 1 else f"{len(self.files)} files"
        return f"{self.name}: {files}, {self.size / 1e6:,.1f} MB"


def open_source(
    name: str, paths: Iterable[str], required: dict[str, str], dialect: Dialect
) -> Source:
    """Find the files of one table and check their headers; no blocks yet.

    `paths` are files, globs or folders (all `*.csv` in them, compressed ones too), local or
    fsspec URLs; a glob and a folder give their files in the order of their names. `required` maps
    each column that must be there to the option that renames it. Raises UsageError naming the
    file and the column.
    """
    with ThreadPoolExecutor() as pool:
        files = list(pool.map(_read_header, _expand(name, paths), repeat(dialect)))
    for file in files:
        _check_columns(name, file, files[0], required, dialect)
    return Source(name, files[0].columns, tuple(files))


def cut(source: Source, dialect: Dialect, block_size: int, scratch: Path) -> Source:
    """Cut the files of a table into blocks that end at a record's end, of about `block_size`.

    What is compressed, or in an encoding that cannot be cut at a byte, is unpacked into the
    folder `scratch` first.
    """
    with ThreadPoolExecutor() as pool:
        targets = [scratch / f"{source.name}-{number}.csv" for number in range(len(source.files))]
        files = list(pool.map(_plain, source.files, targets, repeat(dialect)))
        cuts = list(pool.map(_cut, files, repeat(dialect), repeat(block_size)))
    ranges = [(file, *cut) for file, of_file in zip(files, cuts, strict=True) for cut in of_file]
    if not ranges:  # headers only: a table without records still has a partition
        ranges = [(files[0], files[0].start, files[0].start)]
    blocks = (Block(*place, number) for number, place in enumerate(ranges))
    return replace(source, files=tuple(files), blocks=tuple(blocks))


def _expand(table: str, paths: Iterable[str]) -> list[str]:
    files: list[str] = []
    for path in paths:
        found = _find(path)
        if not found:
            raise UsageError(
                f"{table}: no file at '{path}'; name a file, a glob or a folder of CSV"
            )
        files += found
    twice = {file for file in files if files.count(file) > 1}
    if twice:
        raise UsageError(
            f"{table}: '{shown(min(twice))}' is named twice; its records would count twice"
        )
    return files


def _find(path: str) -> list[str]:
    system, inner = fsspec.url_to_fs(path)
    if system.isdir(inner):
        found = [file for file in system.ls(inner, detail=False) if file.endswith(_ENDINGS)]
        if not found:
            raise UsageError(f"no *.csv file in the folder '{path}'")
    elif system.isfile(inner):  # first: a file's name may hold the characters of a glob
        return [_with_protocol(path, system, inner)]
    else:
        found = [file for file in system.glob(inner) if system.isfile(file)]
    return [_with_protocol(path, system, file) for file in sorted(found)]


def _with_protocol(path: str, system: fsspec.AbstractFileSystem, inner: str) -> str:
    return system.unstrip_protocol(inner) if "://" in path else inner


def _read_header(path: str, dialect: Dialect) -> SourceFile:
    limit = dialect.max_record_size
    with TextFile(path, dialect) as file:
        # One byte more than a header may have shows whether it ends there.
        head = file.read(len(_BOM) + limit + 1)
    with open_binary(path) as stream:
        size = stream.seek(0, 2)
    start = len(_BOM) if head.startswith(_BOM) else 0
    header = next(grammar(dialect).split(head[start:]), None)
    if header is None:
        raise UsageError(f"{shown(path)}: is empty; its first line should name the columns")
    stop = start + header.offset + len(header.raw)
    return SourceFile(
        path,
        shown(path),
        _columns(path, header, file.encoding, dialect),
        stop,
        count_lines(head[:stop]),
        size,
        file.encoding,
        file.is_plain,
    )


def _columns(path: str, header: Record, encoding: str, dialect: Dialect) -> tuple[str, ...]:
    fault, hint = header.fault, "the first line should name the columns"
    if b"\0" in header.raw:
        fault, hint = "NUL byte", "is it text, in another encoding such as utf-16? see --encoding"
    elif fault == "record too long":
        hint = "is it text? if so, see --max-record-size"
    elif not fault:
        try:
            text = header.raw.decode(encoding).rstrip("\r\n")
            return tuple(next(csv.reader([text], delimiter=dialect.delimiter, strict=True)))
        except UnicodeDecodeError as error:
            fault, hint = f"{error.reason} at byte {error.start}", "see --encoding"
        except csv.Error as error:
            fault = str(error)
    raise UsageError(
        f"{shown(path)}: its first line is no CSV header in {encoding}: {fault}; {hint}"
    )


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
                f"{_hint(columns, column, option, dialect)}"
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


def _hint(columns: tuple[str, ...], column: str, option: str, dialect: Dialect) -> str:
    """Say how to mend a header that lacks `column`."""
    for name in columns:
        if name.strip().casefold() == column.strip().casefold():
            return f"names count to the letter: rename '{name}', or give {option} '{name}'"
    for other in _DELIMITERS.replace(dialect.delimiter, ""):
        if any(other in name for name in columns):
            return f"is its delimiter {other!r}? see --delimiter"
    if any(name.strip().lstrip("+-")[:1].isdigit() for name in columns):
        return "is that a record? the first line should name the columns"
    return f"name it with {option}"


def _plain(file: SourceFile, target: Path, dialect: Dialect) -> SourceFile:
    """Return the file itself, or its copy in `target` that holds its plain bytes."""
    if file.is_plain:
        return file
    with TextFile(file.path, dialect) as text:
        text.unpack(target)
    return replace(file, path=str(target), size=target.stat().st_size, is_plain=True)


def _cut(file: SourceFile, dialect: Dialect, block_size: int) -> list[tuple[int, int]]:
    """Return the ranges of bytes between record ends."""
    ranges = []
    records = grammar(dialect)
    start, length = file.start, block_size
    with open_binary(file.path) as stream:
        end = stream.seek(0, 2)
        while start < end:
            stream.seek(start)
            text = stream.read(length)
            at_end = start + len(text) >= end
            stop = end if at_end else start + records.complete_records(text)
            if stop == start:  # one record is longer than the block
                length *= 2
                continue
            ranges.append((start, stop))
            start, length = stop, block_size
    return ranges
