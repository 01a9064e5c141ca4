"""The layout of the combined table, and each customer's part of its records."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.frames import group_column, text_column

from pipeline.errors import UsageError
from pipeline.settings import Columns
from pipeline.steps.read import ID, KEY, ORDER, REST
from pipeline.steps.render import layout, render_customers


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
