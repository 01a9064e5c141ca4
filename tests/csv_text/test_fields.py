"""Plain text taken apart by its delimiters is what a CSV reader makes of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import text

from pipeline.columns.arrow import TEXT
from pipeline.csv_text.fields import Fields, PlainFields, TableFields

COLUMNS = ("a", "b", "c")
FIELD = st.text(st.characters(codec="utf-8", exclude_characters='",;\r\n\0'), max_size=6)
ROWS = st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=8)


def plain(rows: Sequence[tuple[str, ...]], delimiter: str = ",", end: str = "\n") -> PlainFields:
    body = "\n".join(delimiter.join(row) for row in rows) + end
    found = PlainFields.find(body.encode(), COLUMNS, delimiter)
    assert found is not None
    return found


def contents(fields: Fields) -> list[list[str | None]]:
    return [fields.column(name).to_pylist() for name in fields.columns]


@given(ROWS, st.sampled_from(",;\t"), st.sampled_from(["\n", ""]))
def test_columns_are_those_of_the_csv_module(
    rows: list[tuple[str, ...]], delimiter: str, end: str
) -> None:
    rows = [tuple(field.replace("\t", " ") for field in row) for row in rows]

    fields = plain(rows, delimiter, end)

    assert len(fields) == len(rows)
    assert contents(fields) == [[row[place] or None for row in rows] for place in range(3)]
    text = "".join(field for row in rows for field in row)
    assert fields.text_total() == sum(text.replace("'", "").encode())


@given(ROWS, st.sampled_from([",", ";"]), st.permutations(COLUMNS), st.integers(0, 3))
def test_lines_are_the_csv_text_of_some_columns(
    rows: list[tuple[str, ...]], delimiter: str, order: list[str], first: int
) -> None:
    names = order[first:] or ["b", "c"]

    lines = plain(rows, delimiter).lines(names, escape=False)

    assert lines.type == TEXT
    read = list(csv.reader(io.StringIO("".join(lines.to_pylist()), newline=""), strict=True))
    wanted = [[row[COLUMNS.index(name)] for name in names] for row in rows]
    assert [row or [""] for row in read] == wanted


def test_lines_of_all_but_the_first_column_are_slices_of_the_text() -> None:
    fields = plain([("1", "Lamp", "19.90"), ("", "", "")])

    assert fields.lines(["b", "c"], escape=False).to_pylist() == ["Lamp,19.90\n", ",\n"]
    assert fields.lines(["b"], escape=False).to_pylist() == ["Lamp\n", "\n"]
    assert fields.lines(["a", "b"], escape=False).to_pylist() == ["1,Lamp\n", ",\n"]


def test_formulas_are_defused_in_plain_text_too() -> None:
    fields = plain([("1", "=1+1", "-7")])

    assert fields.lines(["b", "c"], escape=True).to_pylist() == ["'=1+1,-7\n"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"1,2\n",
        b"1,2,3,4\n",
        b"1,2,3\n\n",
        b"1,2,3\n4,5\n6,7,8,9\n",
        b"1,2\n,3,4,5\n",
        b'1,"2",3\n',
        b"1,2,3\r\n",
        b"1,2,\0\n",
        b"1,2,\xff\n",
        b"1,2,\xc3\n",
    ],
)
def test_other_text_is_left_to_a_csv_reader(body: bytes) -> None:
    assert PlainFields.find(body, COLUMNS, ",") is None


def test_a_table_gives_the_same_as_plain_text() -> None:
    rows = [("1", "Lamp", "19.90"), ("", "Zoë", "")]
    columns = {
        name: text(*(row[place] or None for row in rows)) for place, name in enumerate("abc")
    }
    table = TableFields(pa.table(columns))

    fields = plain(rows)

    assert contents(table) == contents(fields)
    assert table.text_total() == fields.text_total()
    for names in (["b", "c"], ["c", "a"]):
        assert table.lines(names, escape=False).equals(fields.lines(names, escape=False))
