"""What has a twin in plain Python does as the twin does; these tests run both (see test_modes)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kernels.jit import inner
from pipeline.kernels.machine import (
    copy,
    copy_short,
    count_bits,
    equal_bits,
    first_bit,
    fold,
    high_bits,
    high_product,
    load_half,
    load_word,
    prefetch,
)

WORDS = st.integers(0, 2**64 - 1)
TEXT = np.arange(1, 40, dtype=np.uint8)


@inner
def folded(first: Any, second: Any) -> Any:
    return fold(first, second)


@inner
def upper_half(first: Any, second: Any) -> Any:
    return high_product(first, second)


@inner
def words(text: Any, at: Any) -> Any:
    return load_word(text, at), load_half(text, at)


@inner
def copied(to: Any, at: Any, source: Any, start: Any, size: Any) -> Any:
    copy(to, at, source, start, size)
    return to


@inner
def copied_short(to: Any, at: Any, source: Any, start: Any, size: Any) -> Any:
    copy_short(to, at, source, start, size)
    return to


@inner
def masks(text: Any, at: Any, byte: Any) -> Any:
    return equal_bits(text, at, byte), high_bits(text, at)


@inner
def first_and_count(word: Any) -> Any:
    return first_bit(word), count_bits(word)


@inner
def after_prefetch(array: Any, at: Any) -> Any:
    prefetch(array, at)
    return array[0]


@given(WORDS, WORDS)
def test_a_product_has_128_bits(first: int, second: int) -> None:
    product = first * second

    assert int(folded(np.uint64(first), np.uint64(second))) == product >> 64 ^ product % 2**64
    assert int(upper_half(np.uint64(first), np.uint64(second))) == product >> 64


@pytest.mark.parametrize("at", [0, 1, 7, len(TEXT) - 8])
def test_words_are_read_from_any_byte_on(at: int) -> None:
    word, half = words(TEXT, at)

    assert int(word) == int.from_bytes(TEXT[at : at + 8].tobytes(), "little")
    assert int(half) == int.from_bytes(TEXT[at : at + 4].tobytes(), "little")


@pytest.mark.parametrize(("at", "start", "size"), [(0, 0, 39), (3, 5, 9), (39, 39, 0), (38, 0, 1)])
def test_bytes_are_copied(at: int, start: int, size: int) -> None:
    expected = np.zeros(39, np.uint8)
    expected[at : at + size] = TEXT[start : start + size]

    found = copied(np.zeros(39, np.uint8), at, TEXT, start, size)

    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("at", "start", "size"), [(0, 0, 16), (3, 5, 9), (23, 23, 16), (24, 23, 15), (0, 0, 39)]
)
def test_few_bytes_are_copied_with_those_behind_them(at: int, start: int, size: int) -> None:
    found = copied_short(np.zeros(39, np.uint8), at, TEXT, start, size)

    assert found[at : at + size].tolist() == TEXT[start : start + size].tolist()
    assert not found[:at].any()
    assert not found[at + max(size, 16) :].any()


@given(st.binary(min_size=64, max_size=80), st.integers(0, 255), st.integers(0, 80))
def test_bytes_are_compared_64_at_a_time(text: bytes, byte: int, at: int) -> None:
    at = min(at, len(text) - 64)
    some = text[at : at + 64]

    equal, high = masks(np.frombuffer(text, np.uint8), at, byte)

    assert int(equal) == sum(1 << place for place, one in enumerate(some) if one == byte)
    assert int(high) == sum(1 << place for place, one in enumerate(some) if one >= 0x80)


@given(WORDS.filter(bool))
def test_bits_are_found_and_counted(word: int) -> None:
    first, count = map(int, first_and_count(np.uint64(word)))

    assert word % (1 << first) == 0
    assert word >> first & 1
    assert count == word.bit_count()


@pytest.mark.parametrize("at", [0, 38, 39, 1 << 40, -1])
def test_a_prefetch_changes_nothing_wherever_it_is(at: int) -> None:
    assert after_prefetch(TEXT, at) == 1
