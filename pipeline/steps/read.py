"""Read each block of a CSV file into a partition.

Every field is read as text. Only an empty field is a missing value; no word, such as NA, is. The
one numeric column is parsed in addition to its text, so the text is written unchanged. From here
on, frames have the same few column names, whatever the names in the input.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate
from typing import Any, NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import NUMBER, TEXT, to_arrow, to_number, to_text
from pipeline.columns.decimals import decimal_places, parse_numbers
from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import exact_sum, hash_total, pairing, seal, total_of
from pipeline.csv_text.fields import Fields, TableFields
from pipeline.csv_text.parse import Piece, Reject, parse
from pipeline.csv_text.ranges import find_records
from pipeline.csv_text.records import count_lines
from pipeline.csv_text.sources import Block, Source, UnpackedBlock
from pipeline.engine.ledger import entry_of, with_totals
from pipeline.engine.memory import keep_freed_memory
from pipeline.engine.partitions import from_blocks
from pipeline.engine.places import Place
from pipeline.errors import StorageError
from pipeline.settings import MAX_AGE, Columns, Dialect

ID = "customer_id"
PARSED = "parsed"
REST = "rest"
ORDER = "order"
KEY = "key"
FIRST_NAME, LAST_NAME = "first_name", "last_name"
MAX_EXAMPLES, _EXAMPLES_SIZE = 20, 1 << 16  # of a block: how many, and bytes of raw text
_ROW_BITS = 31  # of an `order`; those above number the block
_NO_ROWS = np.empty(0, np.int64)
_FIRST_ROWS = 1 << 10  # of a block, to look for an id in
REJECTS = "rejects"  # the place, within that of a run's temporary data, where workers keep them


class Example(NamedTuple):
    """An unusable value, and its line, counted from 0 at the start of the block."""

    line: int
    value: str


@dataclass(frozen=True)
class NumberColumn:
    """The numeric column of a table: its name, and the range of usable values."""

    name: str
    lowest: int | None = None
    highest: int | None = None

    def parse(self, text: pa.Array, dialect: Dialect) -> tuple[pa.Array, np.ndarray]:
        """Return the usable numbers in `text`, and which rows have a number out of range.

        Of other values, the number is null (see `parse_numbers`). The rows are ascending (int64).
        """
        if self.lowest is None and self.highest is None:
            return parse_numbers(text, dialect), _NO_ROWS
        # A bounded column has few distinct values: parse each of them once.
        every = text.dictionary_encode()
        numbers = pc.cast(parse_numbers(every.dictionary, dialect), NUMBER)
        beyond = np.zeros(len(numbers), bool)
        for limit, compare in ((self.lowest, pc.less), (self.highest, pc.greater)):
            if limit is not None:
                found = compare(numbers, pa.scalar(Decimal(limit), NUMBER))
                beyond |= pc.fill_null(found, False).to_numpy(zero_copy_only=False)
        if not beyond.any():
            return numbers.take(every.indices), _NO_ROWS
        usable = pc.if_else(pa.array(beyond), None, numbers)
        places = pc.fill_null(every.indices, len(beyond)).to_numpy()
        return usable.take(every.indices), np.flatnonzero(np.append(beyond, False)[places])


@dataclass(frozen=True)
class Wanted:
    """The columns to read from a table: the id, the numbers, and some texts.

    `texts` maps new column names to those of the input. With `escape`, text that a spreadsheet
    would run as a formula is escaped (see `quoting.quote`). With `keyed`, records keep a hash of
    their id.
    """

    id: str
    number: NumberColumn
    texts: Mapping[str, str] = field(default_factory=dict)
    escape: bool = False
    keyed: bool = False


def wanted_of_customers(columns: Columns, escape: bool) -> Wanted:
    """Return the columns to read from customers."""
    names = {FIRST_NAME: columns.first_name, LAST_NAME: columns.last_name}
    return Wanted(
        columns.id, NumberColumn(columns.age, lowest=0, highest=MAX_AGE), names, escape, True
    )


def wanted_of_purchases(columns: Columns, escape: bool) -> Wanted:
    """Return the columns to read from purchases."""
    return Wanted(columns.id, NumberColumn(columns.amount), escape=escape)


def read(
    source: Source, wanted: Wanted, dialect: Dialect, rejects: Place | None = None
) -> dd.DataFrame:
    """Return the records of a table, lazy, one partition per block (see `read_block`).

    If a block has many `rejected` records, its worker writes them into the place `rejects` (see
    `kept_rejects`), and only the first ones, up to `MAX_EXAMPLES`, are in its control totals.
    """
    none = TableFields(pa.table({name: pa.array([], TEXT) for name in source.columns}))
    numbers, _ = wanted.number.parse(none.column(wanted.number.name), dialect)
    meta = _records([none], source.columns, wanted, numbers, np.empty(0, np.uint64), 0)
    return from_blocks(
        _read,
        source.blocks,
        source.name,
        source.columns,
        wanted,
        dialect,
        rejects,
        meta=meta,
        step="read",
    )


def _read(block: Block, table: str, *args: Any) -> pd.DataFrame:
    keep_freed_memory()
    *how, rejects = args
    records = read_block(block, table, *how)
    rejected = entry_of(records)["rejected"]
    few = _few(rejected)
    if rejects is None or len(few) == len(rejected):
        return records
    # JSON: who may write there must not be able to have workers run anything.
    rows = [(*rest, b64encode(raw).decode()) for *rest, raw in rejected]
    rejects.put(_name_of_rejects(table, block.number), json.dumps(rows).encode())
    return with_totals(records, records, rejected=few)


def _few(rejected: list[Reject]) -> list[Reject]:
    """Return the first rejects, as many as control totals may hold: one for certain."""
    sizes = accumulate(len(reject.raw) for reject in rejected[:MAX_EXAMPLES])
    fits = sum(size <= _EXAMPLES_SIZE for size in sizes)
    return rejected[: max(1, fits)]


def kept_rejects(rejects: Place, table: str, block: int) -> list[Reject]:
    """Return all rejected records of a block of which a worker kept more than a few.

    Raises StorageError if anyone has changed what the worker wrote.
    """
    name = _name_of_rejects(table, block)
    try:
        return [
            Reject._make([*rest, b64decode(raw, validate=True)])
            for *rest, raw in json.loads(rejects.get(name))
        ]
    except (ValueError, TypeError) as error:
        raise StorageError(
            f"{rejects}/{name}: does not hold the rejected records that a worker wrote there; "
            "run the job again, and let nobody else write there"
        ) from error


def _name_of_rejects(table: str, block: int) -> str:
    return f"{table}-{block}.json"


def read_block(
    block: Block, table: str, names: tuple[str, ...], wanted: Wanted, dialect: Dialect
) -> pd.DataFrame:
    """Read one block of a `table` whose columns are `names`, in output order.

    Columns: `customer_id` and those of `wanted.texts` (text, unchanged), `parsed` (the numeric
    column as decimal128, null if missing or unusable), `rest` (CSV text of all columns except the
    id, with its line end), `order` (int64, increasing in input order) and, if wanted, `key`
    (uint64, a hash of the id as it is compared).

    Control totals: the `table`; the number of the `block` and of the `next_block`, its place
    (`path`, `start`) and size (`bytes`, `lines`, and `stored`, the bytes of the file as it is);
    `unpacked_bytes`, the size of an unpacked file, with its last block, else 0; its `records`, and
    the `first_id` of them; how many values of the numeric column are `missing`, how many are
    `unusable`, as they are not numbers, and how many are `out_of_range` (with up to 20 `examples`
    and `range_examples`, and where there are unusable ones, `usable_examples`); the exact `total`
    of the others, and the most decimal `places` with which one is written; the `hash_total` of all
    text, and the `hash_total_kept` in the columns; the totals of the ids (`ids`) and of the `pairs`
    of ids and records (see `totals.pairing`); the seals of the `text_read` and of the
    `numbers_read`; how many `rejects` there are, and the `rejected` records.
    If the record boundaries of a byte range are still unknown, it has no records, and `undecided`
    holds the possible cuts (see `ranges.find_records`).
    """
    text, start, undecided = find_records(block, dialect)
    pieces = parse(text, block.file.columns, block.file.encoding, dialect)
    fields = [piece.fields for piece in pieces]
    values = _column(fields, wanted.number.name)
    numbers, beyond = wanted.number.parse(values, dialect)
    unusable = _rows_of(pc.and_(numbers.is_null(), values.is_valid()))
    unusable = np.setdiff1d(unusable, beyond, assume_unique=True) if len(beyond) else unusable
    ids = _column(fields, wanted.id)
    rejected = [reject for piece in pieces for reject in piece.rejected]
    keys = key_hashes(ids)
    records = _records(fields, names, wanted, numbers, keys, block.number)
    return with_totals(
        records,
        table=table,
        block=block.number,
        next_block=block.next_number,
        path=block.file.path,
        start=start,
        bytes=len(text),
        lines=count_lines(text),
        stored=block.stored if undecided is None else 0,  # it is read again
        unpacked_bytes=block.stop if isinstance(block, UnpackedBlock) and block.is_last else 0,
        records=len(numbers),
        first_id=_first(ids),
        missing=values.null_count,
        unusable=len(unusable),
        out_of_range=len(beyond),
        total=exact_sum(numbers),
        places=decimal_places(values, numbers, dialect),
        hash_total=sum(part.hash_total() for part in fields),
        hash_total_kept=_hash_total_kept(records, names),
        ids=total_of(keys),
        pairs=pairing(records[ORDER].to_numpy(), keys),
        text_read=seal_of_text(records),
        numbers_read=seal(records[PARSED], records[ORDER]),
        examples=_examples(values, unusable, pieces, dialect),
        usable_examples=_some(values, numbers) if len(unusable) else [],
        range_examples=_examples(values, beyond, pieces, dialect),
        rejects=len(rejected),
        rejected=rejected,
        undecided=undecided,
    )


def _records(
    fields: Sequence[Fields],
    names: tuple[str, ...],
    wanted: Wanted,
    numbers: pa.Array,
    keys: np.ndarray,
    block_number: int,
) -> pd.DataFrame:
    rest = [name for name in names if name != wanted.id]
    texts = {ID: wanted.id, **wanted.texts}
    return pd.DataFrame(
        {
            **{name: to_text(_column(fields, column)) for name, column in texts.items()},
            PARSED: to_number(numbers),
            REST: to_text(_joined(part.lines(rest, wanted.escape) for part in fields)),
            # A block has fewer records than that: each has two bytes or more.
            ORDER: np.arange(len(numbers), dtype=np.int64) + (block_number << _ROW_BITS),
            **({KEY: keys} if wanted.keyed else {}),
        }
    )


def place_of(order: int) -> tuple[int, int]:
    """Return the number of the block and the row in it that an `order` stands for."""
    return order >> _ROW_BITS, order & ((1 << _ROW_BITS) - 1)


def seal_of_text(records: pd.DataFrame) -> int:
    """Return the seal of all text of records that were read, and of the hashes of their ids."""
    numbers = (PARSED, ORDER)
    return seal(*(column for name, column in records.items() if name not in numbers))


def _hash_total_kept(records: pd.DataFrame, names: tuple[str, ...]) -> int:
    """Return the hash total of the fields in the columns: the id, and the rest of the line."""
    ends = len(records) * sum(b"," * (len(names) - 2) + b"\n")
    return hash_total(to_arrow(records[ID])) + hash_total(to_arrow(records[REST])) - ends


def _column(fields: Sequence[Fields], name: str) -> pa.Array:
    return _joined(part.column(name) for part in fields)


def _joined(parts: Iterable[pa.Array]) -> pa.Array:
    arrays = list(parts)
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def _rows_of(mask: pa.Array) -> np.ndarray:
    return np.flatnonzero(mask.to_numpy(zero_copy_only=False))


def _first(ids: pa.Array) -> str | None:
    """Return the first id that is not missing; None if all are."""
    return next((id for id in ids[:_FIRST_ROWS].to_pylist() if id and id.strip()), None)


def _examples(
    values: pa.Array, rows: np.ndarray, pieces: list[Piece], dialect: Dialect
) -> list[Example]:
    """Return the values in the first of some ascending rows, with their lines."""
    chosen = rows[:MAX_EXAMPLES].tolist()
    lines = lines_of(pieces, chosen, dialect)
    return [Example(line, values[row].as_py()) for row, line in zip(chosen, lines, strict=True)]


def _some(values: pa.Array, numbers: pa.Array) -> list[str]:
    """Return values that are numbers, from all parts of a block."""
    rows = _rows_of(numbers.is_valid())
    chosen = rows[np.linspace(0, len(rows) - 1, min(MAX_EXAMPLES, len(rows)), dtype=np.int64)]
    found: list[str] = values.take(pa.array(chosen)).to_pylist()
    return found


def lines_of(pieces: Sequence[Piece], rows: Sequence[int], dialect: Dialect) -> list[int]:
    """Return the lines of some records of a block, given by ascending numbers.

    Both count from 0 at the start of the block, whose text is in `pieces`.
    """
    lines: list[int] = []
    first = 0
    for piece in pieces:
        here = [row - first for row in rows if first <= row < first + len(piece.fields)]
        if here:
            lines += piece.lines_of(here, dialect)
        first += len(piece.fields)
    return lines
