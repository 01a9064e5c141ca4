"""Columns and lines are those of the csv module.

These tests run on compiled kernels, and again as plain Python and with bounds checked (see
test_modes).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns.arrow import TEXT, text_bytes
from pipeline.columns.totals import text_total
from pipeline.csv_text.fields import Fields
from pipeline.csv_text.parse import parse
from pipeline.csv_text.quoting import end_lines, join_fields
from pipeline.settings import Dialect

COLUMNS = ("a", "b", "c")
FIELD = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
    st.sampled_from(["", '"', '""', ",", ";", "\n", "\r\n", '24"', "é", "x" * 70, '"y",' * 9]),
)
ROWS = st.lists(st.tuples(FIELD, FIELD, FIELD), max_size=12)
DIALECTS = st.sampled_from([Dialect(delimiter) for delimiter in ",;\t'"])


def written(rows: Sequence[Sequence[str]], delimiter: str, **how: object) -> str:
    target = io.StringIO(newline="")
    csv.writer(target, delimiter=delimiter, **how).writerows(rows)  # type: ignore[arg-type]
    return target.getvalue()


def parsed(text: str, dialect: Dialect, encoding: str = "utf-8") -> Fields:
    found = parse(text.encode(encoding), COLUMNS, encoding, dialect)
    assert not len(found.rejected)
    for name in COLUMNS:
        found.fields.column(name).validate(full=True)
    return found.fields


def contents(fields: Fields) -> list[list[str | None]]:
    return [fields.column(name).to_pylist() for name in fields.columns]


@given(ROWS, DIALECTS, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.booleans())
def test_columns_are_those_of_the_csv_module(
    rows: list[tuple[str, ...]], dialect: Dialect, quoting: int, is_ended: bool
) -> None:
    text = written(rows, dialect.delimiter, quoting=quoting)
    fields = parsed(text if is_ended else text.removesuffix("\r\n"), dialect)

    assert len(fields) == len(rows)
    assert contents(fields) == [[row[place] or None for row in rows] for place in range(3)]
    columns = (text_bytes(fields.column(name)) for name in COLUMNS)
    assert fields.text_total(0) == sum(map(text_total, columns))


@given(ROWS, DIALECTS, st.booleans(), st.permutations(COLUMNS), st.integers(0, 3))
def test_lines_are_the_csv_text_of_some_columns(
    rows: list[tuple[str, ...]], dialect: Dialect, all_quoted: bool, order: list[str], first: int
) -> None:
    how = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    fields = parsed(written(rows, dialect.delimiter, quoting=how), dialect)
    names = order[first:] or ["b", "c"]

    lines = fields.lines(names, escape=False)

    lines.validate(full=True)
    columns = [[row[COLUMNS.index(name)] for row in rows] for name in names]
    wanted = end_lines(join_fields([pa.array(column, TEXT) for column in columns]))
    assert lines.to_pylist() == wanted.to_pylist()


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis", "gb18030", "latin-1", "euc_jp"])
def test_text_in_other_encodings_becomes_utf8(encoding: str) -> None:
    words = ["é", "ゼソ表,", "x", "", '"Zoë"', "中文\n"]
    words = [word.encode(encoding, "ignore").decode(encoding) for word in words]
    rows = [(one, other, "7") for one in words for other in words]
    fields = parsed(written(rows, ","), Dialect(encoding=encoding), encoding)

    assert contents(fields) == [[row[place] or None for row in rows] for place in range(3)]
    columns = (text_bytes(fields.column(name)) for name in COLUMNS)
    assert fields.text_total(0) == sum(map(text_total, columns))
    lines = "".join(fields.lines(COLUMNS, escape=False).to_pylist())
    assert lines == written(rows, ",", lineterminator="\n")


def test_a_quote_within_a_field_is_text_and_quoted_in_the_output() -> None:
    fields = parsed('1,24"",x\n', Dialect())

    assert contents(fields) == [["1"], ['24""'], ["x"]]
    assert fields.lines(["b", "a"], escape=False).to_pylist() == ['"24""""",1\n']


def test_quotes_that_the_output_does_not_need_are_left_out() -> None:
    fields = parsed('"1";"a;b";"2,5"\r\n', Dialect(";"))

    assert fields.lines(COLUMNS, escape=False).to_pylist() == ['1,a;b,"2,5"\n']


def test_formulas_are_defused() -> None:
    fields = parsed("1,=1+1,-7\n", Dialect())

    assert fields.lines(["b", "c"], escape=True).to_pylist() == ["'=1+1,-7\n"]
