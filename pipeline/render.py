"""How a record of the combined table is written, and each customer's part of it.

Each side of the join is CSV text before it: a customer once, however many purchases it has. The
join then moves one text for each record in place of many columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import TEXT, to_arrow, to_text
from pipeline.csv_text import join_fields, quote
from pipeline.errors import UsageError
from pipeline.read import ID, ORDER, REST
from pipeline.settings import UNKNOWN, Columns
from pipeline.transform import AGE_GROUP, FULL_NAME

PURCHASE_SUFFIX = "_purchase"


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
    two columns of the result would have one name.
    """
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


def render_customers(customers: pd.DataFrame, escape: bool = False) -> pd.DataFrame:
    """Return customers as (`customer_id` text, `customer` CSV text, `age_group`, `order`).

    `customer` holds every column but the id, in order, `full_name` and `age_group` last.
    `escape`: see `csv_text.quote`.
    """
    group = customers[AGE_GROUP].cat
    labels = quote(pa.array(group.categories, TEXT), escape)
    customer = pc.binary_join_element_wise(
        pc.binary_slice(to_arrow(customers[REST]).cast(pa.large_binary()), 0, -1).cast(TEXT),
        quote(to_arrow(customers[FULL_NAME]), escape),
        labels.take(pa.array(group.codes.to_numpy())),
        pa.scalar(",", TEXT),
    )
    return pd.DataFrame(
        {
            ID: customers[ID],
            "customer": to_text(customer),
            AGE_GROUP: customers[AGE_GROUP],
            ORDER: customers[ORDER],
        }
    )


def _row(fields: Sequence[str]) -> str:
    return join_fields(pa.array([field], TEXT) for field in fields)[0].as_py()
