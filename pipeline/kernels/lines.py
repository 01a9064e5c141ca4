"""Assembles the lines of the combined table from their parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.kernels.jit import Bytes, BytesOut, Int64, Int64s, Int64sOut, kernel
from pipeline.kernels.machine import AHEAD, copy, prefetch

_CACHE_LINE = 64  # bytes
_QUOTE, _COMMA, _CR, _LF = (np.uint8(mark) for mark in b'",\r\n')


@kernel
def count_special(text: Bytes) -> Int64:
    """Return how many bytes are quotes, commas, CR or LF: a CSV field with any is quoted."""
    count: Any = np.int64(0)
    for byte in text:  # without a branch or an early exit, the loop becomes vector instructions
        count += (byte == _QUOTE) | (byte == _COMMA) | (byte == _CR) | (byte == _LF)
    return count


@kernel
def write_lines(
    ids: Bytes,
    id_bounds: Int64s,
    rows: Int64s,
    customers: Bytes,
    customer_bounds: Int64s,
    rests: Bytes,
    rest_bounds: Int64s,
    valid: Bytes,
    first_bit: Int64,
    no_rest: Bytes,
    first: Int64,
    out: BytesOut,
    size: Int64sOut,
) -> Int64:
    """Write lines from row `first` on, as many as fit into `out`; return the row after the last.

    A line is an id, its customer's text and the rest, back to back. Text `i` of a column is from
    `bounds[i]` to `bounds[i + 1]`. Row `r` takes id `r`, customer `rows[r]`, and rest `r`, or
    `no_rest` unless bit `first_bit + r` of `valid` (least significant bit first) is set. If no rest
    is missing, `valid` may be empty. `size[0]` becomes the number of bytes written or, if no line
    fits, the size of the first.
    """
    at = 0
    row = first
    while row < rows.size:
        # A customer is two random accesses to memory: prefetch each well before its use.
        if row + AHEAD < rows.size:
            prefetch(customer_bounds, rows[row + AHEAD])
        if row + AHEAD // 2 < rows.size:
            start = customer_bounds[rows[row + AHEAD // 2]]
            prefetch(customers, start)
            prefetch(customers, start + _CACHE_LINE)
        bit = first_bit + row
        has_rest = valid.size == 0 or (valid[bit >> 3] >> (bit & 7)) & 1
        id_size = id_bounds[row + 1] - id_bounds[row]
        start = customer_bounds[rows[row]]
        customer_size = customer_bounds[rows[row] + 1] - start
        rest_size = rest_bounds[row + 1] - rest_bounds[row] if has_rest else no_rest.size
        if at + id_size + customer_size + rest_size > out.size:
            if row == first:
                at = id_size + customer_size + rest_size
            break
        copy(out, at, ids, id_bounds[row], id_size)
        at += id_size
        copy(out, at, customers, start, customer_size)
        at += customer_size
        if has_rest:
            copy(out, at, rests, rest_bounds[row], rest_size)
        else:
            copy(out, at, no_rest, 0, rest_size)
        at += rest_size
        row += 1
    size[0] = at
    return row
