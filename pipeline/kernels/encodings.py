"""Checks and changes the encoding of texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.kernels.jit import (
    Bytes,
    BytesOut,
    Int64,
    Int64s,
    Int64sOut,
    UInt64s,
    inner,
    kernel,
)
from pipeline.kernels.machine import first_bit, high_bits
from pipeline.kernels.marks import U, next_mark


@inner
def skip_ascii(text: Any, at: Any) -> Any:
    """Return the offset of the first non-ASCII byte from `at` on, or the end of the text."""
    while at + 64 <= text.size:
        high = high_bits(text, at)
        if high != U(0):
            return at + first_bit(high)
        at += 64
    while at < text.size and text[at] < 0x80:
        at += 1
    return at


@kernel
def find_invalid_utf8(text: Bytes, lines: UInt64s, offsets: Int64sOut) -> Int64:
    """Find the first byte of each line that is not valid UTF-8; return how many lines have one.

    `lines` marks the newlines (see `marks.mark_bytes`). `offsets` has an element for each of them,
    and one more.
    """
    size, at, found = text.size, 0, 0
    while at < size:
        at = skip_ascii(text, at)
        if at == size:
            break
        first = text[at]
        more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
        lowest = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
        highest = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
        is_good = 0xC2 <= first <= 0xF4 and at + more < size
        for index in range(1, more + 1 if is_good else 0):
            if not lowest <= text[at + index] <= highest:
                is_good = False
            lowest, highest = 0x80, 0xBF
        if is_good:
            at += 1 + more
            continue
        offsets[found] = at
        found += 1
        at = next_mark(lines, at, size)
    return found


@kernel
def find_undefined(text: Bytes, lines: UInt64s, undefined: Bytes, offsets: Int64sOut) -> Int64:
    """In each line, find the first non-ASCII byte whose entry in `undefined` is not 0.

    `undefined` has 256 entries. All else is as in `find_invalid_utf8`.
    """
    size, at, found = text.size, 0, 0
    while at < size:
        at = skip_ascii(text, at)
        if at == size:
            break
        if undefined[text[at]] == 0:
            at += 1
            continue
        offsets[found] = at
        found += 1
        at = next_mark(lines, at, size)
    return found


@kernel
def split_at_nuls(text: Bytes, data: BytesOut, bounds: Int64sOut) -> None:
    """Split texts that each end with a NUL, and leave the NULs out.

    `data` has room for the text; `bounds` has one element more than there are NULs.
    """
    at = row = 0
    bounds[0] = 0
    for index in range(text.size):
        byte = text[index]
        data[at] = byte
        if byte == 0:
            row += 1
            bounds[row] = at
        else:
            at += 1


@kernel
def recode_bytes(
    text: Bytes, bounds: Int64s, table: Bytes, data: BytesOut, data_bounds: Int64sOut
) -> None:
    """Convert texts from a one-byte encoding to UTF-8, in which a byte becomes up to three.

    `table` has four bytes for each byte: how many bytes it becomes, and those bytes. ASCII does not
    change. `data` has room for three times the text.
    """
    at, last = 0, bounds.size - 1
    data_bounds[0] = 0
    for row in range(last):
        for index in range(bounds[row], bounds[row + 1]):
            byte = text[index]
            if byte < 0x80:
                data[at] = byte
                at += 1
            else:
                entry = 4 * np.int64(byte)
                for more in range(table[entry]):
                    data[at] = table[entry + 1 + more]
                    at += 1
        data_bounds[row + 1] = at
