"""The totals of a run: what both tables hold, and what was written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

from pipeline.columns.totals import EXACT, Checksum, modulo
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.engine.ledger import Ledger, Number
from pipeline.steps.join import Matched, Paired
from pipeline.steps.read import MAX_EXAMPLES, BlockRead, Example
from pipeline.steps.write import Written

_FEW = 2  # records; in so short a file, the last amount may well equal the sum of the others


@dataclass
class Tally:
    """What is known so far of the records of a table (see `read.BlockRead`, `join.Paired`)."""

    bytes: int = 0
    records: int = 0
    rejects: int = 0
    missing: int = 0
    unusable: int = 0
    out_of_range: int = 0
    joined: int = 0
    unmatched: int = 0
    without_id: int = 0

    def add_read(self, block: BlockRead) -> None:
        """Add a block that was read."""
        self.bytes += block.bytes
        self.records += block.records
        self.rejects += block.rejects
        self.missing += block.missing
        self.unusable += block.unusable
        self.out_of_range += block.out_of_range

    def add_joined(self, part: Paired) -> None:
        """Add purchases that were joined."""
        self.joined += part.records
        self.unmatched += part.unmatched
        self.without_id += part.without_id

    @property
    def usable(self) -> int:
        """The number of usable values in the numeric column."""
        return self.records - self.missing - self.unusable - self.out_of_range


@dataclass(frozen=True)
class TableTotals:
    """The totals of one table.

    `bytes` counts what was read: headers and blocks or, for a file to unpack, stored bytes.
    `bytes_in_files` is the size of the files as the client sees them. `values_missing`,
    `values_unusable` and `values_out_of_range` count values of the parsed column; `value_examples`
    lists up to 20 unusable ones, each with its file and line, and `range_examples` those out of
    range. `total` is the exact sum of the usable values, `text` is the total of all text (see
    `totals.text_total`), and `ids` is that of the ids (see `totals.total_of`).
    """

    bytes: int
    bytes_in_files: int
    records: int
    rejected: int
    values_missing: int
    values_unusable: int
    value_examples: list[dict[str, Any]]
    values_out_of_range: int
    range_examples: list[dict[str, Any]]
    total: Decimal
    text: int
    ids: int


@dataclass(frozen=True)
class RunTotals:
    """The totals of a run.

    Purchases are unmatched if no customer has their id; those without an id are counted apart.
    `checksum` is the CRC-32 of the combined table, in hexadecimal digits.
    """

    customers: TableTotals
    purchases: TableTotals
    customers_with_purchases: int
    customers_without_purchases: int
    purchases_unmatched: int
    purchases_without_id: int
    records_written: int
    bytes_written: int
    checksum: str


def total_run(ledger: Ledger, customers: Source, purchases: Source, header: bytes) -> RunTotals:
    """Add up the totals of a run; `header` is the first line of the combined table."""
    of_customers, of_purchases = (
        total_table(source, blocks_of(ledger, source)) for source in (customers, purchases)
    )
    tally = Tally()
    for part in ledger.all(Paired):
        tally.add_joined(part)
    matched = sum(part.customers for part in ledger.all(Matched))
    written = ledger.all(Written)
    checksum = sum((block.checksum for block in written), Checksum.of(header))
    return RunTotals(
        customers=of_customers,
        purchases=of_purchases,
        customers_with_purchases=matched,
        customers_without_purchases=of_customers.records - matched,
        purchases_unmatched=tally.unmatched,
        purchases_without_id=tally.without_id,
        records_written=sum(block.records for block in written),
        bytes_written=checksum.size,
        checksum=str(checksum),
    )


def total_table(source: Source, blocks: Sequence[BlockRead]) -> TableTotals:
    """Add up the totals of a table's blocks, in input order."""
    tally = Tally()
    for block in blocks:
        tally.add_read(block)
    plain, packed = separate_packed(source, blocks)
    with localcontext(EXACT):
        total = sum((block.total for block in blocks), Decimal(0))
    return TableTotals(
        bytes=sum(file.start for file in source.files if file.is_plain)
        + sum(block.bytes for block in plain)
        + sum(block.stored for block in packed),
        bytes_in_files=source.size,
        records=tally.records,
        rejected=tally.rejects,
        values_missing=tally.missing,
        values_unusable=tally.unusable,
        value_examples=_located(source, blocks, [block.examples for block in blocks]),
        values_out_of_range=tally.out_of_range,
        range_examples=_located(source, blocks, [block.range_examples for block in blocks]),
        total=total,
        text=sum(block.text for block in blocks),
        ids=modulo(sum(block.ids for block in blocks)),
    )


def _located(
    source: Source, blocks: Sequence[BlockRead], examples: Sequence[Sequence[Example]]
) -> list[dict[str, Any]]:
    """Return the first examples of all blocks, each with its file and line."""
    found: list[dict[str, Any]] = []
    for starts, some in zip(first_lines(source, blocks), examples, strict=True):
        for example in some:
            file, line = starts[example.file]
            found.append({"file": file.name, "line": line + example.line, "value": example.value})
    return found[:MAX_EXAMPLES]


def totals_rows(source: Source, blocks: Sequence[BlockRead]) -> list[tuple[Decimal, str, int]]:
    """Return the amount, file and line of each purchase that seems to be a totals row.

    That is the last record of a file, if it has no id, and its amount is the sum of all others in
    that file or in all files.
    """
    found: dict[str, tuple[Decimal, str, int]] = {}
    sums: dict[str, Decimal] = defaultdict(Decimal)
    counts: dict[str, int] = defaultdict(int)
    with localcontext(EXACT):
        total, count = sum(block.total for block in blocks), sum(block.records for block in blocks)
        for block, starts in zip(blocks, first_lines(source, blocks), strict=True):
            path = block.files[0].path
            if block.records:
                found.pop(path, None)
            for closing in block.closings:
                file, line = starts[closing.file]
                of_file = sums[file.path] + closing.total, counts[file.path] + closing.records
                if closing.amount and any(
                    2 * closing.amount == amount and records > _FEW
                    for amount, records in (of_file, (total, count))
                ):
                    found[file.path] = closing.amount.normalize(), file.name, line + closing.line
            # A file goes on in the next block only if this one has no other file.
            sums[path] += block.total
            counts[path] += block.records
    return list(found.values())


def blocks_of(ledger: Ledger, source: Source) -> list[BlockRead]:
    """Return what was read from a table, block by block, in input order."""
    return [block for block in ledger.all(BlockRead) if block.table == source.name]


def located_blocks(
    ledger: Ledger, source: Source
) -> Iterator[tuple[int, BlockRead, list[tuple[SourceFile, int]]]]:
    """Yield the blocks of a table in input order: number, what was read, and `first_lines`."""
    entries = [entry for entry in ledger.having(BlockRead) if entry[BlockRead].table == source.name]
    blocks = [entry[BlockRead] for entry in entries]
    for entry, block, starts in zip(entries, blocks, first_lines(source, blocks), strict=True):
        yield entry[Number].block, block, starts


def separate_packed(
    source: Source, blocks: Sequence[BlockRead]
) -> tuple[list[BlockRead], list[BlockRead]]:
    """Return the blocks of plain files, and those of files to unpack."""
    plain = {file.path for file in source.files if file.is_plain}
    return (
        [block for block in blocks if block.files[0].path in plain],
        [block for block in blocks if block.files[0].path not in plain],
    )


def first_lines(
    source: Source, blocks: Sequence[BlockRead]
) -> Iterator[list[tuple[SourceFile, int]]]:
    """Yield the files of each block, with the block's first line (from 1) in each."""
    files = {file.path: file for file in source.files}
    next_line = {file.path: 1 + file.header_lines for file in source.files}
    for block in blocks:
        yield [(files[one.path], next_line[one.path]) for one in block.files]
        for one in block.files:
            next_line[one.path] += one.lines
