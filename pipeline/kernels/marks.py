"""Bitmaps of the bytes that matter to CSV: newlines, delimiters, quotes.

A bitmap has a bit for each byte of the text, the lowest first, in words of 64. `mark_bytes` looks
at every byte once, 64 at a time; all else goes from mark to mark.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.kernels.jit import Bytes, Int64, Int64s, Int64sOut, UInt64s, UInt64sOut, inner, kernel
from pipeline.kernels.machine import count_bits, equal_bits, first_bit, high_bits

U = np.uint64
LF, CR, COMMA, QUOTE = 0x0A, 0x0D, 0x2C, 0x22
NONE = -1  # in place of a quote or an escape character: there is none
# Indices into the counts of `mark_bytes`.
LINE_ENDS, QUOTES, ESCAPES, HIGH, NULS, NEEDS, COUNTS = 0, 1, 2, 3, 4, 5, 6


@inner
def escaped_bits(escapes: Any, carry: Any) -> Any:
    """Return (a bit for each byte that an escape character precedes, the carry to the next word).

    An escape character that is escaped itself escapes nothing.
    """
    escaped, left, over = carry, escapes & ~carry, U(0)
    while left != U(0):
        one = left & (~left + U(1))
        behind = one << U(1)
        if behind == U(0):
            over = U(1)
        escaped |= behind
        left &= ~(one | behind)
    return escaped, over


@kernel
def mark_bytes(
    text: Bytes,
    tail: Bytes,
    delimiter: Int64,
    quote: Int64,
    escape: Int64,
    stops: UInt64sOut,
    lines: UInt64sOut,
    quotes: UInt64sOut,
    needs: UInt64sOut,
    counts: Int64sOut,
) -> None:
    """Mark the bytes of a text that matter; all bitmaps have a word for each 64 bytes.

    `tail` is 64 bytes that begin with those after the last whole word; the others do not matter.
    `quote` and `escape` may be `NONE`.

    The bitmaps mark: `stops`, delimiters, LF and CR; `lines`, the first byte of each newline (LF,
    CR, CR LF); `quotes`, quotes; `needs`, the bytes that require quotes in the output: comma, `"`,
    LF and CR. Bytes that an escape character precedes are marked in `lines` and `needs` only.

    `counts` (of size `COUNTS`) are the numbers of marks in `lines`, `quotes` and `needs`, that of
    escape characters, whether any byte is non-ASCII, and whether any is NUL.
    """
    ends = marks = wanted = escapes = 0
    high, nuls, after_cr, carry, escaped_cr = U(0), U(0), U(0), U(0), U(0)
    whole = text.size >> 6
    for word in range(stops.size):
        is_whole = word < whole
        at = word << 6 if is_whole else 0
        some = text if is_whole else tail
        kept = ~U(0) if is_whole else (U(1) << U(text.size & 63)) - U(1)
        lf, cr = equal_bits(some, at, LF) & kept, equal_bits(some, at, CR) & kept
        delimiters = equal_bits(some, at, delimiter) & kept
        found = equal_bits(some, at, quote) & kept if quote != NONE else U(0)
        around = equal_bits(some, at, QUOTE) & kept
        commas = equal_bits(some, at, COMMA) & kept
        high |= high_bits(some, at) & kept
        nuls |= equal_bits(some, at, 0) & kept
        first = cr | (lf & ~(cr << U(1) | after_cr))
        after_cr = cr >> U(63)
        stop = delimiters | lf | cr
        need = commas | around | lf | cr
        if escape != NONE:
            escaping = equal_bits(some, at, escape) & kept
            if (escaping | carry | escaped_cr) != U(0):
                escapes += count_bits(escaping)
                escaped, carry = escaped_bits(escaping, carry)
                # A CR LF is escaped as one.
                both = (escaped & cr) << U(1) | escaped_cr
                escaped_cr = (escaped & cr) >> U(63)
                stop &= ~(escaped | both & lf)
                found &= ~escaped
        stops[word], lines[word], quotes[word], needs[word] = stop, first, found, need
        ends += count_bits(first)
        marks += count_bits(found)
        wanted += count_bits(need)
    counts[LINE_ENDS], counts[QUOTES], counts[NEEDS], counts[ESCAPES] = ends, marks, wanted, escapes
    counts[HIGH], counts[NULS] = high != U(0), nuls != U(0)


@inner
def next_mark(marks: Any, at: Any, stop: Any) -> Any:
    """Return the offset of the next mark from `at` on; `stop` if none comes before it."""
    if at >= stop:
        return stop
    word = at >> 6
    found = marks[word] >> U(at & 63)
    if found != U(0):
        return min(at + first_bit(found), stop)
    last = (stop - 1) >> 6
    while word < last:
        word += 1
        if marks[word] != U(0):
            return min((word << 6) + first_bit(marks[word]), stop)
    return stop


@inner
def is_marked(marks: Any, at: Any) -> Any:
    """Return whether there is a mark at `at`."""
    return (marks[at >> 6] >> U(at & 63)) & U(1) != U(0)


@inner
def marks_from(marks: Any, at: Any, size: Any) -> Any:
    """Return the marks from `at` on in its word, as a word; 0 at the end of the text."""
    return marks[at >> 6] & (~U(0) << U(at & 63)) if at < size else U(0)


@inner
def count_marks(marks: Any, start: Any, stop: Any) -> Any:
    """Return how many marks there are from `start` to `stop`."""
    found = 0
    if start >= stop:
        return found
    first, last = start >> 6, (stop - 1) >> 6
    head, tail = ~U(0) << U(start & 63), ~U(0) >> U(63 - ((stop - 1) & 63))
    if first == last:
        return found + count_bits(marks[first] & head & tail)
    found += count_bits(marks[first] & head)
    for word in range(first + 1, last):
        found += count_bits(marks[word])
    return found + count_bits(marks[last] & tail)


@inner
def behind_line_end(text: Any, end: Any) -> Any:
    """Return the offset after the newline at `end`, which may be the end of the text."""
    if end >= text.size:
        return end
    if text[end] == CR and end + 1 < text.size and text[end + 1] == LF:
        return end + 2
    return end + 1


@inner
def line_stop(text: Any, lines: Any, start: Any) -> Any:
    """Return (where the newline of the line at `start` begins, where it ends)."""
    end = next_mark(lines, start, text.size)
    return end, behind_line_end(text, end)


@kernel
def find_line_ends(
    text: Bytes, stops: UInt64s, lines: UInt64s, quotes: UInt64s, ends: Int64sOut
) -> None:
    """Find the offsets after the first newline outside quotes and after the first one inside.

    The text is assumed to begin outside quotes; if it does not, the two swap. A quote at the first
    byte does not count. -1 means that there is no such newline, or that its LF may still follow.
    """
    size, at, inside = text.size, 0, 0
    ends[0] = ends[1] = NONE
    quote = next_mark(quotes, 1, size)
    while ends[0] == NONE or ends[1] == NONE:
        at = next_mark(lines, at, size)
        if at >= size or (text[at] == CR and at + 1 == size):
            return
        if not is_marked(stops, at):  # it is escaped
            at += 1
            continue
        while quote < at:
            inside = 1 - inside
            quote = next_mark(quotes, quote + 1, size)
        if ends[inside] == NONE:
            ends[inside] = behind_line_end(text, at)
        at += 1


@kernel
def count_lines_before(lines: UInt64s, offsets: Int64s, counts: Int64sOut) -> None:
    """Count the newlines before each of some ascending offsets in a text."""
    before = found = 0
    for number in range(offsets.size):
        found += count_marks(lines, before, offsets[number])
        before = offsets[number]
        counts[number] = found
