"""Ids are looked up as a plain dict of trimmed texts would."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import rendered_customers, text

from pipeline.columns.keys import key_hashes, plain_integers, trimmed
from pipeline.settings import AgeGroups
from pipeline.steps.lookup import Lookup

ODD = [
    *("7", "007", " 7", "7 ", "-7", "+7", "7.0", "0", "00", "-0", "0x7", "7e0", "\uff17", "\u0667"),
    *("", " ", "  ", "\t", "\u00a0", "\u2003", "\u3000", "\u00a07", "7\u3000", "\x1f7", "7\n"),
    *("999999999999999999", "1000000000000000000", "9223372036854775807", "9223372036854775808"),
    *("12345678901234567890", "3f2b8c1e-7d4a-4f6e-9b1a-5c2d8e7f6a90", "A-1", "a-1", "É", "E\u0301"),
    *("None", "nan", "<NA>", "null", "\u200b", "\ufeff7", "a b", "a  b"),
]
IDS = st.one_of(
    st.none(),
    st.sampled_from(ODD),
    st.integers(0, 20).map(str),
    st.integers(0, 10**20).map(str),
    st.text(max_size=3),
)
# Columns of integers only, dense or sparse, take paths of their own.
COLUMNS = st.one_of(
    st.lists(IDS, max_size=25),
    st.lists(st.integers(0, 30).map(str), max_size=25),
    st.lists(st.none() | st.integers(0, 10**18 + 1).map(str), max_size=25),
    st.lists(st.uuids().map(str), max_size=5),
)


def make(ids: Sequence[str | None], residue: tuple[int, int] = (1, 0)) -> Lookup:
    return Lookup.build(rendered_customers(ids, ["Young"] * len(ids)), "nobody", residue)


def rows_by_dict(ids: Sequence[str | None], wanted: Sequence[str | None]) -> list[int]:
    """Return for each wanted id the row of its first customer, or the number of customers."""
    first: dict[str, int] = {}
    for row, customer_id in enumerate(ids):
        if customer_id and customer_id.strip():
            first.setdefault(customer_id.strip(), row)
    return [first.get((customer_id or "").strip(), len(ids)) for customer_id in wanted]


@given(COLUMNS, COLUMNS, st.sampled_from([(1, 0), (2, 1), (3, 0), (10, 7)]))
def test_rows_are_those_of_a_dict(
    ids: Sequence[str | None], others: Sequence[str | None], residue: tuple[int, int]
) -> None:
    """Whatever residue most integers are said to have."""
    wanted = [*others, *ids]

    found = make(ids, residue).rows(text(*wanted))

    assert found.dtype == np.int64
    assert found.tolist() == rows_by_dict(ids, wanted)


@given(COLUMNS, COLUMNS, st.integers(0, 25))
def test_rows_do_not_depend_on_the_other_ids_in_a_block(
    ids: Sequence[str | None], wanted: Sequence[str | None], start: int
) -> None:
    lookup = make(ids)

    together = lookup.rows(text(*wanted)[start:]).tolist()

    assert together == [lookup.rows(text(one)).item() for one in wanted[start:]]


def test_every_odd_id_finds_itself_and_no_other() -> None:
    assert make(ODD).rows(text(*ODD)).tolist() == rows_by_dict(ODD, ODD)
    assert make(["7", "007", "+7"]).rows(text("7", "007", "+7", "7.0")).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("ids", [[], [None], ["", " "]])
def test_where_no_customer_has_an_id_nobody_is_found(ids: Sequence[str | None]) -> None:
    assert make(ids).rows(text("7", "", None, "abc")).tolist() == [len(ids)] * 4


def test_the_row_behind_the_last_customer_stands_for_none() -> None:
    customers = rendered_customers(["7", "x"], ["Senior", "Under 18"])

    lookup = Lookup.build(customers, "nobody,Unknown")

    assert len(lookup) == 2
    assert lookup.ids.to_pylist() == ["7", "x"]
    assert lookup.customer.to_pylist() == ["c0", "c1", "nobody,Unknown"]
    assert lookup.age_group.tolist() == ["Senior", "Under 18", "Unknown"]


def test_there_may_be_more_groups_than_a_byte_counts() -> None:
    groups = AgeGroups(
        tuple(f"group {year}" for year in range(131)), tuple(range(131))  # type: ignore[arg-type]
    )  # fmt: skip
    customers = rendered_customers(["7"], ["Unknown"])
    labels = pd.Categorical(["group 130"], categories=groups.all_labels, ordered=True)

    lookup = Lookup.build(customers.assign(age_group=labels), "nobody")

    assert lookup.age_group.tolist() == ["group 130", "Unknown"]


def test_a_lookup_that_was_sent_to_another_process_is_the_same() -> None:
    lookup = make(ODD)

    received = pickle.loads(pickle.dumps(lookup))

    assert received.rows(text(*ODD)).tolist() == lookup.rows(text(*ODD)).tolist()
    assert received.customer.equals(lookup.customer)
    assert received.age_group.equals(lookup.age_group)


@given(COLUMNS, COLUMNS)
def test_the_hashes_tell_which_ids_a_customer_has(
    ids: Sequence[str | None], others: Sequence[str | None]
) -> None:
    keys = [(one or "").strip() for one in others]

    found = make(ids).has(key_hashes(text(*others)))

    known = {(one or "").strip() for one in ids} - {""}
    assert found.tolist() == [key in known for key in keys]


@given(COLUMNS)
def test_a_row_that_is_not_the_first_of_its_id_is_known(ids: Sequence[str | None]) -> None:
    keys = [(one or "").strip() for one in ids]

    found = [make(ids).not_first(np.array([row])) for row in range(len(ids) + 1)]

    assert found == [*(key != "" and key in keys[:row] for row, key in enumerate(keys)), 0]


def test_its_size_grows_with_its_customers() -> None:
    assert make(["7"] * 1_000).__sizeof__() > make(["7"]).__sizeof__() + 1_000 * len("c999,7")


@given(st.lists(IDS, max_size=20), st.integers(0, 20))
def test_ids_are_trimmed_as_python_does(ids: Sequence[str | None], start: int) -> None:
    expected = [(one or "").strip() or None for one in ids]

    assert trimmed(text(*ids)[start:]).to_pylist() == expected[start:]


@given(COLUMNS, st.integers(0, 25))
def test_plain_integers_are_those_that_python_writes_the_same(
    ids: Sequence[str | None], start: int
) -> None:
    keys = trimmed(text(*ids))[start:]

    values, plain = plain_integers(keys)

    expected = [
        key is not None and key.isascii() and key.isdigit() and str(int(key)) == key
        and len(key) <= 18
        for key in keys.to_pylist()
    ]  # fmt: skip
    assert plain.tolist() == expected
    assert values.dtype == np.int64
    assert values.tolist() == [
        int(key) if is_plain else 0
        for key, is_plain in zip(keys.to_pylist(), expected, strict=True)
    ]
