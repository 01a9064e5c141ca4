"""Finds where the records of a CSV text begin and end.

A record ends at LF, CR LF or CR outside quotes. A field that begins with a quote ends at the next
quote that is not doubled (RFC 4180, section 2). A record is malformed if a quoted field is not
closed within the maximum record size or by the end of the text, if anything but a delimiter or a
line end follows a closing quote, or if a line is longer than that size. Then only the physical line
on which the record begins is lost: the next record begins on the next line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from pipeline.csv_text.record_ends import RecordEnds
from pipeline.settings import Dialect

_LF = ord("\n")
_LINE_END = re.compile(rb"\r\n|\n|\r")
# Possessive quantifiers and atomic groups: text matches in one way only, so malformed text fails at
# once. Not `(…)*+` where alternatives are within: before Python 3.11.5, that matched too little
# (python/cpython#106052).
_QUOTED = re.compile(rb'"[^"]*+(?:""[^"]*+)*+"')

_UNCLOSED = "unclosed quote"


class Record(NamedTuple):
    """One record: its bytes, where it begins, and its fault (None if well-formed).

    `line` counts physical lines from 0 at the first byte of the text. `size` is that of the record
    in bytes, line end included; `raw` ends at the maximum record size, as may a faulty record.
    """

    raw: bytes
    offset: int
    line: int
    fault: str | None
    size: int


def grammar(dialect: Dialect) -> Grammar:
    """Return the rules that split text in this dialect into records."""
    return _grammar(dialect.delimiter, dialect.max_record_size)


@cache
def _grammar(delimiter: str, max_record_size: int) -> Grammar:
    return Grammar(delimiter, max_record_size)


class Grammar:
    """Splits text into records. Every text given to it must begin with a record."""

    def __init__(self, delimiter: str, max_record_size: int) -> None:
        self._max_size = max_record_size
        self._delimiter = delimiter.encode()
        comma = re.escape(self._delimiter)
        plain = rb'[^"\r\n%b][^\r\n%b]*+' % (comma, comma)
        field = rb"(?:%b|%b|)" % (_QUOTED.pattern, plain)
        self._record = re.compile(rb"%b(?>(?:%b%b)*)(?P<end>\r\n|\n|\r|\Z)" % (field, comma, field))
        self._fields = re.compile(rb"(?:^|%b)%b" % (comma, field))
        # A CR at the end of the window does not match: its LF may follow.
        end = rb"(?:\r\n|\n|\r(?!\Z))"
        self._run = re.compile(rb"(?>(?:(?>(?:%b%b)*)%b%b)*)" % (field, comma, field, end))
        self._good_fields = re.compile(rb"(?>(?:%b%b)*)" % (field, comma))

    def split(self, text: bytes) -> Iterator[Record]:
        """Yield the records of `text` in order, including malformed ones but not blank lines."""
        offset = line = 0
        while offset < len(text):
            stop, fault = self._next(text, offset)
            raw = text[offset : min(stop, offset + self._max_size)]
            if raw.strip(b"\r\n"):
                yield Record(raw, offset, line, fault, stop - offset)
            # A faulty record is one line.
            line += text[stop - 1] in b"\r\n" if fault else count_lines(raw)
            offset = stop

    def count_fields(self, record: bytes) -> int:
        """Return the number of fields of a well-formed record."""
        if b'"' not in record:
            return record.count(self._delimiter) + 1
        return sum(1 for _ in self._fields.finditer(record))

    def complete_records(self, text: bytes) -> int:
        """Return where the last complete record of `text` ends; 0 if none is complete.

        `text` is the beginning of a longer text, so its last bytes may belong to a record that
        continues after it.
        """
        if b'"' not in text:
            return _last_line_end(text, 0, len(text))
        ends = self._ends(text)
        return self._complete_irregular_records(text) if ends is None else ends.last()

    def next_record(self, text: bytes, position: int, at_end: bool) -> int | None:
        """Return where the first record begins at or after `position`.

        `text` begins with a record. `at_end`: it extends to the end of the file. Returns None if
        the text ends too early to tell.
        """
        offset = self.complete_records(text[:position])
        while offset < position:
            stop, fault = self._next(text, offset)
            if not at_end and self._may_go_on(text, offset, stop, fault):
                return None
            offset = stop
        return offset

    def is_regular(self, text: bytes) -> bool:
        """Tell whether `text` surely has no malformed record: any CSV reader may parse it."""
        if b'"' not in text and self._lines_are_short(text, 0, len(text)):
            return True
        ends = self._ends(text)
        if ends is not None:
            return not ends.is_open
        last = self._sure_end(text, 0)
        return last == len(text) or self._next(text, last) == (len(text), None)

    def lines(self, text: bytes, records: Sequence[int]) -> Iterator[int]:
        """Yield the lines, from 0, on which some records begin in a text without malformed ones.

        `records` are ascending record numbers, from 0.
        """
        ends = RecordEnds.find(text, self._delimiter)
        if ends is None:
            every = [record.line for record in self.split(text)]
            yield from (every[record] for record in records)
            return
        starts = ends.starts()
        offset = line = 0
        for record in records:
            start = int(starts[record])
            line += count_lines(text[offset:start])
            offset = start
            yield line

    def _ends(self, text: bytes) -> RecordEnds | None:
        """Return the record ends of a text; None if any record may be malformed."""
        ends = RecordEnds.find(text, self._delimiter)
        return ends if ends is not None and ends.records_fit(self._max_size) else None

    def _next(self, text: bytes, offset: int) -> tuple[int, str | None]:
        """Return where the record (or blank line) at `offset` ends, and its fault."""
        found = self._match(text, offset)
        if found is not None:
            return found.end(), None
        # Judged by its own line alone: how far the text continues depends on the block.
        stop = _line_end(text, offset)
        return stop, self._fault(text, offset, stop)

    def _sure_end(self, text: bytes, offset: int) -> int:
        """Return the end of the surely complete, well-formed records at `offset`."""
        while True:
            quote = text.find(b'"', offset)
            start = _last_line_end(text, offset, quote if quote >= 0 else len(text))
            if start > offset and self._lines_are_short(text, offset, start):
                offset = start
            found = self._run.match(text, offset, offset + self._max_size)
            assert found is not None, "no record is a run too"
            if found.end() == offset:
                return offset
            offset = found.end()

    def _match(self, text: bytes, offset: int) -> re.Match[bytes] | None:
        window = offset + self._max_size
        found = self._record.match(text, offset, window)
        # The pattern takes the window's end for the end of the text, and a CR there for a whole
        # line end.
        if found is not None and window == found.end() < len(text):
            end = found["end"]
            if not end or (end == b"\r" and text[window] == _LF):
                return None
        return found

    def _fault(self, text: bytes, offset: int, stop: int) -> str:
        """Return why no record begins at `offset`, judging by the text up to `stop`."""
        window = min(offset + self._max_size, stop)
        good = self._good_fields.match(text, offset, window)
        field = good.end() if good else offset
        if field == window or text[field : field + 1] != b'"':
            return "record too long"
        quoted = _QUOTED.match(text, field, window)
        if quoted is None:
            return _UNCLOSED
        follows = text[quoted.end() : quoted.end() + 1]
        if quoted.end() == offset + self._max_size or follows in (self._delimiter, b"\r", b"\n"):
            return "record too long"
        return "text after a closing quote"

    def _lines_are_short(self, text: bytes, start: int, stop: int) -> bool:
        """Tell whether surely no line in this range is too long, at the cost of a few searches.

        May err towards False: requires a line end in every half of the maximum size.
        """
        step = self._max_size // 2
        return all(
            text.find(b"\n", place, place + step) >= 0 or text.find(b"\r", place, place + step) >= 0
            for place in range(start, stop - step, step)
        )

    def _complete_irregular_records(self, text: bytes) -> int:
        offset = self._sure_end(text, 0)
        while offset < len(text):
            stop, fault = self._next(text, offset)
            if self._may_go_on(text, offset, stop, fault):
                break
            offset = self._sure_end(text, stop)
        return offset

    def _may_go_on(self, text: bytes, offset: int, stop: int, fault: str | None) -> bool:
        """Tell whether a record that seems to end at `stop` may continue after `text`."""
        if stop == len(text) and text[-1] != _LF:  # a CR may be half of a CR LF
            return True
        room = len(text) - offset
        return bool(fault) and (
            room < self._max_size and self._fault(text, offset, len(text)) == _UNCLOSED
        )


def count_lines(text: bytes) -> int:
    """Return the number of line ends in `text`, including quoted ones."""
    if b"\r" in text:
        return sum(1 for _ in _LINE_END.finditer(text))
    if len(text) < 1000:
        return text.count(b"\n")
    # Many times faster on long text.
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == _LF))


def _line_end(text: bytes, start: int) -> int:
    """Return where the line that begins at `start` ends, its line end included."""
    size = 1 << 12
    while start < len(text):
        stop = start + size
        lf = text.find(b"\n", start, stop)
        cr = text.find(b"\r", start, stop if lf < 0 else lf)
        if cr >= 0:
            return cr + 2 if text[cr + 1 : cr + 2] == b"\n" else cr + 1
        if lf >= 0:
            return lf + 1
        start, size = stop, 2 * size
    return len(text)


def _last_line_end(text: bytes, start: int, stop: int) -> int:
    """Return the end of the last line in this range, ignoring quotes; `start` if no line ends.

    A CR at the end of the text does not count: its LF may follow.
    """
    lf = text.rfind(b"\n", start, stop)
    cr = text.rfind(b"\r", max(lf + 1, start), min(stop, len(text) - 1))
    return max(lf + 1, cr + 1, start)
