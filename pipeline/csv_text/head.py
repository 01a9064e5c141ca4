"""The beginning of a file's text, and the header that it is read as."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from pipeline.csv_text.files import TextFile
from pipeline.csv_text.marks import next_record
from pipeline.csv_text.parse import parse
from pipeline.settings import DELIMITERS, Dialect

_BOM = b"\xef\xbb\xbf"
AT_FIRST = 1 << 12  # bytes to read; most headers fit
_LINE_END = re.compile(rb"\r\n?|\n")
# Excel obeys this line, and other tools that write for it put it in quotes.
_SEP = re.compile(rb'"?sep=([^\r\n])"?\1*(\r\n?|\n|$)', re.IGNORECASE)


class Header(NamedTuple):
    """A header as it is read with a `dialect`: its text, and where that ends.

    If it is none, there are no `columns`, `fault` says why, and `remedy` what to do. `width` is how
    many fields the first record has that was looked at.
    """

    dialect: Dialect
    raw: bytes
    stop: int
    columns: tuple[str, ...] = ()
    width: int = 0
    fault: str = ""
    remedy: str = ""


class _NoHeaderError(ValueError):
    """A record that is no header: what is wrong with it, and what to do."""


class Head:
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
        """Tell whether a line, counted from 0, is empty."""
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
        size = max(AT_FIRST, len(self.text))
        more = self._file.read(size)
        self.text += more
        self._is_ended = len(more) < size


def find_header(head: Head, dialect: Dialect, encoding: str, required: Collection[str]) -> Header:
    """Return the header after the lines to skip, with the delimiter that fits it best.

    That is one under which it has the `required` columns.
    """
    place = head.begin_of(dialect.skip_lines)
    separated = _SEP.match(head.text, place)
    if separated:
        place = separated.end()
        named = separated[1].decode("latin-1")
        if not dialect.delimiter and may_delimit(named, dialect):
            dialect = replace(dialect, delimiter=named)
    tried: list[Header] = []
    for each in _delimited(dialect):
        tried.append(_read(head, place, each, encoding))
        if _fit(tried[-1], required)[0] == (1 if dialect.column_names else len(required)):
            return tried[-1]
    return max(tried, key=lambda header: _fit(header, required))  # the first of equals


def may_delimit(sign: str, dialect: Dialect) -> bool:
    """Tell whether a character, or none, may be the delimiter beside the other signs."""
    return sign.isascii() and not {sign} & {*dialect.quote, *dialect.escape, *dialect.null, "\0"}


def may_quote(sign: str, dialect: Dialect) -> bool:
    """Tell whether a character may be the quote, and is not, beside the other signs."""
    return sign not in {*dialect.quote, *dialect.delimiter, *dialect.escape, *dialect.null}


def _delimited(dialect: Dialect) -> Iterator[Dialect]:
    """Yield a dialect with each delimiter that it may have."""
    for delimiter in dialect.delimiter or DELIMITERS:
        if dialect.delimiter or may_delimit(delimiter, dialect):
            yield replace(dialect, delimiter=delimiter)


def _fit(header: Header, required: Collection[str]) -> tuple[int, int]:
    """Return how well a header fits: if it has all columns, nothing else counts."""
    if names := header.dialect.column_names:
        return int(len(names) == header.width), 0
    has = sum(column in header.columns for column in required)
    # A header of one column has another delimiter.
    return has, header.width if has < len(required) and header.width > 1 else 0


def _read(head: Head, place: int, dialect: Dialect, encoding: str) -> Header:
    start, stop = head.record(place, dialect)
    raw = head.text[start:stop]
    names, fields, why = dialect.column_names, [], ("", "")
    if raw:
        try:
            fields = _fields(raw, encoding, dialect)
        except _NoHeaderError as error:
            why = error.args
    if names:
        written = dialect.delimiter.join(names).encode(encoding, "replace")
        return Header(dialect, written, start, _named(names), len(fields))
    return Header(dialect, raw.rstrip(b"\r\n"), stop, _named(fields), len(fields), *why)


def _named(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the names of columns, those without one named by their place."""
    return tuple(
        column if column.strip() else f"column_{place}" for place, column in enumerate(columns, 1)
    )


def _fields(header: bytes, encoding: str, dialect: Dialect) -> list[str]:
    """Return the fields of a record; raise _NoHeaderError if it is none."""
    fault, *_ = parse(header, (), "latin-1", dialect).rejected["reason"].to_pylist()
    remedy = "the first line should name the columns"
    if b"\0" in header:
        fault, remedy = "NUL byte", "is it text, in another encoding such as utf-16? see --encoding"
    elif fault == "record too long":
        remedy = f"is it text? a header has at most {dialect.max_record_size:,} bytes"
    elif fault == "too many fields":  # as any number is
        try:
            text = header.decode(encoding).rstrip("\r\n")
            return next(csv.reader([text], **_format(dialect), strict=True))
        except UnicodeDecodeError as error:
            fault, remedy = f"{error.reason} at byte {error.start}", "see --encoding"
        except csv.Error as error:
            fault = str(error)
    raise _NoHeaderError(fault, remedy)


def _format(dialect: Dialect) -> dict[str, Any]:
    return {
        "delimiter": dialect.delimiter,
        "quotechar": dialect.quote or None,
        "quoting": csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        "escapechar": dialect.escape or None,
    }
