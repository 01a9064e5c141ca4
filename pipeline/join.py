"""The full outer join on the customer's id: by broadcast or by shuffle.

Both joins give every partition of purchases the customers that it needs, and do the same there:
look the ids up, and at the end add the customers that no purchase named. Broadcast, every
partition sees all customers and the purchases stay where they are, in input order. Shuffled,
Dask brings all records of an id together in one partition.

Ids are compared as text without the blanks around it. A missing id matches nothing. Of several
customers with one id the first takes the purchases; the others are customers without purchases.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.columns import (
    NUMBER,
    TEXT,
    from_words,
    to_arrow,
    to_number,
    to_text,
    to_words,
    weight,
)
from pipeline.counting import Counted, apply, count, counts, frames, merged
from pipeline.lookup import Lookup, plain_integers, trimmed
from pipeline.partitions import on_partitions, with_meta
from pipeline.read import ID, ORDER, PARSED, REST
from pipeline.transform import AGE_GROUP

ROW = "row"
_BUCKET, _LOW, _HIGH = "bucket", "low", "high"
SEEN, MATCHED = "seen", "matched"


class Joined(NamedTuple):
    """The result of the join, lazy.

    `combined`, counted: `customer_id` (text, as it came), `row` (int64: the row of the record's
    customer in `lookup`), `age_group` (categorical; `Unknown` where there is no customer),
    `purchase` (CSV text with its line end) and `amount` (decimal128), both missing where
    there is no purchase. The text of the customers stays in `lookup` until it is written (late
    materialization): it is most of the output, and carrying it would cost as much again.
    `lookup`: `Lookup` objects, one for all partitions of `combined` or one for each.
    `counts`: what was counted of the purchases before a shuffle, which does not carry it.
    `alone`: into how many partitions `without_purchases` puts the customers without purchases;
    0 where `combined` holds them.

    Counted by `matched`: `customers` (int64), how many have purchases, and `weight` (int), of the
    customers' side of all records (see `columns.weight`); the sums of its rows are what counts.
    """

    combined: dd.DataFrame
    lookup: dd.DataFrame
    counts: list[dd.DataFrame]
    alone: int


def join(purchases: dd.DataFrame, customers: dd.DataFrame, no_customer: str, how: str) -> Joined:
    """Join purchases and rendered customers, both counted, `how`: `broadcast` or `shuffle`.

    `no_customer` is the text of a customer that is not there. Broadcast, the rows of `combined`
    are the purchases in input order, and the customers without purchases are yet to come (see
    `without_purchases`); shuffled, all are there, and their order is not defined.
    """
    customers = frames(customers)
    none = Lookup.build(customers._meta, no_customer)
    meta = _find_customers(purchases._meta, none)
    if how == "shuffle":
        before = [counts(purchases)]
        purchases, customers = _bring_together(frames(purchases), customers)
        lookup = with_meta(Lookup.build, customers._meta, customers, no_customer)
        return Joined(with_meta(_join_partition, meta, purchases, lookup), lookup, before, 0)
    # Fewer than customers were read in: most have purchases, and the lines of the others are short.
    alone = -(-customers.npartitions // 4)
    # One behind the other they are in input order, and need no number that tells it.
    customers = customers.drop(columns=ORDER).repartition(npartitions=1)
    lookup = with_meta(Lookup.build, customers._meta, customers, no_customer)
    found = apply(_find_customers, purchases, lookup, meta=meta)
    found = count(SEEN, _seen, found, lookup, merge=_union)
    return Joined(count(MATCHED, _matched, found, lookup), lookup, [], alone)


def without_purchases(joined: Joined, counted: dd.DataFrame) -> dd.DataFrame:
    """Return the customers that no purchase named, after a broadcast, in input order.

    `counted` is what was counted of all partitions of `joined.combined`, the columns are those of
    that.
    """
    count = joined.alone
    # Without meta Dask would run one on the cluster, before the job is watched over.
    parts = dd.from_map(_part, range(count), args=[count], meta=_part(0, count))
    meta = joined.combined._meta
    return with_meta(_part_without_purchases, meta, parts, joined.lookup, counted)


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
    if PARSED in table:  # Dask's shuffle makes Python objects of decimals
        low, high = to_words(table[PARSED])
        table = table.drop(columns=PARSED).assign(**{_LOW: low, _HIGH: high})
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
            "amount": purchases[PARSED].array,
        }
    )


def _without_purchases(lookup: Lookup, seen: np.ndarray, start: int = 0) -> pd.DataFrame:
    """Return the customers that no purchase named; `seen` is of the lookup's rows from `start`."""
    rows = start + np.flatnonzero(~seen)
    return pd.DataFrame(
        {
            ID: to_text(lookup.ids.take(pa.array(rows))),
            ROW: rows,
            AGE_GROUP: lookup.age_group.take(rows),
            "purchase": to_text(pa.nulls(len(rows), TEXT)),
            "amount": to_number(pa.nulls(len(rows), NUMBER)),
        }
    )


def _part(number: int, count: int) -> pd.DataFrame:
    return pd.DataFrame({"number": [number], "count": [count]})


def _part_without_purchases(part: pd.DataFrame, lookup: Lookup, counted: pd.DataFrame) -> Counted:
    number, count = part["number"].item(), part["count"].item()
    start, stop = (len(lookup) * edge // count for edge in (number, number + 1))
    seen = _flags(merged([counted])[SEEN], start, stop)
    alone = _without_purchases(lookup, seen, start)
    matched = _matched(alone, lookup, int(seen.sum()))
    return Counted.of(alone).with_count(MATCHED, matched)


def _join_partition(purchases: pd.DataFrame, lookup: Lookup) -> Counted:
    """Join one partition that holds all records of its ids."""
    amounts = from_words(purchases[_LOW].to_numpy(), purchases[_HIGH].to_numpy())
    purchases = purchases.assign(**{PARSED: amounts.array})
    found = _find_customers(purchases, lookup)
    seen = _flags(_seen(found, lookup), 0, len(lookup))
    alone = _without_purchases(lookup, seen)
    combined = pd.concat([found, alone], ignore_index=True)
    matched = _matched(combined, lookup, int(seen.sum()))
    return Counted.of(combined).with_count(MATCHED, matched)


def _seen(found: pd.DataFrame, lookup: Lookup) -> pd.DataFrame:
    """Return one row, a bitmap: which rows of the lookup these purchases found."""
    flags = np.zeros(len(lookup) + 1, bool)
    flags[found[ROW].to_numpy()] = True
    return _one_bitmap(np.packbits(flags))


def _union(seen: pd.DataFrame) -> pd.DataFrame:
    """Return one row: the rows that any of these found."""
    # One by one: NumPy's own reduce would first copy them into one array.
    return _one_bitmap(reduce(np.bitwise_or, seen["bitmap"]))


def _one_bitmap(bitmap: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"bitmap": pd.Series([bitmap], dtype=object)})


def _flags(seen: pd.DataFrame, start: int, stop: int) -> np.ndarray:
    """Return the one bitmap in `seen` as bools, for the lookup's rows `start` to `stop`."""
    first = start // 8 * 8
    bits = np.unpackbits(seen["bitmap"].iloc[0][start // 8 : -(-stop // 8)])
    return bits[start - first : stop - first].astype(bool)


def _matched(combined: pd.DataFrame, lookup: Lookup, customers: int = 0) -> pd.DataFrame:
    """Return one row: `customers`, and the weight of the customers' side of some records."""
    of_customers = int(lookup.weights.take(combined[ROW].to_numpy()).sum())
    alone = to_arrow(combined["purchase"]).is_null()
    ids = to_arrow(combined[ID]).filter(alone) if alone.true_count else pa.array([], TEXT)
    total = of_customers + weight(ids)
    return pd.DataFrame({"customers": [customers], "weight": pd.Series([total], dtype=object)})
