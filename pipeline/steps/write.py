"""`combined_data.csv`: every partition writes its own part of one file or object.

The length of a partition's text is known before the text is built. Where it goes is the business of
a `Target`: a file (see `combined_file`) or an object in a store (`combined_object`). No task waits
for another. A retried partition writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from dask.delayed import Delayed
from distributed import Client

from pipeline.columns.arrow import text_bytes, to_arrow
from pipeline.columns.totals import Checksum, seal
from pipeline.csv_text.quoting import quote
from pipeline.engine.ledger import NO_ENTRIES, as_entry, entry_of, with_totals
from pipeline.engine.partitions import on_partitions
from pipeline.steps.join import PURCHASE
from pipeline.steps.read import ID
from pipeline.steps.render import CUSTOMER, Layout

# Rows to join and write at a time: few enough that their text stays in the cache.
_SLICE = 1 << 13


class Target(Protocol):
    """Where the combined table goes: its header, and each block behind those before it."""

    @property
    def path(self) -> str | None:
        """The path of the file that holds the table; None if it is not in a file."""

    def start(self) -> None:
        """Write the header."""

    def for_tasks(self, client: Client) -> Target | Delayed:
        """Return this target for the tasks of `write_combined`, lazy if it is large."""

    def write(
        self, block: int, following: int, size: int, texts: Iterator[memoryview]
    ) -> dict[str, Any]:
        """Write the text of a block, `size` bytes, before the block `following`; return its totals.

        `place`: its offset in the table, or None if it waits in a temporary place; `part_bytes`:
        the bytes that wait; and what the target itself needs.
        """

    def fits(self, entries: Sequence[dict[str, Any]]) -> bool:
        """Tell whether the blocks written can be put together; `entries` are theirs, in order."""

    def assemble(self, entries: Sequence[dict[str, Any]]) -> list[dd.DataFrame]:
        """Return lazy tasks that put all blocks that wait into the table.

        `entries` are those of all written blocks, in order; sets their `place` where it is None.
        Control total: `copied`, in bytes.
        """

    def size(self, entries: Sequence[dict[str, Any]]) -> int:
        """Return the size of the table in bytes; `entries` are all of the run."""


def write_combined(
    combined: dd.DataFrame, target: Target | Delayed, layout: Layout, escape: bool = False
) -> dd.DataFrame:
    """Write lazy joined records to a target, below its header; return the ledger.

    With `escape`, ids that a spreadsheet would run as a formula are escaped (see `quoting.quote`).

    Control totals: `written_bytes`, `written_records` and the `checksum` of a partition's bytes;
    how many records are `intact`: their lines hold what was joined; the seal of the
    `text_written`, the checksum of the rows of the lookup, `customers_written`; and those of
    `Target.write`.
    """
    return on_partitions(_write, combined, target, layout, escape, step="write", meta=NO_ENTRIES)


def _write(combined: pd.DataFrame, target: Target, layout: Layout, escape: bool) -> pd.DataFrame:
    entry = entry_of(combined)
    if entry.get("undecided") is not None:  # record boundaries unknown: a second pass writes it
        return as_entry(combined)
    ids, customers, purchases = _texts(combined, layout.no_purchase, escape)
    size = entry["customer_bytes"] + _bytes(ids) + _bytes(purchases)
    written: dict[str, Any] = {
        "written_bytes": 0,
        "written_records": 0,
        "intact": 0,
        "checksum": Checksum(),
    }

    def texts() -> Iterator[memoryview]:
        for parts in _parts(ids, customers, purchases):
            lines = _lines(parts)
            data = text_bytes(lines)
            written["written_bytes"] += len(data)
            written["written_records"] += len(lines) // 3
            written["intact"] += _intact(lines, parts)
            written["checksum"] += Checksum.of(data)
            yield memoryview(data.data)

    placed = target.write(entry["block"], entry["next_block"], size, texts())
    return as_entry(
        with_totals(
            pd.DataFrame(),
            combined,
            **placed,
            **written,
            text_written=seal(combined[ID], combined[PURCHASE]),
            customers_written=Checksum.of(customers.indices.to_numpy()),
        )
    )


def _texts(
    combined: pd.DataFrame, no_purchase: str, escape: bool
) -> tuple[pa.Array, pa.DictionaryArray, pa.Array]:
    """Return the parts of all lines as CSV text: ids, customers and purchases."""
    ids = quote(to_arrow(combined[ID]), escape)
    purchases = pc.fill_null(to_arrow(combined[PURCHASE]), f"{no_purchase}\n")
    return ids, to_arrow(combined[CUSTOMER]), purchases


def _parts(ids: pa.Array, customers: pa.DictionaryArray, purchases: pa.Array) -> Iterator[pa.Array]:
    """Yield the parts of the lines, `_SLICE` rows at a time: all ids, customers, purchases."""
    for start in range(0, len(ids), _SLICE):
        rows = customers.indices.slice(start, _SLICE)
        here = ids.slice(start, _SLICE), purchases.slice(start, _SLICE)
        yield pa.concat_arrays([here[0], customers.dictionary.take(rows), here[1]])


def _lines(parts: pa.Array) -> pa.Array:
    """Return the parts of the lines, in turn: the id, the customer and the purchase of each line.

    `parts` are all ids, then all customers, then all purchases.
    """
    # One copy of the text, where joining three arrays element by element takes several.
    return parts.take(_in_turn(len(parts) // 3))


def _intact(lines: pa.Array, parts: pa.Array) -> int:
    """Take lines apart again; return how many hold these parts: all, or else none is counted."""
    count = len(parts) // 3
    return count if len(lines) == len(parts) and lines.take(_by_kind(count)).equals(parts) else 0


@lru_cache(maxsize=4)
def _by_kind(count: int) -> pa.Array:
    """Return the places, in `count` lines, of all ids, then all customers, then all purchases."""
    return pa.array(np.arange(3 * count).reshape(count, 3).T.ravel())


@lru_cache(maxsize=4)
def _in_turn(count: int) -> pa.Array:
    """Return the places of the parts of each of `count` lines, line by line."""
    return pa.array(np.arange(3 * count).reshape(3, count).T.ravel())


def _bytes(texts: pa.Array) -> int:
    return len(text_bytes(texts))
