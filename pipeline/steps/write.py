"""`combined_data.csv`: every partition writes its own part of one file or object.

The length of a partition's text is known before the text is built. Where it goes is decided by a
`Target`: a file (see `combined_file`) or an object in a store (`combined_object`). A task waits
at most a moment for the sizes of earlier blocks (see `prefix_sum`). A retried partition writes the
same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow.compute as pc

from pipeline.columns.arrow import raw_text, text_bytes, to_arrow
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
from pipeline.engine.partitions import on_partitions
from pipeline.kernels.lines import write_lines
from pipeline.steps.join import PURCHASE, CustomerText
from pipeline.steps.read import ID, is_undecided
from pipeline.steps.render import CUSTOMER, Layout

# Bytes of text to assemble and write at a time: few enough that they stay in the cache.
_SLICE = 256 << 10


@dataclass(frozen=True)
class Written:
    """What is counted when a block is written: the size of its text, its records, the checksum.

    `offset` is where it is in the table; None if it is still in a temporary place. `text` is the
    total of the text of ids and purchases (see `totals.text_total`).
    """

    block: int
    offset: int | None
    bytes: int
    records: int
    checksum: Checksum
    text: int


class Target(Protocol):
    """Where the combined table goes: its header, then all blocks in order."""

    @property
    def header(self) -> bytes:
        """The first line of the table, with its newline."""

    @property
    def path(self) -> str | None:
        """The path of the file that holds the table; None if it is not in a file."""

    def write(
        self, block: int, following: int, size: int, texts: Iterator[memoryview]
    ) -> int | None:
        """Write the text of a block, `size` bytes; the next block is `following`.

        Return its offset in the table; None if it is still in a temporary place.
        """

    def assemble(self, written: Sequence[Written]) -> list[dd.DataFrame]:
        """Return lazy tasks that move all blocks from temporary places into the table.

        `written` describes all of its blocks, in order.
        """

    def size(self, ledger: Ledger) -> int:
        """Return the size of the table in bytes, once it is assembled."""


def offsets(written: Sequence[Written], header_bytes: int) -> list[int]:
    """Return the offset of each block in the table, and the size of the table."""
    return list(accumulate((block.bytes for block in written), initial=header_bytes))


def write_combined(
    combined: dd.DataFrame, target: Target, layout: Layout, escape: bool = False
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
    lines, number = Lines(combined, layout.no_purchase, escape), entry[Number]
    records, checksum = 0, Checksum()

    def texts() -> Iterator[memoryview]:
        nonlocal records, checksum
        for count, text in lines.texts():
            records += count
            checksum += Checksum.of(text)
            yield text

    size = entry[CustomerText].bytes + lines.size_without_customers
    offset = target.write(number.block, number.following, size, texts())
    written = Written(number.block, offset, checksum.size, records, checksum, lines.text_total)
    return as_entry(with_totals(pd.DataFrame(), written, before=combined))


class Lines:
    """The lines of joined records, as CSV text.

    Attributes: `rows`, the row of each line's customer (int64); `text_total`, the total of the text
    of ids and purchases; and `size_without_customers`, the size of all lines without their
    customers, in bytes.
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
        self.text_total = sum(map(text_total, map(text_bytes, (self._ids, self._purchases))))

    def texts(self) -> Iterator[tuple[int, memoryview]]:
        """Yield all lines in chunks: the number of lines, and their text."""
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
