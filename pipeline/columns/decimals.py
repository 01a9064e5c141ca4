"""Parses text into exact decimal numbers, a column at a time.

A number has digits, at most one decimal point, an optional sign before and exponent after, and
blanks around it. `1,234`, `0x10`, `NaN`, `Infinity` and `€5` are not numbers. Written out, a number
has at most 20 digits before the decimal point and 18 after, not counting zeros at the ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Context, Decimal, Inexact, InvalidOperation
from shlex import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import NUMBER, TEXT, bounds, holds_only, text_bytes
from pipeline.settings import Dialect

_PATTERN = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
# Arrow's own conversion silently changes some longer numbers: 4e20 into 5971763307906….
_ARROW_PATTERN = r"^[+-]?([0-9]{1,20}(\.[0-9]{0,18})?|\.[0-9]{1,18})$"
_ARROW_LENGTH = 20
_POINT = ord(".")

# Decimal points and thousands separators in use around the world.
_SIGNS = (
    *((".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'")),
    *((".", "\u00a0"), (",", "\u00a0"), (",", "\u202f"), (".", "\u2019"), (".", "")),
)
_LAST_PLACE = Decimal(1).scaleb(-NUMBER.scale)
_FITTING = Context(prec=NUMBER.precision, traps=[InvalidOperation, Inexact])


def parse_numbers(text: pa.Array, dialect: Dialect | None = None) -> pa.Array:
    """Return the numbers in `text` (large_string) as decimals; null for text that is no number.

    The type is decimal128(38, 18), or decimal128(19, p) if all have p decimal places. `dialect`
    gives the decimal point and the optional thousands separator.
    """
    if dialect and (dialect.decimal, dialect.thousands) != (".", ""):
        text = _in_plain_notation(text, dialect)
    try:
        numbers = _parse_fixed_point(text)
        if numbers is not None:
            return numbers
        longest = pc.max(pc.binary_length(text)).as_py() or 0
        if holds_only(text, "+", "9") and longest <= _ARROW_LENGTH:  # + , - . / and digits
            return pc.cast(text, NUMBER)
    except pa.ArrowInvalid:
        pass
    return _parse_by_pattern(text)


def decimal_places(text: pa.Array, numbers: pa.Array, dialect: Dialect) -> int:
    """Return the most decimal places with which any number is written, up to 18.

    `numbers` are those in `text` (see `parse_numbers`).
    """
    if numbers.type != NUMBER:  # all have the same
        return int(numbers.type.scale)
    written = text.filter(numbers.is_valid())
    with_point = written.filter(pc.match_substring(written, dialect.decimal))
    if not len(with_point):
        return 0
    if pc.any(pc.match_substring_regex(with_point, "[eE]")).as_py():
        plain = (_plain_places(value, dialect.decimal) for value in with_point.to_pylist())
        return min(max(plain), NUMBER.scale)
    trimmed = pc.utf8_trim_whitespace(with_point)
    places = pc.subtract(pc.utf8_length(trimmed), pc.find_substring(trimmed, dialect.decimal))
    return min(int(pc.max(places).as_py()) - 1, NUMBER.scale)


def is_too_long(value: str, dialect: Dialect) -> bool:
    """Tell whether a value is a number, but one with too many digits (see `parse_numbers`)."""
    text = _in_plain_notation(pa.array([value], TEXT), dialect)
    is_number = pc.match_substring_regex(text, _PATTERN)
    return bool(is_number[0].as_py()) and not parse_numbers(text)[0].is_valid


def suggest_signs(
    values: Sequence[str], usable: Sequence[str], dialect: Dialect, any_point: bool
) -> str:
    """Return the options with which most of some unusable values are numbers; "" if none is.

    All of the `usable` values are numbers with them, too. With `any_point`, another decimal point
    may be suggested.
    """
    text, numeric, best, most = pa.array(values, TEXT), pa.array(usable, TEXT), "", 0
    for point, comma in _SIGNS:
        if point == dialect.decimal or any_point:
            tried = replace(dialect, decimal=point, thousands=comma)
            if parse_numbers(numeric, tried).null_count:
                continue
            if (found := len(text) - parse_numbers(text, tried).null_count) > most:
                signs = {"--decimal": point, "--thousands": comma}
                now = {"--decimal": dialect.decimal, "--thousands": dialect.thousands}
                options = [
                    f"{name} {quote(sign)}" for name, sign in signs.items() if sign != now[name]
                ]
                best, most = " ".join(options), found
    return f"{most:,} of {len(text):,} that were tried would be numbers with {best}" if most else ""


def _plain_places(number: str, point: str) -> int:
    """Return the decimal places of a number, which may have an exponent, once written without."""
    digits, _, exponent = number.strip().lower().partition("e")
    return max(0, len(digits.partition(point)[2]) - int(exponent or 0))


def _parse_fixed_point(text: pa.Array) -> pa.Array | None:
    """Return numbers that all have the same number of decimal places, as prices do; else None.

    Without the point they are integers, which parse in half the time. Raises ArrowInvalid if one is
    not a number or has too many digits.
    """
    # Only . / and digits: Arrow reads 0x10 as 16, and .-5 without its point would be a number.
    if text.offset or text.null_count == len(text) or not holds_only(text, ".", "9"):
        return None
    data, stops = text_bytes(text), bounds(text)
    is_point = data == _POINT
    points = np.flatnonzero(is_point)
    places = 0
    if len(points):
        first, last = stops[:-1], stops[1:] - 1
        removed = np.ones(len(text), np.int64)  # one point per number
        if text.null_count:
            valid = text.is_valid().to_numpy(zero_copy_only=False)
            first, last, removed = first[valid], last[valid], valid.astype(np.int64)
        if len(points) != len(last) or (points < first).any():
            return None
        places = int(last[0] - points[0])
        if not 0 <= places <= NUMBER.scale or (last - points != places).any():
            return None
        data = data[~is_point]
        stops = stops - np.concatenate(([0], np.cumsum(removed)))
    buffers = [text.buffers()[0], pa.py_buffer(stops), pa.py_buffer(data)]
    integers = pc.cast(pa.Array.from_buffers(TEXT, len(text), buffers), pa.int64())
    return _as_decimals(integers, places)


def _as_decimals(integers: pa.Array, places: int) -> pa.Array:
    """Return int64 as decimals, in units of the last of `places`, without any arithmetic."""
    words = np.empty((len(integers), 2), "<i8")  # 128 bits, low word first
    words[:, 0] = integers.fill_null(0).to_numpy()
    np.right_shift(words[:, 0], 63, out=words[:, 1])
    validity = pa.array(integers.is_valid()).buffers()[1] if integers.null_count else None
    buffers = [validity, pa.py_buffer(words)]
    return pa.Array.from_buffers(pa.decimal128(19, places), len(integers), buffers)


def _in_plain_notation(text: pa.Array, dialect: Dialect) -> pa.Array:
    """Turn `1.234,50` into `1234.50`; null if a point or separator is misplaced."""
    point, comma = re.escape(dialect.decimal), re.escape(dialect.thousands)
    whole = f"[0-9]+|[0-9]{{1,3}}({comma}[0-9]{{3}})+" if comma else "[0-9]+"
    pattern = f"^[+-]?(({whole})({point}[0-9]*)?|{point}[0-9]+)([eE][+-]?[0-9]+)?$"
    trimmed = pc.utf8_trim_whitespace(text)
    numbers = pc.if_else(pc.match_substring_regex(trimmed, pattern), trimmed, None)
    if comma:
        numbers = pc.replace_substring(numbers, dialect.thousands, "")
    return pc.replace_substring(numbers, dialect.decimal, ".")


def _parse_by_pattern(text: pa.Array) -> pa.Array:
    """Leave to Arrow what it surely parses correctly, and the other numbers to Python."""
    trimmed = pc.utf8_trim_whitespace(text)
    easy = pc.match_substring_regex(trimmed, _ARROW_PATTERN)
    numbers = pc.cast(pc.if_else(easy, trimmed, None), NUMBER)
    hard = pc.and_not(pc.match_substring_regex(trimmed, _PATTERN), easy)
    hard = pc.fill_null(hard, False)
    values = [_parse_one(value) for value in trimmed.filter(hard).to_pylist()]
    return pc.replace_with_mask(numbers, hard, pa.array(values, NUMBER))


def _parse_one(text: str) -> Decimal | None:
    try:
        return Decimal(text, _FITTING).quantize(_LAST_PLACE, context=_FITTING)
    except (InvalidOperation, Inexact):
        return None
