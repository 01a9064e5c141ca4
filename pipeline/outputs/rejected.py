"""`rejected_rows.csv`: the records that could not be read, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
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
from pipeline.engine.ledger import NO_ENTRIES, Ledger, entry_with
from pipeline.engine.partitions import from_blocks
from pipeline.outputs.run_totals import Located, locate_blocks
from pipeline.steps.read import kept_rejects
from pipeline.storage.places import Place


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
    blocks = [
        block for source in tables for block in locate_blocks(ledger, source) if block.read.rejects
    ]
    if many := [block for block in blocks if _has_more(block)]:
        how = {"meta": NO_ENTRIES, "step": "format-rejects"}
        compute_entries(client, [from_blocks(_write_lines, many, rejects, escape, **how)])
    if blocks:
        with path.open("wb") as file:
            file.write(_lines([pa.array([name], TEXT) for name in Rejected._fields], escape))
            for block in blocks:
                if _has_more(block):
                    file.write(rejects.get(_name(block)))
                else:
                    few = table_of(block.read.rejected)
                    file.write(_lines(_columns(block, few), escape))


def _has_more(block: Located) -> bool:
    """Tell whether a worker kept more rejects of a block than its totals hold."""
    return block.read.rejects > len(block.read.rejected)


def _name(block: Located) -> str:
    """Return the name under which a worker writes the lines of a block."""
    return f"{block.read.table}-{block.number}.csv"


def _write_lines(block: Located, rejects: Place, escape: bool) -> pd.DataFrame:
    kept = kept_rejects(rejects, block.read.table, block.number)
    rejects.put(_name(block), _lines(_columns(block, kept), escape))
    return entry_with()


def _columns(block: Located, rejected: pa.Table) -> list[pa.Array]:
    """Return the columns of rows (see `Rejected`), of rejected records of a block."""
    line, offset, length, reason, detail, raw = (
        column.combine_chunks() for column in rejected.columns
    )
    numbers = (pc.add(line, block.line), pc.add(offset, block.read.start), length)
    return [
        pa.repeat(pa.scalar(block.file.name, TEXT), len(rejected)),
        *(pc.cast(number, TEXT) for number in numbers),
        *(reason, detail, _shown(raw, block.file.encoding)),
    ]


def _shown(raw: pa.Array, encoding: str) -> pa.Array:
    """Return raw records as text."""
    try:
        if encoding == "utf-8":
            return raw.cast(TEXT)
    except pa.ArrowInvalid:
        pass
    texts = (one.decode(encoding, "backslashreplace") for one in raw.to_pylist())
    return pa.array(texts, TEXT)


def _lines(columns: Sequence[pa.Array], escape: bool) -> bytes:
    return text_bytes(end_lines(join_fields(columns, escape))).tobytes()
