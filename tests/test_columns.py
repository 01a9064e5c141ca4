"""Text and exact numbers go between pandas and Arrow, and are summed, without a loss."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pandas as pd
import pyarrow as pa
import pytest
from frames import number_column, text
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns import (
    EXACT,
    NUMBER,
    TEXT,
    exact_sum,
    from_words,
    summable,
    text_bytes,
    to_arrow,
    to_number,
    to_text,
    to_words,
    weight,
)

LARGEST = Decimal("99999999999999999999.999999999999999999")
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


@given(st.lists(st.none() | NUMBERS, max_size=50))
def test_a_sum_is_exact_near_the_limit_of_38_digits(values: list[Decimal | None]) -> None:
    with localcontext(EXACT):
        expected = sum((value for value in values if value is not None), Decimal(0))

    assert exact_sum(pa.array(values, NUMBER)) == expected


@pytest.mark.parametrize(
    ("value", "count", "total"),
    [
        # Arrow's own sum of decimal128 wraps around here: 1e20 needs 39 digits.
        (LARGEST, 2, "199999999999999999999.999999999999999998"),
        (LARGEST.copy_negate(), 1_001, "-100099999999999999999999.999999999999998999"),
        # Python's default context would round both to 28 digits.
        (Decimal("12345678901234567890.123456789012345678"), 3,
         "37037036703703703670.370370367037037034"),
        (Decimal("0.000000000000000001"), 7, "0.000000000000000007"),
        (Decimal("19999999999999.99"), 4_999, "99979999999999950.01"),
    ],
)  # fmt: skip
def test_sums_are_right_to_the_last_digit(value: Decimal, count: int, total: str) -> None:
    assert exact_sum(pa.array([value] * count, NUMBER)) == Decimal(total)


@pytest.mark.parametrize("values", [[], [None, None]])
def test_the_sum_of_no_numbers_is_zero(values: list[None]) -> None:
    assert exact_sum(pa.array(values, NUMBER)) == 0


def test_small_numbers_are_summed_in_the_fast_type() -> None:
    assert summable(pa.array([Decimal(10)] * 3, NUMBER)).type == NUMBER
    assert summable(pa.array([LARGEST], NUMBER)).type == pa.decimal256(76, 18)


@given(TEXTS, st.integers(0, 20))
def test_the_weight_is_the_sum_of_all_bytes_but_quotes_and_apostrophes(
    values: list[str | None], start: int
) -> None:
    kept = "".join(value or "" for value in values[start:]).replace('"', "").replace("'", "")

    assert weight(pa.array(values, TEXT)[start:]) == sum(kept.encode())


def test_a_column_without_a_chunk_is_an_empty_array() -> None:
    assert to_arrow(to_text(pa.chunked_array([], TEXT))).to_pylist() == []


@given(st.lists(st.none() | st.integers(1 - 10**38, 10**38 - 1), max_size=8), st.integers(0, 3))
def test_numbers_come_back_from_words(digits: list[int | None], start: int) -> None:
    values = [None if one is None else Decimal(one).scaleb(-18, EXACT) for one in digits]
    column = number_column(values)[start:]

    back = from_words(*to_words(column))

    assert to_arrow(back).to_pylist() == values[start:]


def test_numbers_of_fewer_digits_come_back_from_words_too() -> None:
    prices = to_number(pa.array([Decimal("19.90"), None, Decimal("-0.05")], pa.decimal128(19, 2)))

    assert to_arrow(from_words(*to_words(prices))).to_pylist() == to_arrow(prices).to_pylist()
