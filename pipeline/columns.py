"""The two kinds of column in this package, text and exact numbers, in pandas and in Arrow."""

from __future__ import annotations

from decimal import Context, Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.memory import keep_freed_memory

keep_freed_memory()

TEXT = pa.large_string()
NUMBER = pa.decimal128(38, 18)

TEXT_DTYPE = pd.StringDtype("pyarrow", na_value=np.nan)
# Sums of decimals in Python: enough digits for any, since decimal256 has 76.
EXACT = Context(prec=100)

NUMBER_DTYPE = pd.ArrowDtype(NUMBER)

_LONG = 19  # digits, of which as many numbers as there are bytes have a sum of 38
_NO_WORD = np.iinfo(np.int64).min
_CHUNK = 1 << 20  # bytes that stay in the processor's cache while they are looked through


def to_arrow(column: pd.Series) -> pa.Array:
    """Return a text or number column as one Arrow array, without a copy where it is one chunk."""
    arrays = chunks(column)
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def chunks(column: pd.Series) -> list[pa.Array]:
    """Return the Arrow arrays that a text or number column consists of, without a copy."""
    array = pa.array(column)
    if isinstance(array, pa.Array):
        return [array]
    return array.chunks or [pa.array([], array.type)]


def to_text(array: pa.Array | pa.ChunkedArray) -> pd.Series:
    """Return Arrow strings as a text column, without a copy."""
    return pd.Series(pd.array(array, dtype=TEXT_DTYPE), copy=False)


def to_number(array: pa.Array) -> pd.Series:
    """Return an Arrow array of decimals as a number column, without a copy."""
    return pd.Series(pd.array(array, dtype=pd.ArrowDtype(array.type)), copy=False)


def to_words(numbers: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return a number column as two of int64: the low and the high halves of decimal128(38, 18).

    What is missing has the high half `_NO_WORD`, which no number of 38 digits has.
    """
    array = pc.cast(to_arrow(numbers), NUMBER)
    words = np.frombuffer(array.buffers()[1], "<i8").reshape(-1, 2)
    words = words[array.offset : array.offset + len(array)]
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    return words[:, 0].copy(), np.where(valid, words[:, 1], _NO_WORD)


def from_words(low: np.ndarray, high: np.ndarray) -> pd.Series:
    """Return the number column that two of int64 are (see `to_words`)."""
    words = np.empty((len(low), 2), "<i8")
    words[:, 0], words[:, 1] = low, high
    valid = pa.array(high != _NO_WORD)
    return to_number(
        pa.Array.from_buffers(NUMBER, len(low), [valid.buffers()[1], pa.py_buffer(words)])
    )


def text_bytes(text: pa.Array) -> np.ndarray:
    """Return the bytes of all strings in a large_string array, back to back, without a copy."""
    offsets = _offsets(text)
    data = text.buffers()[2]
    if data is None:
        return np.empty(0, np.uint8)
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]


def bounds(text: pa.Array) -> np.ndarray:
    """Return where in `text_bytes` each string begins, and last where all end (int64)."""
    offsets = _offsets(text)
    return offsets - offsets[0] if offsets[0] else offsets


def _offsets(text: pa.Array) -> np.ndarray:
    buffer = text.buffers()[1]
    if not len(text) or buffer is None:
        return np.zeros(1, np.int64)
    return np.frombuffer(buffer, np.int64)[text.offset : text.offset + len(text) + 1]


def weight(text: pa.Array) -> int:
    """Return the sum of all bytes of some strings, quotes and apostrophes not counted.

    Whatever moves text from here to there, and quotes it on the way, must keep the weight: the
    books hold it against what was read. (An escaped formula has an apostrophe more.)
    """
    return weigh(text_bytes(text))


def weigh(data: np.ndarray) -> int:
    """Return the same of the bytes of a text."""
    total = 0
    # Compared as arrays, not searched as bytes: that would hold the interpreter's lock.
    room = np.empty(min(len(data), _CHUNK), bool)
    for start in range(0, len(data), _CHUNK):
        part = data[start : start + _CHUNK]
        total += pc.sum(pa.array(part)).as_py()
        for mark in b"\"'":
            marked = np.equal(part, mark, out=room[: len(part)])
            if marked.any():
                total -= mark * int(np.count_nonzero(marked))
    return total


def holds_any(text: pa.Array, marks: bytes) -> bool:
    """Tell whether any byte of the strings is one of `marks`."""
    data = text_bytes(text)
    # Some passes that compare are many times faster than one that looks up in a table.
    return any(bool((data == mark).any()) for mark in marks)


def holds_only(text: pa.Array, first: str, last: str) -> bool:
    """Tell whether all bytes of the strings lie between these two ASCII characters."""
    data = text_bytes(text)
    return not data.size or bool(data.min() >= ord(first) and data.max() <= ord(last))


def exact_sum(numbers: pa.Array) -> Decimal:
    """Return the exact sum of decimal128 numbers, 0 where there are none."""
    total = pc.sum(summable(numbers)).as_py()
    return Decimal(0) if total is None else total


def summable(numbers: pa.Array) -> pa.Array:
    """Return `numbers` in a type in which no sum of them can overflow.

    Arrow's sums of decimal128 wrap around unseen at 38 digits; at the 76 digits of decimal256
    no number of rows that fits in memory gets there, but summing them is five times slower.
    """
    if numbers.type.precision <= _LONG:
        return numbers
    extremes = pc.min_max(numbers).as_py()
    largest = max(abs(extremes["min"] or 0), abs(extremes["max"] or 0))
    if largest * len(numbers) < Decimal(10) ** (NUMBER.precision - numbers.type.scale):
        return numbers
    return pc.cast(numbers, pa.decimal256(76, numbers.type.scale))
