"""Text and exact numbers go between pandas and Arrow, without a loss."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from support.frames import text

from pipeline.columns.arrow import (
    NUMBER,
    TEXT,
    text_bytes,
    to_arrow,
    to_number,
    to_text,
)
from pipeline.columns.totals import EXACT

NUMBERS = st.integers(1 - 10**38, 10**38 - 1).map(lambda digits: Decimal(digits).scaleb(-18, EXACT))
TEXTS = st.lists(st.none() | st.text(), max_size=20)


@given(TEXTS)
def test_text_goes_to_pandas_and_back(values: list[str | None]) -> None:
    column = to_text(pa.array(values, TEXT))

    assert to_arrow(column).to_pylist() == values
    assert to_arrow(column).type == TEXT
    assert column.isna().tolist() == [value is None for value in values]


@given(st.lists(st.none() | NUMBERS, max_size=20))
def test_numbers_go_to_pandas_and_back(values: list[Decimal | None]) -> None:
    column = to_number(pa.array(values, NUMBER))

    assert to_arrow(column).to_pylist() == values
    assert to_arrow(column).type == NUMBER


def test_columns_of_several_chunks_become_one_array() -> None:
    column = pd.concat([to_text(text("a", None)), to_text(text()), to_text(text("b"))])

    assert to_arrow(column).to_pylist() == ["a", None, "b"]


def test_words_for_missing_stay_words() -> None:
    values = ["", "nan", "NaN", "None", "<NA>", "null"]

    assert to_arrow(to_text(pa.array(values, TEXT))).to_pylist() == values


@given(TEXTS, st.integers(0, 20), st.integers(0, 20))
def test_text_bytes_are_those_of_a_slice_only(
    values: list[str | None], start: int, length: int
) -> None:
    sliced = values[start : start + length]

    found = text_bytes(pa.array(values, TEXT).slice(start, length))

    assert bytes(found) == "".join(value or "" for value in sliced).encode()


def test_a_column_without_a_chunk_is_an_empty_array() -> None:
    assert to_arrow(to_text(pa.chunked_array([], TEXT))).to_pylist() == []
