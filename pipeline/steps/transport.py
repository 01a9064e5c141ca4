"""Totals of the records that a shuffle takes apart and puts together in another order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.columns.arrow import to_arrow
from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import hashes, low_words, mixed, pairing, seal
from pipeline.engine.ledger import with_totals
from pipeline.steps.pieces import partition_numbers
from pipeline.steps.read import KEY, ORDER, PARSED, REST, seal_of_text
from pipeline.steps.render import CUSTOMER, checksums_of
from pipeline.steps.transform import AGE_GROUP


def weighed(table: pd.DataFrame) -> pd.DataFrame:
    """Return read purchases or rendered customers with their totals before a shuffle.

    Control totals: `purchases_sent` or `customers_sent`, and the seals that the step before took,
    again: `text_sent` and `numbers_sent`, or `rendered_sent`.
    """
    if PARSED in table:
        return with_totals(
            table,
            table,
            purchases_sent=total_of_purchases(table, REST, PARSED),
            text_sent=seal_of_text(table),
            numbers_sent=seal(table[PARSED], table[ORDER]),
        )
    totals = {"customers_sent": total_of_customers(table), "rendered_sent": checksums_of(table)}
    return with_totals(table, table, **totals)


def total_of_purchases(purchases: pd.DataFrame, text: str, amount: str) -> int:
    """Return a total of the texts and amounts of purchases, each with its `order`."""
    hashed = hashes(to_arrow(purchases[text])) ^ mixed(low_words(to_arrow(purchases[amount])))
    return pairing(purchases[ORDER].to_numpy(), mixed(hashed))


def total_of_customers(customers: pd.DataFrame) -> int:
    """Return a total of the texts, groups and hashes of ids of customers, each with its `order`."""
    codes = customers[AGE_GROUP].cat.codes.to_numpy().astype(np.uint64)
    hashed = mixed(hashes(to_arrow(customers[CUSTOMER])) ^ codes) ^ customers[KEY].to_numpy()
    return pairing(customers[ORDER].to_numpy(), mixed(hashed))


def misplaced(ids: pa.Array, spread: np.ndarray, count: int, number: int) -> int:
    """Return how many ids belong into another partition than this `number` of `count`.

    Those that are missing, or `spread` over all (bool), may be anywhere.
    """
    elsewhere = (partition_numbers(ids, count) != number) & ~spread
    return int(np.count_nonzero(elsewhere & (key_hashes(ids) != 0)))
