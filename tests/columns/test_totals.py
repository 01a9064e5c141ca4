"""Control totals are exact, whatever the numbers and the text."""

from __future__ import annotations

import zlib
from decimal import Decimal, localcontext

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.columns.arrow import NUMBER, TEXT, text_bytes
from pipeline.columns.totals import (
    EXACT,
    Checksum,
    exact_sum,
    exact_sums,
    hashes,
    mixed,
    pairing,
    summable,
    text_total,
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


def test_small_numbers_are_summed_in_the_fast_type() -> None:
    assert summable(pa.array([Decimal(10)] * 3, NUMBER)).type == NUMBER
    assert summable(pa.array([LARGEST], NUMBER)).type == pa.decimal256(76, 18)


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


@given(
    st.lists(st.text() | st.text("ab\0", max_size=40), max_size=30, unique=True),
    st.integers(0, 5),
)
@example(["\0", "\0\0", "a", "\0a", "a\0", "\0" * 8, "\0" * 9], 0)
def test_texts_that_differ_have_other_hashes(values: list[str], start: int) -> None:
    column = pa.array([None, *values, *values], TEXT)[start:]

    found = dict(zip(column.to_pylist(), hashes(column).tolist(), strict=True))

    assert len(set(found.values())) == len({value or "" for value in found})
    assert {value: hashes(pa.array([value], TEXT)).tolist() for value in found} == {
        value: [one] for value, one in found.items()
    }
    assert all((one == 0) == (not value) for value, one in found.items())


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 24, 255, 256, 257, 300, 5_000])
def test_every_byte_and_its_place_count(size: int) -> None:
    text = "".join(chr(ord("0") + place * 7 % 10) for place in range(size))
    others = {text + "0", text[1:], *(text[:at] + "x" + text[at + 1 :] for at in range(size))}
    others |= {text[:at] + text[at + 1] + text[at] + text[at + 2 :] for at in range(size - 1)}

    found = hashes(pa.array([text, *others], TEXT))

    assert len(set(found.tolist())) == 1 + len(others)


def test_mixing_is_a_permutation_that_keeps_zero() -> None:
    found = mixed(np.arange(100_000))

    assert len(np.unique(found)) == 100_000
    assert found[0] == 0
    assert abs(np.unpackbits(found.view(np.uint8)).mean() - 0.5) < 0.01


@given(st.permutations(range(6)))
def test_a_pairing_tells_which_record_has_which_key(places: list[int]) -> None:
    order, keys = np.arange(6) << 31, mixed(np.arange(1, 7))

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

    found = exact_sums(numbers, np.array([code for code, _ in rows], np.int8), 3)

    with localcontext(EXACT):
        assert found == [
            sum((number or 0 for code, number in rows if code == one), Decimal(0))
            for one in range(3)
        ]


def test_sums_by_code_of_short_numbers_are_exact_too() -> None:
    numbers = pa.array([Decimal("19.90"), None, Decimal("-0.01")], pa.decimal128(19, 2))

    assert exact_sums(numbers, np.array([1, 1, 0]), 2) == [Decimal("-0.01"), Decimal("19.90")]
