"""Where the records of a CSV text begin and end.

A record ends at LF, CR LF or CR outside quotes. A field that begins with a quote ends at the
next quote that is not doubled (RFC 4180, section 2). A record is malformed where a quoted field
is not closed within the largest size of a record or by the end of the text, where a closing quote
is followed by anything but a delimiter or a line end, or where a line is longer than that size.
Then only the physical line on which the record begins is lost: the next record begins on the next
line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from pipeline.settings import Dialect

_LF, _CR, _QUOTE = b'\n\r"'
_LINE = re.compile(rb"[^\r\n]*+(?:\r\n|\n|\r|\Z)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
# Possessive quantifiers: text is matched in one way only, so what is malformed fails at once.
_QUOTED = re.compile(rb'"(?:[^"]++|"")*+"')


@dataclass(frozen=True)
class Record:
    """One record: its bytes, where it begins, and what is wrong with it (None: nothing).

    `line` counts from 0, in physical lines from the first byte of the text.
    """

    raw: bytes
    offset: int
    line: int
    fault: str | None


def grammar(dialect: Dialect) -> Grammar:
    """Return the rules by which text in this dialect falls into records."""
    return _grammar(dialect.delimiter, dialect.max_record_size)


@cache
def _grammar(delimiter: str, max_record_size: int) -> Grammar:
    return Grammar(delimiter, max_record_size)


class Grammar:
    """Cuts text into records. A record begins at the first byte of every text given to it."""

    def __init__(self, delimiter: str, max_record_size: int) -> None:
        self._max_size = max_record_size
        self._delimiter = delimiter.encode()
        comma = re.escape(self._delimiter)
        plain = rb'[^"\r\n%b][^\r\n%b]*+' % (comma, comma)
        field = rb"(?:%b|%b|)" % (_QUOTED.pattern, plain)
        self._record = re.compile(rb"%b(?:%b%b)*+(?P<end>\r\n|\n|\r|\Z)" % (field, comma, field))
        self._fields = re.compile(rb"(?:^|%b)%b" % (comma, field))
        self._good_fields = re.compile(rb"(?:%b%b)*+" % (field, comma))
        # What may stand before an opening or behind a closing quote.
        self._around_quotes = np.zeros(256, bool)
        self._around_quotes[[_LF, _CR, self._delimiter[0]]] = True

    def split(self, text: bytes) -> Iterator[Record]:
        """Yield the records of `text` in order, malformed ones too; blank lines are none."""
        offset = line = 0
        while offset < len(text):
            found = self._match(text, offset)
            fault = None
            if found is None:
                fault = self._fault(text, offset)
                found = _LINE.match(text, offset)
                assert found is not None, "a line matches everywhere"
            raw = found.group()
            if raw.strip(b"\r\n"):
                yield Record(raw, offset, line, fault)
            offset += len(raw)
            line += count_lines(raw)

    def count_fields(self, record: bytes) -> int:
        """Count the fields of one well-formed record."""
        if b'"' not in record:
            return record.count(self._delimiter) + 1
        return sum(1 for _ in self._fields.finditer(record))

    def complete_records(self, text: bytes) -> int:
        """Return where the last complete record of `text` ends; 0 where none does.

        `text` is the beginning of a longer text, so its last bytes may belong to a record that
        goes on behind it.
        """
        if b'"' not in text:
            return _last_line_end(text, len(text))
        quotes = self._regular_quotes(text)
        if quotes is not None:
            return _last_line_end_outside(text, quotes)
        return self._complete_records_one_by_one(text)

    def is_regular(self, text: bytes) -> bool:
        """Tell whether `text` surely holds no malformed record: any CSV reader may have it."""
        if b'"' not in text:
            return self._lines_are_short(text)
        quotes = self._regular_quotes(text)
        return quotes is not None and len(quotes) % 2 == 0

    def _match(self, text: bytes, offset: int) -> re.Match[bytes] | None:
        window = offset + self._max_size
        found = self._record.match(text, offset, window)
        if found is not None and not found["end"] and found.end() < len(text):
            return None  # the pattern took the window's end for the end of the text
        return found

    def _fault(self, text: bytes, offset: int) -> str:
        window = offset + self._max_size
        good = self._good_fields.match(text, offset, window)
        field = good.end() if good else offset
        if _QUOTED.match(text, field, window):
            return "text after a closing quote"
        return "unclosed quote" if text[field : field + 1] == b'"' else "record too long"

    def _regular_quotes(self, text: bytes) -> np.ndarray | None:
        """Return the positions of all quotes, or None where one stands in an irregular place.

        Quotes open and close fields in turn; a doubled quote closes and opens again. The last
        field may be open where `text` is the beginning of a longer text. Records that are too
        long count as irregular.
        """
        data = np.frombuffer(text, np.uint8)
        quotes = np.flatnonzero(data == _QUOTE)
        opening, closing = quotes[0::2], quotes[1::2]

        opens = self._around_quotes[data[opening - 1]]
        opens[1:] |= opening[1:] - 1 == closing[: len(opening) - 1]
        if opening[0] == 0:  # the look at the byte before has wrapped around
            opens[0] = True
        after = data[np.minimum(closing + 1, len(data) - 1)]
        closes = self._around_quotes[after] | (after == _QUOTE)  # at the very end: a quote too
        if not (opens.all() and closes.all()):
            return None
        if len(text) > self._max_size:
            ends = np.flatnonzero((data == _LF) | (data == _CR))
            ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
            if np.diff(ends, prepend=-1, append=len(data)).max() > self._max_size:
                return None
        return quotes

    def _lines_are_short(self, text: bytes) -> bool:
        """Tell whether no line is too long, at the cost of a few searches.

        It may err towards False: it asks for a line end in every half of the largest size.
        """
        step = self._max_size // 2
        return all(
            text.find(b"\n", start, start + step) >= 0 for start in range(0, len(text) - step, step)
        )

    def _complete_records_one_by_one(self, text: bytes) -> int:
        for record in self.split(text):
            stop = record.offset + len(record.raw)
            room = len(text) - record.offset
            may_close_later = record.fault == "unclosed quote" and room < self._max_size
            # At the end, a CR may be half of a CR LF.
            if may_close_later or (stop == len(text) and not record.raw.endswith(b"\n")):
                return record.offset
        return len(text) - text.endswith(b"\r")


def count_lines(text: bytes) -> int:
    """Count the line ends in `text`, quoted ones too."""
    if b"\r" in text:
        return sum(1 for _ in _LINE_END.finditer(text))
    # Many times faster than bytes.count on short lines.
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == _LF))


def _last_line_end(text: bytes, stop: int) -> int:
    """Return the end of the last line that ends before `stop`, without looking at quotes."""
    lf = text.rfind(b"\n", 0, stop)
    cr = text.rfind(b"\r", lf + 1, stop)
    if cr == len(text) - 1:  # an LF that belongs to it may follow
        cr = text.rfind(b"\r", lf + 1, cr)
    return max(lf, cr) + 1


def _last_line_end_outside(text: bytes, quotes: np.ndarray) -> int:
    """Return the end of the last line that ends outside quotes; `quotes` are all positions."""
    stop = len(text)
    while end := _last_line_end(text, stop):
        before = int(np.searchsorted(quotes, end))
        if before % 2 == 0:
            return end
        # Inside a quoted field: nothing before its opening quote is inside the same one.
        stop = int(quotes[before - 1])
    return 0
