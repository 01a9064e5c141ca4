"""Takes fields out of the text of records, as columns or as lines of CSV.

The text, its bitmaps and the `edges` of its records are those of `scan`. Results have Arrow's
layout: bytes back to back, and where each row begins and the last one ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.kernels.jit import (
    Bytes,
    BytesOut,
    Int32s,
    Int64,
    Int64s,
    Int64sOut,
    UInt64s,
    inner,
    kernel,
    rare,
)
from pipeline.kernels.machine import copy_short
from pipeline.kernels.marks import COMMA, CR, LF, NONE, QUOTE, next_mark

ROOM = 16  # bytes that results have beyond their end, so that short texts are copied at once


@inner
def field_edges(edges: Any, place: Any, column: Any) -> Any:
    """Return where a field begins and ends; `place` is that of its record in `edges`."""
    begin = np.int64(edges[place + column])
    return begin + (1 if column > 0 else 0), np.int64(edges[place + column + 1])


@kernel
def measure_columns(edges: Int32s, rows: Int64, columns: Int64, sizes: Int64sOut) -> None:
    """Add up how many bytes of the text each column takes; `sizes` is all zeros at first."""
    for row in range(rows):
        place = row * (columns + 1)
        begin = edges[place]
        for column in range(columns):
            end = edges[place + column + 1]
            sizes[column] += end - begin
            begin = end + 1


@kernel
def gather_fields(
    text: Bytes,
    quotes: UInt64s,
    edges: Int32s,
    rows: Int64,
    columns: Int64,
    column: Int64,
    quote: Int64,
    escape: Int64,
    null: Bytes,
    data: BytesOut,
    bounds: Int64sOut,
    valid: BytesOut,
) -> Int64:
    """Take one column out of all rows, without quotes; return how many fields are missing.

    A field is missing if it is empty, or if its text is `null`. `escape` may be `NONE`, and so may
    `quote` if the text has none.

    `data` has room for the column (see `measure_columns`) and `ROOM`; `bounds` has one element more
    than there are rows; `valid` has a bit for each row, least significant bit first.
    """
    at, missing, width, bits = 0, 0, columns + 1, 0
    bounds[0] = 0
    for row in range(rows):
        begin, end = field_edges(edges, row * width, column)
        size = end - begin
        if null.size > 0 and is_equal(text, begin, end, null):
            size = 0
        elif escape != NONE or (size > 0 and text[begin] == quote):
            size = copy_content(text, quotes, begin, end, quote, escape, data, at)
        else:
            copy_short(data, at, text, begin, size)
        at += size
        if size > 0:
            bits |= 1 << (row & 7)
        else:
            missing += 1
        if row & 7 == 7 or row + 1 == rows:
            valid[row >> 3] = bits
            bits = 0
        bounds[row + 1] = at
    return missing


@inner
def is_equal(text: Any, begin: Any, end: Any, wanted: Any) -> Any:
    """Return whether a part of the text is the bytes of `wanted`."""
    if end - begin != wanted.size:
        return False
    place = 0
    while place < wanted.size and text[begin + place] == wanted[place]:
        place += 1
    return place == wanted.size


@inner
def copy_content(
    text: Any, quotes: Any, begin: Any, end: Any, quote: Any, escape: Any, data: Any, at: Any
) -> Any:
    """Copy a field's content, without quotes and escapes, to `data[at:]`; return its size."""
    start = at
    is_quoted = begin < end and text[begin] == quote
    if is_quoted:
        begin, end = begin + 1, end - 1
    if escape != NONE:
        while begin < end:
            is_escape = text[begin] == escape and begin + 1 < end
            if is_escape or (is_quoted and text[begin] == quote):  # of two quotes, the second
                begin += 1
            data[at] = text[begin]
            begin, at = begin + 1, at + 1
        return at - start
    if not is_quoted:
        copy_short(data, at, text, begin, end - begin)
        return end - begin
    while True:
        doubled = next_mark(quotes, begin, end) + 1
        if doubled > end:
            copy_short(data, at, text, begin, end - begin)
            return at + end - begin - start
        copy_short(data, at, text, begin, doubled - begin)
        at += doubled - begin
        begin = doubled + 1


@kernel
def join_fields(
    text: Bytes,
    quotes: UInt64s,
    needs: UInt64s,
    edges: Int32s,
    rows: Int64,
    columns: Int64,
    firsts: Int64s,
    lasts: Int64s,
    delimiter: Int64,
    quote: Int64,
    escape: Int64,
    null: Bytes,
    is_plain: Int64,
    data: BytesOut,
    bounds: Int64sOut,
) -> None:
    """Write some columns of all rows as CSV lines: with commas, LF, and quotes where needed.

    The columns are given as ranges, `firsts[i]` to `lasts[i]`, in order; neighbors in one range
    can be copied at once. `is_plain`: no field of the text has to be changed. `data` has room for
    the columns' text, a byte for each range in each row (at least one), three for each mark in
    `needs`, and `ROOM`. For the other arguments see `gather_fields`.
    """
    at, width = 0, columns + 1
    bounds[0] = 0
    for row in range(rows):
        place = row * width
        for number in range(firsts.size):
            first, last = firsts[number], lasts[number]
            begin, _ = field_edges(edges, place, first)
            end = np.int64(edges[place + last + 1])
            can_copy = is_plain or (
                delimiter == COMMA
                and quote == QUOTE
                and escape == NONE
                and null.size == 0
                and next_mark(quotes, begin, end) == end
            )
            if can_copy:
                copy_short(data, at, text, begin, end - begin)
                at += end - begin
            else:
                for column in range(first, last + 1):
                    if column > first:
                        data[at] = COMMA
                        at += 1
                    begin, end = field_edges(edges, place, column)
                    at = write_field(text, quotes, needs, begin, end, quote, escape, null, data, at)
            data[at] = COMMA if number + 1 < firsts.size else LF
            at += 1
        if firsts.size == 0:
            data[at] = LF
            at += 1
        bounds[row + 1] = at


@inner
def write_field(
    text: Any, quotes: Any, needs: Any, begin: Any, end: Any, quote: Any, escape: Any, null: Any,
    data: Any, at: Any,
) -> Any:  # fmt: skip
    """Write a field as CSV, with quotes only if it needs them; return where it ends."""
    if null.size > 0 and is_equal(text, begin, end, null):
        return at
    is_quoted = begin < end and text[begin] == quote
    inside = 1 if is_quoted else 0
    is_simple = escape == NONE
    if is_simple and next_mark(needs, begin + inside, end - inside) == end - inside:
        size = end - begin - 2 * inside
        copy_short(data, at, text, begin + inside, size)
        return at + size
    if is_simple and is_quoted and quote == QUOTE:
        copy_short(data, at, text, begin, end - begin)
        return at + end - begin
    if is_simple and quote == QUOTE and next_mark(quotes, begin, end) == end:
        data[at] = QUOTE
        copy_short(data, at + 1, text, begin, end - begin)
        at += end - begin + 1
        data[at] = QUOTE
        return at + 1
    return quote_field(text, quotes, begin, end, quote, escape, data, at)


@rare
def quote_field(
    text: Any, quotes: Any, begin: Any, end: Any, quote: Any, escape: Any, data: Any, at: Any
) -> Any:
    """Write any field as CSV; return where it ends."""
    # First copy the content, then spread it from the end to make room for quotes.
    size = copy_content(text, quotes, begin, end, quote, escape, data, at)
    extra, must_quote = 0, False
    for place in range(at, at + size):
        byte = data[place]
        if byte in (COMMA, QUOTE, LF, CR):
            must_quote = True
            extra += 1 if byte == QUOTE else 0
    if not must_quote:
        return at + size
    stop = at + size + extra + 2
    to, source = stop - 1, at + size - 1
    data[to] = QUOTE
    while source >= at:
        byte = data[source]
        to, source = to - 1, source - 1
        data[to] = byte
        if byte == QUOTE:
            to -= 1
            data[to] = QUOTE
    data[at] = QUOTE
    return stop


@kernel
def gather_ranges(
    text: Bytes, begin: Int64s, end: Int64s, behind: Int64, data: BytesOut, bounds: Int64sOut
) -> None:
    """Copy parts of the text back to back; append the byte `behind` to each, unless it is `NONE`.

    `data` has room for them and `ROOM`.
    """
    at = 0
    bounds[0] = 0
    for row in range(begin.size):
        copy_short(data, at, text, begin[row], end[row] - begin[row])
        at += end[row] - begin[row]
        if behind != NONE:
            data[at] = behind
            at += 1
        bounds[row + 1] = at
