"""What is rendered as CSV text reads back as it came, by Python's own reader."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from frames import group_column, number_column, text, text_column
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns import text_bytes
from pipeline.errors import UsageError
from pipeline.read import ORDER, PARSED
from pipeline.render import (
    end_lines,
    join_fields,
    layout,
    quote,
    render_customers,
    render_purchases,
)
from pipeline.settings import Columns

FIELDS = st.none() | st.text() | st.text("\",\r\n; \t'ab", max_size=8)


@given(st.lists(st.tuples(FIELDS, FIELDS, FIELDS), max_size=10))
def test_records_read_back_by_the_csv_module(rows: list[tuple[str | None, ...]]) -> None:
    columns = [text(*(row[place] for row in rows)) for place in range(3)]

    written = bytes(text_bytes(end_lines(join_fields(columns)))).decode()

    read = list(csv.reader(io.StringIO(written, newline=""), strict=True))
    assert read == [[field or "" for field in row] for row in rows]


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("Ada", "Ada"),
        (None, ""),
        ("", ""),
        (" x ", " x "),
        ("19.90", "19.90"),
        ("O'Neil", "O'Neil"),
        ("a;b\tc", "a;b\tc"),
        ("=1+1", "=1+1"),
        ("Jean, Jr.", '"Jean, Jr."'),
        ('24"', '"24"""'),
        ('"', '""""'),
        ("a\nb", '"a\nb"'),
        ("a\rb", '"a\rb"'),
        ("Zoë", "Zoë"),
    ],
)
@pytest.mark.parametrize("neighbours", [(), ("plain",), ('qu"ote', None)])
def test_quotes_stand_only_where_they_must(
    field: str | None, written: str, neighbours: tuple[str | None, ...]
) -> None:
    assert quote(text(field, *neighbours))[0].as_py() == written


@given(st.lists(FIELDS, max_size=10), st.integers(0, 10))
def test_a_slice_is_quoted_as_its_own_column(values: list[str | None], start: int) -> None:
    assert quote(text(*values)[start:]).to_pylist() == quote(text(*values[start:])).to_pylist()


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
    assert found.no_customer == ",,,,,Unknown"
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


@pytest.mark.parametrize("name", [PARSED, ORDER])
@pytest.mark.parametrize("side", ["customers", "purchases"])
def test_a_column_named_as_one_of_the_jobs_own_is_refused(name: str, side: str) -> None:
    plain, taken = ["customer_id"], ["customer_id", name]
    customers, purchases = (taken, plain) if side == "customers" else (plain, taken)

    with pytest.raises(UsageError, match=f"'{name}'.* rename the column"):
        layout(customers, purchases, Columns())


def test_customers_are_rendered_without_their_id() -> None:
    customers = pd.DataFrame(
        {
            "first": text_column(["Ada", None]),
            "no": text_column([" 007", None]),
            "note": text_column(["a,b", ""]),
            PARSED: number_column([36, None]),
            ORDER: [5, 6],
            "full_name": text_column(["Ada B", None]),
            "age_group": group_column(["Middle-aged", "Unknown"]),
        }
    )

    rendered = render_customers(customers, Columns(id="no"))

    assert rendered.columns.tolist() == ["customer_id", "customer", "age_group", ORDER]
    assert rendered["customer_id"].tolist()[:1] == [" 007"]
    assert rendered["customer_id"].isna().tolist() == [False, True]
    assert rendered["customer"].tolist() == ['Ada,"a,b",Ada B,Middle-aged', ",,,Unknown"]
    assert rendered["age_group"].equals(customers["age_group"])
    assert rendered[ORDER].tolist() == [5, 6]


def test_purchases_are_rendered_without_their_id_and_keep_the_amount() -> None:
    purchases = pd.DataFrame(
        {
            "customer_id": text_column(["1", "2"]),
            "product": text_column(['24" Monitor', None]),
            "price": text_column(["19.90", "abc"]),
            PARSED: number_column(["19.90", None]),
            ORDER: [0, 1],
        }
    )

    rendered = render_purchases(purchases, Columns())

    assert rendered.columns.tolist() == ["customer_id", "purchase", "amount", ORDER]
    assert rendered["purchase"].tolist() == ['"24"" Monitor",19.90', ",abc"]
    assert rendered["amount"].equals(purchases[PARSED])


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+1+1", "'+1+1"),
        ("-1-1", "'-1-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("=a,b", '"\'=a,b"'),
        ("\t=1", "'\t=1"),
        ("\r=1", '"\'\r=1"'),
        ("-7", "-7"),
        ("+49.90", "+49.90"),
        ("-1.234,50", '"-1.234,50"'),
        ("-1e3", "-1e3"),
        ("-.5", "-.5"),
        ("a=1", "a=1"),
        ("", ""),
        (None, ""),
    ],
)
def test_text_that_a_spreadsheet_would_run_is_defused_on_demand(
    field: str | None, written: str
) -> None:
    assert quote(text(field, "x"), escape=True)[0].as_py() == written
    assert quote(text(field))[0].as_py() == written.replace("'", "")
