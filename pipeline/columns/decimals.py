"""Parses text into exact decimal numbers, a column at a time.

A number has digits, at most one decimal point, an optional sign before and exponent after, and
whitespace around it. By default, `1,234` is not a number; `0x10`, `NaN`, `Infinity` and `€5` never
are. Written out, a number has at most 20 digits before the decimal point and 18 after, not counting
leading and trailing zeros.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.columns.arrow import NUMBER, TEXT, raw_text
from pipeline.columns.keys import WHITESPACE
from pipeline.kernels.numbers import (
    NO_NUMBER,
    UNDECIDED,
    read_numbers,
    write_decimals,
)
from pipeline.settings import NO_SIGN, Dialect
from pipeline.settings.shell import for_shell

# Decimal points and thousands separators in use around the world.
_SIGNS = (
    *((".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'")),
    *((".", "\u00a0"), (",", "\u00a0"), (",", "\u202f"), (".", "\u2019"), (".", "")),
)
_TRIED = 100  # values
_FEW = 1_000  # values that are enough to refute most guesses
_GROUP = 3  # digits between two thousands separators
_NO_ROWS = np.empty(0, np.int64)
_LAST_PLACE = Decimal(1).scaleb(-NUMBER.scale)
_FITTING = Context(prec=NUMBER.precision, traps=[InvalidOperation, Inexact])


def parse_numbers(text: pa.Array, dialect: Dialect | None = None) -> pa.Array:
    """Return the numbers in `text` (large_string) as decimals; null where it is not a number.

    See `parse_with_places`.
    """
    return parse_with_places(text, dialect).values


class Numbers(NamedTuple):
    """Decimals, the largest number of decimal places as written, and `grouped` rows (int64).

    In these rows, the decimal point may be a thousands separator: `12.500`. There are none if any
    other number rules that out, or if the dialect has a thousands separator or another point.
    """

    values: pa.Array
    places: int
    grouped: np.ndarray


def parse_with_places(text: pa.Array, dialect: Dialect | None = None) -> Numbers:
    """Return the numbers in `text` (large_string), and how they are written.

    `dialect` gives the decimal point and the optional thousands separator. Numbers are decimals,
    null where the text is not a number. If there are any, and each fits into 64 bits without its
    decimal point, their type is decimal128(19, p), where p is the largest number of decimal places;
    otherwise it is decimal128(38, 18). `places` is at most 18.
    """
    dialect = dialect or Dialect()
    digits, places, undecided = _read(text, dialect)
    exact, most = _decide(text, dialect, places) if undecided else (None, 0)
    count = int(np.count_nonzero(places != NO_NUMBER))
    most = max(most, int(places.max(initial=0)))
    valid = np.zeros(0 if count == len(text) else -(-len(text) // 8), np.uint8)
    words = np.empty((len(text), 2), np.int64)
    kind = NUMBER if undecided or not count else pa.decimal128(19, most)
    if write_decimals(digits, places, kind.scale, words.ravel(), valid) and kind != NUMBER:
        kind = NUMBER
        write_decimals(digits, places, kind.scale, words.ravel(), valid)
    if exact is not None:
        words[places == UNDECIDED] = exact
    buffers = [pa.py_buffer(valid) if len(valid) else None, pa.py_buffer(words)]
    is_plain = most == _GROUP and dialect.decimal == "." and not (dialect.thousands or undecided)
    grouped = _grouped(digits, places) if is_plain else _NO_ROWS
    return Numbers(pa.Array.from_buffers(kind, len(text), buffers), most, grouped)


def _grouped(digits: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the `grouped` rows of what `read_numbers` finds (see `Numbers`)."""
    for part in (slice(_FEW), slice(None)):
        size, has_point = np.abs(digits[part]), places[part] == _GROUP
        if not np.where(has_point, (size >= 10**3) & (size < 10**6), size < 10**3).all():
            return _NO_ROWS
        if (~has_point & (places[part] > 0)).any():
            return _NO_ROWS
    return np.flatnonzero(has_point)


def is_too_long(value: str, dialect: Dialect) -> bool:
    """Return whether a value is a number, but one with too many digits (see `parse_numbers`)."""
    text = pa.array([value], TEXT)
    *_, undecided = _read(text, dialect)
    return bool(undecided) and not parse_numbers(text, dialect)[0].is_valid


def suggest_signs(
    table: str, values: Sequence[str], usable: Sequence[str], dialect: Dialect, any_point: bool
) -> str:
    """Name the options that turn the most of `values` into numbers; "" if none do.

    All of the `usable` values stay numbers. Another decimal point is tried with `any_point`, or if
    a usable value has the current one, which may be a thousands separator: `1.234`.
    """
    text, numeric = pa.array(values, TEXT), pa.array(usable, TEXT)
    any_point |= any(dialect.decimal in value for value in usable)
    best, most = dialect, 0
    for point, comma in _SIGNS:
        if not any_point and point != dialect.decimal:
            continue
        tried = replace(dialect, decimal=point, thousands=comma)
        count = _count_numbers(text, tried)
        if count > most and _count_numbers(numeric, tried) == len(numeric):
            best, most = tried, count
    if not most:
        return ""
    signs = (
        ("--decimal", best.decimal, dialect.decimal),
        ("--thousands", best.thousands, dialect.thousands),
    )
    options = " ".join(
        f"{name} {for_shell(f'{table}={sign or NO_SIGN}')}"
        for name, sign, now in signs
        if sign != now
    )
    if dialect.decimal != "," and best == replace(dialect, thousands=","):
        tried = replace(dialect, decimal=",", thousands="")
        counts = _count_numbers(text, tried), _count_numbers(numeric, tried)
        if counts == (most, len(numeric)):  # such as 1,459
            instead = f"--decimal {for_shell(f'{table}=,')}"
            options += f" (or, if the comma is a decimal point, {instead})"
    numbers = "a number" if most == 1 else "numbers"
    return f"{most:,} of {len(text):,} sampled values would be {numbers} with {options}"


def _count_numbers(text: pa.Array, dialect: Dialect) -> int:
    return len(text) - int(parse_numbers(text, dialect).null_count)


def describe_numbers(values: Sequence[str], dialect: Dialect) -> str:
    """Name the most common oddity among values for which `suggest_signs` finds no option.

    Returns "" if none of them is nearly a number.
    """
    signs = (dialect.decimal, dialect.thousands), *_SIGNS
    dialects = [replace(dialect, decimal=point, thousands=comma) for point, comma in signs]
    tried = values[:_TRIED]
    kinds, first = Counter[str](), dict[str, str]()
    for value in tried:
        what, minus, number = _split_oddity(value.strip(WHITESPACE))
        text = pa.array([number], TEXT)
        read = (parse_numbers(text, one)[0].as_py() for one in dialects)
        found = next((one for one in read if one is not None), None)
        if found is not None and not (minus and found < 0):
            kinds[what] += 1
            plain = f"{minus}{found:f}".replace(".", dialect.decimal)
            first.setdefault(what, f"write '{value}' as {plain}")
    if not kinds:
        return ""
    what, count = kinds.most_common(1)[0]
    are_numbers = "is a number" if count == 1 else "are numbers"
    return (
        f"; {count:,} of {len(tried):,} sampled values {are_numbers} {what}, which no option "
        f"reads: {first[what]}"
    )


def _split_oddity(value: str) -> tuple[str, str, str]:
    """Return what is odd about a number, the minus sign that it implies or "", and the rest."""
    if found := re.fullmatch(r"\((.*)\)", value):
        return "in parentheses", "-", _split_words(found[1])[2]
    if found := re.fullmatch(r"(.*\d)\s*-", value):
        return "with a trailing minus", "-", _split_words(found[1])[2]
    before, after, number = _split_words(value)
    if not before and not after:
        return "with mixed separators", "", value
    which = f"leading '{before}'" if before else f"trailing '{after}'"
    return f"with a {which}", "", number


def _split_words(value: str) -> tuple[str, str, str]:
    """Return the words before and after a number, such as a currency, and the number."""
    found = re.fullmatch(r"([+-]?)([^\d.,+-]*)([+-]?)(.*\d)([^\d.,+-]*)", value)
    if not found:
        return "", "", value
    sign, before, inner_sign, number, after = found.groups()
    return before.strip(WHITESPACE), after.strip(WHITESPACE), sign + inner_sign + number


def _read(text: pa.Array, dialect: Dialect) -> tuple[np.ndarray, np.ndarray, int]:
    """Return what `read_numbers` finds: digits, places, and how many numbers are undecided."""
    point, comma = _as_integer(dialect.decimal), _as_integer(dialect.thousands)
    digits, places = np.empty(len(text), np.int64), np.empty(len(text), np.int8)
    undecided = read_numbers(*raw_text(text), text.offset, point, comma, digits, places)
    return digits, places, int(undecided)


def _as_integer(sign: str) -> int:
    return int.from_bytes(sign.encode(), "little")


def _decide(text: pa.Array, dialect: Dialect, places: np.ndarray) -> tuple[np.ndarray, int]:
    """Parse the numbers that are `UNDECIDED` in `places` with Python's `Decimal`.

    Returns them as pairs of 64-bit words, in units of 1e-18, and the largest number of decimal
    places as written. Marks what is not a number as `NO_NUMBER` in `places`.
    """
    rows = np.flatnonzero(places == UNDECIDED)
    words, most = [], 0
    for row, written in zip(rows.tolist(), text.take(pa.array(rows)).to_pylist(), strict=True):
        plain = (
            written.strip(WHITESPACE).replace(dialect.thousands, "").replace(dialect.decimal, ".")
        )
        try:
            exact = Decimal(plain, _FITTING)
            number = exact.quantize(_LAST_PLACE, context=_FITTING).scaleb(NUMBER.scale, _FITTING)
        except (InvalidOperation, Inexact):
            places[row] = NO_NUMBER
            continue
        words.append(int(number).to_bytes(16, "little", signed=True))
        if "." in plain:
            most = max(most, -int(exact.as_tuple().exponent))
    return np.frombuffer(b"".join(words), np.int64).reshape(-1, 2), min(most, NUMBER.scale)
