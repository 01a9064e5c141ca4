"""A join within a partition: every record keeps what is its own, and wrong pairs show in totals."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import read_purchases, rendered_customers, text

from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import pairing, total_of
from pipeline.engine.ledger import entry_of
from pipeline.settings import AgeGroups
from pipeline.steps.join import Alone, CustomerText, Matched, Paired, join_all, paired
from pipeline.steps.lookup import Lookup

# Ids as they come: equal texts, forms of one number, whitespace around, none.
IDS = [None, "", " ", "7", "007", " 7", "7 ", "8", "x"]
LABELS = AgeGroups().all_labels
NO_BUYERS = np.empty(0, np.int64)


def keys_of(ids: Sequence[str | None]) -> list[str | None]:
    return [(id or "").strip() or None for id in ids]


@given(st.lists(st.sampled_from(IDS), max_size=12), st.lists(st.sampled_from(IDS), max_size=12))
def test_every_record_keeps_its_texts_its_amount_and_its_group(
    purchases: list[str | None], customers: list[str | None]
) -> None:
    labels = [LABELS[row % len(LABELS)] for row in range(len(customers))]
    lookup = Lookup.build(rendered_customers(customers, labels), "nobody")

    found = join_all(read_purchases(purchases), lookup, NO_BUYERS, np.zeros(len(customers), bool))

    left = pd.DataFrame({"customer_id": purchases, "key": keys_of(purchases)}, dtype=object)
    left["purchase"] = [f"p{row}" for row in left.index]
    left["amount"] = [Decimal(row) for row in left.index]
    left["order"] = left.index
    right = pd.DataFrame({"customer_id": customers, "key": keys_of(customers)}, dtype=object)
    right["customer"] = [f"c{row}" for row in right.index]
    right["age_group"] = labels
    right["order"] = right.index
    first = right.dropna(subset="key").drop_duplicates("key")[["key", "customer", "age_group"]]
    pairs = left.merge(first.astype(object), "left", "key")
    pairs = pairs.fillna({"customer": "nobody", "age_group": "Unknown"})
    rest = right[~right["customer"].isin(pairs["customer"])]
    wanted = pd.concat([pairs, rest]).astype(object)
    assert records(found) == records(wanted[found.columns])

    entry = entry_of(found)
    joined, alone = entry[Paired], entry[Alone]
    assert joined.groups == {
        label: (some["amount"].sum(), len(some)) for label, some in pairs.groupby("age_group")
    }
    nobody = pairs[pairs["customer"] == "nobody"]
    unmatched, without_id = nobody[nobody["key"].notna()], nobody[nobody["key"].isna()]
    assert (joined.records, joined.unmatched) == (len(purchases), len(unmatched))
    assert joined.without_id == len(without_id)
    assert joined.first_unmatched == next(iter(unmatched["order"]), None)
    assert joined.unmatched_ids == tuple(unmatched["customer_id"])[:20]
    assert joined.first_without_id == next(iter(without_id["order"]), None)
    assert joined.pairs == pairing(np.arange(len(purchases)), key_hashes(text(*purchases)))
    assert (joined.overlooked, joined.not_first) == (0, 0)
    assert alone.ids == alone.keys == total_of(key_hashes(text(*rest["customer_id"])))
    assert alone.text == sum("".join(id or "" for id in rest["customer_id"]).encode())
    assert entry[Matched].customers == len(customers) - len(rest)
    assert entry[CustomerText].bytes == sum(wanted["customer"].str.len())


def records(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    values = frame.astype(object)
    return list(values.where(values.notna(), None).itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("rows", "same_pairs", "overlooked", "not_first"),
    [
        pytest.param([0, 1, 3, 3], True, 0, 0, id="as it should be"),
        pytest.param([1, 0, 3, 3], False, 0, 0, id="customers exchanged"),
        pytest.param([0, 1, 1, 3], False, 0, 0, id="a customer for an unknown id"),
        pytest.param([0, 1, 3, 1], False, 0, 0, id="a customer for a missing id"),
        pytest.param([3, 1, 3, 3], True, 1, 0, id="a known customer overlooked"),
        pytest.param([2, 1, 3, 3], True, 0, 1, id="not the first customer of an id"),
    ],
)
def test_totals_tell_wrong_customers(
    rows: list[int], same_pairs: bool, overlooked: int, not_first: int
) -> None:
    ids = ["a", "b", "x", None]
    lookup = Lookup.build(rendered_customers(["a", "b", "a"], ["Young"] * 3), "nobody")

    found = entry_of(paired(read_purchases(ids), np.array(rows), lookup))[Paired]

    pairs = pairing(np.arange(len(ids)), key_hashes(text(*ids)))
    assert (found.pairs == pairs) == same_pairs
    assert (found.overlooked, found.not_first) == (overlooked, not_first)


def test_a_copy_of_a_customer_is_not_written_and_does_not_count() -> None:
    lookup = Lookup.build(rendered_customers(["7", "7", "8"], ["Young"] * 3), "nobody")
    none = read_purchases([])

    found = join_all(none, lookup, NO_BUYERS, np.array([True, True, False]))
    bought = join_all(none, lookup, np.array([0]), np.array([False, False, True]))

    assert (found["customer"].tolist(), entry_of(found)[Matched].customers) == (["c2"], 0)
    assert (bought["customer"].tolist(), entry_of(bought)[Matched].customers) == (["c1"], 1)
