"""A block of a CSV file becomes a partition; bad records are set aside.

Every field is read as text, and an empty field is a missing value; no word is. The one column
that the job computes with is parsed beside its text, so that the text goes out as it came in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pipeline.columns import NUMBER, TEXT, TEXT_DTYPE, exact_sum, to_arrow, to_number, weight
from pipeline.decimals import parse_numbers
from pipeline.files import open_binary
from pipeline.partitions import with_meta
from pipeline.records import Grammar, Record, count_lines, grammar
from pipeline.settings import Dialect
from pipeline.sources import Block, Source

PARSED = "__parsed__"
ORDER = "__order__"
MAX_EXAMPLES = 20

_BOM = b"\xef\xbb\xbf"
_SMALL = 1 << 16  # bytes of which each record can be looked at by itself in no time

_LEDGER_META = pd.DataFrame(
    {
        name: pd.Series(dtype=dtype)
        for name, dtype in {
            "path": object,
            "start": "int64",
            "bytes": "int64",
            "lines": "int64",
            "records": "int64",
            "missing": "int64",
            "unusable": "int64",
            "total": object,
            "weight": object,
            "examples": object,
            "rejected": object,
        }.items()
    }
)


class Reject(NamedTuple):
    """A record that could not be read: `line` and `offset` count from 0 at the block's start."""

    line: int
    offset: int
    reason: str
    detail: str
    raw: bytes


class Example(NamedTuple):
    """A value that cannot be used, and its line, from 0 at the block's start."""

    line: int
    value: str


class Parsed(NamedTuple):
    """What a block holds: its records, and one row for the ledger."""

    records: pd.DataFrame
    ledger: pd.DataFrame


@dataclass(frozen=True)
class NumberColumn:
    """The column of a table that is parsed: its name and the values that can be used."""

    name: str
    lowest: int | None = None
    highest: int | None = None

    def parse(self, text: pa.Array, dialect: Dialect) -> pa.Array:
        """Return the usable numbers in `text` as decimal128(38, 18), null for every other."""
        numbers = parse_numbers(text, dialect)
        for limit, compare in ((self.lowest, pc.less), (self.highest, pc.greater)):
            if limit is not None:
                beyond = compare(numbers, pa.scalar(Decimal(limit), NUMBER))
                numbers = pc.if_else(beyond, None, numbers)
        return numbers


def read(
    source: Source, number: NumberColumn, dialect: Dialect
) -> tuple[dd.DataFrame, dd.DataFrame]:
    """Return a table's records and its ledger, both lazy, one partition for each block.

    Records: the source's columns as text, `__parsed__` (the number column as decimal128(38, 18),
    null where it is missing or cannot be used) and `__order__` (int64, rising in input order).
    Ledger: one row for each block (see `read_block`).
    """
    meta = _records(_empty(source.columns), number, 0, dialect)
    blocks = dd.from_map(
        read_block,
        source.blocks,
        args=[source.columns, number, dialect],
        meta=meta,
        label=f"read-{source.name}",
        enforce_metadata=False,
    )
    return with_meta(_take_records, meta, blocks), with_meta(_take_ledger, _LEDGER_META, blocks)


def read_block(
    block: Block, names: tuple[str, ...], number: NumberColumn, dialect: Dialect
) -> Parsed:
    """Read one block, with its columns in the order of `names`.

    The ledger row: the block's place (path, start) and size (bytes, lines), its records, how
    many values of the number column are missing or cannot be used (with up to 20 examples), the
    exact total of the others, the weight of all text (see `columns.weight`), and the rejected
    records.
    """
    with open_binary(block.file.path) as stream:
        stream.seek(block.start)
        text = stream.read(block.stop - block.start)
    pieces = _parse(_Piece(text), block.file.columns, block.file.encoding, dialect)
    table = pa.concat_tables(piece.table for piece in pieces).combine_chunks()
    records = _records(table.select(list(names)), number, block.number, dialect)
    return Parsed(records, _ledger(block, text, records, number, pieces, grammar(dialect)))


def _take_records(parsed: Parsed) -> pd.DataFrame:
    return parsed.records


def _take_ledger(parsed: Parsed) -> pd.DataFrame:
    return parsed.ledger


@dataclass(frozen=True)
class _Piece:
    """A part of a block: whole records, where they are in the block, and what they hold."""

    text: bytes
    offset: int = 0
    line: int = 0
    table: pa.Table | None = None
    rejected: tuple[Reject, ...] = ()


def _parse(
    piece: _Piece, columns: tuple[str, ...], encoding: str, dialect: Dialect
) -> list[_Piece]:
    """Return the piece in such parts as can be read at once, with their tables of text.

    A block without a bad record is one part. Otherwise the bad ones are searched for by halving,
    so that one of them does not make the whole block slow.
    """
    records, text = grammar(dialect), piece.text
    if records.is_regular(text) and b"\0" not in text:
        table = _parse_strictly(text, columns, encoding, dialect)
        if table is not None:
            return [replace(piece, table=table)]
    half = records.complete_records(text[: len(text) // 2]) if len(text) > _SMALL else 0
    if half:
        first = replace(piece, text=text[:half])
        line = piece.line + count_lines(first.text)
        second = _Piece(text[half:], piece.offset + half, line)
        return [
            part for part in (first, second) for part in _parse(part, columns, encoding, dialect)
        ]
    good, rejected = _sift(piece, len(columns), encoding, records)
    table = _parse_strictly(good, columns, encoding, dialect)
    assert table is not None, "every record that is left is well formed"
    return [replace(piece, table=table, rejected=tuple(rejected))]


def _parse_strictly(
    text: bytes, columns: tuple[str, ...], encoding: str, dialect: Dialect
) -> pa.Table | None:
    """Return the table that `text` holds, or None where any record of it is malformed."""
    if not text.strip(b"\r\n"):
        return _empty(columns)
    try:
        if encoding != "utf-8":
            text = text.decode(encoding).encode()
        if text.startswith(_BOM):  # Arrow would take it for the beginning of a file
            text = b"\n" + text
        table = pa.csv.read_csv(
            pa.py_buffer(text),
            read_options=pa.csv.ReadOptions(
                column_names=columns, use_threads=False, block_size=len(text) + 1
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=dialect.delimiter, newlines_in_values=b'"' in text
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, TEXT),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    return table.combine_chunks()


def _sift(
    piece: _Piece, fields: int, encoding: str, records: Grammar
) -> tuple[bytes, list[Reject]]:
    """Part the records of a piece into those that can be read, as one text, and the others."""
    good, rejected = [], []
    for record in records.split(piece.text):
        fault = _fault(record, fields, encoding, records)
        raw = record.raw
        if fault is None:
            good.append(raw if raw.endswith((b"\n", b"\r")) else raw + b"\n")
        else:
            place = piece.line + record.line, piece.offset + record.offset
            rejected.append(Reject(*place, *fault, raw))
    return b"".join(good), rejected


def _fault(record: Record, fields: int, encoding: str, records: Grammar) -> tuple[str, str] | None:
    """Return what is wrong with a record, as (reason, detail)."""
    if record.fault:
        return record.fault, ""
    if b"\0" in record.raw:
        return "NUL byte", f"at byte {record.raw.index(0)} of the record"
    try:
        record.raw.decode(encoding)
    except UnicodeDecodeError as error:
        place = f"byte 0x{record.raw[error.start]:02x} at byte {error.start} of the record"
        return f"not {encoding.upper()}", place
    found = records.count_fields(record.raw)
    if found != fields:
        few_or_many = "too few fields" if found < fields else "too many fields"
        return few_or_many, f"{found} where the header has {fields}"
    return None


def _records(
    table: pa.Table, number: NumberColumn, block_number: int, dialect: Dialect
) -> pd.DataFrame:
    records = table.to_pandas(types_mapper={TEXT: TEXT_DTYPE}.get)
    records[PARSED] = to_number(number.parse(to_arrow(records[number.name]), dialect))
    # A block has fewer than 2**32 records: each has a byte, and a block is held in memory.
    records[ORDER] = np.arange(len(records), dtype=np.int64) + (block_number << 32)
    return records


def _ledger(
    block: Block,
    text: bytes,
    records: pd.DataFrame,
    number: NumberColumn,
    pieces: list[_Piece],
    rules: Grammar,
) -> pd.DataFrame:
    values, parsed = records[number.name], records[PARSED]
    texts = (to_arrow(records[name]) for name in block.file.columns)
    unusable = np.flatnonzero(parsed.isna() & values.notna())
    row = {
        "path": block.file.path,
        "start": block.start,
        "bytes": len(text),
        "lines": count_lines(text),
        "records": len(records),
        "missing": int(values.isna().sum()),
        "unusable": len(unusable),
        "total": exact_sum(to_arrow(parsed)),
        "weight": sum(weight(column) for column in texts),
        "examples": _examples(values, unusable[:MAX_EXAMPLES].tolist(), pieces, rules),
        "rejected": [reject for piece in pieces for reject in piece.rejected],
    }
    return pd.DataFrame([row]).astype(_LEDGER_META.dtypes)


def _examples(
    values: pd.Series, rows: list[int], pieces: list[_Piece], rules: Grammar
) -> list[Example]:
    """Find the lines of some rows of a block."""
    examples = []
    first = 0
    for piece in pieces:
        assert piece.table is not None
        here = [row - first for row in rows if first <= row < first + len(piece.table)]
        if here:
            lines = _lines_of(here, piece, rules)
            found = zip(here, lines, strict=True)
            examples += [
                Example(piece.line + line, values.iloc[first + row]) for row, line in found
            ]
        first += len(piece.table)
    return examples


def _lines_of(rows: list[int], piece: _Piece, rules: Grammar) -> Iterable[int]:
    if rules.is_regular(piece.text) and not piece.rejected:
        return rules.lines(piece.text, rows)
    bad = {reject.offset - piece.offset for reject in piece.rejected}
    good = [record.line for record in rules.split(piece.text) if record.offset not in bad]
    return [good[row] for row in rows]


def _empty(columns: tuple[str, ...]) -> pa.Table:
    return pa.table({name: pa.array([], TEXT) for name in columns})
