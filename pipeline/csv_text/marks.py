"""The marks of a CSV text: where its newlines, delimiters and quotes are.

A record ends at LF, CR LF or CR outside quotes; `kernels.scan` has the rules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.kernels.marks import COUNTS, ESCAPES, NONE, NULS, QUOTES, find_line_ends, mark_bytes
from pipeline.kernels.scan import find_record
from pipeline.settings import DELIMITERS, Dialect

AHEAD = 1 << 12  # bytes to read past a range, for the end of its last record
_WORD = 64  # bytes whose marks are one word of a bitmap
_NOTHING = np.empty(0, np.int32)
_NUL = re.compile(rb"\0[^\r\n]*")


class Marks(NamedTuple):
    """A text (uint8), its bitmaps (uint64) and counts (int64), as `mark_bytes` makes them.

    `delimiter`, `quote` and `escape` are bytes; -1 means that there is no quote or escape.
    """

    text: np.ndarray
    stops: np.ndarray
    lines: np.ndarray
    quotes: np.ndarray
    needs: np.ndarray
    counts: np.ndarray
    delimiter: int
    quote: int
    escape: int

    @classmethod
    def of(cls, text: bytes, dialect: Dialect) -> Marks:
        """Mark a text."""
        data = np.frombuffer(text, np.uint8)
        tail = np.zeros(_WORD, np.uint8)
        rest = data[len(data) // _WORD * _WORD :]
        tail[: len(rest)] = rest
        stops, lines, quotes, needs = np.empty((4, -(-len(data) // _WORD)), np.uint64)
        counts = np.empty(COUNTS, np.int64)
        quote, escape = (ord(sign) if sign else NONE for sign in (dialect.quote, dialect.escape))
        signs = ord(dialect.delimiter or DELIMITERS[0]), quote, escape
        mark_bytes(data, tail, *signs, stops, lines, quotes, needs, counts)
        return cls(data, stops, lines, quotes, needs, counts, *signs)

    @classmethod
    def back_to_back(cls, several: Sequence[Marks]) -> tuple[Marks, np.ndarray]:
        """Return the marks of several texts as if they were one, and where each begins (int64).

        Each text begins at a word of the bitmaps; zeros fill the gaps.
        """
        words = [len(one.stops) for one in several]
        starts = np.cumsum([0, *words])[:-1] * _WORD
        text = np.zeros(sum(words) * _WORD, np.uint8)
        for one, start in zip(several, starts.tolist(), strict=True):
            text[start : start + len(one.text)] = one.text
        _, *bitmaps, counts, _, _, _ = zip(*several, strict=True)
        stops, lines, quotes, needs = map(np.concatenate, bitmaps)
        signs = several[0][-3:]
        return cls(text, stops, lines, quotes, needs, np.sum(counts, axis=0), *signs), starts

    @property
    def quote_used(self) -> int:
        """The quote if the text has any, else -1, so that fields are not searched for it."""
        return self.quote if self.counts[QUOTES] else NONE

    @property
    def escape_used(self) -> int:
        """The escape character if the text has any, else -1."""
        return self.escape if self.counts[ESCAPES] else NONE

    def nuls(self) -> np.ndarray:
        """Return where the first NUL byte is in each line that has one (int64)."""
        found = _NUL.finditer(self.text.data) if self.counts[NULS] else ()
        return np.fromiter((one.start() for one in found), np.int64)


def next_record(text: bytes, position: int, at_end: bool, dialect: Dialect) -> int | None:
    """Return where the first record at or after `position` begins.

    `text` begins with a record; if `at_end`, it ends where its file does. None means that the
    answer depends on the bytes that follow.
    """
    marks = Marks.of(text, dialect)
    found: int = find_record(
        *(marks.text, marks.stops, marks.lines, marks.quotes, marks.delimiter, marks.quote_used),
        *(marks.escape_used, dialect.max_record_size, position, at_end, _NOTHING),
    )
    return None if found == NONE else found


def read_further(ahead: int, size: int) -> int:
    """Return how much more to read if a record does not end in `size` bytes.

    `ahead` is the previous amount. The next one is a little larger, so as not to read far past a
    long record.
    """
    return min(4 * ahead, max(AHEAD, size // 4))


def find_first_ends(text: bytes, dialect: Dialect) -> tuple[int | None, int | None]:
    """Return the positions after the first newline outside quotes and the first one inside.

    This assumes that `text` begins outside quotes; otherwise, the two swap. A quote at the first
    byte does not count. None means that there is no such newline, or that its LF may still follow.
    """
    marks = Marks.of(text, dialect)
    ends = np.empty(2, np.int64)
    find_line_ends(marks.text, marks.stops, marks.lines, marks.quotes, ends)
    outside, inside = (None if end == NONE else int(end) for end in ends)
    return outside, inside


def count_lines(text: bytes) -> int:
    """Return the number of newlines in `text`, including quoted ones."""
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")
