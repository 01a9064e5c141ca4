"""Read each block of a CSV file into a partition.

Every field is read as text. Only an empty field is a missing value; no word, such as NA, is. The
one numeric column is parsed in addition to its text, so the text is written unchanged. From here
on, frames have the same few column names, whatever the names in the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import NUMBER, to_arrow, to_number, to_text
from pipeline.columns.decimals import decimal_places, parse_numbers
from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import exact_sum, hash_total, pairing, seal, total_of
from pipeline.csv_text.fields import Fields
from pipeline.csv_text.parse import Parsed, parse
from pipeline.csv_text.ranges import find_records
from pipeline.csv_text.rejects import SCHEMA, Reject, Rejects
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
    none = parse(b"", source.columns, dialect.encoding, dialect).fields
    numbers, _ = wanted.number.parse(none.column(wanted.number.name), dialect)
    meta = _records(none, source.columns, wanted, numbers, np.empty(0, np.uint64), 0)
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
    if rejects is not None and len(few) < len(rejected):
        rejects.put(_name_of_rejects(table, block.number), _written(rejected))
    return with_totals(records, records, rejected=few if rejects is not None else list(rejected))


def _few(rejected: Rejects) -> list[Reject]:
    """Return the first rejects, as many as control totals may hold: one for certain."""
    first = rejected[:MAX_EXAMPLES]
    fits = int((np.cumsum(first.sizes) <= _EXAMPLES_SIZE).sum())
    return list(first[: max(1, fits)])


def _written(rejected: Rejects) -> bytes:
    """Return rejects in Arrow's IPC format: reading that runs nothing, whoever wrote it."""
    table, target = rejected.table(), pa.BufferOutputStream()
    with pa.ipc.new_stream(target, table.schema) as stream:
        stream.write_table(table)
    return target.getvalue().to_pybytes()


def kept_rejects(rejects: Place, table: str, block: int) -> pa.Table:
    """Return all rejected records of a block of which a worker kept more than a few.

    The table has the `rejects.SCHEMA`. Raises StorageError if anyone has changed what the worker
    wrote.
    """
    name = _name_of_rejects(table, block)
    written = rejects.get(name)
    try:
        with pa.ipc.open_stream(written) as stream:
            found = stream.read_all()
        found.validate(full=True)
        if found.schema != SCHEMA or any(column.null_count for column in found.columns):
            raise pa.ArrowInvalid("other columns")
        return found
    except (pa.ArrowException, OSError) as error:
        raise StorageError(
            f"{rejects}/{name}: does not hold the rejected records that a worker wrote there; "
            "run the job again, and let nobody else write there"
        ) from error


def _name_of_rejects(table: str, block: int) -> str:
    return f"{table}-{block}.arrow"


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
    and `range_examples`); the exact `total` of the others, and the most decimal `places` with which
    one is written; the `hash_total` of all text, and the `hash_total_kept` in the columns; the
    totals of the ids (`ids`) and of the `pairs` of ids and records (see `totals.pairing`); the
    seals of the `text_read` and of the `numbers_read`; how many `rejects` there are, and the
    `rejected` records.
    If the record boundaries of a byte range are still unknown, it has no records, and `undecided`
    holds the possible cuts (see `ranges.find_records`).
    """
    text, start, undecided = find_records(block, dialect)
    parsed = parse(text, block.file.columns, block.file.encoding, dialect)
    fields = parsed.fields
    values = fields.column(wanted.number.name)
    numbers, beyond = wanted.number.parse(values, dialect)
    unusable = _rows_of(pc.and_(numbers.is_null(), values.is_valid()))
    unusable = np.setdiff1d(unusable, beyond, assume_unique=True) if len(beyond) else unusable
    ids = fields.column(wanted.id)
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
        lines=parsed.lines,
        stored=block.stored if undecided is None else 0,  # it is read again
        unpacked_bytes=block.stop if isinstance(block, UnpackedBlock) and block.is_last else 0,
        records=len(numbers),
        first_id=_first(ids),
        missing=values.null_count,
        unusable=len(unusable),
        out_of_range=len(beyond),
        total=exact_sum(numbers),
        places=decimal_places(values, numbers, dialect),
        hash_total=fields.hash_total(),
        hash_total_kept=_hash_total_kept(records, names),
        ids=total_of(keys),
        pairs=pairing(records[ORDER].to_numpy(), keys),
        text_read=seal_of_text(records),
        numbers_read=seal(records[PARSED], records[ORDER]),
        examples=_examples(values, unusable, parsed),
        range_examples=_examples(values, beyond, parsed),
        rejects=len(parsed.rejected),
        rejected=parsed.rejected,
        undecided=undecided,
    )


def _records(
    fields: Fields,
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
            **{name: to_text(fields.column(column)) for name, column in texts.items()},
            PARSED: to_number(numbers),
            REST: to_text(fields.lines(rest, wanted.escape)),
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


def _rows_of(mask: pa.Array) -> np.ndarray:
    return np.flatnonzero(mask.to_numpy(zero_copy_only=False))


def _first(ids: pa.Array) -> str | None:
    """Return the first id that is not missing; None if all are."""
    return next((id for id in ids[:_FIRST_ROWS].to_pylist() if id and id.strip()), None)


def _examples(values: pa.Array, rows: np.ndarray, parsed: Parsed) -> list[Example]:
    """Return the values in the first of some ascending rows, with their lines."""
    chosen = rows[:MAX_EXAMPLES].tolist()
    lines = parsed.lines_of(chosen)
    return [Example(line, values[row].as_py()) for row, line in zip(chosen, lines, strict=True)]
