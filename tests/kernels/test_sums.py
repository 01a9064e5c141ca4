"""Sums are those of Python's integers; these tests run in three ways (see test_modes)."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.kernels.sums import (
    COUNTED,
    LIMBS,
    WORDS,
    count_by_code,
    sum_by_code,
    sum_joined,
    sum_pairs,
)

NUMBERS = st.integers(-(2**127), 2**127 - 1) | st.integers(-5, 5)
ROWS = st.lists(st.tuples(st.integers(0, 2), st.booleans(), NUMBERS), max_size=20)
NO_BITS = np.empty(0, np.uint8)


def as_bits(first_bit: int, are_valid: list[bool]) -> np.ndarray:
    return np.packbits(np.array([False] * first_bit + are_valid, bool), bitorder="little")


@given(ROWS, st.integers(0, 9))
@example([(0, True, 2**127 - 1)] * 3 + [(1, True, -(2**127))] * 3, 0)
def test_numbers_are_summed_and_counted_by_code(
    rows: list[tuple[int, bool, int]], first_bit: int
) -> None:
    data = b"".join(number.to_bytes(16, "little", signed=True) for *_, number in rows)
    words, codes = np.frombuffer(data, np.int64), np.array([code for code, *_ in rows], np.int16)
    # The customers of the three codes are in rows 2, 1 and 0; the last two are not the first.
    keys, traits = np.array([7, 5, 2**64 - 1], np.uint64), np.array([5, 3, 0], np.int32)
    joined = 2 - codes.astype(np.int64), np.arange(len(codes)), keys, traits
    for bits, valid in (
        (NO_BITS, [True] * len(rows)),
        (as_bits(first_bit, [valid for _, valid, _ in rows]), [valid for _, valid, _ in rows]),
    ):
        sums, counts = np.zeros(3 * LIMBS, np.int64), np.zeros(3, np.int64)
        long_sums, totals = np.zeros(3 * COUNTED, np.uint64), np.zeros(2, np.uint64)

        sum_by_code(words, bits, first_bit, codes, sums)
        sum_joined(*joined, words, bits, first_bit, long_sums, totals)
        count_by_code(bits, first_bit, codes, counts)

        for code in range(3):
            limbs = sums[code * LIMBS :][:LIMBS].tolist()
            chosen = [
                number
                for (other, _, number), counts_too in zip(rows, valid, strict=True)
                if other == code and counts_too
            ]
            assert sum(limb << 32 * place for place, limb in enumerate(limbs)) == sum(chosen)
            *_, count = long = long_sums[code * COUNTED :][:COUNTED]
            assert int.from_bytes(long[:WORDS].tobytes(), "little", signed=True) == sum(chosen)
            assert count == np.count_nonzero(codes == code)
            assert counts[code] == len(chosen)
        assert totals[0] == sum_pairs(joined[1], keys[joined[0]])
        assert totals[1] == np.count_nonzero(codes > 0)


@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**64 - 1)), max_size=9))
def test_each_key_is_multiplied_by_the_hash_of_its_place(pairs: list[tuple[int, int]]) -> None:
    order = np.array([place for place, _ in pairs], np.int64)
    keys = np.array([key for _, key in pairs], np.uint64)
    weights = [(place + 1) * 0xBF58476D1CE4E5B9 % 2**64 for place, _ in pairs]
    products = [
        (weight ^ weight >> 32) * key for weight, (_, key) in zip(weights, pairs, strict=True)
    ]

    assert int(sum_pairs(order, keys)) == sum(products) % 2**64
