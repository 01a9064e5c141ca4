"""Paths, globs, folders and URLs become files with headers, and those become blocks."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

import fsspec

from pipeline.errors import UsageError
from pipeline.records import MAX_RECORD_SIZE, complete_records, count_lines

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Block:
    """A run of whole records: bytes `start` to `stop` of `path`, under that file's header.

    `number` counts a table's blocks from 0, in input order.
    """

    path: str
    columns: tuple[str, ...]
    start: int
    stop: int
    number: int = 0


@dataclass(frozen=True)
class SourceFile:
    """One input file: its header, where its first record begins, and its size in bytes.

    `header_lines` are the physical lines before the first record.
    """

    path: str
    columns: tuple[str, ...]
    start: int
    header_lines: int
    size: int

    @property
    def name(self) -> str:
        """The path for people to read: from the current folder, where the file lies below it."""
        return shown(self.path)


@dataclass(frozen=True)
class Source:
    """One table: its files in input order, its columns in the first file's order, its blocks."""

    name: str
    columns: tuple[str, ...]
    files: tuple[SourceFile, ...]
    blocks: tuple[Block, ...]

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)

    def __str__(self) -> str:
        """Say what there is to read."""
        files = self.files[0].name if len(self.files) == 1 else f"{len(self.files)} files"
        return f"{self.name}: {files}, {self.size / 1e6:,.1f} MB in {len(self.blocks)} block(s)"


def open_source(
    name: str, paths: Iterable[str], required: dict[str, str], block_size: int
) -> Source:
    """Find the files of one table, check their headers, and cut them into blocks.

    `paths` are files, globs or folders (all `*.csv` in them), local or fsspec URLs; a glob and
    a folder give their files in the order of their names. `required` maps each column that must
    be there to the option that renames it. Raises UsageError naming the file and the column.
    """
    files = [_read_header(path) for path in _expand(name, paths)]
    for file in files:
        _check_columns(name, file, files[0], required)
    with ThreadPoolExecutor() as pool:
        per_file = pool.map(lambda file: list(_cut(file, block_size)), files)
        ranges = [(file, *cut) for file, cuts in zip(files, per_file, strict=True) for cut in cuts]
    if not ranges:  # headers only: a table without records still has a partition
        ranges = [(files[0], files[0].start, files[0].start)]
    blocks = (
        Block(file.path, file.columns, start, stop, number)
        for number, (file, start, stop) in enumerate(ranges)
    )
    return Source(name, files[0].columns, tuple(files), tuple(blocks))


def shown(path: str) -> str:
    """Return a path or URL as a message names it: relative where it lies below this folder."""
    here = f"{os.getcwd()}/"
    return path.removeprefix(here)


def open_binary(path: str) -> BinaryIO:
    """Open a local path or an fsspec URL for reading bytes."""
    return fsspec.open(path, "rb").open()


def _expand(name: str, paths: Iterable[str]) -> list[str]:
    files: list[str] = []
    for path in paths:
        found = _find(path)
        if not found:
            raise UsageError(f"{name}: no file at '{path}'; name a file, a glob or a folder of CSV")
        files += found
    twice = {file for file in files if files.count(file) > 1}
    if twice:
        raise UsageError(
            f"{name}: '{shown(min(twice))}' is named twice; its records would count twice"
        )
    return files


def _find(path: str) -> list[str]:
    system, inner = fsspec.url_to_fs(path)
    if system.isdir(inner):
        pattern = f"{inner.rstrip('/')}/*.csv"
        found = [file for file in system.glob(pattern) if system.isfile(file)]
        if not found:
            raise UsageError(f"no *.csv file in the folder '{path}'")
    elif system.isfile(inner):  # first: a file's name may hold the characters of a glob
        return [_with_protocol(path, system, inner)]
    else:
        found = [file for file in system.glob(inner) if system.isfile(file)]
    return [_with_protocol(path, system, file) for file in sorted(found)]


def _with_protocol(path: str, system: fsspec.AbstractFileSystem, inner: str) -> str:
    return system.unstrip_protocol(inner) if "://" in path else inner


def _read_header(path: str) -> SourceFile:
    try:
        with open_binary(path) as handle:
            head = handle.read(MAX_RECORD_SIZE)
            size = handle.seek(0, 2)
    except OSError as error:
        raise UsageError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error
    start = len(_BOM) if head.startswith(_BOM) else 0
    text = head[start:]
    end = _first_record(text, whole=size == len(head))
    try:
        rows = list(csv.reader([text[:end].decode("utf-8").rstrip("\r\n")], strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{shown(path)}: its first line is no CSV header in UTF-8: {error}"
        ) from error
    columns = tuple(rows[0]) if rows else ()
    if not any(columns):
        raise UsageError(f"{shown(path)}: is empty; its first line should name the columns")
    return SourceFile(path, columns, start + end, count_lines(text[:end]), size)


def _first_record(text: bytes, whole: bool) -> int:
    """Return where the header ends: the first line end outside quotes."""
    stop = 0
    while True:
        ends = [at for at in (text.find(b"\n", stop), text.find(b"\r", stop)) if at >= 0]
        if not ends:
            return len(text) if whole else 0
        stop = min(ends) + 1
        if text[stop - 1 : stop + 1] == b"\r\n":
            stop += 1
        if text.count(b'"', 0, stop) % 2 == 0:
            return stop


def _check_columns(
    name: str, file: SourceFile, first: SourceFile, required: dict[str, str]
) -> None:
    columns = file.columns
    has = f"it has: {', '.join(columns)}"
    for number, column in enumerate(columns, start=1):
        if not column.strip():
            raise UsageError(f"{file.name}: column {number} has no name; {has}")
        if columns.count(column) > 1:
            raise UsageError(f"{file.name}: column '{column}' stands twice in the header")
    for column, option in required.items():
        if column not in columns:
            raise UsageError(
                f"{file.name}: {name} need a column '{column}'; {has} (name it with {option})"
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


def _cut(file: SourceFile, block_size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of bytes between record ends, each of about `block_size`."""
    start, length = file.start, block_size
    with open_binary(file.path) as handle:
        while start < file.size:
            handle.seek(start)
            text = handle.read(length)
            stop = file.size if start + len(text) >= file.size else start + complete_records(text)
            if stop == start:  # one record is longer than the block
                length *= 2
                continue
            yield start, stop
            start, length = stop, block_size
