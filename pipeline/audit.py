"""The books of a run: every record and every amount is accounted for, or the run fails."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from decimal import Decimal, localcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline._version import __version__
from pipeline.columns import EXACT
from pipeline.errors import DataError
from pipeline.read import MAX_EXAMPLES
from pipeline.settings import Settings
from pipeline.sources import Source, shown

REJECTED_COLUMNS = ("file", "line", "byte_offset", "reason", "detail", "raw")
_PACKAGES = ("dask", "distributed", "pandas", "pyarrow", "matplotlib")


@dataclass(frozen=True)
class TableBooks:
    """What was read of one table, and what became of it.

    `values_missing` and `values_unusable` are of the column that is computed with; `total` is the
    exact sum of the others. `value_examples` are up to 20 unusable ones: file, line and value.
    """

    bytes: int
    records: int
    rejected: int
    values_missing: int
    values_unusable: int
    value_examples: list[dict[str, Any]]
    total: Decimal


@dataclass(frozen=True)
class Books:
    """Every figure that has to agree with another one."""

    customers: TableBooks
    purchases: TableBooks
    customers_with_purchases: int
    records_written: int
    bytes_written: int
    bytes_in_file: int
    purchases_in_groups: int
    customers_in_groups: int
    total_of_groups: Decimal

    @property
    def customers_without_purchases(self) -> int:
        """The customers that stay in the combined table as records of their own."""
        return self.customers.records - self.customers_with_purchases

    def check(self) -> None:
        """Raise DataError, naming each line of the books that is off."""
        lines = {
            "records written, purchases + customers without purchases": (
                self.records_written,
                self.purchases.records + self.customers_without_purchases,
            ),
            "purchases in the age groups, purchases read": (
                self.purchases_in_groups,
                self.purchases.records,
            ),
            "customers in the age groups, customers read": (
                self.customers_in_groups,
                self.customers.records,
            ),
            "sum over the age groups, sum over the purchases": (
                self.total_of_groups,
                self.purchases.total,
            ),
            "bytes in the combined table, bytes written": (
                self.bytes_in_file,
                self.bytes_written,
            ),
        }
        off = [
            f"{what}: {left} and {right}" for what, (left, right) in lines.items() if left != right
        ]
        if off:
            raise DataError(
                f"the books do not balance ({'; '.join(off)}); nothing was published; "
                "this is a fault of the program or of the cluster: run it again, and report it"
            )


def table_books(source: Source, ledger: pd.DataFrame) -> TableBooks:
    """Add up the ledger of one table (see `read.read_block`)."""
    examples = [
        {"file": path, "line": line + example.line, "value": example.value}
        for path, line, row in _blocks(source, ledger)
        for example in row.examples
    ]
    with localcontext(EXACT):
        total = sum(ledger["total"], Decimal(0))
    return TableBooks(
        bytes=int(ledger["bytes"].sum()),
        records=int(ledger["records"].sum()),
        rejected=sum(map(len, ledger["rejected"])),
        values_missing=int(ledger["missing"].sum()),
        values_unusable=int(ledger["unusable"].sum()),
        value_examples=examples[:MAX_EXAMPLES],
        total=total,
    )


def joined_books(
    matched: pd.DataFrame, spending: pd.DataFrame, written: pd.DataFrame, combined_file: Path
) -> dict[str, Any]:
    """Add up what was counted behind the join: the part of `Books` that is not a table's.

    `matched`, `spending` and `written` are what `join`, `total_spending` and `write_combined`
    return, computed.
    """
    with localcontext(EXACT):
        total = sum(spending["total"], Decimal(0))
    return {
        "customers_with_purchases": int(matched["matched"].sum()),
        "records_written": int(written["rows"].sum()),
        "bytes_written": int(written["start"].min() + written["bytes"].sum()),
        "bytes_in_file": combined_file.stat().st_size,
        "purchases_in_groups": int(spending["purchases"].sum()),
        "customers_in_groups": int(spending["customers"].sum()),
        "total_of_groups": total,
    }


def write_rejected(ledgers: dict[Source, pd.DataFrame], path: Path) -> None:
    """Write the records that could not be read as CSV; no file where there are none.

    `line` counts from 1, `byte_offset` from 0 at the beginning of the file; `raw` is the record
    without its line end, bytes that are not UTF-8 written as `\\xff`.
    """
    rows = [
        (
            file,
            line + reject.line,
            row.start + reject.offset,
            reject.reason,
            reject.detail,
            reject.raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace"),
        )
        for source, ledger in ledgers.items()
        for file, line, row in _blocks(source, ledger)
        for reject in row.rejected
    ]
    if rows:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([REJECTED_COLUMNS, *rows])


def write_report(
    path: Path,
    settings: Settings,
    sources: list[Source],
    join: str,
    books: Books,
    summary: pd.DataFrame,
    seconds: float,
) -> None:
    """Write `run_report.json`: what was asked for, what came of it, with which versions."""
    report = {
        "status": "complete",
        "settings": asdict(settings),
        "inputs": {
            source.name: [{"file": file.name, "bytes": file.size} for file in source.files]
            for source in sources
        },
        "join": join,
        "seconds": round(seconds, 3),
        "books": {
            **asdict(books),
            "customers_without_purchases": books.customers_without_purchases,
        },
        "age_groups": summary.to_dict("records"),
        "versions": {
            "age-group-spending": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in _PACKAGES},
        },
    }
    text = json.dumps(report, indent=2, ensure_ascii=False, default=_plain)
    path.write_text(f"{text}\n", encoding="utf-8")


def _blocks(source: Source, ledger: pd.DataFrame) -> Iterator[tuple[str, int, Any]]:
    """Yield for each block its file, the number of its first line there (from 1), and its row."""
    next_line = {file.path: 1 + file.header_lines for file in source.files}
    for row in ledger.itertuples():
        yield shown(row.path), next_line[row.path], row
        next_line[row.path] += row.lines


def _plain(value: object) -> str:
    # A decimal as text: a JSON reader would take a number for a float.
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
