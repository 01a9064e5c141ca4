"""The full outer join on the customer's id: by broadcast, or within a partition of a shuffle.

Both look up the ids of a partition of purchases in a hash table of customers. In a broadcast hash
join, every worker holds all customers and the purchases stay where they are, in input order; the
customers without purchases follow once all purchases are joined. In a shuffle join (see
`steps.shuffle`), a partition has all records of its ids, and yields both kinds of record.

Ids are compared as text, without surrounding blanks. A missing id matches nothing. If several
customers share an id, the first gets the purchases; the others count as customers without
purchases.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from distributed import Future

from pipeline.columns.arrow import (
    NUMBER,
    TEXT,
    to_arrow,
    to_dictionary,
    to_number,
    to_text,
)
from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import Checksum, exact_sums, pairing, seal, total_of
from pipeline.engine.ledger import entry_of, with_totals
from pipeline.engine.partitions import from_blocks, on_partitions, schema
from pipeline.engine.places import Place
from pipeline.steps.lookup import Lookup
from pipeline.steps.matched import in_slice, put_marks
from pipeline.steps.read import ID, ORDER, PARSED, REST
from pipeline.steps.render import CUSTOMER, checksums_of
from pipeline.steps.transform import AGE_GROUP

PURCHASE, AMOUNT = "purchase", "amount"


@dataclass(frozen=True)
class Broadcast:
    """A broadcast hash join: every task gets the lookup of all customers, a result of Dask's.

    `marks` is where the tasks of a block of purchases leave which customers they matched.

    The lazy results have the columns `customer_id` (text, unchanged), `customer` (CSV text,
    dictionary-encoded: late materialization copies a customer's text only when it is written),
    `age_group` (categorical; `Unknown` without a customer), `purchase` (CSV text with its line
    end), `amount` (decimal128) and `order`; purchase and amount are null without a purchase.

    `order` is that of the purchase, or of the customer where there is none.

    Control totals: those of `paired` and `alone`; of purchases the `marks` of the block (see
    `steps.matched`) and the checksums of the `lookup`; of customers without purchases the number of
    the `block`, in row order, how many customers are `matched` here and
    `matched_in_all`, and the checksums `kept` by the
    customers in the lookup (see `render.checksums_of`).
    """

    lookup: Future
    schema: Lookup
    marks: Place

    def join(self, purchases: dd.DataFrame) -> dd.DataFrame:
        """Join lazy purchases, in their order, with their customers."""
        meta = paired(schema(purchases), np.empty(0, np.int64), self.schema)
        return on_partitions(
            _match_customers, purchases, self.lookup, self.marks, step="join", meta=meta
        )

    def without_purchases(self, matched: Future, slices: int, first_block: int) -> dd.DataFrame:
        """Return the customers that are not in the bitmap `matched`, lazy, in so many partitions.

        Rows are in input order; blocks are numbered from `first_block`.
        """
        parts = [_Slice(number, slices, first_block + number) for number in range(slices)]
        return on_partitions(
            _customers_without_purchases,
            from_blocks(_in_frame, parts, meta=_in_frame(parts[0]), step="slice"),
            self.lookup,
            matched,
            meta=alone(np.empty(0, np.int64), self.schema),
            step="join",
        )


def build_lookup(parts: list[pd.DataFrame], no_customer: str) -> Lookup:
    """Build a lookup of the partitions of rendered customers, which come in any order."""
    filled = [part for part in parts if len(part)] or parts[:1]
    # Each is in order: to sort them is much cheaper than to sort the records.
    filled.sort(key=lambda part: part[ORDER].iloc[0] if len(part) else 0)
    return Lookup.build(pd.concat(filled, ignore_index=True), no_customer)


def join_all(
    purchases: pd.DataFrame, lookup: Lookup, buyers: np.ndarray, copies: np.ndarray
) -> pd.DataFrame:
    """Join purchases with all their customers, and append the customers without purchases.

    The result has the columns and control totals of `Broadcast`, and is sealed. `buyers` are rows
    of the lookup that are known to have purchases, whatever is in `purchases`; `copies` tells for
    each row whether it is the copy of a customer that counts elsewhere (bool).
    """
    rows = lookup.rows(to_arrow(purchases[ID]))
    found = np.zeros(len(lookup) + 1, bool)
    found[rows] = True
    found[buyers] = True
    found = found[:-1]
    pairs = paired(purchases, rows, lookup)
    combined = joined_whole(pairs, alone(np.flatnonzero(~found & ~copies), lookup))
    return with_totals(combined, combined, matched=int((found & ~copies).sum()))


def combined_schema(
    purchases: pd.DataFrame, customers: pd.DataFrame, no_customer: str
) -> pd.DataFrame:
    """Return the columns and dtypes of a join, given those of both sides, as an empty frame."""
    return paired(purchases, np.empty(0, np.int64), Lookup.build(customers, no_customer))


class _Slice(NamedTuple):
    """Slice `number` of `parts` equal slices; its rows become the block numbered `block`."""

    number: int
    parts: int
    block: int


def _in_frame(part: _Slice) -> pd.DataFrame:
    return pd.DataFrame([part])


def _match_customers(purchases: pd.DataFrame, lookup: Lookup, marks: Place) -> pd.DataFrame:
    """Join each purchase with its customer, and mark which customers matched."""
    rows = lookup.rows(to_arrow(purchases[ID]))
    combined = paired(purchases, rows, lookup)
    entry = entry_of(purchases)
    if entry.get("undecided") is not None:  # a second pass joins it
        return combined
    put = put_marks(marks, entry["block"], rows, len(lookup))
    return with_totals(combined, combined, marks=put, lookup=lookup.checksums)


def _customers_without_purchases(
    part: pd.DataFrame, lookup: Lookup, matched: np.ndarray
) -> pd.DataFrame:
    """Return a slice of the customers without purchases, in input order."""
    number, count, block = part.iloc[0].tolist()
    start, stop = (len(lookup) * edge // count for edge in (number, number + 1))
    found = in_slice(matched, start, stop)
    rest = sealed(alone(start + np.flatnonzero(~found), lookup))
    totals = {
        "matched": int(np.count_nonzero(found)),
        "matched_in_all": int(np.bitwise_count(matched).sum()),
        "kept": checksums_of(lookup.part(start, stop)),
    }
    return with_totals(rest, rest, block=block, next_block=block + 1, **totals)


def paired(purchases: pd.DataFrame, rows: np.ndarray, lookup: Lookup) -> pd.DataFrame:
    """Join each purchase with the customer in its row of the lookup (see `Broadcast`).

    Control totals, all taken from the customers' side: `customer_bytes` of the column `customer`;
    `pairs_joined`, the total of the pairs of purchases and customers (see `totals.pairing`);
    `groups`, like `spending` of `spending.sum_purchases`; the purchases that are `overlooked`,
    because their customer is known, and those `not_first`, whose customer has the id of an earlier
    one; the checksum of their rows, `customers_joined`; and how many purchases are `joined` in all,
    how many are `unmatched`, whose id no customer has, and how many are `without_id`, with the
    `order` of the first of each, `first_unmatched` and `first_without_id`, and that `unmatched_id`
    (None without any).
    """
    keys = lookup.keys.take(rows)
    unknown = np.flatnonzero(rows == len(lookup))
    keys[unknown] = key_hashes(to_arrow(purchases[ID]).take(pa.array(unknown)))
    has_id = keys[unknown] != 0
    unmatched, without_id = unknown[has_id], unknown[~has_id]
    combined = pd.DataFrame(
        {
            ID: purchases[ID].array,
            CUSTOMER: to_dictionary(rows, lookup.customer),
            AGE_GROUP: lookup.age_group.take(rows),
            PURCHASE: purchases[REST].array,
            AMOUNT: purchases[PARSED].array,
            ORDER: purchases[ORDER].to_numpy(),
        }
    )
    return with_totals(
        combined,
        purchases,
        customer_bytes=int(lookup.sizes.take(rows).sum()),
        pairs_joined=pairing(purchases[ORDER].to_numpy(), keys),
        groups=_groups(to_arrow(purchases[PARSED]), rows, lookup),
        overlooked=int(np.count_nonzero(lookup.has(keys[unknown]))),
        not_first=lookup.not_first(rows),
        customers_joined=Checksum.of(rows),
        joined=len(rows),
        unmatched=len(unmatched),
        without_id=len(without_id),
        first_unmatched=_first_order(purchases, unmatched),
        unmatched_id=purchases[ID].iloc[unmatched[0]] if len(unmatched) else None,
        first_without_id=_first_order(purchases, without_id),
    )


def _first_order(purchases: pd.DataFrame, rows: np.ndarray) -> int | None:
    return int(purchases[ORDER].iloc[rows[0]]) if len(rows) else None


def alone(rows: np.ndarray, lookup: Lookup) -> pd.DataFrame:
    """Return the customers in these rows of the lookup as records without a purchase.

    Control totals: `customer_bytes` of the column `customer`; `ids_alone` and `keys_alone`, the
    totals of the ids as they are written and as the customers have kept them; and the checksum of
    their rows, `customers_joined`.
    """
    ids = lookup.ids.take(pa.array(rows))
    records = pd.DataFrame(
        {
            ID: to_text(ids),
            CUSTOMER: to_dictionary(rows, lookup.customer),
            AGE_GROUP: lookup.age_group.take(rows),
            PURCHASE: to_text(pa.nulls(len(rows), TEXT)),
            AMOUNT: to_number(pa.nulls(len(rows), NUMBER)),
            ORDER: rows,
        }
    )
    return with_totals(
        records,
        customer_bytes=int(lookup.sizes.take(rows).sum()),
        customers_joined=Checksum.of(rows),
        ids_alone=total_of(key_hashes(ids)),
        keys_alone=total_of(lookup.keys.take(rows)),
    )


def joined_whole(pairs: pd.DataFrame, rest: pd.DataFrame) -> pd.DataFrame:
    """Return the results of `paired` and `alone` as one, sealed; add up what both have counted."""
    # Of different types, amounts would become Python objects.
    alike = rest.astype({AMOUNT: pairs[AMOUNT].dtype})
    combined = pd.concat([pairs, alike], ignore_index=True)
    first, second = entry_of(pairs), entry_of(rest)
    added = {name: first[name] + second[name] for name in ("customer_bytes", "customers_joined")}
    return sealed(with_totals(combined, **{**first, **second, **added}))


def sealed(combined: pd.DataFrame) -> pd.DataFrame:
    """Seal records that were not joined in the order in which they were read.

    Control totals: the seals of the `text_read` and the `numbers_read`.
    """
    return with_totals(
        combined,
        combined,
        text_read=seal(combined[ID], combined[PURCHASE]),
        numbers_read=seal(combined[AMOUNT], combined[ORDER]),
    )


def _groups(amounts: pa.Array, rows: np.ndarray, lookup: Lookup) -> dict[str, tuple[Decimal, int]]:
    """Return the sum and the number of purchases of each age group, by the lookup's own groups."""
    labels = lookup.age_group.categories
    codes = lookup.age_group.codes.take(rows)
    sums = exact_sums(amounts, codes, len(labels))
    counts = np.bincount(codes, minlength=len(labels)).tolist()
    found = zip(labels, sums, counts, strict=True)
    return {label: (amount, count) for label, amount, count in found if count}
