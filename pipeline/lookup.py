"""The customers as one table in a worker's memory, to look ids up in."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import (
    TEXT,
    bounds,
    chunks,
    holds_any,
    holds_only,
    text_bytes,
    to_arrow,
    to_text,
)
from pipeline.read import ID, ORDER
from pipeline.settings import UNKNOWN
from pipeline.transform import AGE_GROUP

# reduceat widens its whole input first: a slice at a time that stays in the cache.
_SLICE = 8192
_PLAIN_INTEGER = "^(0|[1-9][0-9]{0,17})$"


class Lookup:
    """Rendered customers, found by id; built once in a process and then only read.

    Holds one row more than there are customers, the last: `no_customer`, the text of a purchase
    that has none, in the group `Unknown`. Every id without a customer finds that row.

    Attributes: `ids` (n strings), `customer` (n + 1 strings), `age_group` (n + 1 labels),
    `weights` and `sizes` (n + 1 integers each: the weight of each `customer`, see
    `columns.weight`, and its bytes).
    """

    def __init__(
        self, ids: pa.Array, customer: Sequence[pa.Array], age_group: pd.Categorical
    ) -> None:
        self.ids = ids
        self.age_group = age_group
        # The whole job waits for this: there are cores that have nothing else to do.
        with ThreadPoolExecutor(2) as pool:
            joined = pool.submit(_joined, customer)
            measured = pool.submit(_measures, customer)
            self._integers, self._texts = _indexes(ids)
            self.customer = joined.result()
            self.sizes, self.weights = measured.result()

    @classmethod
    def build(cls, customers: pd.DataFrame, no_customer: str) -> Lookup:
        """Make a lookup of rendered customers (see `render.render_customers`).

        They may be in any order; without the column `order` they are in input order.
        """
        if ORDER in customers and not customers[ORDER].is_monotonic_increasing:
            customers = customers.sort_values(ORDER)
        last = pa.array([no_customer], TEXT)
        codes = customers[AGE_GROUP].cat.codes.to_numpy()
        dtype = customers[AGE_GROUP].dtype
        unknown = dtype.categories.get_loc(UNKNOWN)
        return cls(
            to_arrow(customers[ID]),
            [*chunks(customers["customer"]), last],
            pd.Categorical.from_codes(np.append(codes, codes.dtype.type(unknown)), dtype=dtype),
        )

    def __reduce__(self) -> tuple:
        # The indexes are made anew where a worker receives this: faster than sending them.
        return Lookup, (self.ids, [self.customer], self.age_group)

    def __sizeof__(self) -> int:
        columns = self.ids, self.customer, self.age_group, self.weights, self.sizes
        return sum(part.nbytes for part in (*columns, self._integers, self._texts))

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: pa.Array) -> np.ndarray:
        """Return for each id the row of its first customer, or `len(self)` (int64)."""
        keys = trimmed(ids)
        integers, plain = plain_integers(keys)
        rows = self._integers.rows(integers)
        if not plain.all():
            rows[~plain] = len(self)
            other = np.flatnonzero(~plain & _valid(keys))
            rows[other] = self._texts.rows(to_text(keys.take(pa.array(other))))
        return rows


def _indexes(ids: pa.Array) -> tuple[_Table | _Hash, _Hash]:
    """Return where ids are found: those that are plain integers, and all others."""
    keys = trimmed(ids)
    integers, plain = plain_integers(keys)
    # An integer in its shortest form equals, as text, no other form of itself nor any other
    # text: the two kinds of key can be looked up apart, and integers much faster.
    other = np.flatnonzero(~plain & _valid(keys))
    texts = _Hash(to_text(keys.take(pa.array(other))), other, absent=len(ids))
    rows = np.arange(len(ids), dtype=np.min_scalar_type(len(ids)))
    if not plain.all():
        integers, rows = integers[plain], rows[plain]
    return _index(integers, rows, absent=len(ids)), texts


class _Table:
    """Integers that are keys of some rows; the first row of a key counts.

    The position in a table is the key: nothing is searched for.
    """

    def __init__(self, keys: np.ndarray, rows: np.ndarray, absent: int) -> None:
        row_type = np.min_scalar_type(absent)  # the narrower, the more of it is in the cache
        self._rows = np.full(int(keys.max(initial=-1)) + 2, absent, row_type)
        self._rows[keys[::-1]] = rows[::-1]  # of equal keys the last one written stays

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes

    def rows(self, keys: np.ndarray) -> np.ndarray:
        # A value above the last key takes the last place, which is of none.
        return self._rows.take(keys, mode="clip").astype(np.int64)


class _Hash:
    """Integers or texts that are keys of some rows; the first row of a key counts."""

    def __init__(self, keys: pd.Series, rows: np.ndarray, absent: int) -> None:
        first = ~keys.duplicated().to_numpy()
        self._index = pd.Index(keys[first])
        self._rows = np.append(rows[first], absent)  # position -1, not found, is the last
        self.nbytes = keys.nbytes * 2 + self._rows.nbytes
        self.rows(keys[:1])  # pandas makes its hash table at the first use: not in two threads

    def rows(self, keys: pd.Series | np.ndarray) -> np.ndarray:
        return self._rows[self._index.get_indexer(keys)]


def _index(keys: np.ndarray, rows: np.ndarray, absent: int) -> _Table | _Hash:
    dense = keys.max(initial=-1) < 8 * len(keys) + 1024
    return _Table(keys, rows, absent) if dense else _Hash(pd.Series(keys), rows, absent)


def trimmed(ids: pa.Array) -> pa.Array:
    """Return ids without the blanks around them; those of nothing else are missing."""
    if not holds_only(ids, "!", "~"):
        ids = pc.utf8_trim_whitespace(ids)
    return pc.if_else(pc.equal(pc.binary_length(ids), 0), None, ids) if _has_empty(ids) else ids


def plain_integers(keys: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return (values, plain): which keys are integers in their shortest form, and those.

    `values` (int64) is 0 where `plain` (bool) is not set. `7` is plain; `007`, `+7`, `-7`,
    `7.0` and integers of more than 18 digits are not.
    """
    if holds_only(keys, "0", "9") and not _any_leads_with_zero(keys):
        try:
            values = _filled(pc.cast(keys, pa.int64()))
        except pa.ArrowInvalid:  # too many digits
            pass
        else:
            if values.max(initial=0) < 10**18:
                return values, _valid(keys)
    plain = pc.fill_null(pc.match_substring_regex(keys, _PLAIN_INTEGER), False)
    values = _filled(pc.cast(pc.if_else(plain, keys, None), pa.int64()))
    return values, plain.to_numpy(zero_copy_only=False)


def _any_leads_with_zero(digits: pa.Array) -> bool:
    """Tell whether any of these has a zero before other digits."""
    starts = bounds(digits)
    data = text_bytes(digits)
    if not data.size:
        return False
    zero = data.take(starts[:-1], mode="clip") == ord("0")
    return bool((zero & (np.diff(starts) > 1)).any())


def _joined(parts: Sequence[pa.Array]) -> pa.Array:
    """Return the strings of several arrays, none of them missing, in one.

    In NumPy's memory: it asks the kernel for large pages, in which a text anywhere is found faster
    (of 10 million a taken one costs 55 ns, in Arrow's memory 73).
    """
    offsets = np.empty(sum(map(len, parts)) + 1, np.int64)
    row = byte = 0
    for part in parts:
        ends = bounds(part)
        np.add(ends, byte, out=offsets[row : row + len(ends)])
        row += len(part)
        byte += int(ends[-1])
    data = np.concatenate([text_bytes(part) for part in parts])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(TEXT, len(offsets) - 1, buffers)


def _measures(parts: Sequence[pa.Array]) -> tuple[np.ndarray, np.ndarray]:
    """Return the size and the weight of every text, in types that are as narrow as can be."""
    count = sum(map(len, parts))
    longest = max(int(np.diff(bounds(part)).max(initial=0)) for part in parts)
    sizes = np.empty(count, np.min_scalar_type(longest))
    weights = np.empty(count, np.min_scalar_type(longest * 255))
    place = 0
    for part in parts:
        for start in range(0, len(part), _SLICE):
            some = part.slice(start, _SLICE)
            data = text_bytes(some)
            if holds_any(some, b"\"'"):
                data = np.where((data == ord('"')) | (data == ord("'")), 0, data)
            here = slice(place, place + len(some))
            sizes[here] = np.diff(bounds(some))
            # No text here is empty, as reduceat asks.
            weights[here] = np.add.reduceat(data, bounds(some)[:-1], dtype=np.int64)
            place += len(some)
    return sizes, weights


def _has_empty(ids: pa.Array) -> bool:
    return bool(pc.any(pc.equal(pc.binary_length(ids), 0)).as_py())


def _filled(integers: pa.Array) -> np.ndarray:
    return pc.fill_null(integers, 0).to_numpy(zero_copy_only=False)


def _valid(array: pa.Array) -> np.ndarray:
    return pc.is_valid(array).to_numpy(zero_copy_only=False)
