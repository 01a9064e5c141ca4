"""Opens the files of a table: the header of each, its delimiter, and where its records begin."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from shlex import quote
from typing import Any, NamedTuple

from pipeline.csv_text.files import TextFile, checksum_of_ends, cuts_at_bytes, shown
from pipeline.csv_text.marks import count_lines, next_record
from pipeline.csv_text.parse import parse
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.csv_text.words import counted
from pipeline.errors import UsageError
from pipeline.settings import DELIMITERS, Dialect
from pipeline.storage.remote import is_remote

_BOM = b"\xef\xbb\xbf"
_HEADER = 1 << 12  # bytes; most headers fit
_SEARCHED = 20  # lines, for a header that does not stand on the first
_RARE_DELIMITERS = " ^~:\x01\x1f"  # looked for where the header has no column
_CONTROL = re.compile("[\x01-\x08\x0e-\x1f]")
_HAS_LETTER = re.compile(r"\w")
_LINE_END = re.compile(rb"\r\n?|\n")
# Excel obeys this line, and other tools that write for it put it in quotes.
_SEP = re.compile(rb'"?sep=([^\r\n])"?\1*(\r\n?|\n|$)', re.IGNORECASE)


def open_source(
    name: str, files: Iterable[str], required: Mapping[str, str], dialect: Dialect
) -> Source:
    """Read and check the headers of one table's files (see `find_files`); cut no blocks yet.

    `required` maps each required column to the option that renames it. Of several files, those
    without any text are empty parts, which have the columns of the others. Raises UsageError naming
    the file and the column.
    """
    table = _Table(name, required, dialect)
    with ThreadPoolExecutor() as pool:
        opened = list(pool.map(table.open, files))
    with_text = [file for file in opened if file.columns]
    if not with_text:
        raise _empty(opened[0].name, dialect)
    first = with_text[0]
    _check_same_columns(with_text)
    return Source(
        name,
        first.columns,
        tuple(
            file
            if file.columns
            else replace(file, columns=first.columns, dialect=first.dialect, header=first.header)
            for file in opened
        ),
    )


class _Header(NamedTuple):
    """A header as it is read with a `dialect`: its text, and where that ends.

    If it is none, there are no `columns`, and `fault` says why. `width` is how many fields the
    first record has that was looked at.
    """

    dialect: Dialect
    raw: bytes
    stop: int
    columns: tuple[str, ...] = ()
    width: int = 0
    fault: str = ""


@dataclass(frozen=True)
class _Table:
    """A table whose files are opened: its name, its required columns, and the dialect asked for."""

    name: str
    required: Mapping[str, str]
    dialect: Dialect

    def open(self, path: str) -> SourceFile:
        """Read a file's header; a file without any text has no columns."""
        return self._open(path, self.dialect)

    def _open(self, path: str, dialect: Dialect) -> SourceFile:
        with TextFile(path, dialect, _HEADER) as file:
            head = _Head(file, dialect.max_record_size)
            found = self._read(head, dialect, file.encoding)
            if found.columns or head.text:
                self._check(shown(path), head, found, file.encoding)
        if not dialect.delimiter and not cuts_at_bytes(file.encoding, found.dialect.delimiter):
            return self._open(path, found.dialect)  # it has to be recoded
        version = file.version
        if file.is_plain and not is_remote(path):
            version = replace(version, ends=checksum_of_ends(path, version.size))
        return SourceFile(
            path=path,
            name=shown(path),
            columns=found.columns,
            start=found.stop,
            header_lines=count_lines(head.text[: found.stop]),
            version=version,
            encoding=file.encoding,
            is_plain=file.is_plain,
            dialect=found.dialect,
            header=found.raw,
        )

    def _read(self, head: _Head, dialect: Dialect, encoding: str) -> _Header:
        """Return the header behind the lines to skip, with the delimiter that fits it best."""
        place = head.begin_of(dialect.skip_lines)
        separated = _SEP.match(head.text, place)
        if separated:
            place = separated.end()
            named = separated[1].decode("latin-1")
            if not dialect.delimiter and _may_delimit(named, dialect):
                dialect = replace(dialect, delimiter=named)
        return self._best(head, place, dialect, encoding)

    def _best(self, head: _Head, place: int, dialect: Dialect, encoding: str) -> _Header:
        tried: list[_Header] = []
        for each in _delimited(dialect):
            tried.append(_header(head, place, each, encoding))
            if self._fit(tried[-1])[0] == (1 if dialect.column_names else len(self.required)):
                return tried[-1]
        return max(tried, key=self._fit)  # the first of equals

    def _fit(self, header: _Header) -> tuple[int, int]:
        """Return how well a header fits: that it has all columns is all that counts, if it does."""
        if names := header.dialect.column_names:
            return int(len(names) == header.width), 0
        has = sum(column in header.columns for column in self.required)
        # A header of one column has another delimiter.
        return has, header.width if has < len(self.required) and header.width > 1 else 0

    def _has_all(self, header: _Header, is_loose: bool = False) -> bool:
        how = _loosely if is_loose else str
        columns = set(map(how, header.columns))
        return not header.fault and all(how(column) in columns for column in self.required)

    def _check(self, name: str, head: _Head, header: _Header, encoding: str) -> None:
        """Raise UsageError if a header is none, lacks a column or has one twice."""
        if not header.columns and not header.fault:
            raise _empty(name, header.dialect)
        if not self._has_all(header):
            hint = self._tried_hint(head, header, encoding)
            if header.fault:
                hint = hint or self._hint_of_utf16(header.raw)
                what, _, otherwise = header.fault.partition("; ")
                raise UsageError(
                    f"{name}: its first line is no CSV header in {encoding}: {what}; "
                    f"{hint or otherwise}"
                )
            column = next(column for column in self.required if column not in header.columns)
            hint = hint or self._hint(header.columns, column)
            has = f"it has: {', '.join(header.columns)}"
            raise UsageError(f"{name}: {self.name} need a column '{column}'; {has}; {hint}")
        for column in header.columns:
            if header.columns.count(column) > 1:
                raise UsageError(f"{name}: column '{column}' stands twice in the header")

    def _tried_hint(self, head: _Head, header: _Header, encoding: str) -> str:
        """Return options with which the header has all columns; "" if none is found."""
        if not self.required or header.dialect.column_names:
            return ""
        for delimiter in ("", *_RARE_DELIMITERS):
            if not _may_delimit(delimiter, self.dialect):
                continue
            other = self._read(head, replace(self.dialect, delimiter=delimiter), encoding)
            if self._has_all(other) and all(map(_HAS_LETTER.search, other.columns)):
                given = self._given("--delimiter", other.dialect.delimiter)
                return f"its columns are found with {given}"
        # Names that differ in case or blanks are named by the next hint.
        for is_loose, tried in product((False, True), (encoding, "cp1252")):
            for lines in range(_SEARCHED):
                if head.is_blank(lines):
                    continue
                found = self._read(head, replace(self.dialect, skip_lines=lines), tried)
                if lines != self.dialect.skip_lines and self._has_all(found, is_loose):
                    skip = self._given("--skip-lines", str(lines))
                    recoded = f" {self._given('--encoding', tried)}" if tried != encoding else ""
                    return f"the columns are on line {lines + 1}: {skip}{recoded}"
        return ""

    def _hint(self, columns: tuple[str, ...], column: str) -> str:
        """Suggest how to fix a header that lacks `column`."""
        option = self.required[column]
        for name in columns:
            if _loosely(name) == _loosely(column):
                given = self._given(option, name)
                return f"names count to the letter: rename '{name}', or give {given}"
        control = _CONTROL.search(columns[0])
        if len(columns) == 1 and control:
            given = self._given("--delimiter", f"\\x{ord(control[0]):02x}")
            return f"is its delimiter a character that does not show? {given}"
        if any(name.strip().lstrip("+-")[:1].isdigit() for name in columns):
            names = self._given("--column-names", ",".join(["NAME"] * len(columns)))
            return f"is that a record? then name its {counted(len(columns), 'column')}: {names}"
        more = "".join(
            f", and '{other}' with {option}"
            for other, option in self.required.items()
            if other not in (column, *columns)
        )
        if len(columns) == 1 or columns[0].startswith("#"):
            skip = self._given("--skip-lines", "N")
            more += f"; or skip what stands before the names of the columns: {skip}"
        is_id = option == "--id-column"
        return f"name it with {self._given(option, 'NAME') if is_id else option}{more}"

    def _hint_of_utf16(self, raw: bytes) -> str:
        """Return the encoding of a header of two bytes a character; "" if it has none."""
        for encoding, zeros in (("utf-16-le", raw[1::2]), ("utf-16-be", raw[::2])):
            text = raw.decode(encoding, "replace")
            if not any(zeros) and all(column in text for column in self.required):
                return f"its columns are found with {self._given('--encoding', encoding)}"
        return ""

    def _given(self, option: str, value: str) -> str:
        """Return what to write for a value of an option; those of both tables hold for this one."""
        is_for_both = option not in self.required.values() or option == "--id-column"
        shown_as = {"\t": "tab", "\x01": r"\x01", "\x1f": r"\x1f"}.get(value, value)
        return f"{option} {quote(f'{self.name}={shown_as}' if is_for_both else value)}"


class _Head:
    """The beginning of a file's text, as much of it as was needed so far."""

    def __init__(self, file: TextFile, longest: int) -> None:
        """Take an open file, and the size of the longest record in bytes."""
        self._file, self._longest = file, longest
        self.text, self._is_ended = b"", False
        self._read_on()

    def begin_of(self, line: int) -> int:
        """Return where a line begins, counted from 0; a byte order mark comes before it."""
        place = len(_BOM) if self.text.startswith(_BOM) else 0
        for _ in range(line):
            if place == len(self.text) and self._is_ended:
                break
            place = self._behind_line(place)
        return place

    def is_blank(self, line: int) -> bool:
        """Tell whether nothing stands on a line, counted from 0."""
        place = self.begin_of(line)
        return self.text[place : place + 1] in (b"\r", b"\n", b"")

    def record(self, place: int, dialect: Dialect) -> tuple[int, int]:
        """Return where the first record from `place` on begins and ends.

        Both are equal if there is none. Of a record that is too long, no more may be read.
        """
        while True:
            rest = self.text[place:]
            begin = place + len(rest) - len(rest.lstrip(b"\r\n"))
            is_all = self._is_ended or len(rest) > self._longest
            if begin < len(self.text):
                size = next_record(self.text[begin:], 1, is_all, dialect)
                if size is not None:
                    return begin, begin + size
            elif is_all:
                return begin, begin
            self._read_on()

    def _behind_line(self, place: int) -> int:
        while True:
            end = _LINE_END.search(self.text, place)
            # The LF of a CR LF may still follow.
            if end and (end.end() < len(self.text) or end[0] != b"\r" or self._is_ended):
                return end.end()
            if self._is_ended or len(self.text) - place > self._longest:
                return len(self.text)
            self._read_on()

    def _read_on(self) -> None:
        size = max(_HEADER, len(self.text))
        more = self._file.read(size)
        self.text += more
        self._is_ended = len(more) < size


def _delimited(dialect: Dialect) -> Iterator[Dialect]:
    """Yield a dialect with each delimiter that it may have."""
    for delimiter in dialect.delimiter or DELIMITERS:
        if dialect.delimiter or _may_delimit(delimiter, dialect):
            yield replace(dialect, delimiter=delimiter)


def _may_delimit(sign: str, dialect: Dialect) -> bool:
    """Tell whether a character, or none, may be the delimiter beside the other signs."""
    return sign.isascii() and not {sign} & {*dialect.quote, *dialect.escape, *dialect.null, "\0"}


def _header(head: _Head, place: int, dialect: Dialect, encoding: str) -> _Header:
    start, stop = head.record(place, dialect)
    raw = head.text[start:stop]
    names, fields, fault = dialect.column_names, [], ""
    if raw:
        try:
            fields = _fields(raw, encoding, dialect)
        except UsageError as error:
            fault = str(error)
    if names:
        written = dialect.delimiter.join(names).encode(encoding, "replace")
        return _Header(dialect, written, start, _named(names), len(fields))
    return _Header(dialect, raw.rstrip(b"\r\n"), stop, _named(fields), len(fields), fault)


def _loosely(name: str) -> str:
    """Return a name without what people overlook in it."""
    return name.strip().casefold()


def _named(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the names of columns, those without one named by their place."""
    return tuple(
        column if column.strip() else f"column_{place}" for place, column in enumerate(columns, 1)
    )


def _fields(header: bytes, encoding: str, dialect: Dialect) -> list[str]:
    """Return the fields of a record; UsageError says why it is none, and how to mend it."""
    (fault,) = parse(header, (), "latin-1", dialect).rejected.reasons[:1]
    hint = "the first line should name the columns"
    if b"\0" in header:
        fault, hint = "NUL byte", "is it text, in another encoding such as utf-16? see --encoding"
    elif fault == "record too long":
        hint = f"is it text? a header has at most {dialect.max_record_size:,} bytes"
    elif fault == "too many fields":  # as any number is
        try:
            text = header.decode(encoding).rstrip("\r\n")
            return next(csv.reader([text], **_format(dialect), strict=True))
        except UnicodeDecodeError as error:
            fault, hint = f"{error.reason} at byte {error.start}", "see --encoding"
            if encoding != "cp1252":
                read = header.decode("cp1252", "replace").rstrip("\r\n")
                hint += f"; as cp1252 it is {read!r}"
        except csv.Error as error:
            fault = str(error)
    raise UsageError(f"{fault}; {hint}")


def _format(dialect: Dialect) -> dict[str, Any]:
    return {
        "delimiter": dialect.delimiter,
        "quotechar": dialect.quote or None,
        "quoting": csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        "escapechar": dialect.escape or None,
    }


def _empty(name: str, dialect: Dialect) -> UsageError:
    behind = f" behind {counted(dialect.skip_lines, 'line')}" if dialect.skip_lines else ""
    return UsageError(f"{name}: is empty{behind}; its first line should name the columns")


def _check_same_columns(files: list[SourceFile]) -> None:
    """Raise UsageError if files differ in their columns; say how many have which."""
    groups: dict[frozenset[str], list[SourceFile]] = {}
    for file in files:
        groups.setdefault(frozenset(file.columns), []).append(file)
    if len(groups) == 1:
        return
    of_first, of_other, *_ = groups.values()
    first, other = of_first[0], of_other[0]
    differs = "; ".join(
        f"{what} {', '.join(repr(column) for column in which)}"
        for what, which in (
            ("lacks", [column for column in first.columns if column not in other.columns]),
            ("has also", [column for column in other.columns if column not in first.columns]),
        )
        if which
    )
    one, two = (
        f"{group[0].name}{f' and {len(group) - 1:,} more' if len(group) > 1 else ''}"
        for group in (of_other, of_first)
    )
    raise UsageError(f"{one}: other columns than {two}: it {differs}")
