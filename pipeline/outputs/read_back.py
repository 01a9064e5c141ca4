"""Reads the combined table again from its file, for its checksum and, on demand, a recount.

Each worker reads some of the blocks, after all of them are written and in place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import NamedTuple

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
from pipeline.engine.ledger import NO_ENTRIES, entry_with
from pipeline.engine.partitions import from_blocks
from pipeline.settings import Dialect, Settings
from pipeline.steps.transform import ADDED, AGE_GROUP
from pipeline.steps.write import Target, Written, offsets

_TASK = 1 << 26  # bytes that one task reads, at least
_CHUNK = 1 << 18  # bytes that fit into the processor's cache


class _Range(NamedTuple):
    """A block of the file: its number, where it begins, and its size in bytes."""

    block: int
    offset: int
    size: int


@dataclass(frozen=True)
class Counts:
    """The result of recounting some lines.

    `records` is their number, `ids` the total of their ids (see `totals.total_of`), and `sums` the
    exact sum of the amounts in each age group.
    """

    records: int
    ids: int
    sums: Mapping[str, Decimal]


@dataclass(frozen=True)
class ReadBack:
    """The checksums of blocks in the file, by their numbers, and their recounts, if any."""

    checksums: Mapping[int, Checksum]
    counts: Sequence[Counts]


@dataclass(frozen=True)
class Recount:
    """Recounts the table from its lines: its columns, and the indices of two of them."""

    columns: tuple[str, ...]
    group: int
    amount: int
    dialect: Dialect

    @classmethod
    def of(cls, settings: Settings, customers: Source, purchases: Source) -> Recount | None:
        """Return the recount of the combined table (see `render.layout`); None without `verify`."""
        if not settings.verify:
            return None
        columns = settings.columns
        of_customers = [name for name in customers.columns if name != columns.id]
        of_purchases = [name for name in purchases.columns if name != columns.id_of_purchases]
        added = 1 + len(of_customers)  # columns before those that are added
        group = added + ADDED.index(AGE_GROUP)
        purchase = added + len(ADDED)
        amount = purchase + of_purchases.index(columns.amount)
        names = tuple(map(str, range(purchase + len(of_purchases))))
        return cls(names, group, amount, settings.dialect_of("purchases"))

    def __call__(self, data: bytes) -> Counts:
        """Recount some lines."""
        table = pyarrow.csv.read_csv(
            pa.py_buffer(b"\n" + data),  # a byte order mark at the start would be skipped
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
        )
        ids, groups, amounts = (
            table.column(index).combine_chunks() for index in (0, self.group, self.amount)
        )
        numbers = parse_numbers(amounts, self.dialect)
        sums = {
            label: exact_sum(numbers.filter(pc.equal(groups, label)))
            for label in groups.unique().to_pylist()
        }
        return Counts(len(table), total_of(key_hashes(ids)), sums)


def read_back(
    written: Sequence[Written], target: Target, recount: Recount | None
) -> list[dd.DataFrame]:
    """Return lazy tasks that read the blocks of the target's file; `written` has all, in order.

    There are none if the target is an object in a store, which cannot be read before it is
    published. Totals: `ReadBack`.
    """
    if target.path is None:
        return []
    tasks: list[list[_Range]] = [[]]
    size = 0
    for block, offset in zip(written, offsets(written, len(target.header)), strict=False):
        if size >= _TASK:
            tasks.append([])
            size = 0
        size += block.bytes
        tasks[-1].append(_Range(block.block, offset, block.bytes))
    how = {"meta": NO_ENTRIES, "step": "read-back"}
    return [from_blocks(_read_back, tasks, target.path, recount, **how)]


def _read_back(blocks: list[_Range], path: str, recount: Recount | None) -> pd.DataFrame:
    found: dict[int, Checksum] = {}
    counts = []
    with open(path, "rb", buffering=0) as file:
        for block in blocks:
            checksum, data = Checksum(), bytearray()
            for part in _parts(file.fileno(), block):
                checksum += Checksum.of(part)
                if recount:
                    data += part
            found[block.block] = checksum
            if recount and data:
                counts.append(recount(bytes(data)))
    return entry_with(ReadBack(found, counts))


def _parts(file: int, block: _Range) -> Iterator[memoryview]:
    """Yield a block's bytes, as many as the file has, always in the same buffer."""
    buffer = memoryview(bytearray(min(_CHUNK, block.size)))
    offset, end = block.offset, block.offset + block.size
    while offset < end:
        size = os.preadv(file, [buffer[: end - offset]], offset)
        if not size:
            return
        yield buffer[:size]
        offset += size


def sum_counts(counts: Sequence[Counts]) -> Counts:
    """Return several recounts as one."""
    sums: dict[str, Decimal] = {}
    with localcontext(EXACT):
        for block in counts:
            for label, amount in block.sums.items():
                sums[label] = sums.get(label, Decimal(0)) + amount
    records = sum(block.records for block in counts)
    return Counts(records, modulo(sum(block.ids for block in counts)), sums)
