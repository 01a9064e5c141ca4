"""`rejected_rows.csv`: the records that could not be read, and where they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from pipeline.engine.ledger import NO_ENTRIES, Ledger, Number, entry_with
from pipeline.engine.partitions import from_blocks
from pipeline.engine.places import Place
from pipeline.outputs.run_totals import by_file
from pipeline.steps.read import BlockRead, kept_rejects

_AT_ONCE = 1 << 12  # rows


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


def write_rejected(
    path: Path,
    client: Client,
    ledger: Ledger,
    tables: Sequence[Source],
    rejects: Place,
    escape: bool = False,
) -> None:
    """Write the records that could not be read (see `Rejected`); without any, write no file.

    Workers write the lines of those blocks of whose rejects they kept many, in the place `rejects`
    (see `read.read`). For `escape`, see `quoting.quote`.
    """
    blocks = [block for source in tables for block in _blocks(ledger, source)]
    if many := [block for block in blocks if block.has_more]:
        how = {"meta": NO_ENTRIES, "step": "format-rejects"}
        compute_entries(client, [from_blocks(_write_lines, many, rejects, escape, **how)])
    if blocks:
        with path.open("wb") as file:
            file.write(_lines([Rejected._fields], escape))
            for block in blocks:
                lines = None if block.has_more else _lines(block.rows(), escape)
                file.write(rejects.get(block.lines) if lines is None else lines)


class _Block(NamedTuple):
    """The rejects of a block: its number, file, first line there, and what was read."""

    number: int
    file: str
    encoding: str
    line: int
    read: BlockRead

    @property
    def has_more(self) -> bool:
        """Whether a worker kept more rejects than the totals hold."""
        return self.read.rejects > len(self.read.rejected)

    @property
    def lines(self) -> str:
        """The name under which a worker writes its lines."""
        return f"{self.read.table}-{self.number}.csv"

    def rows(self, rejected: Sequence[Reject] | None = None) -> Iterator[Rejected]:
        """Yield the rows of its rejected records, by default of those in the totals."""
        for reject in self.read.rejected if rejected is None else rejected:
            place = self.line + reject.line, self.read.start + reject.offset, reject.length
            raw = reject.raw.decode(self.encoding, "backslashreplace")
            yield Rejected(self.file, *place, reject.reason, reject.detail, raw)


def _blocks(ledger: Ledger, source: Source) -> Iterator[_Block]:
    """Yield the blocks of a table that have rejects, in input order."""
    entries = [entry for entry in ledger.having(BlockRead) if entry[BlockRead].table == source.name]
    places = by_file(source, [entry[BlockRead] for entry in entries])
    for entry, (file, line, read) in zip(entries, places, strict=True):
        if read.rejects:
            yield _Block(entry[Number].block, file.name, file.encoding, line, read)


def _write_lines(block: _Block, rejects: Place, escape: bool) -> pd.DataFrame:
    kept = kept_rejects(rejects, block.read.table, block.number)
    rejects.put(block.lines, _lines(block.rows(kept), escape))
    return entry_with()


def _lines(rows: Iterable[Sequence[object]], escape: bool) -> bytes:
    text, left = [], iter(rows)
    while some := list(islice(left, _AT_ONCE)):
        columns = [pa.array(map(str, column), TEXT) for column in zip(*some, strict=True)]
        text += end_lines(join_fields(columns, escape)).to_pylist()
    return "".join(text).encode()
