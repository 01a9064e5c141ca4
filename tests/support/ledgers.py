"""Sources, entries of blocks and books, without any file."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pipeline.csv_text.rejects import Reject
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.csv_text.versions import Version
from pipeline.outputs.books import Books, Line, TableBooks

CUSTOMERS = TableBooks(
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
    hash_total=7_000,
    ids=70,
)
PURCHASES = TableBooks(
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
    hash_total=9_000,
    ids=90,
)
NOTHING = TableBooks(
    bytes=0,
    bytes_in_files=500,
    records=0,
    rejected=0,
    values_missing=0,
    values_unusable=0,
    value_examples=[],
    values_out_of_range=0,
    range_examples=[],
    total=Decimal(0),
    hash_total=0,
    ids=0,
)
BOOKS = Books(
    customers=CUSTOMERS,
    purchases=PURCHASES,
    customers_with_purchases=6,
    purchases_unmatched=2,
    purchases_without_id=1,
    records_written=34,
    bytes_written=2_000,
    checksum="0123abcd",
    lines=(
        Line("records", ("written", "joined"), (34, 34)),
        Line(
            "sum of the amounts", ("in the age groups", "read"), (Decimal("0.10"), Decimal("0.1"))
        ),
    ),
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
        )
        for file, lines in header_lines.items()
    )
    return Source(name, ("customer_id",), files)


def ledger(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of some blocks (see `read.read_block`)."""
    nothing: dict[str, Any] = {
        **dict.fromkeys(("start", "bytes", "lines", "records", "missing", "unusable"), 0),
        "unpacked_bytes": 0,
        "out_of_range": 0,
        "first_id": None,
        "total": Decimal(0),
        **dict.fromkeys(("hash_total", "hash_total_kept", "ids", "pairs"), 0),
        "examples": [],
        "range_examples": [],
        "rejected": [],
        "undecided": None,
    }
    return [{**nothing, "rejects": len(block.get("rejected", ())), **block} for block in blocks]


def reject(line: int, offset: int, raw: bytes, detail: str = "") -> Reject:
    raw = raw.rstrip(b"\r\n")
    return Reject(line, offset, len(raw), "too few fields", detail, raw)
