"""The build side of the broadcast hash join: all customers in memory, indexed by id."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import TEXT, bounds, chunks, text_bytes, to_arrow, to_text
from pipeline.columns.keys import plain_integers, trimmed
from pipeline.settings import UNKNOWN
from pipeline.steps.read import ID, KEY, ORDER
from pipeline.steps.render import CUSTOMER, checksums_of
from pipeline.steps.transform import AGE_GROUP


class Lookup:
    """Rendered customers, indexed by id; built once per process and read-only afterwards.

    Has one row per customer and a last row for ids without a customer: the text `no_customer`, in
    the group `Unknown`.

    Attributes: `ids` (n strings), `customer` (n + 1 strings), `age_group` (n + 1 labels), `keys`
    (n + 1 hashes of the ids, taken when the customers were read; the last is 0), `sizes` (n + 1
    integers: the bytes of each `customer`) and `checksums` (see `render.checksums_of`). `residue`
    is a modulus and the remainder that most ids have, if they are integers: the index of these is
    then as small and fast as that of consecutive integers.
    """

    def __init__(
        self,
        ids: pa.Array,
        customer: Sequence[pa.Array],
        age_group: pd.Categorical,
        keys: np.ndarray,
        residue: tuple[int, int] = (1, 0),
    ) -> None:
        self.ids = ids
        self.age_group = age_group
        self.keys = keys
        self._residue = residue
        # The whole job waits for this, so other cores are idle.
        with ThreadPoolExecutor(2) as pool:
            known = pool.submit(_Known, keys[:-1])
            texts = pool.submit(self._set_texts, customer)
            self._integers, self._texts = _indexes(ids, residue)
            self._known = known.result()
            texts.result()

    @classmethod
    def build(
        cls, customers: pd.DataFrame, no_customer: str, residue: tuple[int, int] = (1, 0)
    ) -> Lookup:
        """Build a lookup of rendered customers (see `render.render_customers`).

        They may be in any order; without the column `order`, they must be in input order.
        """
        if ORDER in customers and not customers[ORDER].is_monotonic_increasing:
            customers = customers.sort_values(ORDER)
        last = pa.array([no_customer], TEXT)
        codes = customers[AGE_GROUP].cat.codes.to_numpy()
        dtype = customers[AGE_GROUP].dtype
        unknown = dtype.categories.get_loc(UNKNOWN)
        return cls(
            to_arrow(customers[ID]),
            [*chunks(customers[CUSTOMER]), last],
            pd.Categorical.from_codes(np.append(codes, codes.dtype.type(unknown)), dtype=dtype),
            np.append(customers[KEY].to_numpy(), np.uint64(0)),
            residue,
        )

    def _set_texts(self, customer: Sequence[pa.Array]) -> None:
        self.customer = _joined(customer)
        self.sizes = _sizes(self.customer)
        self.checksums = checksums_of(self.part(0, len(self)))

    def __reduce__(self) -> tuple:
        # The receiving worker rebuilds the indexes: faster than sending them.
        return Lookup, (self.ids, [self.customer], self.age_group, self.keys, self._residue)

    def __sizeof__(self) -> int:
        columns = self.ids, self.customer, self.age_group, self.sizes, self.keys
        indexes = self._known, self._integers, self._texts
        return sum(part.nbytes for part in (*columns, *indexes))

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: pa.Array) -> np.ndarray:
        """Return the row of each id's first customer, or `len(self)` if it has none (int64)."""
        keys, integers, plain = _keys(ids, self._residue)
        rows = self._integers.rows(integers)
        if not plain.all():
            rows[~plain] = len(self)
            other = np.flatnonzero(~plain & _valid(keys))
            rows[other] = self._texts.rows(to_text(keys.take(pa.array(other))))
        return rows

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Tell of each hash of an id (uint64) whether a customer has it, without the indexes."""
        return self._known.has(keys)

    def not_first(self, rows: np.ndarray) -> int:
        """Return how many of these rows are of a customer whose id an earlier one has."""
        later = self._known.later
        return 0 if later is None else int(np.count_nonzero(later[rows]))

    def part(self, start: int, stop: int) -> pd.DataFrame:
        """Return the customers in some rows, with the columns they were built of."""
        rows = slice(start, stop)
        return pd.DataFrame(
            {
                ID: to_text(self.ids[rows]),
                CUSTOMER: to_text(self.customer[rows]),
                AGE_GROUP: self.age_group[rows],
                KEY: self.keys[rows],
            }
        )


class _Known:
    """The hashes of the customers' ids; 0 stands for a missing one.

    `later` tells which rows, but the last, have a hash that an earlier row has; None if none has.
    """

    def __init__(self, keys: np.ndarray) -> None:
        self._keys = np.sort(keys)
        # Whether any key begins with some bits: for most keys of nobody, this is enough.
        bits = min(max(len(keys), 1).bit_length() + 3, 32)
        self._shift = np.uint64(64 - bits)
        self._first_bits = np.zeros(1 << bits, bool)
        self._first_bits[self._keys >> self._shift] = True
        self.later = None
        if (self._keys[1:] == self._keys[:-1])[self._keys[1:] != 0].any():
            later = pd.Series(keys).duplicated().to_numpy() & (keys != 0)
            self.later = np.append(later, False)

    @property
    def nbytes(self) -> int:
        return self._keys.nbytes + self._first_bits.nbytes

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Tell which of some hashes are among these (bool)."""
        found = self._first_bits[keys >> self._shift] & (keys != 0)
        if found.any():
            places = np.searchsorted(self._keys, keys[found])
            found[found] = self._keys.take(places, mode="clip") == keys[found]
        return found


def _sizes(texts: pa.Array) -> np.ndarray:
    """Return the bytes of every text, in the narrowest type that fits."""
    sizes = np.diff(bounds(texts))
    return sizes.astype(np.min_scalar_type(int(sizes.max(initial=0))))


def _keys(ids: pa.Array, residue: tuple[int, int]) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Return the trimmed ids, and `plain_integers` of them: of those with the residue, divided."""
    keys = trimmed(ids)
    integers, plain = plain_integers(keys)
    modulus, remainder = residue
    if modulus > 1:
        quotients = integers // modulus
        plain = plain & (integers - quotients * modulus == remainder)
        integers = quotients
    return keys, integers, plain


def _indexes(ids: pa.Array, residue: tuple[int, int]) -> tuple[_Table | _Hash, _Hash]:
    """Return two indexes of the ids: one for plain integers, one for all others."""
    keys, integers, plain = _keys(ids, residue)
    # As text, an integer in its shortest form equals only itself. The two kinds of key can
    # therefore have separate indexes, and that of integers is much faster.
    other = np.flatnonzero(~plain & _valid(keys))
    texts = _Hash(to_text(keys.take(pa.array(other))), other, absent=len(ids))
    rows = np.arange(len(ids), dtype=np.min_scalar_type(len(ids)))
    if not plain.all():
        integers, rows = integers[plain], rows[plain]
    return _index(integers, rows, absent=len(ids)), texts


class _Table:
    """An index of integer keys; the first row of a key wins.

    The key is the position in an array, so a lookup needs no search.
    """

    def __init__(self, keys: np.ndarray, rows: np.ndarray, absent: int) -> None:
        row_type = np.min_scalar_type(absent)  # the narrower, the more of it fits in the cache
        self._rows = np.full(int(keys.max(initial=-1)) + 2, absent, row_type)
        self._rows[keys[::-1]] = rows[::-1]  # reversed: the last row written for a key stays

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes

    def rows(self, keys: np.ndarray) -> np.ndarray:
        # A value above the largest key is clipped to the last position, which has no customer.
        return self._rows.take(keys, mode="clip").astype(np.int64)


class _Hash:
    """An index of integer or text keys; the first row of a key wins."""

    def __init__(self, keys: pd.Series, rows: np.ndarray, absent: int) -> None:
        first = ~keys.duplicated().to_numpy()
        self._index = pd.Index(keys[first])
        self._rows = np.append(rows[first], absent)  # last, because "not found" is position -1
        self.nbytes = keys.nbytes * 2 + self._rows.nbytes
        self.rows(keys[:1])  # pandas builds its hash table on first use, which is not thread-safe

    def rows(self, keys: pd.Series | np.ndarray) -> np.ndarray:
        return self._rows[self._index.get_indexer(keys)]


def _index(keys: np.ndarray, rows: np.ndarray, absent: int) -> _Table | _Hash:
    dense = keys.max(initial=-1) < 8 * len(keys) + 1024
    return _Table(keys, rows, absent) if dense else _Hash(pd.Series(keys), rows, absent)


def _joined(parts: Sequence[pa.Array]) -> pa.Array:
    """Concatenate string arrays without nulls.

    Uses NumPy's allocator, which asks the kernel for huge pages: random access is faster there
    (taking one of 10 million texts costs 55 ns, in Arrow's memory 73).
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


def _valid(array: pa.Array) -> np.ndarray:
    return pc.is_valid(array).to_numpy(zero_copy_only=False)
