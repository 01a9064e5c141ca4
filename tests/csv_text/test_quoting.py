"""What is written as CSV text reads back as it came, by Python's own reader."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import text

from pipeline.columns.arrow import text_bytes
from pipeline.csv_text.quoting import end_lines, join_fields, quote

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
