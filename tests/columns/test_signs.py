"""How numbers are written: with how many decimal places, and with which signs."""

from __future__ import annotations

import pytest
from support.frames import text

from pipeline.columns.decimals import (
    describe_numbers,
    parse_with_places,
    suggest_signs,
)
from pipeline.settings import Dialect


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([], 0),
        ([None, ""], 0),
        (["10", "7"], 0),
        (["10.00", "7.25"], 2),
        (["10", "7.250", "1.5 ", None], 3),
        (["5.", "10"], 0),
        (["abc", "1.2345.6", "2.5"], 1),
        (["1.5e3", "7"], 0),
        (["1.50e1", "7.1"], 1),
        (["2.5e-3"], 4),
        (["3.25", "1e2"], 2),
    ],
)
def test_decimal_places(values: list[str | None], places: int) -> None:
    assert parse_with_places(text(*(value or None for value in values))).places == places


@pytest.mark.parametrize("thousands", [".", "\u00a0", "\u202f"])
def test_decimal_places_behind_a_comma(thousands: str) -> None:
    dialect = Dialect(decimal=",", thousands=thousands)

    assert parse_with_places(text(f"1{thousands}234,500", "7"), dialect).places == 3


@pytest.mark.parametrize(
    ("values", "usable", "now", "any_point", "hint"),
    [
        (["12,50", "1.234,50", "7,00"], [], "", True,
         "3 of 3 sampled values would be numbers with --decimal p=, --thousands p=."),
        (["12,50", "abc"], ["7"], "", True,
         "1 of 2 sampled values would be a number with --decimal p=,"),
        (["12,50"], [], "", False, ""),
        (["12,50", "8,25", "x"], ["7", "9.90"], "", True, ""),
        (["1,234.50", "$5"], ["9.90"], "", False,
         "1 of 2 sampled values would be a number with --thousands p=,"),
        (["1,459", "2,019"], ["7"], "", False,
         "2 of 2 sampled values would be numbers with --thousands p=, (or, if the comma is a "
         "decimal point, --decimal p=,)"),
        (["1,459", "1,000,000"], [], "", False,
         "2 of 2 sampled values would be numbers with --thousands p=,"),
        (["1'234.50"], [], "", False,
         "1 of 1 sampled values would be a number with --thousands \"p='\""),
        (["1\u00a0234,50"], [], "", True,
         "1 of 1 sampled values would be a number with --decimal p=, --thousands $'p=\\u00a0'"),
        # What another sign has made usable, the next hint does not give up.
        (["1.234,50"], ["1,234.50"], ",", True, ""),
        (["12,5"], ["1,234.50"], ",", True, ""),
        (["12,50"], ["7"], ",", True,
         "1 of 1 sampled values would be a number with --decimal p=, --thousands p=none"),
        (["x"] * 50 + ["1,234"], ["9.90"], "", False,
         "1 of 51 sampled values would be a number with --thousands p=,"),
        (["abc", "(5)"], [], "", True, ""),
        ([], [], "", True, ""),
    ],
)  # fmt: skip
def test_signs_are_suggested_that_were_tried(
    values: list[str], usable: list[str], now: str, any_point: bool, hint: str
) -> None:
    assert suggest_signs("p", values, usable, Dialect(thousands=now), any_point) == hint


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["€12.50", "€ 3", "x"], "2 of 3 are numbers with a leading '€': '€12.50' as 12.50"),
        (["$1,234.50"], "1 of 1 is a number with a leading '$': '$1,234.50' as 1234.50"),
        (["-€5"], "1 of 1 is a number with a leading '€': '-€5' as -5"),
        (["$-5"], "1 of 1 is a number with a leading '$': '$-5' as -5"),
        (["EUR 1,234"], "1 of 1 is a number with a leading 'EUR': 'EUR 1,234' as 1234"),
        (["12.50 USD", "7 USD"], "2 of 2 are numbers with a trailing 'USD': '12.50 USD' as 12.50"),
        (["1 234,50 €"], "1 of 1 is a number with a trailing '€': '1 234,50 €' as 1234.50"),
        (["36 years"], "1 of 1 is a number with a trailing 'years': '36 years' as 36"),
        (["(12.50)", "(3,000)"], "2 of 2 are numbers in parentheses: '(12.50)' as -12.50"),
        (["($3,000)"], "1 of 1 is a number in parentheses: '($3,000)' as -3000"),
        (["12.50-"], "1 of 1 is a number with a trailing minus: '12.50-' as -12.50"),
        (["1.234,5-"], "1 of 1 is a number with a trailing minus: '1.234,5-' as -1234.5"),
        (["€12 -"], "1 of 1 is a number with a trailing minus: '€12 -' as -12"),
        (["12,50"], "1 of 1 is a number with mixed separators: '12,50' as 12.50"),
        (["abc", "1-2-3", "", "€", "12.50 EUR-", "--5", "(-5)", "(5-)", "-5-"], ""),
        ([], ""),
    ],
)
def test_what_no_option_reads_is_described(values: list[str], said: str) -> None:
    described = describe_numbers(values, Dialect()).removeprefix("; ")

    shortened = described.replace(" sampled values", "", 1)
    assert shortened.replace(", which no option reads: write ", ": ", 1) == said


def test_what_no_option_reads_is_to_be_written_with_the_decimal_point_in_use() -> None:
    assert "write '1.234,50-' as -1234,50" in describe_numbers(["1.234,50-"], Dialect(decimal=","))


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        (["102.345", "1.250", None, "-12.500 ", "999", "", "x"], [0, 1, 3]),
        (["102.345"] * 5_000, list(range(5_000))),
        (["1.459"] * 5_000 + ["1.5"], []),
        (["1.459", "1.45"], []),
        (["1.459", "1.4595"], []),
        (["1.459", "0.999"], []),
        (["1.459", "-.999"], []),
        (["1.459", "1459.000"], []),
        (["1.459", "1000"], []),
        (["1.459", "1e3"], []),
        (["7", "999"], []),
        ([], []),
    ],
)
def test_points_that_may_be_between_thousands_are_found(
    values: list[str | None], rows: list[int]
) -> None:
    column = text(*(value or None for value in values))

    assert parse_with_places(column, Dialect()).grouped.tolist() == rows
    assert parse_with_places(text("x", *values)[1:], Dialect()).grouped.tolist() == rows
    assert parse_with_places(column, Dialect(thousands=",")).grouped.tolist() == []
    assert parse_with_places(column, Dialect(decimal=",")).grouped.tolist() == []
