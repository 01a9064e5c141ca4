"""Sources, blocks that were read and totals, without any file."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pipeline.csv_text.rejects import Reject
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.engine.ledger import Entry, Ledger, Number
from pipeline.outputs.checks import Check
from pipeline.outputs.run_totals import RunTotals, TableTotals
from pipeline.settings import Dialect
from pipeline.steps.read import BlockRead, FileRead
from pipeline.storage.versions import Version

CUSTOMERS = TableTotals(
    bytes=500,
    bytes_in_files=500,
    records=10,
    rejected=1,
    values_missing=2,
    values_unusable=1,
    value_examples=[{"file": "customers.csv", "line": 3, "value": "abc"}],
    values_out_of_range=1,
    range_examples=[{"file": "customers.csv", "line": 4, "value": "131"}],
    total=Decimal(400),
    text=7_000,
    ids=70,
)
PURCHASES = TableTotals(
    bytes=900,
    bytes_in_files=900,
    records=30,
    rejected=0,
    values_missing=0,
    values_unusable=0,
    value_examples=[],
    values_out_of_range=0,
    range_examples=[],
    total=Decimal("99999999999999999999.000000000000000001"),
    text=9_000,
    ids=90,
)
TOTALS = RunTotals(
    customers=CUSTOMERS,
    purchases=PURCHASES,
    customers_with_purchases=6,
    customers_without_purchases=4,
    purchases_unmatched=2,
    purchases_without_id=1,
    records_written=34,
    bytes_written=2_000,
    checksum="0123abcd",
)
CHECKS = (
    Check("records, joined and written", 34, 34),
    Check("sum of the amounts, read and in the age groups", Decimal("0.1"), Decimal("0.10")),
)


def source(name: str, **header_lines: int) -> Source:
    """Return a table of files, each with so many header lines; a header has 20 bytes."""
    files = tuple(
        SourceFile(
            path=f"/data/{file}.csv",
            name=f"{file}.csv",
            columns=("customer_id",),
            start=20,
            header_lines=lines,
            version=Version(500),
            encoding="utf-8",
            is_plain=True,
            dialect=Dialect(),
        )
        for file, lines in header_lines.items()
    )
    return Source(name, ("customer_id",), files)


def block_read(
    path: str,
    table: str = "purchases",
    start: int = 0,
    bytes: int = 0,
    lines: int = 0,
    **counted: Any,
) -> BlockRead:
    """Return what reading a block of a file has counted (see `read.BlockRead`)."""
    rejects = len(counted.get("rejected", ()))
    files = (FileRead(path, start, bytes, lines),)
    return BlockRead(table, files, **{"rejects": rejects, **counted})


def ledger(*blocks: BlockRead) -> Ledger:
    """Return the ledger of some blocks of one table or of several, each in input order."""
    return Ledger([Entry(read, Number(at, at + 1)) for at, read in enumerate(blocks)])


def reject(line: int, offset: int, raw: bytes, detail: str = "") -> Reject:
    raw = raw.rstrip(b"\r\n")
    return Reject(line, offset, len(raw), "too few fields", detail, raw)
