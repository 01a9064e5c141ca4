"""Ids as they are compared, their hashes, and an index of them by open addressing.

Text is UTF-8 bytes back to back; an id is the part of it from `begin[row]` to `end[row]`. An empty
one is missing and matches nothing. The caller allocates all arrays; `begin`, `end`, `hashes` and
`rows` have an element for each row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.kernels.jit import (
    Bytes,
    BytesOut,
    Int64,
    Int64s,
    Int64sOut,
    UInt64s,
    UInt64sOut,
    inner,
    kernel,
)
from pipeline.kernels.machine import AHEAD, fold, load_half, load_word, prefetch

U = np.uint64
NO_ROW = 0  # in an empty entry of an index: row numbers there begin with 1
SHORT = 8  # the longest id, in bytes, that is stored in its entry
ROW_BITS = U(48)  # of an entry's second number; above them is the kind
KIND = U(0xFFFF << 48)


@inner
def whitespace_at(text: Any, at: Any, stop: Any) -> Any:
    """Return the size of the whitespace character at `at`, up to `stop`; 0 if there is none.

    Whitespace is that of `str.isspace`, and the invisible U+200B and U+FEFF.
    """
    first = text[at]
    if first < 0x80:
        return 1 if first == 0x20 or 0x09 <= first <= 0x0D or 0x1C <= first <= 0x1F else 0
    if first == 0xC2 and at + 1 < stop:
        return 2 if text[at + 1] == 0x85 or text[at + 1] == 0xA0 else 0
    if at + 2 < stop:
        second, third = text[at + 1], text[at + 2]
        if first == 0xE1 and second == 0x9A and third == 0x80:
            return 3
        if first == 0xE2 and second == 0x80:
            is_space = 0x80 <= third <= 0x8B or third == 0xA8 or third == 0xA9 or third == 0xAF
            return 3 if is_space else 0
        if first == 0xE2 and second == 0x81 and third == 0x9F:
            return 3
        if first == 0xE3 and second == 0x80 and third == 0x80:
            return 3
        if first == 0xEF and second == 0xBB and third == 0xBF:
            return 3
    return 0


@inner
def whitespace_before(text: Any, start: Any, at: Any) -> Any:
    """Return the size of the whitespace character before `at`, down to `start`; 0 if none."""
    if text[at - 1] < 0x80:
        return whitespace_at(text, at - 1, at)
    if at - 2 >= start and whitespace_at(text, at - 2, at) == 2:
        return 2
    if at - 3 >= start and whitespace_at(text, at - 3, at) == 3:
        return 3
    return 0


@kernel
def trim_ids(
    text: Bytes,
    bounds: Int64s,
    valid: Bytes,
    first_bit: Int64,
    begin: Int64sOut,
    end: Int64sOut,
) -> Int64:
    """Find each id in its field, without surrounding whitespace; return how many differ from it.

    Row `r` is the field from `bounds[r]` to `bounds[r + 1]`; it is missing unless bit `first_bit +
    r` of `valid` (least significant bit first) is set. Without missing rows, `valid` may be empty.
    """
    shorter = 0
    for row in range(begin.size):
        start, stop = bounds[row], bounds[row + 1]
        bit = first_bit + row
        if valid.size > 0 and not (valid[bit >> 3] >> (bit & 7)) & 1:
            stop = start
        # Most ids have no whitespace around them, as their first and last bytes show.
        is_plain = start < stop and 0x20 < text[start] < 0x80 and 0x20 < text[stop - 1] < 0x80
        while start < stop and not is_plain:
            size = whitespace_at(text, start, stop)
            if size == 0:
                break
            start += size
        while start < stop and not is_plain:
            size = whitespace_before(text, start, stop)
            if size == 0:
                break
            stop -= size
        begin[row], end[row] = start, stop
        if stop - start != bounds[row + 1] - bounds[row]:
            shorter += 1
    return shorter


@inner
def hash_of(text: Any, start: Any, stop: Any, seeds: Any) -> Any:
    """Return a hash of some bytes, computed like wyhash, with secrets in place of its constants.

    All words are combined with a secret before they are multiplied, so nobody can choose texts
    whose hashes collide without knowing the four seeds.
    """
    size = stop - start
    state = seeds[0]
    first = second = U(0)
    if size >= 8:
        at = start
        while stop - at > 16:
            state = fold(load_word(text, at) ^ seeds[1], load_word(text, at + 8) ^ state)
            at += 16
        # Unless the size is a multiple of 16, these overlap, or overlap with what came before.
        first, second = load_word(text, max(stop - 16, start)), load_word(text, stop - 8)
    elif size >= 4:
        first, second = load_half(text, start), load_half(text, stop - 4)
    elif size > 0:
        first = U(text[start]) | U(text[start + (size >> 1)]) << U(8) | U(text[stop - 1]) << U(16)
    state = fold(first ^ seeds[1], second ^ state)
    return fold(state ^ seeds[2], U(size) ^ seeds[3])


@kernel
def hash_ids(text: Bytes, begin: Int64s, end: Int64s, seeds: UInt64s, hashes: UInt64sOut) -> None:
    """Hash each id with four seeds."""
    for row in range(begin.size):
        hashes[row] = hash_of(text, begin[row], end[row], seeds)


@inner
def are_equal(
    text: Any, start: Any, stop: Any, other: Any, other_start: Any, other_stop: Any
) -> Any:
    """Return whether two ids are the same bytes."""
    size = stop - start
    if other_stop - other_start != size:
        return False
    at = np.int64(0)
    if size >= 8:
        while at + 8 < size:
            if load_word(text, start + at) != load_word(other, other_start + at):
                return False
            at += 8
        return load_word(text, stop - 8) == load_word(other, other_stop - 8)
    if size >= 4:
        same_start = load_half(text, start) == load_half(other, other_start)
        return same_start and load_half(text, stop - 4) == load_half(other, other_stop - 4)
    while at < size and text[start + at] == other[other_start + at]:
        at += 1
    return at == size


@inner
def word_of(text: Any, start: Any, stop: Any, own_hash: Any) -> Any:
    """Return an id of up to `SHORT` bytes as one uint64; the hash of a longer one."""
    size = stop - start
    if size > SHORT:
        return own_hash
    if size == SHORT:
        return load_word(text, start)
    # The two parts overlap; these bytes are the same in both.
    if size >= 4:
        return load_half(text, start) | load_half(text, stop - 4) << U(8 * (size - 4))
    middle = size >> 1
    low, high = U(text[start]), U(text[stop - 1]) << U(8 * (size - 1))
    return low | U(text[start + middle]) << U(8 * middle) | high


@inner
def kind_of(start: Any, stop: Any) -> Any:
    """Return an id's kind: its size, at most `SHORT + 1`, in the bits where an entry has it."""
    return U(min(stop - start, SHORT + 1)) << ROW_BITS


@kernel
def index_ids(hashes: UInt64s, text: Bytes, begin: Int64s, end: Int64s, table: UInt64sOut) -> None:
    """Enter the ids into an empty table; of equal ids, the first stays.

    `table` is all zeros. An entry is two numbers; the number of entries is a power of two, and
    exceeds that of the rows. The two are an id's word (see `word_of`), and its kind (see `kind_of`)
    with its row number, from 1, in the lowest bits. So a short id is stored in its entry, and
    comparing it reads no other memory.
    """
    mask = U(table.size // 2 - 1)
    for row in range(hashes.size):
        if row + AHEAD < hashes.size:
            prefetch(table, U(2) * (hashes[row + AHEAD] & mask))
        start, stop = begin[row], end[row]
        if start == stop:
            continue
        word, kind = word_of(text, start, stop, hashes[row]), kind_of(start, stop)
        at = U(2) * (hashes[row] & mask)
        while table[at + U(1)] != U(NO_ROW):
            if table[at] == word and table[at + U(1)] & KIND == kind:
                other = np.int64(table[at + U(1)] & ~KIND) - 1
                if stop - start <= SHORT:
                    break
                if are_equal(text, start, stop, text, begin[other], end[other]):
                    break
            at = (at + U(2)) & (U(2) * mask)
        if table[at + U(1)] == U(NO_ROW):
            table[at], table[at + U(1)] = word, kind | U(row + 1)


@kernel
def find_ids(
    hashes: UInt64s,
    text: Bytes,
    begin: Int64s,
    end: Int64s,
    known_text: Bytes,
    known_begin: Int64s,
    known_end: Int64s,
    table: UInt64s,
    rows: Int64sOut,
) -> None:
    """Find each id's row among the known ids; if it has none, `rows` gets the number of known ids.

    `table` is an index of the known ids (see `index_ids`), whose hashes have the same seeds.
    """
    mask = U(table.size // 2 - 1)
    count, none, longer = hashes.size, known_begin.size, 0
    # The entries of consecutive ids are far apart in memory, so each is prefetched well before use.
    for row in range(count):
        if row + AHEAD < count:
            prefetch(table, U(2) * (hashes[row + AHEAD] & mask))
        start, stop = begin[row], end[row]
        rows[row] = none
        if start == stop:
            continue
        word, kind = word_of(text, start, stop, hashes[row]), kind_of(start, stop)
        at = U(2) * (hashes[row] & mask)
        while table[at + U(1)] != U(NO_ROW):
            if table[at] == word and table[at + U(1)] & KIND == kind:
                rows[row] = np.int64(table[at + U(1)] & ~KIND) - 1
                longer += stop - start > SHORT
                break
            at = (at + U(2)) & (U(2) * mask)
    for row in range(count if longer > 0 else 0):
        if row + AHEAD < count and rows[row + AHEAD] < none:
            prefetch(known_begin, rows[row + AHEAD])
        if row + AHEAD // 2 < count and rows[row + AHEAD // 2] < none:
            prefetch(known_text, known_begin[rows[row + AHEAD // 2]])
        other, start, stop = rows[row], begin[row], end[row]
        if other == none or stop - start <= SHORT:
            continue
        if are_equal(text, start, stop, known_text, known_begin[other], known_end[other]):
            continue
        # Another id has this hash: the right one may follow it.
        rows[row] = none
        at = U(2) * (hashes[row] & mask)
        while table[at + U(1)] != U(NO_ROW):
            if table[at] == hashes[row] and table[at + U(1)] & KIND == kind_of(start, stop):
                other = np.int64(table[at + U(1)] & ~KIND) - 1
                if are_equal(text, start, stop, known_text, known_begin[other], known_end[other]):
                    rows[row] = other
                    break
            at = (at + U(2)) & (U(2) * mask)


@kernel
def enter_keys(keys: UInt64s, table: UInt64sOut, later: BytesOut) -> None:
    """Enter hashes of ids into an empty table.

    `table` is all zeros; its size is a power of two, and larger than the number of keys. The key 0
    is a missing id, and is not entered. `later` is all zeros, too; the byte of a key becomes 1 if
    an earlier key is the same.
    """
    mask = U(table.size - 1)
    for row in range(keys.size):
        if row + AHEAD < keys.size:
            prefetch(table, keys[row + AHEAD] & mask)
        key = keys[row]
        at = key & mask
        while table[at] != U(0) and table[at] != key:
            at = (at + U(1)) & mask
        if key != U(0):
            later[row] = table[at] == key
            table[at] = key


@kernel
def count_known(keys: UInt64s, table: UInt64s) -> Int64:
    """Return how many of some hashes of ids are in a table (see `enter_keys`)."""
    mask = U(table.size - 1)
    count = 0
    for row in range(keys.size):
        if row + AHEAD < keys.size:
            prefetch(table, keys[row + AHEAD] & mask)
        at = keys[row] & mask
        while table[at] != U(0) and table[at] != keys[row]:
            at = (at + U(1)) & mask
        count += keys[row] != U(0) and table[at] == keys[row]
    return count
