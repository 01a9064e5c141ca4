"""The books of a run: every record and every amount is accounted for, or the run fails.

They compare control totals that were taken at different steps, or in different ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any

from pipeline.columns.totals import EXACT, modulo
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.errors import DataError
from pipeline.steps.read import MAX_EXAMPLES

Entry = dict[str, Any]


@dataclass
class Ledger:
    """The entries of all partitions of a run, in order of arrival (see `engine.ledger`)."""

    entries: list[Entry] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        """Add an entry."""
        self.entries.append(entry)

    def totals(self, name: str) -> list[Any]:
        """Return all control totals with this name."""
        return [entry[name] for entry in self.entries if name in entry]

    def of_table(self, source: Source) -> list[Entry]:
        """Return the entries of a table's blocks, in input order."""
        return [entry for entry in self.having("table") if entry["table"] == source.name]

    def having(self, total: str) -> list[Entry]:
        """Return the entries that have a control total with this name, in block order."""
        found = (entry for entry in self.entries if total in entry)
        return sorted(found, key=lambda entry: entry.get("block", 0))


@dataclass(frozen=True)
class TableBooks:
    """The control totals of one table.

    `bytes` counts the headers and blocks read, of a file to unpack the bytes as stored that were
    used for its blocks; `bytes_in_files` is the size of the files as the client saw them.
    `values_missing`, `values_unusable` and `values_out_of_range` count values of the parsed column;
    `value_examples` lists up to 20 unusable ones, each with file, line and value, `range_examples`
    those out of range. `total` is the exact sum of the
    usable values, `hash_total` the sum of all bytes of text (see `totals.hash_total`), and `ids`
    the total of the ids (see `totals.total_of`).
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
    hash_total: int
    ids: int


@dataclass(frozen=True)
class Line:
    """A line of the books: `what` was counted on two sides, and the figure of each."""

    what: str
    sides: tuple[str, str]
    figures: tuple[Any, Any]

    @property
    def agrees(self) -> bool:
        """Whether both figures are the same."""
        return bool(self.figures[0] == self.figures[1])

    def __str__(self) -> str:
        sides = zip(self.sides, self.figures, strict=True)
        return f"{self.what}: {', '.join(f'{side} {figure}' for side, figure in sides)}"


@dataclass(frozen=True)
class Books:
    """The control totals of a run; `lines` are those that must agree with each other.

    Purchases are `unmatched` if no customer has their id, and counted apart if they have none.

    `checksum` is the CRC-32 of the combined table, in hexadecimal digits.
    """

    customers: TableBooks
    purchases: TableBooks
    customers_with_purchases: int
    purchases_unmatched: int
    purchases_without_id: int
    records_written: int
    bytes_written: int
    checksum: str
    lines: tuple[Line, ...]

    @property
    def customers_without_purchases(self) -> int:
        """The number of customers that no purchase matched; each has a record of its own."""
        return self.customers.records - self.customers_with_purchases

    def check(self) -> None:
        """Raise DataError if the books do not balance; name each line that does not agree."""
        off = [str(line) for line in self.lines if not line.agrees]
        if off:
            raise DataError(
                f"the books do not balance ({'; '.join(off)}); nothing was published; "
                "this is a fault of the program or of the cluster: run it again, and report it"
            )


def table_books(source: Source, blocks: Sequence[Entry]) -> TableBooks:
    """Add up the control totals of a table's `blocks` (see `read.read_block`), in input order."""
    plain, packed = parted(source, blocks)
    with localcontext(EXACT):
        total = sum((block["total"] for block in blocks), Decimal(0))
    return TableBooks(
        bytes=sum(file.start for file in source.files if file.is_plain)
        + sum_of("bytes", plain)
        + sum_of("stored", packed),
        bytes_in_files=source.size,
        records=sum_of("records", blocks),
        rejected=sum_of("rejects", blocks),
        values_missing=sum_of("missing", blocks),
        values_unusable=sum_of("unusable", blocks),
        value_examples=examples_of("examples", source, blocks),
        values_out_of_range=sum_of("out_of_range", blocks),
        range_examples=examples_of("range_examples", source, blocks),
        total=total,
        hash_total=sum_of("hash_total", blocks),
        ids=modulo(sum_of("ids", blocks)),
    )


def examples_of(name: str, source: Source, blocks: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the first values in a control total of examples, each with its file and line."""
    return [
        {"file": file.name, "line": line + example.line, "value": example.value}
        for file, line, block in by_file(source, blocks)
        for example in block[name]
    ][:MAX_EXAMPLES]


def parted(source: Source, blocks: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Return the entries of blocks of plain files, and those of blocks of files to unpack."""
    plain = {file.path for file in source.files if file.is_plain}
    return (
        [block for block in blocks if block["path"] in plain],
        [block for block in blocks if block["path"] not in plain],
    )


def by_file(source: Source, blocks: Sequence[Entry]) -> Iterator[tuple[SourceFile, int, Entry]]:
    """Yield each block's file, its first line in that file (from 1), and its entry."""
    files = {file.path: file for file in source.files}
    next_line = {file.path: 1 + file.header_lines for file in source.files}
    for block in blocks:
        path = block["path"]
        yield files[path], next_line[path], block
        next_line[path] += block["lines"]


def sum_of(total: str, entries: Sequence[Entry]) -> int:
    """Return the sum of a control total over entries that all have it."""
    return sum(entry[total] for entry in entries)
