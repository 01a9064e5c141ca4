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

from pipeline.columns import NUMBER, TEXT, to_arrow, to_number, to_text, weight
from pipeline.lookup import Lookup, plain_integers, trimmed
from pipeline.partitions import on_partitions, with_meta
from pipeline.read import ORDER
from pipeline.transform import AGE_GROUP

_ROW = "__row__"
_BUCKET = "__bucket__"


_MATCHED = pd.DataFrame({"customers": pd.Series(dtype="int64"), "weight": pd.Series(dtype=object)})


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
    Matched: rows of `customers` (int64), how many have purchases, and `weight` (int), of the
    customers' side of all records (see `columns.weight`); their sums are what counts.
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
    none = Lookup.build(customers._meta, no_customer)
    meta = _find_customers(purchases._meta, none)
    found = with_meta(_find_customers, meta, purchases, lookup)
    seen = with_meta(_seen, _seen(meta, none), found, lookup)
    seen = seen.reduction(_union, aggregate=_union, meta=seen._meta)

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
    seen = _seen(found, lookup)
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
    rows = start + np.flatnonzero(~_flags(seen, lookup)[start:stop])
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


def _seen(found: pd.DataFrame, lookup: Lookup) -> pd.DataFrame:
    """Return one row: which rows of the lookup these purchases found (a bitmap), their weight."""
    rows = found[_ROW].to_numpy()
    flags = np.zeros(len(lookup) + 1, bool)
    flags[rows] = True
    return _one_seen(np.packbits(flags), int(lookup.weights[rows].sum()))


def _union(seen: pd.DataFrame) -> pd.DataFrame:
    """Return one row: the rows that any of these found, and the weight of all."""
    if seen.empty:  # Dask asks for the columns only
        return seen
    return _one_seen(np.bitwise_or.reduce(list(seen["bitmap"])), int(seen["weight"].sum()))


def _one_seen(bitmap: np.ndarray, weight: int) -> pd.DataFrame:
    return pd.DataFrame({"bitmap": pd.Series([bitmap], dtype=object), "weight": [weight]})


def _flags(seen: pd.DataFrame, lookup: Lookup) -> np.ndarray:
    """Return the one bitmap in `seen` as bools, one for each customer of the lookup."""
    return np.unpackbits(seen["bitmap"].iloc[0])[: len(lookup)].astype(bool)


def _count(seen: pd.DataFrame, lookup: Lookup) -> pd.DataFrame:
    flags = _flags(seen, lookup)
    alone = lookup.ids.filter(pa.array(~flags))
    of_alone = weight(alone) + int(lookup.weights[:-1][~flags].sum())
    return pd.DataFrame(
        {
            "customers": [int(flags.sum())],
            "weight": pd.Series([seen["weight"].item() + of_alone], dtype=object),
        }
    )
