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
from typing import Any, NamedTuple

import pandas as pd

from pipeline._version import __version__
from pipeline.columns import EXACT
from pipeline.errors import DataError
from pipeline.publish import COMBINED, SPENDING
from pipeline.read import MAX_EXAMPLES
from pipeline.settings import Settings, Tolerance
from pipeline.sources import Source, SourceFile

_PACKAGES = ("dask", "distributed", "pandas", "pyarrow", "matplotlib")


class Rejected(NamedTuple):
    """A row of `rejected_rows.csv`: a record that could not be read, and its place in its file.

    `line` counts from 1, `byte_offset` from 0, in the file as it is without compression and, where
    it is in UTF-16, in UTF-8. `raw` is the record without its line end; bytes that are no text in
    the file's encoding are written as `\\xff`.
    """

    file: str
    line: int
    byte_offset: int
    reason: str
    detail: str
    raw: str


@dataclass(frozen=True)
class TableBooks:
    """What was read of one table, and what became of it.

    `bytes` are those of the headers and blocks that were read, `bytes_in_files` those that there
    are. `values_missing` and `values_unusable` are of the column that is computed with;
    `value_examples` are up to 20 unusable ones: file, line and value. `total` is the exact sum of
    the others, `weight` that of all text (see `columns.weight`).
    """

    bytes: int
    bytes_in_files: int
    records: int
    rejected: int
    values_missing: int
    values_unusable: int
    value_examples: list[dict[str, Any]]
    total: Decimal
    weight: int


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
    weight_written: int
    weight_joined: int

    @property
    def customers_without_purchases(self) -> int:
        """The customers that stay in the combined table as records of their own."""
        return self.customers.records - self.customers_with_purchases

    def check(self) -> None:
        """Raise DataError, naming each line of the books that is off."""
        customers, purchases = self.customers, self.purchases
        lines = {
            "bytes of customers in the files, bytes read": (
                customers.bytes_in_files,
                customers.bytes,
            ),
            "bytes of purchases in the files, bytes read": (
                purchases.bytes_in_files,
                purchases.bytes,
            ),
            "records written, purchases + customers without purchases": (
                self.records_written,
                purchases.records + self.customers_without_purchases,
            ),
            "purchases in the age groups, purchases read": (
                self.purchases_in_groups,
                purchases.records,
            ),
            "customers in the age groups, customers read": (
                self.customers_in_groups,
                customers.records,
            ),
            "sum over the age groups, sum over the purchases": (
                self.total_of_groups,
                purchases.total,
            ),
            "weight of the text written, weight of the text read and joined": (
                self.weight_written,
                self.weight_joined,
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
        {"file": file.name, "line": line + example.line, "value": example.value}
        for file, line, row in _blocks(source, ledger)
        for example in row.examples
    ]
    with localcontext(EXACT):
        total = sum(ledger["total"], Decimal(0))
    return TableBooks(
        bytes=sum(file.start for file in source.files) + int(ledger["bytes"].sum()),
        bytes_in_files=source.size,
        records=int(ledger["records"].sum()),
        rejected=sum(map(len, ledger["rejected"])),
        values_missing=int(ledger["missing"].sum()),
        values_unusable=int(ledger["unusable"].sum()),
        value_examples=examples[:MAX_EXAMPLES],
        total=total,
        weight=sum(ledger["weight"]),
    )


def joined_books(
    purchases: TableBooks,
    matched: pd.DataFrame,
    written: pd.DataFrame,
    no_purchase: str,
    outputs: Path,
) -> dict[str, Any]:
    """Add up what was counted behind the join: the part of `Books` that is not a table's.

    `matched` and `written` are what `join` and `write_combined` return, computed; `no_purchase`
    is that of the `render.Layout`. The sums over the age groups are those that can be read in
    the folder `outputs`.
    """
    with (outputs / SPENDING).open(encoding="utf-8", newline="") as file:
        groups = list(csv.DictReader(file, strict=True))
    with localcontext(EXACT):
        total = sum((Decimal(group["total_spending"]) for group in groups), Decimal(0))
    rows = int(written["rows"].sum())
    # What a line holds beside the texts that were joined into it.
    separators = sum(f",,{no_purchase}\n".encode())
    return {
        "customers_with_purchases": int(matched["customers"].sum()),
        "records_written": rows,
        "bytes_written": _end_of(written),
        "bytes_in_file": (outputs / COMBINED).stat().st_size,
        "purchases_in_groups": sum(int(group["purchases"]) for group in groups),
        "customers_in_groups": sum(int(group["customers"]) for group in groups),
        "total_of_groups": total,
        "weight_written": int(written["weight"].sum()),
        "weight_joined": purchases.weight + sum(matched["weight"]) + separators * rows,
    }


def _end_of(written: pd.DataFrame) -> int:
    """Return the byte up to which the parts of a file follow one another without a gap."""
    parts = sorted(zip(written["start"].tolist(), written["bytes"].tolist(), strict=True))
    end = int(parts[0][0])
    for start, size in parts:
        if start != end:
            break
        end += size
    return end


def check_rejected(tolerance: Tolerance, ledgers: dict[Source, pd.DataFrame]) -> None:
    """Raise DataError, naming the first one, where too many records of a table are rejected."""
    for source, ledger in ledgers.items():
        rejected = sum(map(len, ledger["rejected"]))
        records = rejected + int(ledger["records"].sum())
        if not tolerance.allows(rejected, records):
            first = next(_rejects(source, ledger))
            detail = f" ({first.detail})" if first.detail else ""
            raise DataError(
                f"{rejected:,} of {records:,} {source.name} cannot be read, the first at "
                f"{first.file}, line {first.line}: {first.reason}{detail}: {first.raw[:80]!r}; "
                "mend the file, or allow more with --max-rejected"
            )


def write_rejected(path: Path, ledgers: dict[Source, pd.DataFrame]) -> None:
    """Write the records that could not be read (see `Rejected`); no file where there are none."""
    rows = [reject for table in ledgers.items() for reject in _rejects(*table)]
    if rows:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([Rejected._fields, *rows])


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


def _rejects(source: Source, ledger: pd.DataFrame) -> Iterator[Rejected]:
    for file, line, row in _blocks(source, ledger):
        for reject in row.rejected:
            place = line + reject.line, row.start + reject.offset
            raw = reject.raw.rstrip(b"\r\n").decode(file.encoding, "backslashreplace")
            yield Rejected(file.name, *place, reject.reason, reject.detail, raw)


def _blocks(source: Source, ledger: pd.DataFrame) -> Iterator[tuple[SourceFile, int, Any]]:
    """Yield for each block its file, the block's first line there (from 1), and its row."""
    files = {file.path: file for file in source.files}
    next_line = {file.path: 1 + file.header_lines for file in source.files}
    for row in ledger.itertuples():
        yield files[row.path], next_line[row.path], row
        next_line[row.path] += row.lines


def _plain(value: object) -> str:
    # A decimal as text: a JSON reader would take a number for a float.
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
