"""The full outer join on the customer's id: by broadcast or by shuffle.

Both joins give every partition of purchases the customers that it needs, and do the same there:
look the ids up, and at the end add the customers that no purchase named. Broadcast, every
partition sees all customers and the purchases stay where they are, in input order. Shuffled,
Dask brings all records of an id together in one partition.

Ids are compared as text without the blanks around it. A missing id matches nothing. Of several
customers with one id the first takes the purchases; the others are customers without purchases.
"""

from __future__ import annotations

from typing import NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.columns import NUMBER, TEXT, to_arrow, to_number, to_text
from pipeline.lookup import Lookup, plain_integers, trimmed
from pipeline.partitions import on_partitions, with_meta
from pipeline.read import ORDER
from pipeline.transform import AGE_GROUP

_ROW = "__row__"
_BUCKET = "__bucket__"


_MATCHED = pd.DataFrame({"matched": pd.Series(dtype="int64")})


def join(
    purchases: dd.DataFrame, customers: dd.DataFrame, no_customer: str, how: str
) -> tuple[dd.DataFrame, dd.DataFrame]:
    """Join rendered purchases and customers, `how`: `broadcast` or `shuffle`.

    Returns (combined, matched), both lazy.

    Combined: `customer_id` (text, as it came), `customer` (CSV text; `no_customer` where there
    is none), `age_group` (categorical; `Unknown` where there is no customer), `purchase` (CSV
    text) and `amount` (decimal128(38, 18)), both missing where there is no purchase. Broadcast,
    its rows are the purchases in input order, then the customers without purchases in input
    order; shuffled, their order is not defined.
    Matched: rows of `matched` (int64), whose sum is the number of customers with purchases.
    """
    joined = _join_shuffle if how == "shuffle" else _join_broadcast
    return joined(purchases, customers, no_customer)


def choose_join(choice: str, customers_size: int, worker_memory: int | None) -> str:
    """Return `broadcast` or `shuffle`; under `auto`, broadcast where the customers fit.

    `customers_size` is the bytes of their files, `worker_memory` the least limit of a worker
    (None: no limit). In a worker they take up to about six times their files' size while the
    lookup is made.
    """
    if choice != "auto":
        return choice
    fits = worker_memory is None or 6 * customers_size <= worker_memory
    return "broadcast" if fits else "shuffle"


def _join_broadcast(
    purchases: dd.DataFrame, customers: dd.DataFrame, no_customer: str
) -> tuple[dd.DataFrame, dd.DataFrame]:
    whole = customers.repartition(npartitions=1)
    lookup = with_meta(Lookup.build, customers._meta, whole, no_customer)
    meta = _find_customers(purchases._meta, Lookup.build(customers._meta, no_customer))
    found = with_meta(_find_customers, meta, purchases, lookup)
    seen = found.reduction(_seen, aggregate=_union, meta=_seen(meta))

    # As many partitions as the customers came in, so that these are written in parallel too.
    parts = dd.from_map(_part, range(customers.npartitions), of=customers.npartitions)
    without = with_meta(_without_purchases, meta, parts, lookup, seen)
    return dd.concat([found, without]), with_meta(_count, _MATCHED, seen, lookup)


def _join_shuffle(
    purchases: dd.DataFrame, customers: dd.DataFrame, no_customer: str
) -> tuple[dd.DataFrame, dd.DataFrame]:
    partitions = max(purchases.npartitions, customers.npartitions)
    purchases, customers = (
        on_partitions(_add_bucket, table).shuffle(on=_BUCKET, npartitions=partitions)
        for table in (purchases, customers)
    )
    meta = _join_partition(purchases._meta, customers._meta, no_customer)
    joined = with_meta(_join_partition, meta.combined, purchases, customers, no_customer)
    combined = with_meta(_take_combined, meta.combined, joined)
    return combined, with_meta(_take_matched, meta.matched, joined)


class _Joined(NamedTuple):
    combined: pd.DataFrame
    matched: pd.DataFrame


def _join_partition(purchases: pd.DataFrame, customers: pd.DataFrame, no_customer: str) -> _Joined:
    """Join all purchases and customers of some ids."""
    # A shuffle keeps no order, and the first of several customers with one id has to be found.
    lookup = Lookup.build(customers.sort_values(ORDER), no_customer)
    found = _find_customers(purchases.reset_index(drop=True), lookup)
    seen = _seen(found)
    without = _without_purchases(_part(0, of=1), lookup, seen)
    return _Joined(pd.concat([found, without]), _count(seen, lookup))


def _take_combined(joined: _Joined) -> pd.DataFrame:
    return joined.combined


def _take_matched(joined: _Joined) -> pd.DataFrame:
    return joined.matched


def _add_bucket(table: pd.DataFrame) -> pd.DataFrame:
    """Add a number to shuffle by: the same for equal ids, spread for missing ones."""
    keys = trimmed(to_arrow(table["customer_id"]))
    bucket, plain = plain_integers(keys)
    bucket = bucket.copy()
    bucket[~plain] = pd.util.hash_array(keys.filter(pa.array(~plain)).to_numpy(False)).view("int64")
    missing = keys.is_null().to_numpy(zero_copy_only=False)
    bucket[missing] = table[ORDER].to_numpy()[missing]
    return table.assign(**{_BUCKET: bucket})


def _find_customers(purchases: pd.DataFrame, lookup: Lookup) -> pd.DataFrame:
    """Put each purchase's customer beside it, and the customer's row in the lookup."""
    rows = lookup.rows(to_arrow(purchases["customer_id"]))
    return pd.DataFrame(
        {
            "customer_id": purchases["customer_id"],
            "customer": to_text(lookup.customer.take(pa.array(rows))),
            AGE_GROUP: lookup.age_group.take(rows),
            "purchase": purchases["purchase"],
            "amount": purchases["amount"],
            _ROW: rows,
        }
    )


def _without_purchases(part: pd.DataFrame, lookup: Lookup, seen: pd.DataFrame) -> pd.DataFrame:
    """Return the customers of one part of the lookup that no purchase named."""
    number, of = part["number"].item(), part["of"].item()
    start, stop = len(lookup) * number // of, len(lookup) * (number + 1) // of
    rows = start + np.flatnonzero(~_flags(seen, len(lookup))[start:stop])
    take = pa.array(rows)
    return pd.DataFrame(
        {
            "customer_id": to_text(lookup.ids.take(take)),
            "customer": to_text(lookup.customer.take(take)),
            AGE_GROUP: lookup.age_group.take(rows),
            "purchase": to_text(pa.nulls(len(rows), TEXT)),
            "amount": to_number(pa.nulls(len(rows), NUMBER)),
            _ROW: rows,
        }
    )


def _part(number: int, of: int) -> pd.DataFrame:
    return pd.DataFrame({"number": [number], "of": [of]})


def _seen(found: pd.DataFrame) -> pd.DataFrame:
    """Return one row: the rows of the lookup that these purchases found, as a bitmap."""
    rows = found[_ROW].to_numpy()
    flags = np.zeros(rows.max(initial=-1) + 1, bool)
    flags[rows] = True
    return pd.DataFrame({"bitmap": pd.Series([np.packbits(flags)], dtype=object)})


def _union(seen: pd.DataFrame) -> pd.DataFrame:
    """Return one row: the customers in any of the bitmaps."""
    bitmaps = list(seen["bitmap"])
    union = np.zeros(max(map(len, bitmaps), default=0), np.uint8)
    for bitmap in bitmaps:
        union[: len(bitmap)] |= bitmap
    return pd.DataFrame({"bitmap": pd.Series([union], dtype=object)})


def _flags(seen: pd.DataFrame, length: int) -> np.ndarray:
    """Return the one bitmap in `seen` as `length` bools."""
    bits = np.unpackbits(seen["bitmap"].iloc[0])[:length]
    return np.pad(bits, (0, length - len(bits))).astype(bool)


def _count(seen: pd.DataFrame, lookup: Lookup) -> pd.DataFrame:
    return pd.DataFrame({"matched": [int(_flags(seen, len(lookup)).sum())]})
