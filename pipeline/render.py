"""Columns become CSV text, quoted only where RFC 4180 needs it.

Each side of the join is rendered before it: a customer once, however many purchases it has. The
join then moves one text for each record in place of many columns, and whatever the input's
columns are called, the frames behind it have the same few.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import TEXT, holds_any, to_arrow, to_text
from pipeline.errors import UsageError
from pipeline.read import ORDER, PARSED
from pipeline.settings import UNKNOWN, Columns
from pipeline.transform import AGE_GROUP, FULL_NAME

PURCHASE_SUFFIX = "_purchase"

_NEEDS_QUOTES = '[",\r\n]'


@dataclass(frozen=True)
class Layout:
    """How a record of the combined table is written, as CSV text without a line end.

    `header` names the columns; `no_customer` and `no_purchase` stand for the side of a record
    that is not there.
    """

    header: str
    no_customer: str
    no_purchase: str


def layout(customers: Sequence[str], purchases: Sequence[str], columns: Columns) -> Layout:
    """Lay the combined table out, from the columns of both tables in input order.

    A purchase column that customers have too gets the suffix `_purchase`. Raises UsageError where
    two columns of the result would have one name, or a column has a name that the job uses itself.
    """
    for name in (PARSED, ORDER):
        if name in customers or name in purchases:
            raise UsageError(f"'{name}' is a name that this job uses itself; rename the column")
    of_customers = [name for name in customers if name != columns.id]
    of_purchases = [name for name in purchases if name != columns.id]
    names = [columns.id, *of_customers, FULL_NAME, AGE_GROUP]
    names += [name + PURCHASE_SUFFIX if name in names else name for name in of_purchases]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(
            f"the combined table would have two columns '{twice[0]}'; rename the input's column "
            f"('{FULL_NAME}' and '{AGE_GROUP}' are added, '{PURCHASE_SUFFIX}' marks a purchase's)"
        )
    blanks = [""] * (len(of_customers) + 1)
    return Layout(_row(names), _row([*blanks, UNKNOWN]), _row([""] * len(of_purchases)))


def render_customers(
    customers: pd.DataFrame, columns: Columns, escape: bool = False
) -> pd.DataFrame:
    """Return customers as (`customer_id` text, `customer` CSV text, `age_group`, `__order__`).

    `customer` holds every column but the id, in order, `full_name` and `age_group` last.
    """
    fields = [name for name in customers.columns if name not in (columns.id, PARSED, ORDER)]
    return pd.DataFrame(
        {
            "customer_id": customers[columns.id],
            "customer": to_text(
                join_fields((_as_text(customers[name]) for name in fields), escape)
            ),
            AGE_GROUP: customers[AGE_GROUP],
            ORDER: customers[ORDER],
        }
    )


def render_purchases(
    purchases: pd.DataFrame, columns: Columns, escape: bool = False
) -> pd.DataFrame:
    """Return purchases as (`customer_id` text, `purchase` CSV text, `amount`, `__order__`).

    `purchase` holds every column but the id, in order; `amount` is decimal128(38, 18).
    """
    fields = [name for name in purchases.columns if name not in (columns.id, PARSED, ORDER)]
    return pd.DataFrame(
        {
            "customer_id": purchases[columns.id],
            "purchase": to_text(
                join_fields((_as_text(purchases[name]) for name in fields), escape)
            ),
            "amount": purchases[PARSED],
            ORDER: purchases[ORDER],
        }
    )


def quote(text: pa.Array, escape: bool = False) -> pa.Array:
    """Return each string as a CSV field, and a missing one as the empty field.

    With `escape`, an apostrophe goes before text that a spreadsheet would run as a formula
    (OWASP, "CSV Injection"); numbers stay, negative ones too.
    """
    if escape:
        text = _escape_formulas(text)
    if not holds_any(text, b'",\r\n'):
        return pc.fill_null(text, "") if text.null_count else text
    special = pc.match_substring_regex(text, _NEEDS_QUOTES)
    doubled = pc.replace_substring(text, '"', '""')
    mark = pa.scalar('"', TEXT)
    quoted = pc.binary_join_element_wise(mark, doubled, mark, pa.scalar("", TEXT))
    return pc.fill_null(pc.if_else(special, quoted, text), "")


def join_fields(fields: Iterable[pa.Array], escape: bool = False) -> pa.Array:
    """Return the rows of some columns as CSV text without a line end (`escape`: see `quote`)."""
    quoted = [quote(field, escape) for field in fields]
    return pc.binary_join_element_wise(*quoted, pa.scalar(",", TEXT))


def end_lines(records: pa.Array) -> pa.Array:
    """Return CSV text with a line end behind each record."""
    return pc.binary_join_element_wise(records, pa.scalar("", TEXT), pa.scalar("\n", TEXT))


def _escape_formulas(text: pa.Array) -> pa.Array:
    formula = pc.and_not(
        pc.match_substring_regex(text, r"^[=+\-@\t\r\n]"),
        pc.match_substring_regex(text, r"^[+-]?[.,]?([0-9]+[.,]?)+([eE][+-]?[0-9]+)?$"),
    )
    marked = pc.binary_join_element_wise(pa.scalar("'", TEXT), text, pa.scalar("", TEXT))
    return pc.if_else(formula, marked, text)


def _row(fields: Sequence[str]) -> str:
    return join_fields(pa.array([field], TEXT) for field in fields)[0].as_py()


def _as_text(column: pd.Series) -> pa.Array:
    return to_arrow(column.astype(str) if isinstance(column.dtype, pd.CategoricalDtype) else column)
