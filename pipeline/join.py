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

from pipeline.columns import NUMBER, NUMBER_DTYPE, TEXT, to_arrow, to_number, to_text, weight
from pipeline.lookup import Lookup, plain_integers, trimmed
from pipeline.partitions import on_partitions, with_meta
from pipeline.read import ID, ORDER, PARSED, REST
from pipeline.transform import AGE_GROUP

ROW = "row"
_BUCKET = "__bucket__"
# Into so many partitions the customers without purchases are put after a broadcast.
_PARTS = 8
_MATCHED = pd.DataFrame({"customers": pd.Series(dtype="int64"), "weight": pd.Series(dtype=object)})


class Joined(NamedTuple):
    """The result of the join, lazy.

    `combined`: `customer_id` (text, as it came), `row` (int64: the row of the record's customer in
    `lookup`), `age_group` (categorical; `Unknown` where there is no customer), `purchase` (CSV
    text) and `amount` (decimal128(38, 18)), both missing where there is no purchase. The text of
    the customers stays in `lookup` until it is written (late materialization): it is most of the
    output, and carrying it would cost as much again.
    `lookup`: `Lookup` objects, one for all partitions of `combined` or one for each.
    `matched`: `customers` (int64), how many have purchases, and `weight` (int), of the customers'
    side of all records (see `columns.weight`); the sums of its rows are what counts.
    """

    combined: dd.DataFrame
    lookup: dd.DataFrame
    matched: dd.DataFrame


def join(purchases: dd.DataFrame, customers: dd.DataFrame, no_customer: str, how: str) -> Joined:
    """Join purchases and rendered customers, `how`: `broadcast` or `shuffle`.

    `no_customer` is the text of a customer that is not there. Broadcast, the rows of `combined`
    are the purchases in input order, then the customers without purchases in input order;
    shuffled, their order is not defined.
    """
    shuffled = how == "shuffle"
    if shuffled:
        purchases, customers = _bring_together(purchases, customers)
    else:
        customers = customers.repartition(npartitions=1)
    none = Lookup.build(customers._meta, no_customer)
    lookup = with_meta(Lookup.build, customers._meta, customers, no_customer)
    meta = _find_customers(purchases._meta, none)
    found = with_meta(_find_customers, meta, purchases, lookup)
    seen = with_meta(_seen, _seen(meta, none), found, lookup)
    if not shuffled:
        seen = seen.reduction(_union, aggregate=_union, meta=seen._meta)
    matched = with_meta(_count, _MATCHED, seen, lookup)
    if shuffled:
        without = with_meta(_without_purchases, meta, lookup, seen)
        combined = with_meta(_append, meta, found, without)
    else:
        combined = dd.concat([found, _without_purchases_in_parts(lookup, seen, meta)])
    return Joined(combined, lookup, matched)


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


def _bring_together(
    purchases: dd.DataFrame, customers: dd.DataFrame
) -> tuple[dd.DataFrame, dd.DataFrame]:
    """Shuffle both tables so that equal ids are in partitions of the same number."""
    partitions = max(purchases.npartitions, customers.npartitions)
    purchases, customers = (
        on_partitions(_add_bucket, table).shuffle(on=_BUCKET, npartitions=partitions)
        for table in (purchases, customers)
    )
    return purchases, customers


def _add_bucket(table: pd.DataFrame) -> pd.DataFrame:
    """Add a number to shuffle by: the same for equal ids, spread for missing ones."""
    keys = trimmed(to_arrow(table[ID]))
    bucket, plain = plain_integers(keys)
    bucket = bucket.copy()
    bucket[~plain] = pd.util.hash_array(keys.filter(pa.array(~plain)).to_numpy(False)).view("int64")
    missing = keys.is_null().to_numpy(zero_copy_only=False)
    bucket[missing] = table[ORDER].to_numpy()[missing]
    return table.assign(**{_BUCKET: bucket})


def _find_customers(purchases: pd.DataFrame, lookup: Lookup) -> pd.DataFrame:
    """Put beside each purchase the row of its customer in the lookup, and the age group."""
    rows = lookup.rows(to_arrow(purchases[ID]))
    return pd.DataFrame(
        {
            ID: purchases[ID].array,
            ROW: rows,
            AGE_GROUP: lookup.age_group.take(rows),
            "purchase": purchases[REST].array,
            # Dask's shuffle gives decimals back as Python objects.
            "amount": purchases[PARSED].astype(NUMBER_DTYPE).array,
        }
    )


def _without_purchases(
    lookup: Lookup, seen: pd.DataFrame, start: int = 0, stop: int | None = None
) -> pd.DataFrame:
    """Return the customers that no purchase named, of the lookup's rows `start` to `stop`."""
    rows = start + np.flatnonzero(~_flags(seen, lookup)[start:stop])
    return pd.DataFrame(
        {
            ID: to_text(lookup.ids.take(pa.array(rows))),
            ROW: rows,
            AGE_GROUP: lookup.age_group.take(rows),
            "purchase": to_text(pa.nulls(len(rows), TEXT)),
            "amount": to_number(pa.nulls(len(rows), NUMBER)),
        }
    )


def _without_purchases_in_parts(
    lookup: dd.DataFrame, seen: dd.DataFrame, meta: pd.DataFrame
) -> dd.DataFrame:
    """Return the same in `_PARTS` partitions, so that they are written in parallel too."""
    # Without meta Dask would run one on the cluster, before the job is watched over.
    parts = dd.from_map(_part, range(_PARTS), meta=_part(0))
    return with_meta(_part_without_purchases, meta, parts, lookup, seen)


def _part(number: int) -> pd.DataFrame:
    return pd.DataFrame({"number": [number]})


def _part_without_purchases(part: pd.DataFrame, lookup: Lookup, seen: pd.DataFrame) -> pd.DataFrame:
    number = part["number"].item()
    start, stop = (len(lookup) * edge // _PARTS for edge in (number, number + 1))
    return _without_purchases(lookup, seen, start, stop)


def _append(found: pd.DataFrame, without: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([found, without], ignore_index=True)


def _seen(found: pd.DataFrame, lookup: Lookup) -> pd.DataFrame:
    """Return one row: which rows of the lookup these purchases found (a bitmap), their weight."""
    rows = found[ROW].to_numpy()
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
