"""Finds the records of a CSV text, their fields and their faults.

A record ends at LF, CR LF or CR outside quotes. A field that begins with a quote ends at the next
quote that is not doubled (RFC 4180, section 2). A record is malformed if a quoted field is not
closed within the maximum record size or by the end of the text, if anything but a delimiter or a
newline follows a closing quote, or if it is longer than that size. Then only the physical line on
which it begins is lost: the next record begins on the next line.

Bitmaps are those of `marks`.
"""

from __future__ import annotations

from typing import Any

from pipeline.kernels.jit import (
    Bytes,
    Int32sOut,
    Int64,
    Int64s,
    Int64sOut,
    UInt64s,
    inner,
    kernel,
    rare,
)
from pipeline.kernels.machine import first_bit
from pipeline.kernels.marks import (
    CR,
    LF,
    NONE,
    U,
    behind_line_end,
    count_marks,
    is_marked,
    line_stop,
    marks_from,
    next_mark,
)

# What is wrong with a record.
UNCLOSED, AFTER_QUOTE, TOO_LONG, NUL, UNDECODABLE, TOO_FEW, TOO_MANY = 1, 2, 3, 4, 5, 6, 7
FAULT_SIZE = 5  # numbers that describe a fault: see `scan_records`


@inner
def read_record(
    text: Any, stops: Any, quotes: Any, start: Any, delimiter: Any, quote: Any,
    columns: Any, edges: Any, place: Any,
) -> Any:  # fmt: skip
    """Return where the record at `start` ends, before its newline, and how many fields it has.

    The ends of the first `columns` fields are put into `edges`, from `place` on. If a quoted field
    is not closed, the two numbers are the size of the text and `-UNCLOSED`; if text follows a
    closing quote, they are the offset of that text and `-AFTER_QUOTE`.
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


@rare
def fault_of_line(
    text: Any, stops: Any, quotes: Any, start: Any, stop: Any, limit: Any, delimiter: Any,
    quote: Any,
) -> Any:  # fmt: skip
    """Return why no record that ends by `limit` begins at `start`.

    This looks only at the line there, up to `stop`: how much text follows it depends on where the
    file was cut.
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
    escape: Int64,
    columns: Int64,
    max_size: Int64,
    nuls: Int64s,
    undecodable: Int64s,
    edges: Int32sOut,
    faults: Int64sOut,
) -> Int64:
    """Find all records of a text that begins with one; return how many are good.

    `stops`, `lines` and `quotes` are those of `mark_bytes`. `nuls` and `undecodable` are the
    offsets of the first NUL and of the first invalid byte in each line that has one. Blank lines
    are not records.

    For each good record, `edges` gets `columns + 1` numbers: where it begins, and where each of its
    fields ends. `faults` gets the number of bad records and then, for each, `FAULT_SIZE` numbers:
    where it begins, its size without the newline, its line from 0, the reason, and a detail (for
    NUL and UNDECODABLE: the byte within the record; for TOO_FEW and TOO_MANY: the number of
    fields). Both must have room for one record more than there are newlines.
    """
    size, width = text.size, columns + 1
    at = row = fault = line = counted = nul = bad = 0
    # How far the last bad record was read. Its lines end within quotes, so a record that begins
    # before `known` and goes on after its line would be read just as far: it is not read.
    known, is_closed = 0, False
    while at < size:
        if text[at] == LF or text[at] == CR:
            at += 1
            continue
        start, limit, reason, detail = at, at + max_size, 0, 0
        place = row * width
        # Not with an escape character: then newlines may be escaped instead of quoted.
        if escape == NONE and start < known and next_mark(lines, start, size) < known:
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
                if reason == TOO_LONG and stop <= limit:  # it goes on after an escaped newline
                    reason = UNCLOSED
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
    escape: Int64,
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
        # It may go on after its line: in quotes, or because the newline is escaped.
        if next_quote < end or (end < size and not is_marked(stops, end)):
            joins = escape == NONE and start < known and end < known
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
            if stop == size and (text[size - 1] != LF or not is_marked(stops, size - 1)):
                return NONE
            if is_open and size < limit:
                return NONE
        at = stop
    return at
