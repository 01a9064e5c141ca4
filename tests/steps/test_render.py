"""The layout of the combined table, and each customer's part of its records."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import group_column, in_blocks, text, text_column

from pipeline.columns.arrow import text_bytes, to_arrow
from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import text_total
from pipeline.csv_text.quoting import end_lines, quote
from pipeline.engine.compute import ledger_of
from pipeline.engine.ledger import Ledger, entries_in
from pipeline.errors import UsageError
from pipeline.settings import AgeGroups, Columns
from pipeline.steps.read import ID, KEY, ORDER, REST
from pipeline.steps.render import (
    CustomerTotals,
    Rendered,
    layout,
    render,
    render_customers,
    totals_of,
)


def test_layout_keeps_the_order_of_the_input_and_marks_a_purchases_column() -> None:
    found = layout(
        ["email", "customer_id", "first_name", "last_name", "age"],
        ["price", "email", "customer_id", "full_name", "age_group", "product"],
        Columns(),
    )

    assert found.header == (
        "customer_id,email,first_name,last_name,age,full_name,age_group,"
        "price,email_purchase,full_name_purchase,age_group_purchase,product"
    )
    assert found.no_customer == ",,,,,,Unknown,"
    assert found.no_purchase == ",,,,"


def test_layout_quotes_names() -> None:
    found = layout(["no.", "a,b"], ["no.", 'c"d'], Columns(id="no."))

    assert found.header == 'no.,"a,b",full_name,age_group,"c""d"'


@pytest.mark.parametrize(
    ("customers", "purchases", "name"),
    [
        (["customer_id", "full_name"], ["customer_id", "price"], "full_name"),
        (["customer_id", "age_group"], ["customer_id", "price"], "age_group"),
        (["customer_id", "note"], ["customer_id", "note", "note_purchase"], "note_purchase"),
        (["customer_id", "note_purchase", "note"], ["customer_id", "note"], "note_purchase"),
    ],
)
def test_two_columns_of_one_name_are_refused(
    customers: list[str], purchases: list[str], name: str
) -> None:
    with pytest.raises(UsageError, match=f"would have two columns '{name}'; rename"):
        layout(customers, purchases, Columns())


def test_customers_are_rendered_without_their_id() -> None:
    customers = pd.DataFrame(
        {
            ID: text_column([" 007", None]),
            REST: text_column(['Ada,"a,b"\n', ",\n"]),
            "full_name": text_column(["Ada B, Jr.", None]),
            "age_group": group_column(["Middle-aged", "Unknown"]),
            ORDER: [5, 6],
            KEY: np.array([1, 0], np.uint64),
        }
    )

    rendered = render_customers(customers)

    assert rendered.columns.tolist() == [ID, "customer", "age_group", ORDER, KEY]
    assert rendered[ID].tolist()[:1] == [" 007"]
    assert rendered[ID].isna().tolist() == [False, True]
    assert rendered["customer"].tolist() == [
        ',Ada,"a,b","Ada B, Jr.",Middle-aged,',
        ",,,,Unknown,",
    ]
    assert rendered["age_group"].equals(customers["age_group"])
    assert rendered[ORDER].tolist() == [5, 6]


def test_a_name_that_a_spreadsheet_would_run_is_defused_on_demand() -> None:
    customers = pd.DataFrame(
        {
            ID: text_column(["1"]),
            REST: text_column(["x\n"]),
            "full_name": text_column(["=1+1"]),
            "age_group": group_column(["Young"]),
            ORDER: [0],
            KEY: np.array([1], np.uint64),
        }
    )

    assert render_customers(customers, escape=True)["customer"].tolist() == [",x,'=1+1,Young,"]


ODD = [None, "Ada", "Zoë", 'say "x"', "a,b", "two\nlines", "=1+1", "'"]
TEXTS = st.sampled_from(ODD)
Row = tuple[str | None, str | None, str | None, str]
CUSTOMERS = st.lists(
    st.tuples(TEXTS, TEXTS, TEXTS, st.sampled_from(AgeGroups().all_labels)), max_size=12
)


def transformed(rows: Sequence[Row]) -> pd.DataFrame:
    """Return customers with the given ids, other columns (one), full names and groups."""
    return pd.DataFrame(
        {
            ID: text_column(row[0] for row in rows),
            REST: text_column(end_lines(quote(text(*(row[1] for row in rows)))).to_pylist()),
            "full_name": text_column(row[2] for row in rows),
            "age_group": group_column(row[3] for row in rows),
            ORDER: np.arange(len(rows)),
            KEY: key_hashes(text(*(row[0] for row in rows))),
        }
    )


@given(CUSTOMERS)
def test_every_customer_keeps_its_texts_and_its_group(
    rows: Sequence[Row],
) -> None:
    customers = transformed(rows)

    rendered = render_customers(customers)

    for name in (ID, "age_group", ORDER, KEY):
        assert rendered[name].equals(customers[name])
    assert list(csv.reader(rendered["customer"], strict=True)) == [
        ["", other or "", name or "", group, ""] for _, other, name, group in rows
    ]


def total(*columns: pd.Series) -> int:
    return sum(text_total(text_bytes(to_arrow(column))) for column in columns)


@pytest.mark.parametrize("escape", [False, True])
def test_the_text_after_is_that_before_and_what_was_added(escape: bool) -> None:
    groups = itertools.cycle(AgeGroups().all_labels)
    pairs = itertools.product(ODD, repeat=2)
    customers = transformed(
        [("7", one, two, group) for (one, two), group in zip(pairs, groups, strict=False)]
    )
    lazy = render(in_blocks(customers, 2), escape)

    found = Ledger(entries_in(ledger_of(lazy).compute(scheduler="synchronous"))).all(Rendered)

    rendered = render_customers(customers, escape)
    after = sum((block.customers for block in found), CustomerTotals())
    assert after == totals_of(rendered)
    assert after.text == total(rendered[ID], rendered["customer"])
    assert after.text == total(customers[ID], customers[REST]) + sum(one.added for one in found)


def test_totals_tell_which_customer_has_what() -> None:
    rows = [("1", "x", "Ada", "Young"), ("2", "y", "Bo", "Senior")]
    customers = render_customers(transformed(rows))
    swapped = customers.iloc[::-1].reset_index(drop=True)

    others = [
        customers.assign(**{name: swapped[name]}) for name in (ID, "customer", "age_group", KEY)
    ]

    assert totals_of(customers.assign(**{ORDER: [8, 9]})) == totals_of(customers)
    assert len({totals_of(frame) for frame in [customers, swapped, *others]}) == 6
