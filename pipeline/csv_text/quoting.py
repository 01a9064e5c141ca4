"""Turns columns of text into CSV text, quoted only if RFC 4180 requires it."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import TEXT, text_bytes
from pipeline.kernels.lines import count_special

_NEEDS_QUOTES = '[",\r\n]'


def quote(text: pa.Array, escape: bool = False) -> pa.Array:
    """Return each string as a CSV field, and null as the empty field.

    With `escape`, text that a spreadsheet would run as a formula gets a leading apostrophe (OWASP,
    "CSV Injection"). Numbers do not, not even negative ones.
    """
    if escape:
        text = _escape_formulas(text)
    if count_special(text_bytes(text)) == 0:
        return pc.fill_null(text, "") if text.null_count else text
    special = pc.match_substring_regex(text, _NEEDS_QUOTES)
    doubled = pc.replace_substring(text, '"', '""')
    mark = pa.scalar('"', TEXT)
    quoted = pc.binary_join_element_wise(mark, doubled, mark, pa.scalar("", TEXT))
    return pc.fill_null(pc.if_else(special, quoted, text), "")


def join_fields(fields: Iterable[pa.Array], escape: bool = False) -> pa.Array:
    """Return the rows of some columns as CSV text without newlines; for `escape`, see `quote`."""
    quoted = [quote(field, escape) for field in fields]
    return pc.binary_join_element_wise(*quoted, pa.scalar(",", TEXT))


def end_lines(records: pa.Array) -> pa.Array:
    """Return CSV records, each with a newline."""
    return pc.binary_join_element_wise(records, pa.scalar("", TEXT), pa.scalar("\n", TEXT))


def _escape_formulas(text: pa.Array) -> pa.Array:
    formula = pc.and_not(
        pc.match_substring_regex(text, r"^[=+\-@\t\r\n]"),
        pc.match_substring_regex(text, r"^[+-]?[.,]?([0-9]+[.,]?)+([eE][+-]?[0-9]+)?$"),
    )
    marked = pc.binary_join_element_wise(pa.scalar("'", TEXT), text, pa.scalar("", TEXT))
    return pc.if_else(formula, marked, text)
