"""`rejected_rows.csv`: the records that could not be read, and where they are."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from distributed import Client

from pipeline.csv_text.parse import Reject
from pipeline.csv_text.sources import Source
from pipeline.engine.compute import compute_entries
from pipeline.engine.ledger import NO_ENTRIES, as_entry, with_totals
from pipeline.engine.partitions import from_blocks
from pipeline.engine.places import Place
from pipeline.errors import DataError
from pipeline.outputs.books import Entry, Ledger, by_file, sum_of
from pipeline.settings import Tolerance
from pipeline.steps.read import kept_rejects

Tables = Mapping[Source, Sequence[Entry]]


class Rejected(NamedTuple):
    """A row of `rejected_rows.csv`: a record that could not be read, and its place in its file.

    `line` counts from 1, `byte_offset` from 0. Both refer to the uncompressed file, and for UTF-16
    to its UTF-8 form. `raw` is the record without its line end; bytes that are invalid in the
    file's encoding are written as `\\xff`.
    """

    file: str
    line: int
    byte_offset: int
    reason: str
    detail: str
    raw: str


def check_rejected(tolerance: Tolerance, tables: Tables) -> None:
    """Raise DataError if too many records of a table are rejected; name the first of them.

    `tables` maps each table to the entries of its blocks, in input order.
    """
    for source, blocks in tables.items():
        rejected = sum_of("rejects", blocks)
        records = rejected + sum(block["records"] for block in blocks)
        if not tolerance.allows(rejected, records):
            first = next(_blocks({source: blocks})[0].rows())
            detail = f" ({first.detail})" if first.detail else ""
            raise DataError(
                f"{rejected:,} of {records:,} {source.name} cannot be read, the first at "
                f"{first.file}, line {first.line}: {first.reason}{detail}: {first.raw[:80]!r}; "
                "mend the file, or allow more with --max-rejected"
            )


@dataclass
class RejectLimit:
    """Ends a run as soon as a table is certain to have too many rejected records.

    Call it with every entry, after adding the entry to `ledger`. A limit given as a share of all
    records can only be checked at the end; see `check_rejected`.
    """

    tolerance: Tolerance
    sources: Sequence[Source]
    ledger: Ledger
    _rejected: Counter[str] = field(default_factory=Counter)

    def __call__(self, entry: Entry) -> None:
        """Raise DataError if that is certain; name the first rejected record known so far."""
        if not entry.get("rejected") or self.tolerance.records is None:
            return
        name = entry["table"]
        self._rejected[name] += entry["rejects"]
        if self._rejected[name] <= self.tolerance.records:
            return
        (source,) = (source for source in self.sources if source.name == name)
        blocks = [block for block in self.ledger.of_table(source) if block["undecided"] is None]
        if source.is_plain and len(blocks) == len(source.blocks):
            check_rejected(self.tolerance, {source: blocks})
        first = next(block for block in blocks if block["rejected"])
        reject, file = (
            first["rejected"][0],
            next(f for f in source.files if f.path == first["path"]),
        )
        raise DataError(
            f"at least {self._rejected[name]:,} {name} cannot be read, one of them at {file.name}, "
            f"byte {first['start'] + reject.offset:,}: {reject.reason}: {reject.raw[:80]!r}; "
            "mend the file, or allow more with --max-rejected"
        )


def format_rejects(client: Client, tables: Tables, rejects: Place) -> None:
    """Have workers write the lines of those blocks of whose rejects they kept many.

    `rejects` is the place where they kept them (see `read.read`), and where the lines go.
    """
    if blocks := [block for block in _blocks(tables) if block.has_more]:
        lines = from_blocks(_write_lines, blocks, rejects, meta=NO_ENTRIES, step="format-rejects")
        compute_entries(client, [lines])


def write_rejected(path: Path, tables: Tables, rejects: Place) -> None:
    """Write the records that could not be read (see `Rejected`); without any, write no file.

    The lines of many of them are in the place `rejects` already (see `format_rejects`).
    """
    if blocks := _blocks(tables):
        with path.open("wb") as file:
            file.write(_lines([Rejected._fields]))
            for block in blocks:
                file.write(rejects.get(block.lines) if block.has_more else _lines(block.rows()))


class _Block(NamedTuple):
    """The rejects of a block: its table, its file and its first line there, its control totals."""

    table: str
    file: str
    encoding: str
    line: int
    entry: Entry

    @property
    def has_more(self) -> bool:
        """Whether a worker kept more rejects than the control totals hold."""
        return bool(self.entry["rejects"] > len(self.entry["rejected"]))

    @property
    def lines(self) -> str:
        """The name under which a worker writes its lines."""
        return f"{self.table}-{self.entry['block']}.csv"

    def rows(self, rejected: Sequence[Reject] | None = None) -> Iterator[Rejected]:
        """Yield the rows of its rejected records, by default of those in the control totals."""
        for reject in self.entry["rejected"] if rejected is None else rejected:
            place = self.line + reject.line, self.entry["start"] + reject.offset
            raw = reject.raw.rstrip(b"\r\n").decode(self.encoding, "backslashreplace")
            yield Rejected(self.file, *place, reject.reason, reject.detail, raw)


def _blocks(tables: Tables) -> list[_Block]:
    """Return the blocks that have rejects, in input order."""
    return [
        _Block(source.name, file.name, file.encoding, line, entry)
        for source, entries in tables.items()
        for file, line, entry in by_file(source, entries)
        if entry["rejects"]
    ]


def _write_lines(block: _Block, rejects: Place) -> pd.DataFrame:
    kept = kept_rejects(rejects, block.table, block.entry["block"])
    rejects.put(block.lines, _lines(block.rows(kept)))
    return as_entry(with_totals(pd.DataFrame()))


def _lines(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
