"""`rejected_rows.csv`: the records that could not be read, and where they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
from distributed import Client

from pipeline.columns.arrow import TEXT
from pipeline.csv_text.parse import Reject
from pipeline.csv_text.quoting import end_lines, join_fields
from pipeline.csv_text.sources import Source
from pipeline.engine.compute import compute_entries
from pipeline.engine.ledger import NO_ENTRIES, as_entry, with_totals
from pipeline.engine.partitions import from_blocks
from pipeline.engine.places import Place
from pipeline.outputs.books import Entry, by_file
from pipeline.steps.read import kept_rejects

_AT_ONCE = 1 << 12  # rows

Tables = Mapping[Source, Sequence[Entry]]


class Rejected(NamedTuple):
    """A row of `rejected_rows.csv`: a record that could not be read, and its place in its file.

    `line` counts from 1, `byte_offset` from 0. Both refer to the uncompressed file, and for UTF-16
    to its UTF-8 form. `length` is that of the record in bytes, without its line end. `raw` is its
    text, cut at the largest record size; bytes that are invalid in the file's encoding are written
    as `\\xff`.
    """

    file: str
    line: int
    byte_offset: int
    length: int
    reason: str
    detail: str
    raw: str


def format_rejects(client: Client, tables: Tables, rejects: Place, escape: bool = False) -> None:
    """Have workers write the lines of those blocks of whose rejects they kept many.

    `rejects` is the place where they kept them (see `read.read`), and where the lines go. For
    `escape`, see `quoting.quote`.
    """
    if blocks := [block for block in _blocks(tables) if block.has_more]:
        how = {"meta": NO_ENTRIES, "step": "format-rejects"}
        compute_entries(client, [from_blocks(_write_lines, blocks, rejects, escape, **how)])


def write_rejected(path: Path, tables: Tables, rejects: Place, escape: bool = False) -> None:
    """Write the records that could not be read (see `Rejected`); without any, write no file.

    The lines of many of them are in the place `rejects` already (see `format_rejects`).
    """
    if blocks := _blocks(tables):
        with path.open("wb") as file:
            file.write(_lines([Rejected._fields], escape))
            for block in blocks:
                lines = None if block.has_more else _lines(block.rows(), escape)
                file.write(rejects.get(block.lines) if lines is None else lines)


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
            place = self.line + reject.line, self.entry["start"] + reject.offset, reject.length
            raw = reject.raw.decode(self.encoding, "backslashreplace")
            yield Rejected(self.file, *place, reject.reason, reject.detail, raw)


def _blocks(tables: Tables) -> list[_Block]:
    """Return the blocks that have rejects, in input order."""
    return [
        _Block(source.name, file.name, file.encoding, line, entry)
        for source, entries in tables.items()
        for file, line, entry in by_file(source, entries)
        if entry["rejects"]
    ]


def _write_lines(block: _Block, rejects: Place, escape: bool) -> pd.DataFrame:
    kept = kept_rejects(rejects, block.table, block.entry["block"])
    rejects.put(block.lines, _lines(block.rows(kept), escape))
    return as_entry(with_totals(pd.DataFrame()))


def _lines(rows: Iterable[Sequence[object]], escape: bool) -> bytes:
    text, left = [], iter(rows)
    while some := list(islice(left, _AT_ONCE)):
        columns = [pa.array(map(str, column), TEXT) for column in zip(*some, strict=True)]
        text += end_lines(join_fields(columns, escape)).to_pylist()
    return "".join(text).encode()
