"""Control totals: exact sums of numbers, totals of text and ids, checksums.

A control total has no meaning of its own. Taken at two points, it shows whether anything was lost,
changed or exchanged between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from isal.isal_zlib import crc32, crc32_combine

from pipeline.columns.arrow import NUMBER, bounds, text_bytes
from pipeline.kernels.text import sum_text

# For sums of decimals in Python: enough digits for any, as decimal256 has 76.
EXACT = Context(prec=100)

_LONG = 19  # digits: no table of such numbers that fits in memory has a sum of 38 digits
_WORD = 8  # bytes
_MOST_WORDS = 32
_ROWS = 1 << 14  # whose numbers stay in the cache
# Odd constants of a multiplicative hash (those of SplitMix64).
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)
_EXACT_FLOAT = 1 << 53  # float64 holds all integers up to this one
_SHIFTS = 0, 16, 32, 48


@dataclass(frozen=True)
class Checksum:
    """The CRC-32 of some bytes, and their number; those of two parts add up to that of both."""

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


def hashes(text: pa.Array) -> np.ndarray:
    """Return a 64-bit hash of each string (uint64); 0 for one that is empty or missing.

    Different texts have different hashes, but for a chance of 2**-64.
    """
    stops = bounds(text)
    # Eight bytes from any place on, read as one number.
    padded = np.append(text_bytes(text), np.zeros(_WORD, np.uint8))
    words = np.ndarray(len(padded) - _WORD + 1, "<u8", padded, strides=(1,))
    found = np.empty(len(text), np.uint64)
    for start in range(0, len(text), _ROWS):
        some = stops[start : start + _ROWS + 1]
        found[start : start + _ROWS] = _hashes(words, some[:-1], np.diff(some))
    for row in np.flatnonzero(np.diff(stops) > _WORD * _MOST_WORDS).tolist():
        data = padded[stops[row] : stops[row + 1]].tobytes()
        found[row] = int.from_bytes(blake2b(data, digest_size=_WORD).digest(), "little")
    if text.null_count:
        found[~_valid(text)] = 0
    return found


def _hashes(words: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    found = words[starts]
    short = np.minimum(sizes, _WORD)
    # Shifts out what is beyond the text; a shift by all bits leaves 0.
    found <<= ((_WORD - short) << 3).view(np.uint64)
    found ^= _OF_SIZE.take(short)  # zero bytes count too
    longest = min(int(sizes.max()), _WORD * _MOST_WORDS)
    if longest > _WORD:
        last = np.maximum(sizes - _WORD, 0)
        found ^= np.where(last > 0, mixed(sizes), 0)
        for place in range(_WORD, longest, _WORD):
            # The last word ends with the text, and overlaps with the one before it.
            more = mixed(found) ^ words[starts + np.minimum(last, place)]
            found = np.where(sizes > place, more, found)
    return mixed(found)


def mixed(values: np.ndarray) -> np.ndarray:
    """Return a permutation of all 64-bit numbers that leaves no pattern (uint64); 0 stays 0."""
    values = values.astype(np.uint64)  # a copy
    for factor in (_FIRST, _SECOND):
        values *= factor
        values ^= values >> _HALF
    return values


_OF_SIZE = mixed(np.arange(_WORD + 1))


def pairing(order: np.ndarray, keys: np.ndarray) -> int:
    """Return the sum modulo 2**64 of `keys` (uint64), each times a hash of its record's `order`.

    If any record has another's key, the sum differs but for a chance of some 2**-60.
    """
    total = 0
    for start in range(0, len(keys), _ROWS):
        weights = order[start : start + _ROWS].astype(np.uint64)  # a copy
        weights += np.uint64(1)
        weights *= _FIRST
        weights ^= weights >> _HALF
        weights *= keys[start : start + _ROWS]
        total += int(weights.sum())
    return modulo(total)


def total_of(keys: np.ndarray) -> int:
    """Return the sum of hashes modulo 2**64, whatever their order."""
    return int(keys.sum(dtype=np.uint64))


def modulo(total: int) -> int:
    """Return a sum of totals as one of them: modulo 2**64."""
    return total % (1 << 64)


def text_total(data: np.ndarray) -> int:
    """Return the sum of all bytes (uint8) but those that CSV adds to text, or takes from it.

    Those are quotes, commas, line ends and the apostrophe of an escaped formula. So the total stays
    the same when text is quoted, put into lines, and joined with other text.
    """
    return int(sum_text(data))


def exact_sum(numbers: pa.Array) -> Decimal:
    """Return the exact sum of decimal128 numbers; 0 if there are none."""
    total = pc.sum(summable(numbers)).as_py()
    return Decimal(0) if total is None else total


def summable(numbers: pa.Array) -> pa.Array:
    """Return `numbers` in a type in which none of their sums can overflow.

    Arrow's decimal128 sums silently wrap around at 38 digits. With the 76 digits of decimal256, no
    number of rows that fits in memory overflows, but summing is five times slower.
    """
    if numbers.type.precision <= _LONG:
        return numbers
    extremes = pc.min_max(numbers).as_py()
    largest = max(abs(extremes["min"] or 0), abs(extremes["max"] or 0))
    if largest * len(numbers) < Decimal(10) ** (NUMBER.precision - numbers.type.scale):
        return numbers
    return pc.cast(numbers, pa.decimal256(76, numbers.type.scale))


def exact_sums(numbers: pa.Array, codes: np.ndarray, count: int) -> list[Decimal]:
    """Return the exact sum of the decimal128 numbers with each code from 0 to `count` - 1.

    NumPy adds up the words of the numbers; that Arrow sums the same is what this is there to show.
    """
    if not len(numbers):
        return [Decimal(0)] * count
    words = np.frombuffer(numbers.buffers()[1], "<i8").reshape(-1, 2)
    words = words[numbers.offset : numbers.offset + len(numbers)]
    low, high = words[:, 0], words[:, 1]
    if numbers.null_count:
        valid = _valid(numbers)
        low, high = np.where(valid, low, 0), np.where(valid, high, 0)
    codes = codes.astype(np.intp)
    # Floats add up the parts exactly, as these are small enough.
    if (high == low >> 63).all() and len(low) * max(-int(low.min()), int(low.max())) < _EXACT_FLOAT:
        parts = [(low, 0)]
    else:
        parts = [(low >> shift & 0xFFFF, shift) for shift in _SHIFTS]
        parts += [(high >> shift & 0xFFFF, 64 + shift) for shift in _SHIFTS[:-1]]
        parts.append((high >> _SHIFTS[-1], 64 + _SHIFTS[-1]))  # with the sign
    totals = [0] * count
    for part, shift in parts:
        for code, found in enumerate(np.bincount(codes, part, count)):
            totals[code] += int(found) << shift
    with localcontext(EXACT):
        return [Decimal(total).scaleb(-numbers.type.scale) for total in totals]


def _valid(array: pa.Array) -> np.ndarray:
    return array.is_valid().to_numpy(zero_copy_only=False)
