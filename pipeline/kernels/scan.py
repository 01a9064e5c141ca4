"""Finds the records of a CSV text, their fields and their faults.

A record ends at LF, CR LF or CR outside quotes. A field that begins with a quote ends at the next
quote that is not doubled (RFC 4180, section 2). A record is malformed if a quoted field is not
closed within the maximum record size or by the end of the text, if anything but a delimiter or a
line end follows a closing quote, or if it is longer than that size. Then only the physical line on
which it begins is lost: the next record begins on the next line.

`mark_bytes` looks at every byte once, 64 at a time, and makes bitmaps of those that matter: a bit
for each byte of the text, the lowest first, in words of 64. All else goes from mark to mark.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.kernels.jit import (
    Bytes,
    Int32sOut,
    Int64,
    Int64s,
    Int64sOut,
    UInt64s,
    UInt64sOut,
    inner,
    kernel,
)
from pipeline.kernels.machine import count_bits, equal_bits, first_bit, high_bits

U = np.uint64
LF, CR, COMMA, QUOTE = 0x0A, 0x0D, 0x2C, 0x22
NONE = -1  # in place of a quote or an escape character: there is none
# What is wrong with a record.
UNCLOSED, AFTER_QUOTE, TOO_LONG, NUL, UNDECODABLE, TOO_FEW, TOO_MANY = 1, 2, 3, 4, 5, 6, 7
FAULT_SIZE = 5  # numbers that describe a fault: see `scan_records`
# The places in what `mark_bytes` counts.
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

    `tail` is 64 bytes that begin with those behind the last whole word; the others do not matter.


    `stops`: delimiters, LF and CR. `lines`: the first byte of each line end (LF, CR, CR LF).
    `quotes`. `needs`: what requires quotes in the output: comma, `"`, LF and CR. Bytes that an
    escape character precedes are marked in `lines` and `needs` only. `quote` and `escape` may be
    `NONE`.

    `counts` (of size `COUNTS`) are the marks in `lines`, `quotes`, `needs`, how many escape
    characters there are, and whether any byte is no ASCII or is NUL.
    """
    ends = marks = wanted = escapes = 0
    high, nuls, after_cr, carry = U(0), U(0), U(0), U(0)
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
            if (escaping | carry) != U(0):
                escapes += count_bits(escaping)
                escaped, carry = escaped_bits(escaping, carry)
                stop &= ~escaped
                found &= ~escaped
        stops[word], lines[word], quotes[word], needs[word] = stop, first, found, need
        ends += count_bits(first)
        marks += count_bits(found)
        wanted += count_bits(need)
    counts[LINE_ENDS], counts[QUOTES], counts[NEEDS], counts[ESCAPES] = ends, marks, wanted, escapes
    counts[HIGH], counts[NULS] = high != U(0), nuls != U(0)


@inner
def next_mark(marks: Any, at: Any, stop: Any) -> Any:
    """Return where the next mark is, from `at` on; `stop` if none is before it."""
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
def marks_from(marks: Any, at: Any, size: Any) -> Any:
    """Return the marks from `at` on in its word; none at the end of the text."""
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
    """Return the place behind the line end at `end`, where the text may end too."""
    if end >= text.size:
        return end
    if text[end] == CR and end + 1 < text.size and text[end + 1] == LF:
        return end + 2
    return end + 1


@inner
def line_stop(text: Any, lines: Any, start: Any) -> Any:
    """Return (where the line end of the line at `start` begins, where it ends)."""
    end = next_mark(lines, start, text.size)
    return end, behind_line_end(text, end)


@inner
def read_record(
    text: Any, stops: Any, quotes: Any, start: Any, delimiter: Any, quote: Any,
    columns: Any, edges: Any, place: Any,
) -> Any:  # fmt: skip
    """Return (where the record at `start` ends, the number of its fields), without its line end.

    Where the first `columns` fields end is put into `edges` from `place` on. If a quoted field is
    not closed, the first is the size of the text, and the second `-UNCLOSED`; if text follows a
    closing quote, the first is where that is, and the second `-AFTER_QUOTE`.
    """
    size, last, at, fields = text.size, stops.size - 1, start, 0
    # The marks of the current word that are still to come.
    word = at >> 6
    left = marks_from(stops, at, size)
    while True:
        if at < size and text[at] == quote:
            at = next_mark(quotes, at + 1, size)
            while at + 1 < size and text[at + 1] == quote:
                at = next_mark(quotes, at + 2, size)
            if at >= size:
                return size, -UNCLOSED
            at += 1
            if at < size and text[at] != delimiter and text[at] != LF and text[at] != CR:
                return at, -AFTER_QUOTE
            word, left = at >> 6, marks_from(stops, at, size)
        else:
            while left == U(0) and word < last:
                word += 1
                left = stops[word]
            at = (word << 6) + first_bit(left) if left != U(0) else size
        left &= left - U(1)
        if fields < columns:
            edges[place + fields] = at
        fields += 1
        if at >= size or text[at] != delimiter:
            return at, fields
        at += 1


@inner
def fault_of_line(
    text: Any, stops: Any, quotes: Any, start: Any, stop: Any, limit: Any, delimiter: Any,
    quote: Any,
) -> Any:  # fmt: skip
    """Return why no record of up to `limit` begins at `start`, judging by its line up to `stop`.

    How far the text goes on behind that line depends on where it was cut.
    """
    at, window = start, min(limit, stop)
    while True:
        if at < window and text[at] == quote:
            at = next_mark(quotes, at + 1, window)
            while at < window and at + 1 < stop and text[at + 1] == quote:
                if at + 1 >= limit:
                    return TOO_LONG
                at = next_mark(quotes, at + 2, window)
            if at >= window:
                return UNCLOSED
            at += 1
            if at < window and text[at] != delimiter and text[at] != LF and text[at] != CR:
                return AFTER_QUOTE
        else:
            at = next_mark(stops, at, window)
        if at >= window or text[at] != delimiter:
            return TOO_LONG
        at += 1


@kernel
def scan_records(
    text: Bytes,
    stops: UInt64s,
    lines: UInt64s,
    quotes: UInt64s,
    delimiter: Int64,
    quote: Int64,
    columns: Int64,
    max_size: Int64,
    nuls: Int64s,
    undecodable: Int64s,
    edges: Int32sOut,
    faults: Int64sOut,
) -> Int64:
    """Find all records of a text that begins with one; return how many are good.

    `stops`, `lines` and `quotes` are those of `mark_bytes`. `nuls` and `undecodable` are where NUL
    bytes are and where bytes begin that are no text, ascending. Blank lines are no records.

    Of each good record, `edges` gets `columns + 1` numbers: where it begins, and where each of its
    fields ends. `faults` gets the number of bad ones and then, of each, `FAULT_SIZE` numbers: where
    it begins, its size without the line end, its line from 0, the reason, and a detail (of NUL and
    UNDECODABLE: the byte within the record; of TOO_FEW and TOO_MANY: the number of fields). Both
    must have room for one record more than there are line ends.
    """
    size, width = text.size, columns + 1
    at = row = fault = line = counted = nul = bad = 0
    # The last record that went on behind its line and was bad: all lines from there on to `known`
    # end within its quotes. So whatever begins before and goes on behind its line gets to `known`
    # too, which need not be read again.
    known, is_closed = 0, False
    while at < size:
        if text[at] == LF or text[at] == CR:
            at += 1
            continue
        start, limit, reason, detail = at, at + max_size, 0, 0
        place = row * width
        if start < known and next_mark(lines, start, size) < known:
            end, stop = line_stop(text, lines, start)
            reason = fault_of_line(text, stops, quotes, start, stop, limit, delimiter, quote)
            if reason != UNCLOSED or (is_closed and known <= limit):
                reason = 0
        if reason == 0:
            edges[place] = start
            end, fields = read_record(
                text, stops, quotes, start, delimiter, quote, columns, edges, place + 1
            )
            stop = end
            if fields > 0:
                stop = behind_line_end(text, end)
                while nul < nuls.size and nuls[nul] < start:
                    nul += 1
                while bad < undecodable.size and undecodable[bad] < start:
                    bad += 1
            if fields < 0 or stop > limit:
                known, is_closed = stop, fields > 0
                end, stop = line_stop(text, lines, start)
                reason = fault_of_line(text, stops, quotes, start, stop, limit, delimiter, quote)
            elif nul < nuls.size and nuls[nul] < stop:
                reason, detail = NUL, nuls[nul] - start
            elif bad < undecodable.size and undecodable[bad] < stop:
                reason, detail = UNDECODABLE, undecodable[bad] - start
            elif fields != columns:
                reason, detail = TOO_FEW if fields < columns else TOO_MANY, fields
        at = stop
        if reason == 0:
            row += 1
            continue
        line += count_marks(lines, counted, start)
        counted = start
        here = 1 + fault * FAULT_SIZE
        faults[here], faults[here + 1], faults[here + 2] = start, end - start, line
        faults[here + 3], faults[here + 4] = reason, detail
        fault += 1
    faults[0] = fault
    return row


@kernel
def find_record(
    text: Bytes,
    stops: UInt64s,
    lines: UInt64s,
    quotes: UInt64s,
    delimiter: Int64,
    quote: Int64,
    max_size: Int64,
    position: Int64,
    at_end: Int64,
    edges: Int32sOut,
) -> Int64:
    """Return where the first record begins at or after `position`, in a text that begins with one.

    `at_end`: the text extends to the end of its file. Returns -1 if it ends too early to tell. For
    the other arguments see `scan_records`; `edges` may be empty.
    """
    size, at, next_quote, none = text.size, 0, -1, 0
    known, is_closed, is_known_open = 0, False, False  # see `scan_records`
    while at < position:
        start, limit, is_open = at, at + max_size, False
        if next_quote < start:
            next_quote = next_mark(quotes, start, size)
        end, stop = line_stop(text, lines, start)
        if next_quote < end:  # it may go on behind its line
            joins = start < known and end < known
            if joins:
                why = fault_of_line(text, stops, quotes, start, stop, limit, delimiter, quote)
                joins = why == UNCLOSED
            if joins:
                is_open = is_known_open
                if is_closed and known <= limit:
                    stop = known
            else:
                found, fields = read_record(
                    text, stops, quotes, start, delimiter, quote, none, edges, none
                )
                whole = behind_line_end(text, found)
                if fields > 0 and whole <= limit:
                    stop = whole
                else:
                    is_open = is_known_open = fields == -UNCLOSED
                    is_closed = fields > 0
                    known = whole if is_closed else found
        if not at_end:
            # A CR at the end may be half of a CR LF.
            if stop == size and text[size - 1] != LF:
                return NONE
            if is_open and size < limit:
                return NONE
        at = stop
    return at


@kernel
def find_line_ends(text: Bytes, lines: UInt64s, quotes: UInt64s, ends: Int64sOut) -> None:
    """Find the places after the first line end outside quotes and after the first one inside.

    The text is assumed to begin outside quotes; if it does not, the two swap. A quote at the first
    byte does not count. A place is -1 if there is no such line end, or if its LF may follow.
    """
    size, at, inside = text.size, 0, 0
    ends[0] = ends[1] = NONE
    quote = next_mark(quotes, 1, size)
    while ends[0] == NONE or ends[1] == NONE:
        at = next_mark(lines, at, size)
        if at >= size or (text[at] == CR and at + 1 == size):
            return
        while quote < at:
            inside = 1 - inside
            quote = next_mark(quotes, quote + 1, size)
        if ends[inside] == NONE:
            ends[inside] = behind_line_end(text, at)
        at += 1


@kernel
def count_lines_before(lines: UInt64s, places: Int64s, counts: Int64sOut) -> None:
    """Count the line ends before each of some ascending places of a text."""
    before = found = 0
    for number in range(places.size):
        found += count_marks(lines, before, places[number])
        before = places[number]
        counts[number] = found


@kernel
def find_no_utf8(text: Bytes, places: Int64sOut) -> Int64:
    """Find where bytes begin that are no UTF-8; return how many places there are.

    `places` gets as many of them as it has room for.
    """
    size, at, found = text.size, 0, 0
    while at < size:
        if at + 64 <= size:
            high = high_bits(text, at)
            at += 64 if high == U(0) else first_bit(high)
            if high == U(0):
                continue
        first = text[at]
        if first < 0x80:
            at += 1
            continue
        more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
        lowest = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
        highest = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
        is_good = 0xC2 <= first <= 0xF4 and at + more < size
        for place in range(1, more + 1 if is_good else 0):
            if not lowest <= text[at + place] <= highest:
                is_good = False
            lowest, highest = 0x80, 0xBF
        if is_good:
            at += 1 + more
            continue
        if found < places.size:
            places[found] = at
        found += 1
        at += 1
    return found


@kernel
def find_undefined(text: Bytes, undefined: Bytes, places: Int64sOut) -> Int64:
    """Find the bytes from 0x80 on that `undefined` (of 256) does not have as 0.

    Returns and does the same as `find_no_utf8`.
    """
    size, at, found = text.size, 0, 0
    while at < size:
        if at + 64 <= size:
            high = high_bits(text, at)
            at += 64 if high == U(0) else first_bit(high)
            if high == U(0):
                continue
        if text[at] >= 0x80 and undefined[text[at]] != 0:
            if found < places.size:
                places[found] = at
            found += 1
        at += 1
    return found
