"""Exact sums of numbers, and control totals.

The caller allocates all arrays. In bitmaps, which may be empty if all bits are set, row `r` is bit
`first_bit + r`, least significant bit first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.kernels.jit import (
    Bytes,
    Int16s,
    Int32s,
    Int64,
    Int64s,
    Int64sOut,
    UInt64,
    UInt64s,
    UInt64sOut,
    inner,
    kernel,
)
from pipeline.kernels.machine import AHEAD, prefetch

LIMBS = 4  # of a sum; each adds 32 bits of every number, so 2**31 numbers cannot overflow it
# A sum by long addition has one word more than a number, so 2**63 numbers cannot overflow it; with
# a count after them, `COUNTED` words.
WORDS, COUNTED = 3, 4

_HALF, _LOW, _SIGN = 32, np.int64(0xFFFFFFFF), 63
# The odd multiplier of a multiplicative hash, taken from SplitMix64.
_FACTOR = np.uint64(0xBF58476D1CE4E5B9)


@kernel
def sum_by_code(
    words: Int64s, valid: Bytes, first_bit: Int64, codes: Int16s, sums: Int64sOut
) -> None:
    """Add each number to the sum of its code.

    `words` has two for each 128-bit number, the low one first; numbers that are not `valid` do not
    count. `sums` has `LIMBS` for each code, the lowest first, each worth 2**32 times the one
    before; the last one has the sign.
    """
    for row in range(codes.size):
        bit = first_bit + row
        if valid.size > 0 and not (valid[bit >> 3] >> (bit & 7)) & 1:
            continue
        low, high = words[2 * row], words[2 * row + 1]
        first = np.int64(codes[row]) * LIMBS
        sums[first] += low & _LOW
        sums[first + 1] += (low >> _HALF) & _LOW
        sums[first + 2] += high & _LOW
        sums[first + 3] += high >> _HALF


@kernel
def sum_joined(
    rows: Int64s,
    order: Int64s,
    keys: UInt64s,
    traits: Int32s,
    words: Int64s,
    valid: Bytes,
    first_bit: Int64,
    sums: UInt64sOut,
    totals: UInt64sOut,
) -> None:
    """Sum joined purchases by the traits of their customers, as a check on other sums.

    The customer of purchase `r` is in row `rows[r]` of `keys` and of `traits`. A trait is twice a
    code, plus one if an earlier customer has the same id. `words` are as in `sum_by_code`.

    `sums` has `COUNTED` for each code: the `WORDS` of the sum of its numbers in two's complement,
    found by long addition, the lowest first, and how many purchases have the code. `totals` gets
    what `sum_pairs` returns for their keys, and how many have a customer with a repeated id.
    """
    for row in range(rows.size):
        if row + AHEAD < rows.size:
            prefetch(keys, rows[row + AHEAD])
            prefetch(traits, rows[row + AHEAD])
        customer, bit = rows[row], first_bit + row
        totals[0] += weight_of(order[row]) * keys[customer]
        totals[1] += np.uint64(traits[customer] & 1)
        first = np.int64(traits[customer] >> 1) * COUNTED
        sums[first + WORDS] += np.uint64(1)
        if valid.size > 0 and not (valid[bit >> 3] >> (bit & 7)) & 1:
            continue
        low, high = np.uint64(words[2 * row]), np.uint64(words[2 * row + 1])
        sums[first] += low
        middle = high + np.uint64(sums[first] < low)
        carry = np.uint64(middle < high)
        sums[first + 1] += middle
        carry += np.uint64(sums[first + 1] < middle)
        sums[first + 2] += carry + np.uint64(words[2 * row + 1] >> _SIGN)


@kernel
def count_by_code(valid: Bytes, first_bit: Int64, codes: Int16s, counts: Int64sOut) -> None:
    """Add to `counts` how many `valid` rows have each code."""
    for row in range(codes.size):
        bit = first_bit + row
        if valid.size == 0 or (valid[bit >> 3] >> (bit & 7)) & 1:
            counts[np.int64(codes[row])] += 1


@inner
def weight_of(order: Any) -> Any:
    """Return a hash of a record's `order`."""
    weight = np.uint64(order + 1) * _FACTOR
    return weight ^ (weight >> np.uint64(_HALF))


@kernel
def sum_pairs(order: Int64s, keys: UInt64s) -> UInt64:
    """Return the sum modulo 2**64 of `keys`, each times a hash of its record's `order`."""
    total: Any = np.uint64(0)
    for row in range(keys.size):
        total += weight_of(order[row]) * keys[row]
    return total
