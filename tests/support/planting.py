"""Errors to plant between the steps of the job: what is changed, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import NUMBER, to_arrow, to_dictionary, to_number, to_text
from pipeline.engine.ledger import entry_of, with_totals
from pipeline.steps.lookup import Lookup

Change = Callable[[Any], Any]
Texts = Iterator[tuple[int, memoryview]]
CENT = Decimal("0.01")


def marked(frame: pd.DataFrame) -> pd.Series:
    """Tell which row is the marked purchase: one of all, so that one row goes wrong in a run."""
    return frame["purchase"].fillna("").str.contains("marked")


def dropped(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[~marked(frame)].reset_index(drop=True)


def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.loc[frame.index.repeat(1 + marked(frame))].reset_index(drop=True)


def cent_in_amount(frame: pd.DataFrame) -> pd.DataFrame:
    wrong = zip(to_arrow(frame["amount"]).to_pylist(), marked(frame), strict=True)
    amounts = [amount + CENT if found else amount for amount, found in wrong]
    return frame.assign(amount=to_number(pa.array(amounts, NUMBER)))


def cent_in_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(purchase=frame["purchase"].str.replace("marked,10.00", "marked,10.01"))


def cent_in_slices(lines: pa.Array) -> pa.Array:
    return pc.replace_substring(lines, "marked,10.00", "marked,10.01")


def last_dropped(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[:-1]


def last_doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[-1:]], ignore_index=True)


def moved(place: int | None) -> int | None:
    return place + 1 if place else place  # the first block always has one


def cent_in_entry(frame: pd.DataFrame) -> pd.DataFrame:
    spending = {
        label: (total + CENT, count)
        for label, (total, count) in entry_of(frame)["spending"].items()
    }
    return with_totals(frame, frame, spending=spending)


def cent_in_total(frame: pd.DataFrame) -> pd.DataFrame:
    first, *others = frame["total_spending"]
    return frame.assign(total_spending=[first + CENT, *others])


def _lines_changed(texts: Texts, times: int) -> Texts:
    """Yield the texts of some lines, the marked one so many times, and how many lines each has."""
    for _, text in texts:
        lines = bytes(text).splitlines(keepends=True)
        found = [line for line in lines for _ in range(times if b"marked" in line else 1)]
        yield len(found), memoryview(b"".join(found))


def line_dropped(texts: Texts) -> Texts:
    return _lines_changed(texts, 0)


def line_doubled(texts: Texts) -> Texts:
    return _lines_changed(texts, 2)


def group_dropped(summary: pd.DataFrame) -> pd.DataFrame:
    return summary[summary["age_group"] != "Unknown"].reset_index(drop=True)


def behind(function: Callable[..., Any], change: Change) -> Callable[..., Any]:
    """Return `function` with its result changed, but for the empty one that Dask asks for."""

    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        return change(result) if len(result) else result

    return call


def before(function: Callable[..., Any], change: Change) -> Callable[..., Any]:
    """Return `function` with its first argument changed."""

    def call(first: Any, *args: Any, **kwargs: Any) -> Any:
        return function(change(first) if len(first) else first, *args, **kwargs)

    return call


def changed(function: Callable[..., Any], change: Change) -> Callable[..., Any]:
    """Return `function` with its result changed."""

    def call(*args: Any) -> Any:
        return change(function(*args))

    return call


def on_file(function: Callable[..., Any], change: Callable[..., None]) -> Callable[..., Any]:
    """Return `function`, which reads the combined file, with that file changed before."""

    def call(entries: list[dict[str, Any]], path: str, *args: Any) -> Any:
        data = bytearray(Path(path).read_bytes())
        change(data, [(entry["place"], entry["written_bytes"]) for entry in entries])
        Path(path).write_bytes(data)
        return function(entries, path, *args)

    return call


def byte_flipped(data: bytearray, _: list[tuple[int, int]]) -> None:
    data[len(data) // 2] ^= 1


def blocks_exchanged(data: bytearray, blocks: list[tuple[int, int]]) -> None:
    (place, size), (other, other_size) = blocks[1:3]
    size = min(size, other_size)
    data[place : place + size], data[other : other + size] = (
        data[other : other + size],
        data[place : place + size],
    )


def block_over_another(data: bytearray, blocks: list[tuple[int, int]]) -> None:
    (place, size), (other, _) = blocks[1:3]
    data[other : other + size] = data[place : place + size]


def in_lookup(function: Callable[..., Any], change: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, whose third argument is the lookup, with that of another run."""

    def call(purchases: Any, rows: Any, lookup: Any) -> Any:
        return function(purchases, rows, change(lookup) if len(lookup) > 1 else lookup)

    return call


def of_another_run(lookup: Lookup) -> Lookup:
    """Return a lookup of the same customers in another order."""
    customers = lookup.part(0, len(lookup)).iloc[::-1].reset_index(drop=True)
    return Lookup.build(customers, lookup.customer[-1].as_py())


def two_exchanged(values: Any) -> Any:
    """Exchange the first value with the first other one, if there is any."""
    values = values.copy()
    others = np.flatnonzero(values != values[0])
    if len(others):
        values[[0, others[0]]] = values[[others[0], 0]]
    return values


def texts_exchanged(texts: pa.Array) -> pa.Array:
    return texts.take(pa.array([1, 0, *range(2, len(texts))])) if len(texts) > 2 else texts


def customers_exchanged(frame: pd.DataFrame) -> pd.DataFrame:
    customers = to_arrow(frame["customer"])
    rows = two_exchanged(customers.indices.to_numpy())
    return frame.assign(customer=to_dictionary(rows, customers.dictionary))


def overlooked(function: Callable[..., Any], _: Change) -> Callable[..., Any]:
    def call(lookup: Lookup, ids: pa.Array) -> np.ndarray:
        rows = function(lookup, ids)
        rows[1:2] = len(lookup)
        return rows

    return call


def later_wins(function: Callable[..., Any], _: Change) -> Callable[..., Any]:
    """Return `Lookup.rows` that finds the last customer of an id, not the first."""

    def call(lookup: Lookup, ids: pa.Array) -> np.ndarray:
        rows, count = function(of_another_run(lookup), ids), len(lookup)
        return np.where(rows < count, count - 1 - rows, count)

    return call


def unchanged(value: Any) -> Any:
    return value


def swapped(column: str, old: str, new: str) -> Change:
    """Return a change of two digits in a text column of a frame."""

    def digits_swapped(frame: pd.DataFrame) -> pd.DataFrame:
        texts = pc.replace_substring(to_arrow(frame[column]), old, new)
        return frame.assign(**{column: to_text(texts).set_axis(frame.index)})

    digits_swapped.__name__ = f"swapped_in_{column}"
    return digits_swapped


def amounts_exchanged(name: str) -> Change:
    def exchange(frame: pd.DataFrame) -> pd.DataFrame:
        numbers = to_arrow(frame[name])
        if len(numbers) < 2:
            return frame
        return frame.assign(**{name: to_number(texts_exchanged(numbers))})

    exchange.__name__ = f"exchanged_{name}"
    return exchange


def group_shifted(frame: pd.DataFrame) -> pd.DataFrame:
    codes = frame["age_group"].cat.codes.to_numpy().copy()
    codes[0] = codes[0] - 1 if codes[0] else 1
    groups = pd.Categorical.from_codes(codes, dtype=frame["age_group"].dtype)
    return frame.assign(age_group=groups)


def mark_lost(found: np.ndarray) -> np.ndarray:
    return found & (np.cumsum(found) != 1)


def mark_added(found: np.ndarray) -> np.ndarray:
    return found | (np.cumsum(~found) == 1)
