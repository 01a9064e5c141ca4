"""The totals of a run: what both tables hold, and what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from operator import attrgetter
from typing import Any, NamedTuple

from pipeline.columns.totals import EXACT, Checksum, modulo
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.engine.ledger import Ledger, Number
from pipeline.steps.join import Matched, Paired
from pipeline.steps.read import MAX_EXAMPLES, BlockRead, Example
from pipeline.steps.write import Written


@dataclass(frozen=True)
class TableTotals:
    """The totals of one table.

    `bytes` counts the headers and blocks read, of a file to unpack the bytes as stored that were
    used for its blocks; `bytes_in_files` is the size of the files as the client saw them.
    `values_missing`, `values_unusable` and `values_out_of_range` count values of the parsed column;
    `value_examples` lists up to 20 unusable ones, each with file, line and value, `range_examples`
    those out of range. `total` is the exact sum of the usable values, `text` the total of all text
    (see `totals.text_total`), and `ids` that of the ids (see `totals.total_of`).
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

    Purchases are `unmatched` if no customer has their id, and counted apart if they have none.
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
    of_customers, of_purchases = (total_table(ledger, source) for source in (customers, purchases))
    matched = sum(part.customers for part in ledger.all(Matched))
    written, paired = ledger.all(Written), ledger.all(Paired)
    checksum = sum((block.checksum for block in written), Checksum.of(header))
    return RunTotals(
        customers=of_customers,
        purchases=of_purchases,
        customers_with_purchases=matched,
        customers_without_purchases=of_customers.records - matched,
        purchases_unmatched=sum(part.unmatched for part in paired),
        purchases_without_id=sum(part.without_id for part in paired),
        records_written=sum(block.records for block in written),
        bytes_written=checksum.size,
        checksum=str(checksum),
    )


def total_table(ledger: Ledger, source: Source) -> TableTotals:
    """Add up the totals of a table's blocks."""
    located = list(locate_blocks(ledger, source))
    blocks = [block.read for block in located]
    with localcontext(EXACT):
        total = sum((block.total for block in blocks), Decimal(0))
    return TableTotals(
        bytes=sum(file.start for file in source.files if file.is_plain)
        + sum(at.read.bytes if at.file.is_plain else at.read.stored for at in located),
        bytes_in_files=source.size,
        records=sum(block.records for block in blocks),
        rejected=sum(block.rejects for block in blocks),
        values_missing=sum(block.missing for block in blocks),
        values_unusable=sum(block.unusable for block in blocks),
        value_examples=_examples(located, attrgetter("examples")),
        values_out_of_range=sum(block.out_of_range for block in blocks),
        range_examples=_examples(located, attrgetter("range_examples")),
        total=total,
        text=sum(block.text for block in blocks),
        ids=modulo(sum(block.ids for block in blocks)),
    )


def _examples(
    blocks: Sequence[Located], examples: Callable[[BlockRead], Sequence[Example]]
) -> list[dict[str, Any]]:
    """Return the first examples of all blocks, each with its file and line."""
    return [
        {"file": block.file.name, "line": block.line + example.line, "value": example.value}
        for block in blocks
        for example in examples(block.read)
    ][:MAX_EXAMPLES]


class Located(NamedTuple):
    """A block that was read: its number, its file, its first line there (from 1), its totals."""

    number: int
    file: SourceFile
    line: int
    read: BlockRead


def locate_blocks(ledger: Ledger, source: Source) -> Iterator[Located]:
    """Yield the blocks of a table that were read, in input order."""
    files = {file.path: file for file in source.files}
    next_line = {file.path: 1 + file.header_lines for file in source.files}
    for entry in ledger.having(BlockRead):
        read = entry[BlockRead]
        if read.table == source.name:
            yield Located(entry[Number].block, files[read.path], next_line[read.path], read)
            next_line[read.path] += read.lines


def blocks_of(ledger: Ledger, source: Source) -> list[BlockRead]:
    """Return what was read of a table, block by block, in input order."""
    return [block for block in ledger.all(BlockRead) if block.table == source.name]
