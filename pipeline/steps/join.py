"""The full outer join on the customer's id: by broadcast, or within a partition of a shuffle.

Both look up the ids of a partition of purchases in a hash table of customers. In a broadcast hash
join, every worker holds all customers and the purchases stay where they are, in input order; the
customers without purchases follow once all purchases are joined. In a shuffle join (see
`steps.shuffle`), a partition has all records with its ids, and yields its purchases and its
customers without purchases.

Ids are compared as text, without surrounding whitespace. A missing id matches nothing. If several
customers share an id, the first gets the purchases; the others count as customers without
purchases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from distributed import Client, Future

from pipeline.columns.arrow import (
    NUMBER,
    TEXT,
    text_bytes,
    to_arrow,
    to_dictionary,
    to_number,
    to_text,
)
from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import Joined, modulo, pairing, text_total, total_of
from pipeline.engine.compute import compute_result
from pipeline.engine.ledger import Ledger, Number, entry_of, with_totals
from pipeline.engine.partitions import from_blocks, on_partitions, schema
from pipeline.steps.lookup import Lookup
from pipeline.steps.matched import Marks, find_matched, in_slice, put_marks
from pipeline.steps.read import ID, MAX_EXAMPLES, ORDER, PARSED, REST, BlockRead, is_undecided
from pipeline.steps.render import CUSTOMER, CustomerTotals, totals_of
from pipeline.steps.transform import AGE_GROUP
from pipeline.storage.places import Place

PURCHASE, AMOUNT = "purchase", "amount"
_NULL_WORDS = "NULL", "null", "\\N", "None", "NA", "N/A", "nan", "NaN"

# The sum of the amounts and the number of purchases of each age group, by its label.
Spending = Mapping[str, tuple[Decimal, int]]


@dataclass(frozen=True)
class CustomerText:
    """The bytes of the column `customer` of joined records."""

    bytes: int


@dataclass(frozen=True)
class Paired:
    """What is counted when purchases are joined, using the data of the customers joined to them.

    `records` is their number; `pairs` the total of the pairs of purchases and customers (see
    `totals.pairing`); `groups` what each age group spends, by the groups in the lookup. Purchases
    are `overlooked` if they were joined with no customer although one has their id, and `not_first`
    if their customer has the id of an earlier one. They are `unmatched` if no customer has their
    id, and count as `without_id` if they have none; `first_unmatched` and `first_without_id` are
    the `order` of the first of each; `unmatched_ids` are some unmatched ids. `by_null_words` counts
    those whose customer has an id that may stand for a missing id, such as NULL.
    """

    records: int
    pairs: int
    groups: Spending
    overlooked: int
    not_first: int
    unmatched: int
    without_id: int
    first_unmatched: int | None
    unmatched_ids: tuple[str, ...]
    first_without_id: int | None
    by_null_words: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Alone:
    """Totals of the ids of customers without purchases.

    `ids` is the total of the ids as written, `keys` that of the hashes stored when the customers
    were read, and `text` that of the ids' text.
    """

    ids: int
    keys: int
    text: int


@dataclass(frozen=True)
class Broadcasted:
    """The marks of a block of purchases, and the totals of the lookup it was joined with."""

    marks: Marks
    lookup: CustomerTotals


@dataclass(frozen=True)
class Matched:
    """How many customers have purchases: in a part of the lookup and, if known, in all of it."""

    customers: int
    in_all: int | None = None


@dataclass(frozen=True)
class Repeated:
    """How many customers of a part of the lookup have the id of an earlier one.

    Of these, `other_group` are in a different age group from the first customer with their id. `id`
    is one of the repeated ids.
    """

    customers: int
    other_group: int
    id: str | None


@dataclass(frozen=True)
class Kept:
    """The totals of a slice of the lookup once all purchases are joined."""

    lookup: CustomerTotals


@dataclass(frozen=True)
class Broadcast:
    """A broadcast hash join: every task gets the lookup of all customers, an ordinary Dask result.

    `copies` are futures that keep its copies on the workers (see `compute.keep_copies`). `marks` is
    where the task of a block of purchases records which customers it matched; `slices` is the
    number of partitions of the customers without purchases.

    The lazy results have the columns `customer_id` (text, unchanged), `customer` (CSV text,
    dictionary-encoded: late materialization copies a customer's text only when it is written),
    `age_group` (categorical; `Unknown` without a customer), `purchase` (CSV text with its newline),
    `amount` (decimal128) and `order`; purchase and amount are null without a purchase.

    `order` is that of the purchase; without a purchase, the customer's row in the lookup.

    Totals: `Paired` and `Broadcasted` for purchases; `Alone`, `Matched`, `Repeated` and `Kept` for
    customers without purchases; `CustomerText` for both.
    """

    lookup: Future
    copies: Sequence[Future]
    schema: Lookup
    marks: Place
    slices: int

    def join(self, purchases: dd.DataFrame) -> dd.DataFrame:
        """Join lazy purchases, in their order, with their customers."""
        meta = paired(schema(purchases), np.empty(0, np.int64), self.schema)
        return on_partitions(
            _match_customers, purchases, self.lookup, self.marks, step="join", meta=meta
        )

    def find_matched(self, client: Client, ledger: Ledger) -> Future:
        """Return which customers have purchases, once all purchases are joined.

        See `steps.matched`. Does not wait for the result, which is a DataError if the marks differ
        from those that the blocks left.
        """
        marks = [block.marks for block in ledger.all(Broadcasted)]
        count = sum(block.records for block in ledger.all(BlockRead) if block.table == "customers")
        return find_matched(client, self.marks, marks, count)

    def without_purchases(self, matched: Future, first_block: int) -> dd.DataFrame:
        """Return, lazily, the customers that are not in the bitmap `matched`.

        Rows are in input order; blocks are numbered from `first_block`.
        """
        meta = alone(np.empty(0, np.int64), self.schema)
        return from_blocks(
            _customers_without_purchases,
            [_Slice(number, self.slices, first_block + number) for number in range(self.slices)],
            self.lookup,
            matched,
            meta=meta,
            step="slice-join",
        )


def build_lookup(client: Client, customers: Sequence[Future], no_customer: str) -> Future:
    """Build, on the cluster, the lookup of rendered customers; their blocks may be in any order.

    Raises what `compute_entries` raises.
    """
    return compute_result(client, _build_lookup, list(customers), no_customer, name="build-lookup")


def _build_lookup(parts: list[pd.DataFrame], no_customer: str) -> Lookup:
    filled = [part for part in parts if len(part)] or parts[:1]
    # Each part is in order: sorting the parts is much cheaper than sorting the records.
    filled.sort(key=lambda part: part[ORDER].iloc[0] if len(part) else 0)
    return Lookup.build(pd.concat(filled, ignore_index=True), no_customer)


def join_all(
    purchases: pd.DataFrame, lookup: Lookup, buyers: np.ndarray, copies: np.ndarray
) -> pd.DataFrame:
    """Join purchases with the customers in `lookup`; append all customers without purchases.

    The result has the columns of `Broadcast`, and totals for both. `buyers` are rows of the lookup
    that are known to have purchases, whatever is in `purchases`; `copies` tells for each row
    whether it is a copy of a customer who is counted elsewhere (bool).
    """
    rows = lookup.rows(to_arrow(purchases[ID]))
    found = np.zeros(len(lookup) + 1, bool)
    found[rows] = True
    found[buyers] = True
    found = found[:-1]
    pairs = paired(purchases, rows, lookup)
    combined = joined_whole(pairs, alone(np.flatnonzero(~found & ~copies), lookup))
    repeated = lookup.repeated(0, len(lookup))
    return with_totals(
        combined,
        Matched(int((found & ~copies).sum())),
        _repeated(repeated[~copies[repeated]], lookup),
        before=combined,
    )


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


def _match_customers(purchases: pd.DataFrame, lookup: Lookup, marks: Place) -> pd.DataFrame:
    """Join each purchase with its customer, and mark which customers matched."""
    rows = lookup.rows(to_arrow(purchases[ID]))
    combined = paired(purchases, rows, lookup)
    entry = entry_of(purchases)
    if is_undecided(entry):  # a second pass joins it
        return combined
    put = put_marks(marks, entry[Number].block, rows, len(lookup))
    return with_totals(combined, Broadcasted(put, lookup.totals), before=combined)


def _customers_without_purchases(part: _Slice, lookup: Lookup, matched: np.ndarray) -> pd.DataFrame:
    """Return a slice of the customers without purchases, in input order."""
    start, stop = (len(lookup) * edge // part.parts for edge in (part.number, part.number + 1))
    found = in_slice(matched, start, stop)
    rest = alone(start + np.flatnonzero(~found), lookup)
    return with_totals(
        rest,
        Number(part.block, part.block + 1),
        Matched(int(np.count_nonzero(found)), int(np.bitwise_count(matched).sum())),
        _repeated(lookup.repeated(start, stop), lookup),
        Kept(totals_of(lookup.part(start, stop))),
        before=rest,
    )


def _repeated(rows: np.ndarray, lookup: Lookup) -> Repeated:
    ids, groups = lookup.ids.take(pa.array(rows)), lookup.age_group.codes
    others = int(np.count_nonzero(groups[rows] != groups[lookup.rows(ids)]))
    return Repeated(len(rows), others, ids[0].as_py() if len(ids) else None)


def paired(purchases: pd.DataFrame, rows: np.ndarray, lookup: Lookup) -> pd.DataFrame:
    """Join each purchase with the customer in its row of the lookup (see `Broadcast`).

    Totals: `Paired` and `CustomerText`.
    """
    order = purchases[ORDER].to_numpy()
    joined = lookup.total(rows, order, to_arrow(purchases[PARSED]))
    unknown = np.flatnonzero(rows == len(lookup))
    keys = key_hashes(to_arrow(purchases[ID]).take(pa.array(unknown)))
    has_id = keys != 0
    unmatched, without_id = unknown[has_id], unknown[~has_id]
    combined = pd.DataFrame(
        {
            ID: purchases[ID].array,
            CUSTOMER: to_dictionary(rows, lookup.customer),
            AGE_GROUP: lookup.age_group.take(rows),
            PURCHASE: purchases[REST].array,
            AMOUNT: purchases[PARSED].array,
            ORDER: order,
        }
    )
    totals = Paired(
        records=len(rows),
        pairs=modulo(joined.pairs + pairing(order[unknown], keys)),
        groups=_by_label(joined, lookup),
        overlooked=lookup.count_known(keys),
        not_first=joined.not_first,
        unmatched=len(unmatched),
        without_id=len(without_id),
        first_unmatched=_first_order(purchases, unmatched),
        unmatched_ids=tuple(purchases[ID].iloc[unmatched[:MAX_EXAMPLES]]),
        first_without_id=_first_order(purchases, without_id),
        by_null_words=_by_null_words(rows, lookup),
    )
    return with_totals(combined, totals, _customer_text(rows, lookup), before=purchases)


def _by_null_words(rows: np.ndarray, lookup: Lookup) -> dict[str, int]:
    found = lookup.rows(pa.array(_NULL_WORDS, TEXT)).tolist()
    counts = {
        word: int(np.count_nonzero(rows == row))
        for word, row in zip(_NULL_WORDS, found, strict=True)
        if row < len(lookup)
    }
    return {word: count for word, count in counts.items() if count}


def _first_order(purchases: pd.DataFrame, rows: np.ndarray) -> int | None:
    return int(purchases[ORDER].iloc[rows[0]]) if len(rows) else None


def alone(rows: np.ndarray, lookup: Lookup) -> pd.DataFrame:
    """Return the customers in these rows of the lookup as records without a purchase.

    Totals: `Alone` and `CustomerText`.
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
    keys = lookup.keys.take(rows)
    totals = Alone(total_of(key_hashes(ids)), total_of(keys), text_total(text_bytes(ids)))
    return with_totals(records, totals, _customer_text(rows, lookup))


def joined_whole(pairs: pd.DataFrame, rest: pd.DataFrame) -> pd.DataFrame:
    """Return the results of `paired` and `alone` as one, with the totals of both."""
    # If their types differed, the amounts would become Python objects.
    alike = rest.astype({AMOUNT: pairs[AMOUNT].dtype})
    combined = pd.concat([pairs, alike], ignore_index=True)
    first, second = entry_of(pairs), entry_of(rest)
    size = CustomerText(first[CustomerText].bytes + second[CustomerText].bytes)
    return with_totals(combined, *first, second[Alone], size)


def _customer_text(rows: np.ndarray, lookup: Lookup) -> CustomerText:
    return CustomerText(int(lookup.sizes.take(rows).sum()))


def _by_label(joined: Joined, lookup: Lookup) -> dict[str, tuple[Decimal, int]]:
    """Return the sum and the number of purchases of each age group that has some."""
    found = zip(lookup.age_group.categories, joined.sums, joined.counts, strict=True)
    return {label: (amount, count) for label, amount, count in found if count}
