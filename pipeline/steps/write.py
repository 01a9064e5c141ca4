"""`combined_data.csv`: every partition writes its own part of one file or object.

The length of a partition's text is known before the text is built. Where it goes is the business of
a `Target`: a file (see `combined_file`) or an object in a store (`combined_object`). No task waits
for another. A retried partition writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Protocol

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from dask.delayed import Delayed
from distributed import Client

from pipeline.columns.arrow import text_bytes, to_arrow
from pipeline.columns.totals import Checksum, text_total
from pipeline.csv_text.quoting import quote
from pipeline.engine.ledger import (
    NO_ENTRIES,
    Ledger,
    Number,
    as_entry,
    entry_of,
    with_totals,
)
from pipeline.engine.objects import Part
from pipeline.engine.partitions import on_partitions
from pipeline.steps.join import PURCHASE, CustomerText
from pipeline.steps.read import ID, is_undecided
from pipeline.steps.render import CUSTOMER, Layout

# Rows to join and write at a time: few enough that their text stays in the cache.
_SLICE = 1 << 13


@dataclass(frozen=True)
class Placed:
    """Where a target has put a block: its `offset` in the table, or `part`, one of an object.

    Both are None if the block waits in a temporary place.
    """

    offset: int | None = None
    part: Part | None = None


@dataclass(frozen=True)
class Written:
    """What writing counts in a block: the size of its text, its records, the text's checksum.

    `text` is the total of the text of ids and purchases (see `totals.text_total`).
    """

    block: int
    placed: Placed
    bytes: int
    records: int
    checksum: Checksum
    text: int


class Target(Protocol):
    """Where the combined table goes: its header, and each block behind those before it.

    Methods take what was written of all blocks, in block order.
    """

    @property
    def header(self) -> bytes:
        """The first line of the table, with its line end."""

    @property
    def path(self) -> str | None:
        """The path of the file that holds the table; None if it is not in a file."""

    def start(self) -> None:
        """Write the header."""

    def for_tasks(self, client: Client) -> Target | Delayed:
        """Return this target for the tasks of `write_combined`, lazy if it is large."""

    def write(self, block: int, following: int, size: int, texts: Iterator[memoryview]) -> Placed:
        """Write the text of a block, `size` bytes, before the block `following`."""

    def fits(self, written: Sequence[Written]) -> bool:
        """Tell whether the blocks can be put together."""

    def assemble(self, written: Sequence[Written]) -> list[dd.DataFrame]:
        """Return lazy tasks that put all blocks that wait into the table."""

    def size(self, ledger: Ledger) -> int:
        """Return the size of the table in bytes, once it is put together."""


def offsets(written: Sequence[Written], header_bytes: int) -> list[int]:
    """Return the offset of each block in the table, and the size of the table."""
    return list(accumulate((block.bytes for block in written), initial=header_bytes))


def write_combined(
    combined: dd.DataFrame, target: Target | Delayed, layout: Layout, escape: bool = False
) -> dd.DataFrame:
    """Write lazy joined records to a target, below its header; return the ledger.

    With `escape`, ids that a spreadsheet would run as a formula are escaped (see `quoting.quote`).
    Totals: `Written`.
    """
    return on_partitions(_write, combined, target, layout, escape, step="write", meta=NO_ENTRIES)


def _write(combined: pd.DataFrame, target: Target, layout: Layout, escape: bool) -> pd.DataFrame:
    entry = entry_of(combined)
    if is_undecided(entry):  # a second pass writes it
        return as_entry(combined)
    ids, customers, purchases = _texts(combined, layout.no_purchase, escape)
    size = entry[CustomerText].bytes + len(text_bytes(ids)) + len(text_bytes(purchases))
    records, checksum = 0, Checksum()

    def texts() -> Iterator[memoryview]:
        nonlocal records, checksum
        for parts in _parts(ids, customers, purchases):
            lines = _lines(parts)
            data = text_bytes(lines)
            records += len(lines) // 3
            checksum += Checksum.of(data)
            yield memoryview(data.data)

    number = entry[Number]
    placed = target.write(number.block, number.following, size, texts())
    text = text_total(text_bytes(ids)) + text_total(text_bytes(purchases))
    written = Written(number.block, placed, checksum.size, records, checksum, text)
    return as_entry(with_totals(pd.DataFrame(), written, before=combined))


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


@lru_cache(maxsize=4)
def _in_turn(count: int) -> pa.Array:
    """Return the places of the parts of each of `count` lines, line by line."""
    return pa.array(np.arange(3 * count).reshape(3, count).T.ravel())
