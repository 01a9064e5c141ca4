"""`rejected_rows.csv`: the records that could not be read, and where they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from distributed import Client

from pipeline.columns.arrow import TEXT, text_bytes
from pipeline.csv_text.quoting import end_lines, join_fields
from pipeline.csv_text.rejects import tabulate_rejects
from pipeline.csv_text.sources import Source
from pipeline.engine.compute import compute_entries
from pipeline.engine.ledger import NO_ENTRIES, Ledger, entry_with
from pipeline.engine.partitions import from_blocks
from pipeline.outputs.run_totals import located_blocks
from pipeline.steps.read import BlockRead, kept_rejects
from pipeline.storage.places import Place


class RejectedRow(NamedTuple):
    """A row of `rejected_rows.csv`: a record that could not be read, and its place in its file.

    `line` counts from 1, `byte_offset` from 0. Both refer to the uncompressed file or, if it was
    converted (UTF-16, for example), to its UTF-8 form. `length` is the size of the record in bytes,
    without its newline. `raw` is its text, cut at the maximum record size; an invalid byte is
    written as an escape such as `\\xff`.
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
    """Write the records that could not be read (see `RejectedRow`); if there are none, no file.

    For blocks with many rejects, which workers have kept in `rejects` (see `read.read`), workers
    also make the lines. For `escape`, see `quoting.quote`.
    """
    blocks = [block for source in tables for block in _blocks(ledger, source)]
    if many := [block for block in blocks if block.has_more]:
        how = {"meta": NO_ENTRIES, "step": "format-rejects"}
        compute_entries(client, [from_blocks(_write_lines, many, rejects, escape, **how)])
    if blocks:
        with path.open("wb") as file:
            file.write(_lines([pa.array([name], TEXT) for name in RejectedRow._fields], escape))
            for block in blocks:
                if block.has_more:
                    file.write(rejects.get(block.name))
                else:
                    few = tabulate_rejects(block.read.rejected)
                    file.write(_lines(block.columns(few), escape))


class _Block(NamedTuple):
    """The rejects of a block: its number and what was read.

    `files` has the name of each of its files, `lines` the first line in each.
    """

    number: int
    files: tuple[str, ...]
    lines: tuple[int, ...]
    encoding: str
    read: BlockRead

    @property
    def has_more(self) -> bool:
        """Whether a worker has kept more rejects than the totals hold."""
        return self.read.rejects > len(self.read.rejected)

    @property
    def name(self) -> str:
        """The name under which a worker stores its lines."""
        return f"{self.read.table}-{self.number}.csv"

    def columns(self, rejected: pa.Table) -> list[pa.Array]:
        """Return the columns of `RejectedRow` for these rejected records."""
        line, offset, length, reason, detail, raw, file = (
            column.combine_chunks() for column in rejected.columns
        )
        lines, starts = pa.array(self.lines), pa.array([one.start for one in self.read.files])
        numbers = pc.add(line, lines.take(file)), pc.add(offset, starts.take(file)), length
        return [
            pa.array(self.files, TEXT).take(file),
            *(pc.cast(number, TEXT) for number in numbers),
            *(reason, detail, self._decode(raw)),
        ]

    def _decode(self, raw: pa.Array) -> pa.Array:
        """Return raw records as text."""
        try:
            if self.encoding == "utf-8":
                return raw.cast(TEXT)
        except pa.ArrowInvalid:
            pass
        texts = (one.decode(self.encoding, "backslashreplace") for one in raw.to_pylist())
        return pa.array(texts, TEXT)


def _blocks(ledger: Ledger, source: Source) -> Iterator[_Block]:
    """Yield the blocks of a table that have rejects, in input order."""
    for number, read, starts in located_blocks(ledger, source):
        if read.rejects:
            files, lines = zip(*starts, strict=True)
            names = tuple(file.name for file in files)
            yield _Block(number, names, lines, files[0].encoding, read)


def _write_lines(block: _Block, rejects: Place, escape: bool) -> pd.DataFrame:
    kept = kept_rejects(rejects, block.read.table, block.number)
    rejects.put(block.name, _lines(block.columns(kept), escape))
    return entry_with()


def _lines(columns: Sequence[pa.Array], escape: bool) -> bytes:
    return text_bytes(end_lines(join_fields(columns, escape))).tobytes()
