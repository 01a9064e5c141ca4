"""Ids are looked up as a plain dict of trimmed texts would."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dask.sizeof import sizeof
from hypothesis import given
from hypothesis import strategies as st
from support.frames import rendered_customers, text
from support.oracle import WHITESPACE

from pipeline.columns.arrow import bounds, text_bytes
from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import Joined
from pipeline.settings import AgeGroups
from pipeline.steps.lookup import Lookup

ODD = [
    *("7", "007", " 7", "7 ", "-7", "+7", "7.0", "0", "00", "-0", "0x7", "7e0", "\uff17", "\u0667"),
    *("", " ", "  ", "\t", "\u00a0", "\u2003", "\u3000", "\u00a07", "7\u3000", "\x1f7", "7\n"),
    *("\ufeff7", "7\u200b", "7\u200b7", "\ufeff"),
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
COLUMNS = st.one_of(
    st.lists(IDS, max_size=25),
    st.lists(st.integers(0, 30).map(str), max_size=25),
    st.lists(st.none() | st.integers(0, 10**18 + 1).map(str), max_size=25),
    st.lists(st.uuids().map(str), max_size=5),
)


def make(ids: Sequence[str | None]) -> Lookup:
    return Lookup.build(rendered_customers(ids, ["Young"] * len(ids)), "nobody")


def rows_by_dict(ids: Sequence[str | None], wanted: Sequence[str | None]) -> list[int]:
    """Return for each wanted id the row of its first customer, or the number of customers."""
    first: dict[str, int] = {}
    for row, customer_id in enumerate(ids):
        if customer_id and customer_id.strip(WHITESPACE):
            first.setdefault(customer_id.strip(WHITESPACE), row)
    return [first.get((customer_id or "").strip(WHITESPACE), len(ids)) for customer_id in wanted]


@given(COLUMNS, COLUMNS)
def test_rows_are_those_of_a_dict(ids: Sequence[str | None], others: Sequence[str | None]) -> None:
    wanted = [*others, *ids]

    found = make(ids).rows(text(*wanted))

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


def totals(lookup: Lookup, rows: np.ndarray) -> Joined:
    amounts = pa.array(range(len(rows)), pa.int64()).cast(pa.decimal128(19, 0))
    return lookup.total(rows, np.arange(len(rows)), amounts)


def same(lookup: Lookup, other: Lookup, ids: pa.Array) -> bool:
    """Tell whether two lookups have the same customers, and find the same ones."""
    rows = lookup.rows(ids)
    return (
        np.array_equal(rows, other.rows(ids))
        and lookup.part(0, len(lookup)).equals(other.part(0, len(other)))
        and lookup.customer.equals(other.customer)
        and lookup.age_group.equals(other.age_group)
        and lookup.sizes.tolist() == other.sizes.tolist()
        and lookup.totals == other.totals
        and lookup.count_known(lookup.keys) == other.count_known(lookup.keys)
        and totals(lookup, rows) == totals(other, rows)
    )


@pytest.mark.parametrize("start", [0, 1])
def test_a_received_lookup_is_the_same_wherever_its_buffers_are(start: int) -> None:
    """Of the buffers that Dask receives, the first may begin at any address."""
    lookup = make([*ODD, "7"] * 1000)
    buffers: list[pickle.PickleBuffer] = []

    sent = pickle.dumps(lookup, protocol=5, buffer_callback=buffers.append)
    arrived = [memoryview(bytes(start) + bytes(buffer.raw()))[start:] for buffer in buffers]
    received = pickle.loads(sent, buffers=arrived)

    assert len(sent) < 5_000
    assert same(received, lookup, text(*ODD, "nobody"))
    unchanged = [received.sizes, text_bytes(received.ids), text_bytes(received.customer)]
    if start == 0:
        unchanged += [received.keys, received.age_group.codes, bounds(received.customer)]
    places = [np.frombuffer(buffer, np.uint8) for buffer in arrived]
    assert all(any(np.shares_memory(one, place) for place in places) for one in unchanged)


def test_a_lookup_that_was_pickled_within_other_bytes_is_the_same() -> None:
    lookup = make(ODD)

    assert same(pickle.loads(pickle.dumps(lookup)), lookup, text(*ODD))


@given(COLUMNS, COLUMNS)
def test_the_hashes_tell_how_many_ids_are_those_of_customers(
    ids: Sequence[str | None], others: Sequence[str | None]
) -> None:
    keys = [(one or "").strip(WHITESPACE) for one in others]

    found = make(ids).count_known(key_hashes(text(*others)))

    known = {(one or "").strip(WHITESPACE) for one in ids} - {""}
    assert found == sum(key in known for key in keys)


@given(COLUMNS)
def test_a_row_that_is_not_the_first_of_its_id_is_known(ids: Sequence[str | None]) -> None:
    keys = [(one or "").strip(WHITESPACE) for one in ids]

    found = [totals(make(ids), np.array([row])).not_first for row in range(len(ids) + 1)]

    assert found == [*(key != "" and key in keys[:row] for row, key in enumerate(keys)), 0]


def test_its_size_is_what_it_takes_to_send_it() -> None:
    lookup = make([f"C-{number}" for number in range(10_000)])
    buffers: list[pickle.PickleBuffer] = []
    sent = pickle.dumps(lookup, protocol=5, buffer_callback=buffers.append)

    size = len(sent) + sum(buffer.raw().nbytes for buffer in buffers)

    assert 0 <= size - sizeof(lookup) < 5_000


def test_it_can_be_weakly_referenced() -> None:
    lookup = make(["7"])

    assert weakref.ref(lookup)() is lookup
