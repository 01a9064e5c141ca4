"""Reads the header at the beginning of a file."""

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
# Excel obeys this line; some tools that write it for Excel put it in quotes.
_SEP = re.compile(rb'"?sep=([^\r\n])"?\1*(\r\n?|\n|$)', re.IGNORECASE)


class Header(NamedTuple):
    """The first record of a file, read as a header with a `dialect`: its text, and where it ends.

    If it cannot be a header, it has no `columns`; `fault` says why, and `remedy` what to do.
    `width` is the number of fields in the record.
    """

    dialect: Dialect
    raw: bytes
    stop: int
    columns: tuple[str, ...] = ()
    width: int = 0
    fault: str = ""
    remedy: str = ""


class _NoHeaderError(ValueError):
    """A record cannot be a header; the arguments say why, and what to do."""


class Head:
    """The beginning of a file's text, as much as has been needed so far."""

    def __init__(self, file: TextFile, longest: int) -> None:
        """Take an open file, and the maximum record size in bytes."""
        self._file, self._longest = file, longest
        self.text, self._is_ended = b"", False
        self._read_on()

    def line_start(self, line: int) -> int:
        """Return the offset of a line, counted from 0, after any byte order mark."""
        offset = len(_BOM) if self.text.startswith(_BOM) else 0
        for _ in range(line):
            if offset == len(self.text) and self._is_ended:
                break
            offset = self._next_line(offset)
        return offset

    def is_blank(self, line: int) -> bool:
        """Return whether a line, counted from 0, is empty."""
        start = self.line_start(line)
        return self.text[start : start + 1] in (b"\r", b"\n", b"")

    def find_record(self, start: int, dialect: Dialect) -> tuple[int, int]:
        """Return where the first record from `start` on begins and ends.

        Both are equal if there is none. A record that is too long may not be read to its end.
        """
        while True:
            rest = self.text[start:]
            begin = start + len(rest) - len(rest.lstrip(b"\r\n"))
            is_all = self._is_ended or len(rest) > self._longest
            if begin < len(self.text):
                size = next_record(self.text[begin:], 1, is_all, dialect)
                if size is not None:
                    return begin, begin + size
            elif is_all:
                return begin, begin
            self._read_on()

    def _next_line(self, start: int) -> int:
        while True:
            end = _LINE_END.search(self.text, start)
            # The LF of a CR LF may still follow.
            if end and (end.end() < len(self.text) or end[0] != b"\r" or self._is_ended):
                return end.end()
            if self._is_ended or len(self.text) - start > self._longest:
                return len(self.text)
            self._read_on()

    def _read_on(self) -> None:
        size = max(AT_FIRST, len(self.text))
        more = self._file.read(size)
        self.text += more
        self._is_ended = len(more) < size


def find_header(head: Head, dialect: Dialect, encoding: str, required: Collection[str]) -> Header:
    """Return the header after the lines to skip, with the delimiter that fits it best.

    The best delimiter is the first with which it has all `required` columns.
    """
    start = head.line_start(dialect.skip_lines)
    separated = _SEP.match(head.text, start)
    if separated:
        start = separated.end()
        named = separated[1].decode("latin-1")
        if not dialect.delimiter and may_delimit(named, dialect):
            dialect = replace(dialect, delimiter=named)
    tried: list[Header] = []
    for each in _try_delimiters(dialect):
        tried.append(_read(head, start, each, encoding))
        if _fit(tried[-1], required)[0] == (1 if dialect.column_names else len(required)):
            return tried[-1]
    return max(tried, key=lambda header: _fit(header, required))  # the first of equals


def may_delimit(sign: str, dialect: Dialect) -> bool:
    """Return whether a delimiter ("" for any) goes with the quote, escape and null of a dialect."""
    return sign.isascii() and not {sign} & {*dialect.quote, *dialect.escape, *dialect.null, "\0"}


def may_quote(sign: str, dialect: Dialect) -> bool:
    """Return whether a character can become the quote of a dialect; the current quote cannot."""
    return sign not in {*dialect.quote, *dialect.delimiter, *dialect.escape, *dialect.null}


def _try_delimiters(dialect: Dialect) -> Iterator[Dialect]:
    """Yield the dialect with its delimiter or, if it has none, with each possible one."""
    for delimiter in dialect.delimiter or DELIMITERS:
        if dialect.delimiter or may_delimit(delimiter, dialect):
            yield replace(dialect, delimiter=delimiter)


def _fit(header: Header, required: Collection[str]) -> tuple[int, int]:
    """Return how well a header fits, as a sort key: having all columns comes first."""
    if names := header.dialect.column_names:
        return int(len(names) == header.width), 0
    has = sum(column in header.columns for column in required)
    # A header that seems to have only one column probably has another delimiter.
    return has, header.width if has < len(required) and header.width > 1 else 0


def _read(head: Head, start: int, dialect: Dialect, encoding: str) -> Header:
    start, stop = head.find_record(start, dialect)
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
    """Return the names of columns; a column without one is named after its position."""
    return tuple(
        column if column.strip() else f"column_{number}" for number, column in enumerate(columns, 1)
    )


def _fields(header: bytes, encoding: str, dialect: Dialect) -> list[str]:
    """Return the fields of a header; raise _NoHeaderError if the record cannot be one."""
    fault, *_ = parse(header, (), "latin-1", dialect).rejected["reason"].to_pylist()
    remedy = "it should name the columns"
    if b"\0" in header:
        fault, remedy = "NUL byte", "is it text, in another encoding such as utf-16? see --encoding"
    elif fault == "record too long":
        remedy = f"is it text? a header has at most {dialect.max_record_size:,} bytes"
    elif fault == "too many fields":  # always: here, `parse` expects none
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
