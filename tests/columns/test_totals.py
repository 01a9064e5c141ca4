"""Control totals are exact, whatever the numbers and the text."""

from __future__ import annotations

import zlib
from decimal import Decimal, localcontext

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns.arrow import NUMBER, TEXT, text_bytes
from pipeline.columns.totals import (
    EXACT,
    Checksum,
    count_by_group,
    exact_sum,
    pairing,
    scramble,
    sum_by_group,
    text_total,
    total_joined,
)
from pipeline.csv_text.quoting import end_lines, join_fields

LARGEST = Decimal("99999999999999999999.999999999999999999")
NUMBERS = st.integers(1 - 10**38, 10**38 - 1).map(lambda digits: Decimal(digits).scaleb(-18, EXACT))
TEXTS = st.lists(st.none() | st.text(), max_size=20)
ODD = st.text(st.sampled_from("a\"',\r\n=-1é\0"), max_size=6)


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


@given(TEXTS, st.integers(0, 20))
def test_a_text_total_is_the_sum_of_all_bytes_but_those_that_csv_adds(
    values: list[str | None], start: int
) -> None:
    kept = "".join(value or "" for value in values[start:])

    total = text_total(text_bytes(pa.array(values, TEXT)[start:]))

    assert total == sum(byte for byte in kept.encode() if byte not in b"\"',\r\n")


@given(st.lists(st.tuples(ODD, ODD), min_size=1, max_size=20), st.booleans())
def test_text_has_the_same_total_as_csv(rows: list[tuple[str, str]], escape: bool) -> None:
    columns = [pa.array(column, TEXT) for column in zip(*rows, strict=True)]

    lines = end_lines(join_fields(columns, escape))

    assert text_total(text_bytes(lines)) == sum(
        text_total(text_bytes(column)) for column in columns
    )


def test_a_text_total_tells_one_byte_that_changed() -> None:
    text = np.arange(256, dtype=np.uint8)

    others = [np.delete(text, place) for place in range(256)]

    same = [place for place, other in enumerate(others) if text_total(other) == text_total(text)]
    assert bytes(same) == b"\0\n\r\"',"


def test_mixing_is_a_permutation_that_keeps_zero() -> None:
    found = scramble(np.arange(100_000))

    assert len(np.unique(found)) == 100_000
    assert found[0] == 0
    assert abs(np.unpackbits(found.view(np.uint8)).mean() - 0.5) < 0.01


@given(st.permutations(range(6)))
def test_a_pairing_tells_which_record_has_which_key(places: list[int]) -> None:
    order, keys = np.arange(6) << 31, scramble(np.arange(1, 7))

    assert pairing(order[places], keys[places]) == pairing(order, keys)
    assert (pairing(order, keys[places]) == pairing(order, keys)) == (places == sorted(places))


@given(st.lists(st.binary(max_size=9), max_size=5))
def test_checksums_of_parts_add_up_to_that_of_the_whole(parts: list[bytes]) -> None:
    whole = b"".join(parts)

    added = sum(map(Checksum.of, parts), Checksum())

    assert added == Checksum.of(whole) == Checksum(zlib.crc32(whole), len(whole))
    assert str(added) == f"{zlib.crc32(whole):08x}"


@given(
    st.lists(st.tuples(st.integers(0, 2), st.none() | NUMBERS | st.decimals(-9, 9, places=2))),
    st.integers(0, 2),
)
def test_sums_by_code_are_exact(rows: list[tuple[int, Decimal | None]], start: int) -> None:
    rows = rows[start:]
    numbers = pa.array([None] * start + [number for _, number in rows], NUMBER)[start:]

    codes = np.array([code for code, _ in rows], np.int8)

    with localcontext(EXACT):
        expected = [
            sum((number or 0 for code, number in rows if code == one), Decimal(0))
            for one in range(3)
        ]
    assert sum_by_group(numbers, codes, 3) == expected
    # Purchases have the customers of rows 2, 1, 0: those of a group have its code, and odd ones
    # are of an id that an earlier one has.
    found = total_joined(
        2 - codes.astype(np.int64),
        np.arange(len(rows)),
        numbers,
        keys=np.array([7, 5, 3], np.uint64),
        traits=np.array([5, 2, 1], np.int32),
        groups=3,
    )
    counts = [sum(code == one for code, _ in rows) for one in range(3)]
    assert (found.sums, found.counts) == (expected, counts)
    assert found.not_first == counts[2] + counts[0]
    keys = np.array([3, 5, 7], np.uint64)[codes]
    assert found.pairs == pairing(np.arange(len(rows)), keys)
    assert count_by_group(numbers, codes, 3) == [
        sum(number is not None for code, number in rows if code == one) for one in range(3)
    ]


def test_sums_by_code_of_short_numbers_are_exact_too() -> None:
    numbers = pa.array([Decimal("19.90"), None, Decimal("-0.01")], pa.decimal128(19, 2))

    codes = np.array([1, 1, 0])
    assert sum_by_group(numbers, codes, 2) == [Decimal("-0.01"), Decimal("19.90")]
