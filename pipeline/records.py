"""Where the records of a CSV text begin and end.

A record ends at LF, CR LF or CR outside quotes. A field that begins with a quote ends at the
next quote that is not doubled (RFC 4180, section 2). A record is malformed where a quoted field
is not closed within `MAX_RECORD_SIZE` or by the end of the text, or where a closing quote is
followed by anything but a delimiter or a line end. Then only the physical line on which the
record begins is lost: the next record begins on the next line.

Every function here works on bytes in which a record begins at the first byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MAX_RECORD_SIZE = 1 << 20

_QUOTE, _COMMA, _LF, _CR = b'",\n\r'

# Possessive quantifiers: a field is matched in one way only, so a malformed one fails at once.
_FIELD = rb'(?:"(?:[^"]++|"")*+"|[^",\r\n][^,\r\n]*+|)'
_RECORD = re.compile(rb"%b(?:,%b)*+(?P<end>\r\n|\n|\r|\Z)" % (_FIELD, _FIELD))
_FIELDS = re.compile(rb"(?:^|,)" + _FIELD)
_LINE = re.compile(rb"[^\r\n]*+(?:\r\n|\n|\r|\Z)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class Record:
    """One record: its bytes, where it begins, and what is wrong with it (None: nothing).

    `line` counts from 0, in physical lines from the first byte of the text.
    """

    raw: bytes
    offset: int
    line: int
    fault: str | None


def split(text: bytes) -> Iterator[Record]:
    """Yield the records of `text` in order, malformed ones too; blank lines are no records."""
    offset = line = 0
    while offset < len(text):
        found = _match(text, offset)
        fault = None
        if found is None:
            fault = _quote_fault(text, offset)
            found = _LINE.match(text, offset)
            assert found is not None, "a line matches everywhere"
        raw = found.group()
        if raw.strip(b"\r\n"):
            yield Record(raw, offset, line, fault)
        offset += len(raw)
        line += count_lines(raw)


def count_lines(text: bytes) -> int:
    """Count the line ends in `text`, quoted ones too."""
    if b"\r" in text:
        return sum(1 for _ in _LINE_END.finditer(text))
    # Many times faster than bytes.count on short lines.
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == _LF))


def count_fields(record: bytes) -> int:
    """Count the fields of one well-formed record."""
    if b'"' not in record:
        return record.count(b",") + 1
    return sum(1 for _ in _FIELDS.finditer(record))


def complete_records(text: bytes) -> int:
    """Return where the last complete record of `text` ends; 0 where none does.

    `text` is the beginning of a longer text, so its last bytes may belong to a record that goes
    on behind it.
    """
    if b'"' not in text:
        return _last_line_end(text, len(text))
    inside = _quoted_regularly(text)
    if inside is not None:
        return _last_line_end_outside(text, inside)
    return _complete_records_one_by_one(text)


def is_regular(text: bytes) -> bool:
    """Tell whether `text` surely holds no malformed record: any CSV reader may have it."""
    if b'"' not in text:
        return _lines_are_short(text)
    quotes = _quoted_regularly(text)
    return quotes is not None and len(quotes) % 2 == 0


def _match(text: bytes, offset: int) -> re.Match[bytes] | None:
    window = offset + MAX_RECORD_SIZE
    found = _RECORD.match(text, offset, window)
    if found is not None and not found["end"] and found.end() < len(text):
        return None  # the pattern took the window's end for the end of the text
    return found


def _quote_fault(text: bytes, offset: int) -> str:
    window = offset + MAX_RECORD_SIZE
    good = re.compile(rb"(?:%b,)*+" % _FIELD).match(text, offset, window)
    field = good.end() if good else offset
    if re.compile(rb'"(?:[^"]++|"")*+"').match(text, field, window):
        return "text after a closing quote"
    if text[field : field + 1] == b'"':
        return "unclosed quote"
    return "record too long"


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
        if np.searchsorted(quotes, end) % 2 == 0:
            return end
        # Inside a quoted field: nothing before its opening quote is inside the same one.
        stop = int(quotes[np.searchsorted(quotes, end) - 1])
    return 0


def _quoted_regularly(text: bytes) -> np.ndarray | None:
    """Return the positions of all quotes, or None where one stands in an irregular place.

    Quotes open and close fields in turn; a doubled quote closes and opens again. The last field
    may be open where `text` is the beginning of a longer text. Records longer than
    `MAX_RECORD_SIZE` count as irregular.
    """
    data = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(data == _QUOTE)
    if not len(quotes):
        return quotes
    opening, closing = quotes[0::2], quotes[1::2]

    before = data[opening - 1]  # a quote at byte 0 looks at the last byte here: set right below
    opens = (before == _COMMA) | (before == _LF) | (before == _CR)
    opens[1:] |= opening[1:] - 1 == closing[: len(opening) - 1]
    if opening[0] == 0:
        opens[0] = True

    after = data[np.minimum(closing + 1, len(data) - 1)]
    closes = (after == _COMMA) | (after == _LF) | (after == _CR) | (after == _QUOTE)
    closes |= closing + 1 == len(data)
    if not (opens.all() and closes.all()):
        return None
    if len(text) > MAX_RECORD_SIZE:
        ends = np.flatnonzero((data == _LF) | (data == _CR))
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
        if np.diff(ends, prepend=-1, append=len(data)).max() > MAX_RECORD_SIZE:
            return None
    return quotes


def _lines_are_short(text: bytes) -> bool:
    """Tell whether no line is longer than `MAX_RECORD_SIZE`, at the cost of a few searches.

    It may err towards False: it asks for a line end in every half of that size.
    """
    step = MAX_RECORD_SIZE // 2
    return all(
        text.find(b"\n", start, start + step) >= 0 for start in range(0, len(text) - step, step)
    )


def _complete_records_one_by_one(text: bytes) -> int:
    end = 0
    for record in split(text):
        reaches_end = record.offset + len(record.raw) == len(text)
        cut_short = record.fault and len(text) - record.offset < MAX_RECORD_SIZE
        if cut_short and record.fault == "unclosed quote":
            return record.offset  # it may close behind the end of this text
        if reaches_end and not record.raw.endswith(b"\n"):
            return record.offset
        end = record.offset + len(record.raw)
    return len(text) if text.endswith(b"\n") else end
