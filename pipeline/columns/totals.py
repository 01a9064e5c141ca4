"""Control totals: exact sums of numbers, totals of text and ids, checksums.

A control total has no meaning of its own. Taken at two points, it shows whether anything was lost,
changed or swapped between them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import Any

import numpy as np
import pyarrow as pa
from isal.isal_zlib import crc32, crc32_combine

from pipeline.columns.arrow import bitmap, bounds, text_bytes
from pipeline.kernels.sums import (
    COUNTED,
    LIMBS,
    WORDS,
    count_by_code,
    sum_by_code,
    sum_joined,
    sum_pairs,
)
from pipeline.kernels.text import sum_ranges

# For sums of decimals in Python: enough digits for any sum.
EXACT = Context(prec=100)

# Odd constants of a multiplicative hash (those of SplitMix64).
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Checksum:
    """The CRC-32 and the length of some bytes; checksums of two parts add up to that of both."""

    value: int = 0
    size: int = 0

    @classmethod
    def of(cls, data: Any) -> Checksum:
        """Return the checksum of a contiguous buffer."""
        view = memoryview(data).cast("B")
        return cls(crc32(view), len(view))

    def __add__(self, other: Checksum) -> Checksum:
        return Checksum(crc32_combine(self.value, other.value, other.size), self.size + other.size)

    def __str__(self) -> str:
        """Return the CRC-32 in the eight digits that tools such as `gzip -lv` print."""
        return f"{self.value:08x}"


def checksums(text: pa.Array) -> tuple[Checksum, Checksum]:
    """Return the checksums of the sizes and of the bytes of some strings (large_string)."""
    return Checksum.of(np.diff(bounds(text))), Checksum.of(text_bytes(text))


def scramble(values: np.ndarray) -> np.ndarray:
    """Scramble 64-bit numbers, so that no pattern is left (uint64); 0 stays 0."""
    values = values.astype(np.uint64)  # a copy
    for factor in (_FIRST, _SECOND):
        values *= factor
        values ^= values >> _HALF
    return values


def pairing(order: np.ndarray, keys: np.ndarray) -> int:
    """Return the sum modulo 2**64 of `keys` (uint64), each times a hash of its record's `order`.

    If any record has another's key, the sum differs, except with probability about 2**-60.
    """
    return int(sum_pairs(order, keys))


def total_of(keys: np.ndarray) -> int:
    """Return the sum of hashes modulo 2**64, whatever their order."""
    return int(keys.sum(dtype=np.uint64))


def modulo(total: int) -> int:
    """Reduce a sum of totals modulo 2**64, as each total is."""
    return total % (1 << 64)


def text_total(data: np.ndarray) -> int:
    """Return the sum of all bytes (uint8) except those that writing CSV adds or removes.

    These are quotes, commas, newlines and the apostrophe of an escaped formula. So the total stays
    the same when text is quoted or put into lines.
    """
    return range_total(data, np.zeros(1, np.int64), np.array([len(data)]))


def range_total(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> int:
    """Return the total of some ranges of a text (int64; see `text_total`)."""
    return int(sum_ranges(data, begin, end))


def exact_sum(numbers: pa.Array) -> Decimal:
    """Return the exact sum of decimal128 numbers; 0 if there are none."""
    return sum_by_group(numbers, np.zeros(len(numbers), np.int16), 1)[0]


def sum_by_group(numbers: pa.Array, codes: np.ndarray, count: int) -> list[Decimal]:
    """Return the exact sum of the decimal128 numbers with each code from 0 to `count` - 1."""
    sums = np.zeros(count * LIMBS, np.int64)
    if len(numbers):
        sum_by_code(*_words(numbers), codes.astype(np.int16, copy=False), sums)
    parts = sums.reshape(count, LIMBS).tolist()
    totals = (sum(part << 32 * place for place, part in enumerate(one)) for one in parts)
    with localcontext(EXACT):
        return [Decimal(total).scaleb(-numbers.type.scale) for total in totals]


def count_by_group(column: pa.Array, codes: np.ndarray, count: int) -> list[int]:
    """Return how many values of a column with each code, from 0 to `count` - 1, are not missing."""
    counts = np.zeros(count, np.int64)
    count_by_code(bitmap(column), column.offset, codes.astype(np.int16, copy=False), counts)
    return counts.tolist()


@dataclass(frozen=True)
class Joined:
    """Totals of joined purchases, computed from the data of their customers.

    `pairs` is what `pairing` returns. `not_first` is the number of purchases whose customer has
    the id of an earlier one. `sums` and `counts` are those of each group; the sums are not
    computed in the same way as in `sum_by_group`.
    """

    pairs: int
    not_first: int
    sums: list[Decimal]
    counts: list[int]


def total_joined(
    rows: np.ndarray,
    order: np.ndarray,
    numbers: pa.Array,
    *,
    keys: np.ndarray,
    traits: np.ndarray,
    groups: int,
) -> Joined:
    """Return the totals of purchases, given their `order` (int64) and decimal128 `numbers`.

    `rows` (int64) has the row of each one's customer in `keys` (uint64) and in `traits` (int32; see
    `kernels.sums.sum_joined`). The codes in `traits` are below `groups`.
    """
    sums, totals = np.zeros(groups * COUNTED, np.uint64), np.zeros(2, np.uint64)
    if len(numbers):
        sum_joined(rows, order, keys, traits, *_words(numbers), sums, totals)
    table = sums.reshape(groups, COUNTED)
    parts = (row.tobytes() for row in table[:, :WORDS])
    numerators = [int.from_bytes(part, sys.byteorder, signed=True) for part in parts]
    with localcontext(EXACT):
        exact = [Decimal(total).scaleb(-numbers.type.scale) for total in numerators]
    pairs, not_first = totals.tolist()
    return Joined(pairs, not_first, exact, table[:, WORDS].tolist())


def _words(numbers: pa.Array) -> tuple[np.ndarray, np.ndarray, int]:
    """Return decimals as kernels take them: words, bitmap of valid ones, and its first bit."""
    start, stop = 2 * numbers.offset, 2 * (numbers.offset + len(numbers))
    words = np.frombuffer(numbers.buffers()[1], np.int64)[start:stop]
    return words, bitmap(numbers), numbers.offset
