"""The total of text is the sum that plain Python finds, in any mode (see test_modes)."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns.totals import text_total
from pipeline.kernels import text as text_module

compiled = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="plain Python takes a microsecond for each byte"
)

ADDED = b"\"',\n\r"


def by_hand(data: bytes) -> int:
    return sum(byte for byte in data if byte not in ADDED)


@given(st.binary(max_size=200) | st.lists(st.sampled_from(ADDED + b"a\xff")).map(bytes))
def test_the_sum_is_that_of_all_bytes_but_those_that_csv_adds(data: bytes) -> None:
    assert text_total(np.frombuffer(data, np.uint8)) == by_hand(data)


def test_every_byte_counts_once_but_five() -> None:
    found = [int(text_total(np.array([byte], np.uint8))) for byte in range(256)]

    assert found == [0 if byte in ADDED else byte for byte in range(256)]


@pytest.mark.parametrize("start", range(9))
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 33, 64, 100])
def test_text_may_begin_and_end_anywhere(start: int, size: int) -> None:
    data = bytes(range(1, 128))

    found = text_total(np.frombuffer(data, np.uint8)[start : start + size])

    assert found == by_hand(data[start : start + size])


@compiled
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_chunks_add_up(beyond: int) -> None:
    data = np.full(text_module._CHUNK + beyond, 7, np.uint8)

    assert text_total(data) == 7 * len(data)


@compiled
def test_the_sum_of_large_text_does_not_overflow() -> None:
    """The sum of these bytes needs more than 32 bits, that of each chunk does not."""
    data = np.full(17 << 20, 255, np.uint8)

    assert text_total(data) == 255 * len(data) > 1 << 32
