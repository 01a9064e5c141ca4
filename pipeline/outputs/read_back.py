"""Reads the combined table again as it lies in its file: its checksum, and on demand all it says.

Workers read, each some blocks, after all of them are written and in place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pipeline.columns.arrow import TEXT
from pipeline.columns.decimals import parse_numbers
from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import EXACT, Checksum, exact_sum, modulo, total_of
from pipeline.csv_text.sources import Source
from pipeline.engine.ledger import NO_ENTRIES, as_entry, with_totals
from pipeline.engine.partitions import from_blocks
from pipeline.settings import Columns, Dialect

_TASK = 1 << 26  # bytes that one task reads, at least
_CHUNK = 1 << 18  # bytes that stay in the processor's cache


class Written(NamedTuple):
    """A block of the file: its number, where it begins, and its size in bytes."""

    block: int
    place: int
    size: int


@dataclass(frozen=True)
class Recount:
    """How to recount the table from its lines: its columns, and the numbers of three of them."""

    columns: tuple[str, ...]
    group: int
    amount: int
    dialect: Dialect

    @classmethod
    def of(
        cls, customers: Source, purchases: Source, columns: Columns, dialect: Dialect
    ) -> Recount:
        """Return how to recount a table of these columns (see `render.layout`)."""
        of_customers = [name for name in customers.columns if name != columns.id]
        of_purchases = [name for name in purchases.columns if name != columns.id]
        group = len(of_customers) + 2  # behind the id and the full name
        amount = group + 1 + of_purchases.index(columns.amount)
        names = tuple(map(str, range(group + 1 + len(of_purchases))))
        return cls(names, group, amount, dialect)

    def __call__(self, data: bytes) -> dict[str, Any]:
        """Return what some lines say (see `read_back`)."""
        table = pyarrow.csv.read_csv(
            pa.py_buffer(b"\n" + data),  # a byte order mark at the front would be skipped
            read_options=pyarrow.csv.ReadOptions(
                column_names=self.columns,
                use_threads=False,
                block_size=min(len(data) + 2, (1 << 31) - 1),
            ),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(self.columns, TEXT),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        ).combine_chunks()
        ids, groups, amounts = (
            self._column(table, place) for place in (0, self.group, self.amount)
        )
        numbers = parse_numbers(amounts, self.dialect)
        sums = {
            label: exact_sum(numbers.filter(pc.equal(groups, label)))
            for label in groups.unique().to_pylist()
        }
        return {"records": len(table), "ids": total_of(key_hashes(ids)), "sums": sums}

    @staticmethod
    def _column(table: pa.Table, place: int) -> pa.Array:
        chunks = table.column(place).chunks
        return chunks[0] if chunks else pa.array([], TEXT)


def read_back(
    entries: Sequence[dict[str, Any]], path: str | None, recount: Recount | None
) -> list[dd.DataFrame]:
    """Return lazy tasks that read the blocks of the file at `path`, as its `entries` place them.

    There are none if `path` is None: the parts of an object cannot be read before it is published.

    Control total: `found`, which maps the number of a block to its checksum. With `recount`, also
    `recounted`, a list with the `records`, the total of the `ids` and the exact `sums` of the
    amounts of each age group, of each block.
    """
    if path is None:
        return []
    tasks: list[list[Written]] = [[]]
    size = 0
    for entry in entries:
        if size >= _TASK:
            tasks.append([])
            size = 0
        size += entry["written_bytes"]
        tasks[-1].append(Written(entry["block"], entry["place"], entry["written_bytes"]))
    return [from_blocks(_read_back, tasks, path, recount, meta=NO_ENTRIES, step="read-back")]


def _read_back(blocks: list[Written], path: str, recount: Recount | None) -> pd.DataFrame:
    found: dict[int, Checksum] = {}
    recounted = []
    with open(path, "rb", buffering=0) as file:
        for block in blocks:
            checksum = Checksum()
            data = bytearray() if recount else None
            for part in _parts(file.fileno(), block):
                checksum += Checksum.of(part)
                if data is not None:
                    data += part
            found[block.block] = checksum
            if recount and data:
                recounted.append(recount(bytes(data)))
    return as_entry(with_totals(pd.DataFrame(), found=found, recounted=recounted))


def _parts(file: int, block: Written) -> Iterator[memoryview]:
    """Yield the bytes of a block, as many as the file has, in a buffer that is used again."""
    buffer = memoryview(bytearray(min(_CHUNK, block.size)))
    place, end = block.place, block.place + block.size
    while place < end:
        size = os.preadv(file, [buffer[: end - place]], place)
        if not size:
            return
        yield buffer[:size]
        place += size


def added_up(recounted: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what several blocks say as one (see `read_back`)."""
    sums: dict[str, Decimal] = {}
    with localcontext(EXACT):
        for block in recounted:
            for label, amount in block["sums"].items():
                sums[label] = sums.get(label, Decimal(0)) + amount
    return {
        "records": sum(block["records"] for block in recounted),
        "ids": modulo(sum(block["ids"] for block in recounted)),
        "sums": sums,
    }
