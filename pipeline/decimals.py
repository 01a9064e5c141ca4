"""Text becomes exact decimal numbers, a column at a time.

A number is digits with at most one decimal point, a sign before and an exponent behind if need
be, blanks around it. `1,234`, `0x10`, `NaN`, `Infinity` and `€5` are no numbers. Written out, a
number has at most 20 digits before the decimal point and 18 after, zeros at the ends not counted.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import NUMBER, holds_only
from pipeline.settings import Dialect

_PATTERN = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
# Arrow's own conversion turns some longer numbers into others, unseen: 4e20 into 5971763307906….
_ARROW_PATTERN = r"^[+-]?([0-9]{1,20}(\.[0-9]{0,18})?|\.[0-9]{1,18})$"
_ARROW_LENGTH = 20

_LAST_PLACE = Decimal(1).scaleb(-NUMBER.scale)
_FITTING = Context(prec=NUMBER.precision, traps=[InvalidOperation, Inexact])


def parse_numbers(text: pa.Array, dialect: Dialect | None = None) -> pa.Array:
    """Return the numbers in `text` (strings) as decimal128(38, 18); null where there is none.

    `dialect` names the decimal point and the sign between thousands, if there may be one.
    """
    if dialect and (dialect.decimal, dialect.thousands) != (".", ""):
        text = _in_plain_notation(text, dialect)
    try:
        if holds_only(text, "0", "9"):
            # Faster than text to decimal. The bytes are looked at first since Arrow reads 0x10
            # as 16.
            return pc.cast(pc.cast(text, pa.int64()), NUMBER)
        longest = pc.max(pc.binary_length(text)).as_py() or 0
        if holds_only(text, "+", "9") and longest <= _ARROW_LENGTH:  # + , - . / and digits
            return pc.cast(text, NUMBER)
    except pa.ArrowInvalid:
        pass
    return _parse_by_pattern(text)


def _in_plain_notation(text: pa.Array, dialect: Dialect) -> pa.Array:
    """Turn `1.234,50` into `1234.50`; null where the signs stand in no right place."""
    point, comma = re.escape(dialect.decimal), re.escape(dialect.thousands)
    whole = f"[0-9]+|[0-9]{{1,3}}({comma}[0-9]{{3}})+" if comma else "[0-9]+"
    pattern = f"^[+-]?(({whole})({point}[0-9]*)?|{point}[0-9]+)([eE][+-]?[0-9]+)?$"
    trimmed = pc.utf8_trim_whitespace(text)
    numbers = pc.if_else(pc.match_substring_regex(trimmed, pattern), trimmed, None)
    if comma:
        numbers = pc.replace_substring(numbers, dialect.thousands, "")
    return pc.replace_substring(numbers, dialect.decimal, ".")


def _parse_by_pattern(text: pa.Array) -> pa.Array:
    """Leave to Arrow what it surely reads right, and the other numbers to Python."""
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
