"""Numbers in text, read as integers with decimal places, and written as 128-bit decimals.

Text is UTF-8 bytes back to back; row `r` is the field from `bounds[r]` to `bounds[r + 1]`, and
missing unless bit `first_bit + r` of `valid` (least significant bit first) is set. Without missing
rows, `valid` may be empty. The caller allocates all arrays; `digits` and `places` have an element
for each row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.kernels.ids import whitespace_at, whitespace_before
from pipeline.kernels.jit import (
    Bytes,
    BytesOut,
    Int8s,
    Int8sOut,
    Int64,
    Int64s,
    Int64sOut,
    inner,
    kernel,
)
from pipeline.kernels.machine import high_product, load_word

U = np.uint64
MOST_PLACES = 18
# Instead of decimal places: for a number with an exponent or more than 18 digits, and for text that
# is not a number.
UNDECIDED, NO_NUMBER = -1, -2

_ZERO, _PLUS, _MINUS = np.uint8(48), np.uint8(43), np.uint8(45)
_ROOM = np.int64(10**17)  # below it, a number has room for one more digit
_POWERS = np.array([10**places for places in range(MOST_PLACES + 1)], np.uint64)

# Eight characters at once: these are eight bytes each.
_WORD, _ONES, _ZEROS = 8, U(0x0101010101010101), U(0x3030303030303030)
_TOP_BITS, _ABOVE_NINE = U(0x8080808080808080), U(0x7676767676767676)
_PLACES = U(0x0706050403020100)  # for a point in each byte, how many bytes follow it
_PAIRS, _HUNDREDS, _UNITS = (
    U(0x000000FF000000FF),
    U(100 + (10**6 << 32)),
    U(1 + (10**4 << 32)),
)
_EIGHT_DIGITS = np.int64(10**8)


@inner
def _first(word: Any, byte: Any) -> Any:
    """Return 1 << 8 * p for the first byte p of a word that is `byte`; 0 if none is."""
    other = word ^ byte * _ONES
    found = (other - _ONES) & ~other & _TOP_BITS
    return (found & (~found + U(1))) >> U(7)


@inner
def _without(word: Any, first: Any, before: Any) -> Any:
    """Remove the byte at `first` (see `_first`) from a word, and add the byte `before` in front.

    If `first` is 0, return the word unchanged.
    """
    below = first - U(1)
    changed = U(0) - U(first != U(0))  # all bits or none: a branch would often be mispredicted
    moved = (word & ~(below << U(8) | U(0xFF))) | (word & below) << U(8) | before
    return word & ~changed | moved & changed


@inner
def _are_digits(word: Any) -> Any:
    values = word ^ _ZEROS
    return (values + _ABOVE_NINE | values) & _TOP_BITS == U(0)


@inner
def _eight_digits(word: Any) -> Any:
    """Return the value of eight digits (int64)."""
    values = word ^ _ZEROS
    pairs = values * U(10) + (values >> U(8))
    fours = (pairs & _PAIRS) * _HUNDREDS + (pairs >> U(16) & _PAIRS) * _UNITS
    return np.int64(fours >> U(32))


@inner
def _short_number(text: Any, at: Any, stop: Any, point: Any) -> Any:
    """Read up to 16 characters, digits and perhaps a `point`, as (number, places).

    `stop` is 16 or more. The places are `NO_NUMBER` for any other text.
    """
    size = stop - at
    if size < 1 or size > 2 * _WORD:
        return np.int64(0), np.int64(NO_NUMBER)
    places, point_size = U(0), U(0)
    front, back = _ZEROS, load_word(text, stop - _WORD)
    if size > _WORD:
        # The bytes before the number become zeros.
        kept = ~U(0) << U(8 * (2 * _WORD - size))
        front = (load_word(text, stop - 2 * _WORD) & kept) | (_ZEROS & ~kept)
        first = _first(front, point)
        point_size = U(first != U(0))
        places = (_PLACES * first >> U(56)) + U(_WORD) * point_size
        front = _without(front, first, U(_ZERO))
    else:
        kept = ~U(0) << U(8 * (_WORD - size))
        back = (back & kept) | (_ZEROS & ~kept)
    first = _first(back, point)
    point_size += U(first != U(0))
    places += _PLACES * first >> U(56)
    back, front = (
        _without(back, first, front >> U(56)),
        front if first == U(0) else front << U(8) | U(_ZERO),
    )
    if point_size < 2 and point_size < U(size) and _are_digits(back) and _are_digits(front):
        return _eight_digits(front) * _EIGHT_DIGITS + _eight_digits(back), np.int64(places)
    return np.int64(0), np.int64(NO_NUMBER)


@inner
def _value(byte: Any) -> Any:
    """Return the value of a digit (int64); of any other byte, more than 9."""
    return np.int64(np.uint8(byte - _ZERO))


@inner
def _size_at(text: Any, at: Any, stop: Any, sign: Any) -> Any:
    """Return the size of `sign` in bytes (int64) if it is at `at`, before `stop`; else 0."""
    size = np.int64(0)
    while sign >> (8 * size) > 0:
        if at + size >= stop or np.int64(text[at + size]) != sign >> (8 * size) & 0xFF:
            return np.int64(0)
        size += 1
    return size


@inner
def _trimmed(text: Any, at: Any, stop: Any) -> Any:
    """Return (whether a number is negative, its start and its end, without sign and whitespace)."""
    while at < stop:
        size = whitespace_at(text, at, stop)
        if size == 0:
            break
        at += size
    while at < stop:
        size = whitespace_before(text, at, stop)
        if size == 0:
            break
        stop -= size
    is_negative = at < stop and text[at] == _MINUS
    return is_negative, at + (is_negative or (at < stop and text[at] == _PLUS)), stop


@inner
def _any_number(text: Any, at: Any, stop: Any, point: Any, comma: Any) -> Any:
    """Return a number without a sign as (number, places); see `read_numbers`."""
    none = np.int64(0), np.int64(NO_NUMBER)
    number, after, first = np.int64(0), np.int64(0), at
    is_simple: Any = True
    while at < stop and _value(text[at]) <= 9:
        is_simple &= number < _ROOM
        number = number * 10 + _value(text[at])
        at += 1
    before = at - first
    size = _size_at(text, at, stop, comma) if 1 <= before <= 3 else np.int64(0)
    while size > 0:  # three digits, and then another separator or none
        at += size
        for _ in range(3):
            if at >= stop or _value(text[at]) > 9:
                return none
            is_simple &= number < _ROOM
            number = number * 10 + _value(text[at])
            at += 1
        size = _size_at(text, at, stop, comma)
    size = _size_at(text, at, stop, point)
    if size > 0:
        at += size
        first = at
        while at < stop and _value(text[at]) <= 9:
            is_simple &= number < _ROOM
            number = number * 10 + _value(text[at])
            at += 1
        after = at - first
    if before + after == 0:
        return none
    if at < stop and (text[at] == 0x65 or text[at] == 0x45):  # e or E
        is_simple = False
        at += 1
        if at < stop and (text[at] == _MINUS or text[at] == _PLUS):
            at += 1
        first = at
        while at < stop and _value(text[at]) <= 9:
            at += 1
        if at == first:
            return none
    if at != stop:
        return none
    if is_simple and after <= MOST_PLACES:
        return number, after
    return np.int64(0), np.int64(UNDECIDED)


@kernel
def read_numbers(
    text: Bytes,
    bounds: Int64s,
    valid: Bytes,
    first_bit: Int64,
    point: Int64,
    comma: Int64,
    digits: Int64sOut,
    places: Int8sOut,
) -> Int64:
    """Read the number in each field as an integer, `digits`, and its decimal `places`.

    A number has digits, a sign before and an exponent after them, and whitespace around it; all but
    the digits are optional. `point` and `comma` are the decimal point and the thousands separator:
    the bytes of one character, the first one lowest; 0 is none. If `places` are `UNDECIDED` or
    `NO_NUMBER`, `digits` are 0. Returns how many rows are `UNDECIDED`.
    """
    undecided = 0
    # A point that is whitespace may also surround the number; a non-ASCII one takes several bytes.
    # 0xFF, which UTF-8 never contains, leaves both to `_any_number`.
    short_point = U(point) if 0x20 < point < 0x80 else U(0xFF)
    for row in range(places.size):
        at, stop = bounds[row], bounds[row + 1]
        bit = first_bit + row
        if valid.size > 0 and not (valid[bit >> 3] >> (bit & 7)) & 1:
            stop = at
        number, after = np.int64(0), np.int64(NO_NUMBER)
        if at < stop:
            is_negative = text[at] == _MINUS
            if stop >= 2 * _WORD:
                number, after = _short_number(text, at + is_negative, stop, short_point)
            if after == NO_NUMBER:
                is_negative, at, stop = _trimmed(text, at, stop)
                number, after = _any_number(text, at, stop, point, comma)
                undecided += after == UNDECIDED
            number = -number if is_negative else number
        digits[row], places[row] = number, after
    return undecided


@kernel
def write_decimals(
    digits: Int64s, places: Int8s, scale: Int64, words: Int64sOut, valid: BytesOut
) -> Int64:
    """Write numbers (see `read_numbers`) as 128-bit integers in units of 10**-`scale`.

    `scale` is at most 18, and no number has more places than `scale`. `words` gets two for each
    row, the low one first; both are 0 if the row is `UNDECIDED` or has no number. `valid`, all
    zeros at first, gets a bit for each row with a number, `UNDECIDED` or not; if all rows have one,
    it may be empty. Returns how many numbers do not fit into the low word.
    """
    large = 0
    for row in range(places.size):
        number: Any = digits[row]
        after: Any = np.int64(places[row])
        factor = _POWERS[scale - max(after, 0)]
        sign = number >> 63  # no branches: -1 flips all bits, 0 none
        size = U((number ^ sign) - sign)
        low, high = np.int64(size * factor), np.int64(high_product(size, factor))
        words[2 * row] = (low ^ sign) - sign
        words[2 * row + 1] = (high ^ sign) - (sign if low == 0 else 0)
        large += words[2 * row + 1] != words[2 * row] >> 63
        if valid.size > 0:
            valid[row >> 3] |= np.uint8(after != NO_NUMBER) << np.uint8(row & 7)
    return large
