"""Errors to plant between the steps of the job, in its lookup, and in its results.

A plant changes a public function, so that a run on small tables goes wrong in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeAlias

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from distributed import Client, Future

from pipeline import job
from pipeline.columns.arrow import NUMBER, to_arrow, to_number, to_text
from pipeline.engine.ledger import Entry, Ledger, with_totals
from pipeline.engine.partitions import on_partitions, schema
from pipeline.steps import blocks
from pipeline.steps.join import Broadcast, build_lookup
from pipeline.steps.lookup import Lookup
from pipeline.steps.shuffle import PiecesFolder
from pipeline.steps.write import Written

Plant: TypeAlias = Callable[[pytest.MonkeyPatch], None]
Change: TypeAlias = Callable[[pd.DataFrame], pd.DataFrame]

CENT = Decimal("0.01")


# Between the steps of the job, in lazy dataframes.


def before(owner: Any, name: str, change: Change) -> Plant:
    """Change the last argument of a step, a lazy dataframe."""
    step = getattr(owner, name)

    def call(*args: Any) -> Any:
        return step(*args[:-1], planted(args[-1], change))

    return lambda patch: patch.setattr(owner, name, call)


def behind(owner: Any, name: str, change: Change) -> Plant:
    """Change the result of a step, a lazy dataframe."""
    step = getattr(owner, name)
    return lambda patch: patch.setattr(owner, name, lambda *args: planted(step(*args), change))


def before_join(change: Change) -> Plant:
    """Change purchases that were read, before they are joined, or split for it."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        before(Broadcast, "join", change)(patch)
        split = PiecesFolder.split

        def call(folder: PiecesFolder, table: dd.DataFrame) -> dd.DataFrame:
            is_purchases = "parsed" in schema(table)
            return split(folder, planted(table, change) if is_purchases else table)

        patch.setattr(PiecesFolder, "split", call)

    return plant


def planted(frame: dd.DataFrame, change: Change) -> dd.DataFrame:
    """Return a lazy dataframe with a change to each partition that has rows."""
    return on_partitions(_changed, frame, change, step="planted", meta=schema(frame))


def _changed(frame: pd.DataFrame, change: Change) -> pd.DataFrame:
    return with_totals(change(frame), before=frame) if len(frame) else frame


def marked(frame: pd.DataFrame) -> pd.Series:
    """Tell which row is the marked purchase: one of all, so that one row goes wrong in a run."""
    text = frame["purchase" if "purchase" in frame else "rest"]
    return text.fillna("").str.contains("marked")


def dropped(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[~marked(frame)].reset_index(drop=True)


def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.loc[frame.index.repeat(1 + marked(frame))].reset_index(drop=True)


def last_dropped(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[:-1]


def last_doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[-1:]], ignore_index=True)


def replaced(column: str, old: str, new: str) -> Change:
    """Return a change of a text in a column."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        texts = pc.replace_substring(to_arrow(frame[column]), old, new)
        return frame.assign(**{column: to_text(texts).set_axis(frame.index)})

    return change


def first_two_exchanged(column: str) -> Change:
    """Return a change of the first two texts of a column with each other."""

    def exchange(frame: pd.DataFrame) -> pd.DataFrame:
        texts = two_exchanged(to_arrow(frame[column]))
        return frame.assign(**{column: to_text(texts).set_axis(frame.index)})

    return exchange


def cent_more(column: str) -> Change:
    """Return a change of the amount of the marked purchase."""

    def add(frame: pd.DataFrame) -> pd.DataFrame:
        amounts = zip(to_arrow(frame[column]).to_pylist(), marked(frame), strict=True)
        more = [amount + CENT if found else amount for amount, found in amounts]
        return frame.assign(**{column: to_number(pa.array(more, NUMBER))})

    return add


def group_shifted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(age_group=_shifted(frame["age_group"].array))


def _shifted(groups: pd.Categorical) -> pd.Categorical:
    codes = groups.codes.copy()
    codes[0] = codes[0] - 1 if codes[0] else 1
    return pd.Categorical.from_codes(codes, dtype=groups.dtype)


# In the lookup of a broadcast join.


def in_lookup(change: Callable[[Lookup], Lookup]) -> Plant:
    """Change the lookup once it is built."""

    def call(client: Client, *args: Any) -> Future:
        return client.submit(change, build_lookup(client, *args))

    return lambda patch: patch.setattr(job, "build_lookup", call)


def for_one_block(change: Callable[[Lookup], Lookup]) -> Plant:
    """Change the lookup that one block of purchases is joined with."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        join, joined = Broadcast.join, list[dd.DataFrame]()

        def call(broadcast: Broadcast, purchases: dd.DataFrame) -> dd.DataFrame:
            joined.append(purchases)
            if len(joined) == 2:
                other = broadcast.lookup.client.submit(change, broadcast.lookup)
                broadcast = replace(broadcast, lookup=other)
            return join(broadcast, purchases)

        patch.setattr(blocks, "_AT_ONCE", 1)  # of one dataframe
        patch.setattr(Broadcast, "join", call)

    return plant


def of_another_run(lookup: Lookup) -> Lookup:
    """Return a lookup of customers with the same ids and other texts."""
    customers = lookup.part(0, len(lookup))
    other = customers.assign(customer=customers["customer"].str.replace("First", "Other"))
    return Lookup.build(other, lookup.customer[-1].as_py())


def in_other_order(lookup: Lookup) -> Lookup:
    customers = lookup.part(0, len(lookup)).iloc[::-1].reset_index(drop=True)
    return Lookup.build(customers, lookup.customer[-1].as_py())


def rows_exchanged(lookup: Lookup) -> Lookup:
    rows = [1, 0, *range(2, len(lookup))]
    customers = lookup.part(0, len(lookup)).iloc[rows].reset_index(drop=True)
    return Lookup.build(customers, lookup.customer[-1].as_py())


def texts_exchanged(lookup: Lookup) -> Lookup:
    """Exchange two texts in place, where the lookup's own totals do not show it."""
    lookup = copy(lookup)
    lookup.customer = two_exchanged(lookup.customer)
    return lookup


def label_shifted(lookup: Lookup) -> Lookup:
    """Shift a label in place."""
    lookup = copy(lookup)
    lookup.age_group = _shifted(lookup.age_group)
    return lookup


def two_exchanged(values: pa.Array) -> pa.Array:
    """Return the values with the first two of them exchanged, if there are more than two."""
    return values.take(pa.array([1, 0, *range(2, len(values))])) if len(values) > 2 else values


# In what the lookup finds.


def in_rows(change: Callable[[Lookup, pa.Array, np.ndarray], np.ndarray]) -> Plant:
    """Change which rows a lookup finds for some ids."""
    rows = Lookup.rows

    def call(lookup: Lookup, ids: pa.Array) -> np.ndarray:
        return (
            change(lookup, ids, rows(lookup, ids))
            if len(lookup) and len(ids)
            else rows(lookup, ids)
        )

    return lambda patch: patch.setattr(Lookup, "rows", call)


def customers_exchanged(_: Lookup, ids: pa.Array, rows: np.ndarray) -> np.ndarray:
    """Exchange the customers of the first purchase and of another one."""
    others = np.flatnonzero(rows != rows[0])
    if len(others):
        rows[[0, others[0]]] = rows[[others[0], 0]]
    return rows


def overlooked(lookup: Lookup, _: pa.Array, rows: np.ndarray) -> np.ndarray:
    rows[1:2] = len(lookup)
    return rows


def later_wins(lookup: Lookup, ids: pa.Array, rows: np.ndarray) -> np.ndarray:
    """Find the last customer of an id in place of the first."""
    last = {id: row for row, id in enumerate(lookup.ids.to_pylist())}
    return np.array([last.get(id, len(lookup)) for id in ids.to_pylist()], np.int64)


# In the table of results.


def in_results(name: str, change: Change) -> Plant:
    """Change the table that `spending_of` returns, or that `write_spending` gets."""
    function = getattr(job, name)

    def call(*args: Any) -> Any:
        if name == "spending_of":
            return change(function(*args))
        return function(change(args[0]), *args[1:])

    return lambda patch: patch.setattr(job, name, call)


def cent_in_total(frame: pd.DataFrame) -> pd.DataFrame:
    first, *others = frame["total_spending"]
    return frame.assign(total_spending=[first + CENT, *others])


def group_dropped(summary: pd.DataFrame) -> pd.DataFrame:
    return summary[summary["age_group"] != "Unknown"].reset_index(drop=True)


# In what comes to the client.


def in_entries(times: int) -> Plant:
    """Add the entry of one block of the combined table so many times."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        add, written = Ledger.add, list[Entry]()

        def call(ledger: Ledger, entry: Entry) -> None:
            if Written in entry:
                written.append(entry)
            for _ in range(times if Written in entry and len(written) == 2 else 1):
                add(ledger, entry)

        patch.setattr(Ledger, "add", call)

    return plant
