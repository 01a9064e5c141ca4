"""Text is a number where, and only where, Python's own exact decimals say so."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.frames import text
from support.oracle import WHITESPACE

from pipeline.columns.arrow import NUMBER
from pipeline.columns.decimals import parse_numbers
from pipeline.columns.totals import EXACT
from pipeline.settings import Dialect

NUMBER_LIKE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
TEXTS = st.one_of(
    st.from_regex(r"\A\s?[+-]?[0-9]{0,24}\.?[0-9]{0,20}([eE][+-]?[0-9]{1,4})?\s?\Z"),
    st.decimals(allow_nan=True, allow_infinity=True).map(str).filter(lambda t: len(t) < 2_000),
    st.integers(-(2**70), 2**70).map(str),
    st.text("0123456789+-.eE_, ", max_size=12),
    st.text(max_size=6),
)


def number(value: str | None) -> Decimal | None:
    """Return the number that a text is by the rules of `pipeline.decimals`, in plain Python."""
    if value is None or not NUMBER_LIKE.fullmatch(value.strip(WHITESPACE)):
        return None
    if not re.search(r"[1-9]", value.strip(WHITESPACE).lower().partition("e")[0]):
        return Decimal(0)
    if abs(Decimal(value.strip(WHITESPACE)).adjusted()) > 100:  # too long to write out
        return None
    exact = Decimal(value.strip(WHITESPACE))
    last_place = Fraction(exact) * 10**18
    return exact if last_place.denominator == 1 and abs(last_place) < 10**38 else None


@given(st.lists(st.none() | TEXTS, min_size=1, max_size=8))
@example(["1e0003", "x"])
@example(["0e400", "7"])
@example(["4E20", "400000000000000000000", "4000000000000000000.212345423714627888472"])
@example(["1" + "0" * 45 + "e-40"])
@example(["\ufeff1.5", "-2\u200b", "\u200b 3e2\ufeff", "1\u200b5"])
def test_a_text_is_the_number_that_python_reads_whatever_stands_beside_it(
    values: list[str | None],
) -> None:
    expected = [number(value) for value in values]

    assert parse_numbers(text(*values)).to_pylist() == expected
    assert [parse_numbers(text(value))[0].as_py() for value in values] == expected


@given(st.lists(st.none() | st.integers(-(2**64), 2**64), max_size=8))
def test_columns_of_integers_take_the_fast_path_to_the_same_numbers(
    values: list[int | None],
) -> None:
    parsed = parse_numbers(text(*(None if value is None else str(value) for value in values)))

    assert parsed.to_pylist() == values


@given(
    st.integers(0, 18),
    st.lists(st.none() | st.integers(-(10**19), 10**19), min_size=1, max_size=8),
    st.sampled_from([None, "x", "1.5", ".", "-.", "5", "1.2.3", "+0.5", "1/2", "0x1", ".-5"]),
)
@example(2, [1990, None, -5, 0], None)
@example(0, [7], "7.")
@example(2, [150], ".-5")
def test_columns_of_one_number_of_places_take_the_fast_path_to_the_same_numbers(
    places: int, values: list[int | None], odd: str | None
) -> None:
    numbers = [None if value is None else Decimal(value).scaleb(-places) for value in values]
    texts = [None if value is None else f"{value:f}" for value in numbers]

    parsed = parse_numbers(text(*texts, odd)).to_pylist()

    assert parsed == [*numbers, number(odd)]


def test_prices_are_as_wide_as_they_need() -> None:
    assert parse_numbers(text("19.90", None, "0.05")).type == pa.decimal128(19, 2)
    assert parse_numbers(text("19.90", "5", "x", "-.125")).type == pa.decimal128(19, 3)
    assert parse_numbers(text("19.90", "1e2")).type == NUMBER
    assert parse_numbers(text("100", "0.00000000000000001")).type == NUMBER  # 1e19 of its units


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("19.90", "19.90"),
        ("007", "7"),
        ("+5", "5"),
        ("-0", "0"),
        ("5.", "5"),
        (".5", "0.5"),
        (" 20.00\t", "20"),
        ("\u00a05", "5"),
        ("1e3", "1000"),
        ("1E+0003", "1000"),
        ("25e-1", "2.5"),
        ("99999999999999999999.999999999999999999", "99999999999999999999.999999999999999999"),
        ("-99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999"),
        ("0.000000000000000001", "0.000000000000000001"),
        ("1.0000000000000000000000", "1"),
        ("9007199254740993", "9007199254740993"),
        ("0.1", "0.1"),
    ],
)
def test_numbers(value: str, expected: str) -> None:
    assert parse_numbers(text(value))[0].as_py() == Decimal(expected)


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "abc", "-", "--5", "5-", "- 5", ".", "+", "e3", "1e", "1.2.3", "1 000"),
        *(
            "1,234",
            "1_000",
            "0x10",
            "NaN",
            "nan",
            "Infinity",
            "-inf",
            "€5",
            "5 €",
            "5\x00",
            "\u0663",
        ),
        *("100000000000000000000", "1e20", "1e-19", "0.0000000000000000001", "1e999999999999"),
    ],
)
def test_no_numbers(value: str) -> None:
    assert parse_numbers(text(value, "1")).to_pylist() == [None, 1]


def test_empty_columns() -> None:
    assert parse_numbers(text()).to_pylist() == []
    assert parse_numbers(text(None, None)).to_pylist() == [None, None]
    assert parse_numbers(text(None)).type == NUMBER


@given(st.integers(1 - 10**38, 10**38 - 1).map(lambda digits: Decimal(digits).scaleb(-18, EXACT)))
@example(Decimal("1234.5"))
def test_numbers_with_other_signs_are_the_same_numbers(value: Decimal) -> None:
    english = f"{value:,f}"
    german = english.translate(str.maketrans(",.", ".,"))

    assert parse_numbers(text(english), Dialect(thousands=","))[0].as_py() == value
    assert parse_numbers(text(german), Dialect(decimal=",", thousands="."))[0].as_py() == value
    assert parse_numbers(text(f"{value:f}"), Dialect(thousands="\u00a0"))[0].as_py() == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1.234,50", "1234.50"),
        ("1234,50", "1234.50"),
        ("-,5", "-0.5"),
        ("1,5e2", "150"),
        ("1.5", None),
        ("1.23,4", None),
        ("1,234.5", None),
        ("12.34.567", None),
        (".123", None),
        ("1.234.", None),
    ],
)
def test_a_point_between_thousands_stands_in_its_right_place(
    value: str, expected: str | None
) -> None:
    dialect = Dialect(delimiter=";", decimal=",", thousands=".")

    parsed = parse_numbers(text(value, "x"), dialect).to_pylist()

    assert parsed == [None if expected is None else Decimal(expected), None]
