"""`combined_data.csv`: every partition writes its own part of one file or object.

The length of a partition's text is known before the text is built. Where it goes is the business of
a `Target`: a file (see `combined_file`) or an object in a store (`combined_object`). No task waits
for another. A retried partition writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow.compute as pc
from dask.delayed import Delayed
from distributed import Client

from pipeline.columns.arrow import raw_text, text_bytes, to_arrow
from pipeline.columns.totals import Checksum, seal
from pipeline.csv_text.quoting import quote
from pipeline.engine.ledger import NO_ENTRIES, as_entry, entry_of, with_totals
from pipeline.engine.partitions import on_partitions
from pipeline.kernels.lines import write_lines
from pipeline.steps.join import PURCHASE
from pipeline.steps.read import ID
from pipeline.steps.render import CUSTOMER, Layout

# Bytes of text to put together and write at a time: few enough that they stay in the cache.
_SLICE = 256 << 10


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
    the seal of the `text_written`, the checksum of the rows of the lookup, `customers_written`; and
    those of `Target.write`.
    """
    return on_partitions(_write, combined, target, layout, escape, step="write", meta=NO_ENTRIES)


def _write(combined: pd.DataFrame, target: Target, layout: Layout, escape: bool) -> pd.DataFrame:
    entry = entry_of(combined)
    if entry.get("undecided") is not None:  # record boundaries unknown: a second pass writes it
        return as_entry(combined)
    lines = Lines(combined, layout.no_purchase, escape)
    written: dict[str, Any] = {"written_bytes": 0, "written_records": 0, "checksum": Checksum()}

    def texts() -> Iterator[memoryview]:
        for count, text in lines.texts():
            written["written_bytes"] += len(text)
            written["written_records"] += count
            written["checksum"] += Checksum.of(text)
            yield text

    size = entry["customer_bytes"] + lines.size_without_customers
    placed = target.write(entry["block"], entry["next_block"], size, texts())
    return as_entry(
        with_totals(
            pd.DataFrame(),
            combined,
            **placed,
            **written,
            text_written=seal(combined[ID], combined[PURCHASE]),
            customers_written=Checksum.of(lines.rows),
        )
    )


class Lines:
    """The lines of joined records, as CSV text.

    Attributes: `rows`, those of the customers (int64), and `size_without_customers`, in bytes.
    """

    def __init__(self, combined: pd.DataFrame, no_purchase: str, escape: bool) -> None:
        self._ids = quote(to_arrow(combined[ID]), escape)
        customers = to_arrow(combined[CUSTOMER])
        self.rows = customers.indices.to_numpy()
        self._customers = customers.dictionary
        self._purchases = to_arrow(combined[PURCHASE])
        self._no_purchase = np.frombuffer(f"{no_purchase}\n".encode(), np.uint8)
        missing = self._purchases.null_count
        written = (
            pc.sum(pc.binary_length(self._purchases)).as_py() or 0
            if missing
            else len(text_bytes(self._purchases))
        )
        self.size_without_customers = (
            len(text_bytes(self._ids)) + written + missing * len(self._no_purchase)
        )

    def texts(self) -> Iterator[tuple[int, memoryview]]:
        """Yield the number of some lines and their text, until there are no more."""
        ids, id_bounds, _ = raw_text(self._ids)
        customers, customer_bounds, _ = raw_text(self._customers)
        purchases, purchase_bounds, valid = raw_text(self._purchases)
        room, size, row = _SLICE, np.empty(1, np.int64), 0
        while row < len(self.rows):
            text = np.empty(room, np.uint8)
            following = write_lines(
                *(ids, id_bounds, self.rows, customers, customer_bounds),
                *(purchases, purchase_bounds, valid, self._purchases.offset, self._no_purchase),
                *(row, text, size),
            )
            if following == row:
                room = int(size[0])  # one line needs all of it
                continue
            yield following - row, text[: size[0]].data
            row = following
