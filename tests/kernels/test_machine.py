"""What has a twin in plain Python does as the twin does; these tests run both (see test_modes)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kernels.jit import inner
from pipeline.kernels.machine import copy, fold, high_product, load_half, load_word, prefetch

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


@pytest.mark.parametrize("at", [0, 38, 39, 1 << 40, -1])
def test_a_prefetch_changes_nothing_wherever_it_is(at: int) -> None:
    assert after_prefetch(TEXT, at) == 1
