"""Ids are trimmed as Python does, hashed without a pattern, and found as in a dict.

These tests run on compiled kernels, and again as plain Python and with bounds checked (see
test_modes).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import config
from support.oracle import WHITESPACE

from pipeline.kernels.ids import (
    count_known,
    enter_keys,
    find_ids,
    hash_ids,
    index_ids,
    trim_ids,
)

NO_BITS = np.empty(0, np.uint8)
SEEDS = np.array([3, 5, 7, 11], np.uint64) * np.uint64(0x9E3779B97F4A7C15 >> 4)
MANY = 2_000 if config.DISABLE_JIT else 200_000


def flat(texts: Iterable[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of some texts back to back, and where each begins and the last ends."""
    parts = list(texts)
    bounds = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return np.frombuffer(b"".join(parts), np.uint8), bounds


def trimmed(texts: Sequence[str]) -> list[str]:
    text, bounds = flat(one.encode() for one in texts)
    begin, end = np.empty(len(texts), np.int64), np.empty(len(texts), np.int64)

    shorter = trim_ids(text, bounds, NO_BITS, 0, begin, end)

    assert shorter == np.count_nonzero(end - begin != np.diff(bounds))
    data = text.tobytes()
    return [data[start:stop].decode() for start, stop in zip(begin, end, strict=True)]


def hashes_of(texts: Iterable[bytes], seeds: np.ndarray = SEEDS) -> np.ndarray:
    text, bounds = flat(texts)
    found = np.empty(len(bounds) - 1, np.uint64)
    hash_ids(text, bounds[:-1], bounds[1:], seeds, found)
    return found


def test_every_character_at_the_edge_of_an_id_is_kept_or_cut_off_as_python_does() -> None:
    every = range(0x20, sys.maxunicode + 1) if MANY > 10_000 else [*range(0x3100), 0xFEFF]
    characters = [chr(code) for code in every if not 0xD800 <= code < 0xE000]
    for texts in (characters, [f"{one}7{one}" for one in characters]):
        assert trimmed(texts) == [one.strip(WHITESPACE) for one in texts]


@given(st.lists(st.text(st.sampled_from("7 \t\n\x1f\x85\xa0é\u2003\u2028\u3000\u200b\ufeff0"))))
def test_ids_are_trimmed_as_python_does(texts: list[str]) -> None:
    assert trimmed(texts) == [one.strip(WHITESPACE) for one in texts]


@given(st.lists(st.binary(max_size=4)))
def test_bytes_that_are_no_text_are_no_fault(texts: list[bytes]) -> None:
    text, bounds = flat(texts)
    begin, end = np.empty(len(texts), np.int64), np.empty(len(texts), np.int64)

    trim_ids(text, bounds, NO_BITS, 0, begin, end)

    assert (bounds[:-1] <= begin).all()
    assert (begin <= end).all()
    assert (end <= bounds[1:]).all()


@pytest.mark.parametrize("first_bit", [0, 1, 7, 8, 13])
def test_a_missing_id_has_no_bytes_whatever_is_in_its_field(first_bit: int) -> None:
    are_valid = np.arange(20) % 3 > 0
    bits = np.packbits(np.append(np.zeros(first_bit, bool), are_valid), bitorder="little")
    text, bounds = flat([b"ab"] * 20)
    begin, end = np.empty(20, np.int64), np.empty(20, np.int64)

    shorter = trim_ids(text, bounds, bits, first_bit, begin, end)

    assert shorter == np.count_nonzero(~are_valid)
    assert (end - begin).tolist() == (2 * are_valid).tolist()


def fold(first: int, second: int) -> int:
    return first * second >> 64 ^ first * second % 2**64


def hash_by_hand(text: bytes, seeds: Sequence[int]) -> int:
    """Return the hash of an id, in plain Python."""
    state, rest = seeds[0], text
    while len(rest) > 16:
        state, rest = fold(number(rest[:8]) ^ seeds[1], number(rest[8:16]) ^ state), rest[16:]
    if len(text) >= 16:
        first, second = text[-16:-8], text[-8:]
    elif len(text) >= 8:
        first, second = text[:8], text[-8:]
    elif len(text) >= 4:
        first, second = text[:4], text[-4:]
    else:
        first, second = bytes([text[0], text[len(text) // 2], text[-1]]) if text else b"", b""
    state = fold(number(first) ^ seeds[1], number(second) ^ state)
    return fold(state ^ seeds[2], len(text) ^ seeds[3])


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def test_the_hash_of_every_length_is_that_by_hand_wherever_the_text_is() -> None:
    data = bytes(range(1, 90))
    texts = [data[start : start + size] for size in range(80) for start in (0, 1, 9)]

    found = hashes_of(texts).tolist()

    assert found == [hash_by_hand(one, SEEDS.tolist()) for one in texts]


def integers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def crafted(count: int) -> list[bytes]:
    """Return ids that common hashes confuse: zeros, repeated words, exchanged words."""
    zeros = [bytes(size) for size in range(count // 8)] if count < 5_000 else []
    words = [(b"%08d" % number) for number in range(count // 4)]
    exchanged = [first + second for first, second in zip(words, words[::-1], strict=True)]
    repeated = [word * 4 for word in words]
    pairs = ((bit, other) for bit in range(256) for other in range(bit))
    bits = [(1 << bit | 1 << other).to_bytes(32, "little") for bit, other in pairs]
    return list(dict.fromkeys([*zeros, *exchanged, *repeated, *bits[: count // 2]]))


KINDS = {
    "integers": integers,
    "every third": lambda count: [b"%d" % (3 * number) for number in range(count)],
    "large": lambda count: [b"%d" % (10**17 + 10**9 * number) for number in range(count)],
    "padded": lambda count: [b"C-%07d" % number for number in range(count)],
    "UUIDs": lambda count: [
        str(UUID(int=0x9E3779B97F4A7C15F39CC0605CEDC835 * number % 2**128)).encode()
        for number in range(count)
    ],
    "UUIDs in sequence": lambda count: [str(UUID(int=number)).encode() for number in range(count)],
    "last of many bytes": lambda count: [b"x" * 40 + number for number in integers(count)],
    "crafted": crafted,
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_hashes_are_spread_as_if_drawn(kind: str, seed: int) -> None:
    """In all, in their lowest bits, which say where an id is in a table, and in the highest."""
    seeds = np.random.default_rng(seed).integers(2**64, size=4, dtype=np.uint64)
    texts = KINDS[kind](MANY)
    found = hashes_of(texts, seeds)

    assert len(np.unique(found)) == len(texts)
    places = 256
    for bits in (found & np.uint64(places - 1), found >> np.uint64(56), found >> np.uint64(24)):
        counts = np.bincount((bits & np.uint64(places - 1)).astype(int), minlength=places)
        expected = len(texts) / places
        chi_squared = float(((counts - expected) ** 2 / expected).sum())
        assert 100 < chi_squared < 450  # drawn ones: 255, and 23 more or less


def test_each_bit_of_an_id_and_of_the_seeds_changes_half_of_its_hash() -> None:
    for size in (1, 3, 4, 7, 8, 15, 16, 17, 36):
        number = int.from_bytes(bytes(range(40, 40 + size)), "little")
        changed = [(number ^ 1 << bit).to_bytes(size, "little") for bit in range(8 * size)]
        difference = hashes_of(changed) ^ hashes_of([number.to_bytes(size, "little")])
        assert all(10 <= int(one).bit_count() <= 54 for one in difference)
    for word in range(4):
        seeds = SEEDS.copy()
        seeds[word] ^= np.uint64(1 << 20)
        assert 10 <= int(hashes_of([b"7"], seeds)[0] ^ hashes_of([b"7"])[0]).bit_count() <= 54


def rows_found(ids: list[bytes], wanted: list[bytes], hashes: dict[bytes, int]) -> list[int]:
    """Return the rows of the wanted ids, if ids had these hashes."""
    table = np.zeros(2 << (2 * len(ids)).bit_length(), np.uint64)
    text, bounds = flat(ids)
    known = text, bounds[:-1], bounds[1:]
    index_ids(np.array([hashes[one] for one in ids], np.uint64), *known, table)
    text, bounds = flat(wanted)
    rows = np.empty(len(wanted), np.int64)
    found = np.array([hashes[one] for one in wanted], np.uint64)
    find_ids(found, text, bounds[:-1], bounds[1:], *known, table, rows)
    return rows.tolist()


# Ids of all sizes that are compared in other steps, some of which differ in one byte alone.
SIMILAR = [
    b"x" * place + letter + b"x" * (size - place - 1)
    for size in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 25, 36)
    for place in {0, size // 2, size - 1}
    for letter in (b"x", b"y")
]
IDS = st.lists(st.sampled_from([b"", *SIMILAR]), max_size=80)


@given(IDS, IDS, st.integers(0, 3))
def test_the_bytes_of_an_id_decide_not_its_hash(
    ids: list[bytes], wanted: list[bytes], different: int
) -> None:
    """Where all ids, or many, have one hash."""
    choices = [0, 2**64 - 1, 1 << 63, 7][: different + 1]
    hashes = {one: choices[sum(one) % len(choices)] for one in [*ids, *wanted]}

    found = rows_found(ids, wanted, hashes)

    first = {one: row for row, one in reversed(list(enumerate(ids))) if one}
    assert found == [first.get(one, len(ids)) for one in wanted]


@given(st.lists(st.binary(min_size=1, max_size=9), unique=True))
def test_short_ids_of_one_hash_are_told_apart(ids: list[bytes]) -> None:
    """Also by bytes of zero at their ends: all of such an id is in its entry, and its size."""
    every = [*ids, *(one + b"\0" for one in ids), *(one[:-1] or b"7" for one in ids)]

    found = rows_found(ids, every, dict.fromkeys(every, 5))

    assert found == [ids.index(one) if one in ids else len(ids) for one in every]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 23, 24, 25, 1000])
def test_every_id_is_found_among_any_number(count: int) -> None:
    ids = integers(count)
    wanted = [*ids, *(b"%d" % (number + count) for number in range(count))]
    hashes = dict(zip(wanted, hashes_of(wanted).tolist(), strict=True))

    assert rows_found(ids, wanted, hashes) == [*range(count), *[count] * count]


# Most end in the same bits, so they collide in a table of 16; 0 is a missing id.
KEYS = st.lists(st.sampled_from([0, 1, 17, 33, 15, 31, 1 << 63, (1 << 64) - 1, 5]), max_size=15)


@given(KEYS, KEYS)
def test_hashes_of_ids_are_known_once_entered(keys: list[int], others: list[int]) -> None:
    table, later = np.zeros(16, np.uint64), np.zeros(len(keys), np.uint8)

    enter_keys(np.array(keys, np.uint64), table, later)

    assert later.tolist() == [key != 0 and key in keys[:place] for place, key in enumerate(keys)]
    known = set(keys) - {0}
    assert count_known(np.array(others, np.uint64), table) == sum(one in known for one in others)
