"""The build side of a hash join: all customers, or those of a partition, indexed by id."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.columns.arrow import TEXT, bounds, chunks, join_texts, to_text
from pipeline.columns.flat import Flat
from pipeline.columns.id_index import IdIndex
from pipeline.columns.totals import Joined, total_joined
from pipeline.engine.portable import Portable
from pipeline.kernels.ids import count_known, enter_keys
from pipeline.settings import UNKNOWN
from pipeline.steps.read import ID, KEY, ORDER
from pipeline.steps.render import CUSTOMER, totals_of
from pipeline.steps.transform import AGE_GROUP

_ROOM = 1.25  # slots in the hash table for each customer, at least


class Lookup(Portable, Flat):
    """Rendered customers, indexed by id; read-only.

    Has one row per customer and a last row for ids without a customer: the text `no_customer`, in
    the group `Unknown`.

    Attributes: `ids` (n strings), `customer` (n + 1 strings), `age_group` (n + 1 labels), `keys`
    (n + 1 hashes of the ids, taken when the customers were read; the last is 0), `sizes` (n + 1
    integers: the bytes of each `customer`) and `totals` (see `render.totals_of`).
    """

    def __init__(
        self, ids: pa.Array, customer: pa.Array, age_group: pd.Categorical, keys: np.ndarray
    ) -> None:
        self.customer = customer
        self.age_group = age_group
        self.keys = keys
        # In a broadcast join, the whole job waits for this, so the other cores are idle.
        with ThreadPoolExecutor(2) as pool:
            known = pool.submit(_Known, keys[:-1], age_group.codes)
            index = pool.submit(IdIndex, ids)
            self.sizes = _sizes(customer)
            self.totals = totals_of(_frame(ids, customer[:-1], age_group[:-1], keys[:-1]))
            self._known, self._index = known.result(), index.result()

    @classmethod
    def build(cls, customers: pd.DataFrame, no_customer: str) -> Lookup:
        """Build a lookup of rendered customers (see `render.render_customers`).

        They may be in any order; without the column `order`, they must be in input order.
        """
        if ORDER in customers and not customers[ORDER].is_monotonic_increasing:
            customers = customers.sort_values(ORDER)
        codes = customers[AGE_GROUP].cat.codes.to_numpy()
        dtype = customers[AGE_GROUP].dtype
        unknown = dtype.categories.get_loc(UNKNOWN)
        return cls(
            join_texts(chunks(customers[ID])),
            join_texts([*chunks(customers[CUSTOMER]), pa.array([no_customer], TEXT)]),
            pd.Categorical.from_codes(np.append(codes, codes.dtype.type(unknown)), dtype=dtype),
            np.append(customers[KEY].to_numpy(), np.uint64(0)),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> pa.Array:
        """The ids as they were read."""
        return self._index.ids

    def rows(self, ids: pa.Array) -> np.ndarray:
        """Return the row of each id's first customer, or `len(self)` if it has none (int64)."""
        return self._index.rows(ids)

    def repeated(self, start: int, stop: int) -> np.ndarray:
        """Return the rows from `start` to `stop` whose id also occurs in an earlier row (int64)."""
        return start + np.flatnonzero(self._known.traits[start:stop] & 1)

    def count_known(self, keys: np.ndarray) -> int:
        """Return, without the index, how many of these hashes of ids (uint64) are customers'."""
        return self._known.count(keys)

    def total(self, rows: np.ndarray, order: np.ndarray, amounts: pa.Array) -> Joined:
        """Return, without the index, the totals of purchases by the customers in these rows."""
        traits, groups = self._known.traits, len(self.age_group.categories)
        return total_joined(rows, order, amounts, keys=self.keys, traits=traits, groups=groups)

    def part(self, start: int, stop: int) -> pd.DataFrame:
        """Return the customers in some rows, in the columns from which the lookup was built."""
        rows = slice(start, stop)
        return _frame(self.ids[rows], self.customer[rows], self.age_group[rows], self.keys[rows])


class _Known(Flat):
    """What is known of the customers' ids without the index, to verify the index.

    It shares nothing with the index: other hashes, in a table of their own; 0 stands for a missing
    id. `traits` are, for each row of the lookup, twice the code of the age group, and one more if
    an earlier row has the same hash (int32).
    """

    def __init__(self, keys: np.ndarray, codes: np.ndarray) -> None:
        self._table = np.zeros(1 << int(_ROOM * len(keys)).bit_length(), np.uint64)
        later = np.zeros(len(codes), np.uint8)
        enter_keys(keys, self._table, later)
        self.traits = 2 * codes.astype(np.int32) + later

    def count(self, keys: np.ndarray) -> int:
        """Return how many of `keys` are hashes of customers' ids."""
        return int(count_known(keys, self._table))


def _frame(
    ids: pa.Array, customer: pa.Array, age_group: pd.Categorical, keys: np.ndarray
) -> pd.DataFrame:
    columns = {ID: to_text(ids), CUSTOMER: to_text(customer), AGE_GROUP: age_group, KEY: keys}
    return pd.DataFrame(columns)


def _sizes(texts: pa.Array) -> np.ndarray:
    """Return the size of every text in bytes, in the narrowest type that fits."""
    sizes = np.diff(bounds(texts))
    return sizes.astype(np.min_scalar_type(int(sizes.max(initial=0))))
