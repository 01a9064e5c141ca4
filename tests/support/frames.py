"""Small columns and Dask dataframes, made of plain Python values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from pipeline.columns.arrow import NUMBER, TEXT, to_arrow, to_number, to_text
from pipeline.columns.keys import key_hashes
from pipeline.engine.ledger import Number, with_totals
from pipeline.engine.partitions import from_blocks
from pipeline.settings import AgeGroups
from pipeline.steps.read import ID, KEY, ORDER, PARSED, REST
from pipeline.steps.transform import age_group_dtype


def text(*values: str | None) -> pa.Array:
    return pa.array(values, TEXT)


def text_column(values: Iterable[str | None]) -> pd.Series:
    return to_text(pa.array(list(values), TEXT))


def number_column(values: Iterable[Decimal | int | str | None]) -> pd.Series:
    numbers = [None if value is None else Decimal(value) for value in values]
    return to_number(pa.array(numbers, NUMBER))


def group_column(labels: Iterable[str], groups: AgeGroups | None = None) -> pd.Series:
    return pd.Series(list(labels), dtype=age_group_dtype(groups or AgeGroups()))


def rendered_customers(ids: Sequence[str | None], labels: Sequence[str]) -> pd.DataFrame:
    """Return what `render_customers` gives; the text of customer number 0 is `c0`."""
    return pd.DataFrame(
        {
            ID: text_column(ids),
            "customer": text_column(f"c{row}" for row in range(len(ids))),
            "age_group": group_column(labels),
            ORDER: range(len(ids)),
            KEY: key_hashes(text(*ids)),
        }
    )


def read_purchases(ids: Sequence[str | None]) -> pd.DataFrame:
    """Return what `read` gives; purchase number 0 has the text `p0` and amount 0."""
    return pd.DataFrame(
        {
            ID: text_column(ids),
            PARSED: number_column(range(len(ids))),
            REST: text_column(f"p{row}" for row in range(len(ids))),
            ORDER: range(len(ids)),
        }
    )


def rows_of(records: pd.DataFrame, columns: Sequence[str], id: str) -> list[tuple[str | None, ...]]:
    """Return records that were read as tuples, in the order of `columns`; missing is None.

    The id is a column of its own, the others are CSV text, which Python's own reader takes apart.
    """
    rest = [name for name in columns if name != id]
    rows = []
    for key, text in zip(to_arrow(records[ID]).to_pylist(), records[REST], strict=True):
        assert text.endswith("\n")
        (fields,) = csv.reader(io.StringIO(text, newline=""), strict=True)
        values = {id: key, **dict(zip(rest, fields or [""], strict=True))}
        rows.append(tuple(values[name] or None for name in columns))
    return rows


def in_partitions(frame: pd.DataFrame, count: int) -> dd.DataFrame:
    """Cut a frame into `count` partitions of about one size; some are empty where rows are few."""
    bounds = [len(frame) * number // count for number in range(count + 1)]
    parts = [frame.iloc[start:stop].reset_index(drop=True) for start, stop in pairwise(bounds)]
    return from_blocks(_itself, parts, meta=frame.iloc[:0], step="part")


def in_blocks(frame: pd.DataFrame, count: int) -> dd.DataFrame:
    """Do the same, and number the partitions as `read` does."""
    parts = [
        (number, frame.iloc[len(frame) * number // count : len(frame) * (number + 1) // count])
        for number in range(count)
    ]
    return from_blocks(_block, parts, meta=frame.iloc[:0], step="read")


def _block(part: tuple[int, pd.DataFrame]) -> pd.DataFrame:
    number, frame = part
    return with_totals(frame.reset_index(drop=True), Number(number, number + 1), before=frame)


def _itself(part: pd.DataFrame) -> pd.DataFrame:
    return part
