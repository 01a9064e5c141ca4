"""Sources and ledgers as reading gives them, without any file."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd

from pipeline.parse import Reject
from pipeline.sources import Source, SourceFile


def source(name: str, **header_lines: int) -> Source:
    """Return a table of files, each with so many header lines; a header has 20 bytes."""
    files = tuple(
        SourceFile(
            path=f"/data/{file}.csv",
            name=f"{file}.csv",
            columns=("customer_id",),
            start=20,
            header_lines=lines,
            size=500,
            encoding="utf-8",
            is_plain=True,
        )
        for file, lines in header_lines.items()
    )
    return Source(name, ("customer_id",), files)


def ledger(*blocks: dict[str, Any]) -> pd.DataFrame:
    """Return a ledger (see `read.read_block`) with a row for each block."""
    nothing = {
        **dict.fromkeys(("start", "bytes", "lines", "records", "missing", "unusable"), 0),
        "total": Decimal(0),
        "weight": 0,
        "examples": [],
        "rejected": [],
    }
    return pd.DataFrame([{**nothing, **block} for block in blocks])


def reject(line: int, offset: int, raw: bytes, detail: str = "") -> Reject:
    return Reject(line, offset, "too few fields", detail, raw)
