"""Numbers are read as a pattern and Python's integers read them, wherever they are in a text.

These tests run on compiled kernels, and again as plain Python and with bounds checked (see
test_modes).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numba import config
from support.oracle import WHITESPACE

from pipeline.kernels.numbers import (
    MOST_PLACES,
    NO_NUMBER,
    UNDECIDED,
    read_numbers,
    write_decimals,
)

NO_BITS = np.empty(0, np.uint8)
SIGNS = [(".", ""), (",", "."), (".", "\u00a0"), ("\u066b", ","), (",", "'"), (" ", "\u202f")]
LONGEST = 3 if config.DISABLE_JIT else 5
Number = tuple[int, int]


def by_hand(text: str, point: str, comma: str) -> Number:
    """Return a number as (digits, places), in plain Python."""
    mark, sign = re.escape(comma), re.escape(point)
    whole = f"[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+|[0-9]*" if comma else "[0-9]*"
    pattern = f"([+-]?)({whole})(?:{sign}([0-9]*))?([eE][+-]?[0-9]+)?"
    found = re.fullmatch(pattern, text.strip(WHITESPACE))
    if not found or not (found[2] or found[3]):
        return 0, NO_NUMBER
    places = len(found[3] or "")
    digits = int((found[2].replace(comma, "") if comma else found[2]) + (found[3] or ""))
    if found[4] or digits >= 10**18 or places > MOST_PLACES:
        return 0, UNDECIDED
    return -digits if found[1] == "-" else digits, places


def read(texts: Sequence[str], point: str = ".", comma: str = "") -> list[Number]:
    data = [one.encode() for one in texts]
    bounds = np.cumsum([0, *map(len, data)], dtype=np.int64)
    text = np.frombuffer(b"".join(data), np.uint8)
    digits, places = np.full(len(texts), 7, np.int64), np.full(len(texts), 7, np.int8)
    signs = (int.from_bytes(sign.encode(), "little") for sign in (point, comma))

    undecided = read_numbers(text, bounds, NO_BITS, 0, *signs, digits, places)

    assert undecided == np.count_nonzero(places == UNDECIDED)
    return list(zip(digits.tolist(), places.tolist(), strict=True))


@pytest.mark.parametrize(("point", "comma"), SIGNS)
def test_every_short_text_is_read_as_by_hand(point: str, comma: str) -> None:
    alphabet = ["0", "7", point, comma or ",", "-", "e", " "]
    texts = ["".join(one) for size in range(LONGEST + 1) for one in product(alphabet, repeat=size)]
    texts += [f"12{one}345" for one in texts]

    found = read(texts, point, comma)

    wrong = [
        (text, number)
        for text, number in zip(texts, found, strict=True)
        if number != by_hand(text, point, comma)
    ]
    assert wrong == []


DIGITS = st.text("0123456789", max_size=20)
TEXTS = st.one_of(
    st.builds(lambda sign, one, two: f"{sign}{one}.{two}", st.sampled_from("+- "), DIGITS, DIGITS),
    st.builds("{}{}".format, DIGITS, st.sampled_from(["", "E5", "e-12", "/", ":", "\x00", "é"])),
    st.text("0123456789.,+-eE_ \u00a0\u0663", max_size=20),
    st.integers(-(10**19), 10**19).map("{:,}".format),
)


@given(st.lists(TEXTS, max_size=8), st.sampled_from(SIGNS))
@example(["9" * 18, "9" * 19, "0" * 30 + "7", "." + "0" * 18, "." + "0" * 19], (".", ""))
@example(["1234567.12345678", "12345678.1234567", "12345678", "123456789", ".12345678"], (".", ""))
@example(["1.2.3", "12345.6789.12", "1234567890123456", "-1234567890123456"], (".", ""))
def test_texts_are_read_as_by_hand_whatever_stands_before_them(
    texts: list[str], signs: tuple[str, str]
) -> None:
    expected = [by_hand(text, *signs) for text in texts]

    assert read(texts, *signs) == expected
    assert [read([text], *signs)[0] for text in texts] == expected


@pytest.mark.parametrize("first_bit", [0, 1, 7, 8, 13])
def test_a_missing_field_is_no_number_whatever_is_in_it(first_bit: int) -> None:
    are_valid = np.arange(20) % 3 > 0
    bits = np.packbits(np.append(np.zeros(first_bit, bool), are_valid), bitorder="little")
    text, bounds = np.frombuffer(b"42" * 20, np.uint8), np.arange(0, 41, 2)
    digits, places = np.empty(20, np.int64), np.empty(20, np.int8)

    read_numbers(text, bounds, bits, first_bit, ord("."), 0, digits, places)

    assert places.tolist() == np.where(are_valid, 0, NO_NUMBER).tolist()
    assert digits.tolist() == np.where(are_valid, 42, 0).tolist()


@given(
    st.lists(
        st.tuples(st.integers(1 - 10**18, 10**18 - 1), st.integers(0, MOST_PLACES))
        | st.sampled_from([(0, UNDECIDED), (0, NO_NUMBER)]),
        max_size=20,
    )
)
@example([(-1, 0), (1, 0), (0, 0), (-(2**55), 0), (10**18 - 1, 0), (1 - 10**18, 0), (-1, 18)])
def test_numbers_are_written_in_units_of_the_last_place(numbers: list[Number]) -> None:
    most = max([places for _, places in numbers] + [0])
    for scale in {most, MOST_PLACES}:
        words = np.empty(2 * len(numbers), np.int64)
        valid = np.zeros(-(-len(numbers) // 8), np.uint8)
        digits = np.array([number for number, _ in numbers], np.int64)
        places = np.array([places for _, places in numbers], np.int8)

        large = write_decimals(digits, places, scale, words, valid)

        data = words.tobytes()
        found = [
            int.from_bytes(data[at : at + 16], "little", signed=True)
            for at in range(0, len(data), 16)
        ]
        assert found == [number * 10 ** (scale - max(after, 0)) for number, after in numbers]
        assert large == sum(not -(2**63) <= one < 2**63 for one in found)
        bits = np.unpackbits(valid, count=len(numbers), bitorder="little")
        assert bits.tolist() == [after != NO_NUMBER for _, after in numbers]
