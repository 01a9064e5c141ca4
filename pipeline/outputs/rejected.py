"""`rejected_rows.csv`: the records that could not be read, and where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from distributed import Client

from pipeline.columns.arrow import TEXT, text_bytes
from pipeline.csv_text.quoting import end_lines, join_fields
from pipeline.csv_text.rejects import table_of
from pipeline.csv_text.sources import Source
from pipeline.engine.compute import compute_entries
from pipeline.engine.ledger import NO_ENTRIES, as_entry, with_totals
from pipeline.engine.partitions import from_blocks
from pipeline.engine.places import Place
from pipeline.outputs.books import Entry, by_file
from pipeline.steps.read import kept_rejects

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
            file.write(_lines([pa.array([name], TEXT) for name in Rejected._fields], escape))
            for block in blocks:
                if block.has_more:
                    file.write(rejects.get(block.lines))
                else:
                    few = table_of(block.entry["rejected"])
                    file.write(_lines(block.columns(few), escape))


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

    def columns(self, rejected: pa.Table) -> list[pa.Array]:
        """Return the columns of its rows (see `Rejected`), of those rejected records."""
        line, offset, length, reason, detail, raw = (
            column.combine_chunks() for column in rejected.columns
        )
        numbers = (pc.add(line, self.line), pc.add(offset, self.entry["start"]), length)
        return [
            pa.repeat(pa.scalar(self.file, TEXT), len(rejected)),
            *(pc.cast(number, TEXT) for number in numbers),
            *(reason, detail, self._shown(raw)),
        ]

    def _shown(self, raw: pa.Array) -> pa.Array:
        """Return raw records as text."""
        try:
            if self.encoding == "utf-8":
                return raw.cast(TEXT)
        except pa.ArrowInvalid:
            pass
        texts = (one.decode(self.encoding, "backslashreplace") for one in raw.to_pylist())
        return pa.array(texts, TEXT)


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
    rejects.put(block.lines, _lines(block.columns(kept), escape))
    return as_entry(with_totals(pd.DataFrame()))


def _lines(columns: Sequence[pa.Array], escape: bool) -> bytes:
    return text_bytes(end_lines(join_fields(columns, escape))).tobytes()
