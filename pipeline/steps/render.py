"""The layout of the combined table, and each customer's part of a line in it.

Both sides become CSV text before the join, so a customer is rendered once, however many purchases
they have. The join then moves one text per record instead of many columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import TEXT, text_bytes, to_arrow, to_text
from pipeline.columns.totals import Checksum, checksums, text_total
from pipeline.csv_text.quoting import join_fields, quote
from pipeline.engine.ledger import with_totals
from pipeline.engine.partitions import on_partitions
from pipeline.errors import UsageError
from pipeline.settings import UNKNOWN, Columns
from pipeline.steps.read import ID, KEY, ORDER, REST
from pipeline.steps.transform import ADDED, AGE_GROUP

CUSTOMER = "customer"
PURCHASE_SUFFIX = "_purchase"


@dataclass(frozen=True)
class Layout:
    """The parts of a line of the combined table, as CSV text without a newline.

    `header` names the columns; `no_customer` and `no_purchase` are the text of a missing side. The
    former has a delimiter on both sides.
    """

    header: str
    no_customer: str
    no_purchase: str

    @property
    def header_line(self) -> bytes:
        """The first line of the combined file, with its newline."""
        return f"{self.header}\n".encode()


def layout(
    customers: Sequence[str], purchases: Sequence[str], columns: Columns, escape: bool = False
) -> Layout:
    """Return the layout for the columns of both tables, given in input order.

    A purchase column that customers also have gets the suffix `_purchase`. For `escape`, see
    `quoting.quote`. Raises UsageError if two columns of the result would have the same name.
    """
    of_customers = [name for name in customers if name != columns.id]
    of_purchases = [name for name in purchases if name != columns.id_of_purchases]
    names = [columns.id, *of_customers, *ADDED]
    names += [name + PURCHASE_SUFFIX if name in names else name for name in of_purchases]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        added = ", ".join(f"'{name}'" for name in ADDED)
        raise UsageError(
            f"the combined table would have two columns '{twice[0]}'; rename the input column (the "
            f"job adds {added} and the suffix '{PURCHASE_SUFFIX}')"
        )
    nobody = [UNKNOWN if name == AGE_GROUP else "" for name in (*of_customers, *ADDED)]
    no_customer = f",{_row(nobody)},"
    return Layout(_row(names, escape), no_customer, _row([""] * len(of_purchases)))


def render(customers: dd.DataFrame, escape: bool = False) -> dd.DataFrame:
    """Render lazy customers as their part of an output line (see `render_customers`).

    Totals: `Rendered`.
    """
    return on_partitions(_render, customers, escape, step="render")


@dataclass(frozen=True)
class Rendered:
    """The totals of rendered customers, and the total of the text that was added to them."""

    customers: CustomerTotals
    added: int


def _render(customers: pd.DataFrame, escape: bool) -> pd.DataFrame:
    rendered = render_customers(customers, escape)
    added = sum(_text_total(customers[name]) for name in ADDED)
    totals = Rendered(totals_of(rendered), added)
    return with_totals(rendered, totals, before=customers)


def _text_total(column: pd.Series) -> int:
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return text_total(text_bytes(to_arrow(column)))
    counts = column.value_counts()
    return sum(count * text_total(_bytes(label)) for label, count in counts.items())


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


@dataclass(frozen=True)
class CustomerTotals:
    """Totals of rendered customers; those of two parts of a table add up to those of both.

    The checksums are those of ids, texts, groups and hashes of ids, and depend on the order of the
    rows; `text` is the total of all text (see `totals.text_total`).
    """

    checksums: tuple[Checksum, ...] = (Checksum(),) * 6
    text: int = 0

    def __add__(self, other: CustomerTotals) -> CustomerTotals:
        pairs = zip(self.checksums, other.checksums, strict=True)
        return CustomerTotals(tuple(one + two for one, two in pairs), self.text + other.text)

    def __str__(self) -> str:
        return " ".join(map(str, self.checksums))


def totals_of(customers: pd.DataFrame) -> CustomerTotals:
    """Return the totals of rendered customers (see `render_customers`)."""
    texts = [to_arrow(customers[name]) for name in (ID, CUSTOMER)]
    codes, keys = customers[AGE_GROUP].cat.codes.to_numpy(), customers[KEY].to_numpy()
    numbers = [Checksum.of(np.ascontiguousarray(column)) for column in (codes, keys)]
    return CustomerTotals(
        (*(part for text in texts for part in checksums(text)), *numbers),
        sum(text_total(text_bytes(text)) for text in texts),
    )


def render_customers(customers: pd.DataFrame, escape: bool = False) -> pd.DataFrame:
    """Return customers as (`customer_id` text, `customer` CSV text, `age_group`, `order`, `key`).

    `customer` holds every column except the id, in input order, then those of `ADDED`, with a
    delimiter on both sides. For `escape`, see `quoting.quote`.
    """
    edge = pa.scalar("", TEXT)
    customer = pc.binary_join_element_wise(
        edge,
        pc.binary_slice(to_arrow(customers[REST]).cast(pa.large_binary()), 0, -1).cast(TEXT),
        *(_fields(customers[name], escape) for name in ADDED),
        edge,
        pa.scalar(",", TEXT),
    )
    return pd.DataFrame(
        {
            ID: customers[ID],
            CUSTOMER: to_text(customer),
            AGE_GROUP: customers[AGE_GROUP],
            ORDER: customers[ORDER],
            KEY: customers[KEY],
        }
    )


def _fields(column: pd.Series, escape: bool) -> pa.Array:
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return quote(to_arrow(column), escape)
    labels = quote(pa.array(column.cat.categories, TEXT), escape)
    return labels.take(pa.array(column.cat.codes.to_numpy()))


def _row(fields: Sequence[str], escape: bool = False) -> str:
    return join_fields((pa.array([field], TEXT) for field in fields), escape)[0].as_py()
