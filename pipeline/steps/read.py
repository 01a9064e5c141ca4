"""Read each block of a CSV file into a partition.

Every field is read as text. Only an empty field, or one equal to `--null`, is a missing value;
other words, such as NA, are text. The numeric column is kept as text and also parsed, so it is
written unchanged. From here on, frames have the same few column names, whatever the names in the
input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import NUMBER, to_number, to_text
from pipeline.columns.decimals import Numbers, parse_with_places
from pipeline.columns.keys import WHITESPACE, key_hashes
from pipeline.columns.totals import exact_sum, pairing, total_of
from pipeline.csv_text.fields import Fields
from pipeline.csv_text.parse import Parsed, parse, parse_texts
from pipeline.csv_text.ranges import Cut, find_records
from pipeline.csv_text.rejects import SCHEMA, Reject, list_rejects
from pipeline.csv_text.sources import Block, Source, UnpackedBlock
from pipeline.engine.ledger import Entry, Number, with_totals
from pipeline.engine.memory import keep_freed_memory
from pipeline.engine.partitions import from_blocks
from pipeline.errors import StorageError
from pipeline.settings import MAX_AGE, Columns, Dialect
from pipeline.steps.closing import Closing, find_closings
from pipeline.storage.places import Place

ID = "customer_id"
PARSED = "parsed"
REST = "rest"
ORDER = "order"
KEY = "key"
FIRST_NAME, LAST_NAME = "first_name", "last_name"
MAX_EXAMPLES, _EXAMPLES_SIZE = 20, 1 << 16  # of a block: how many, and bytes of raw text
_ROW_BITS = 31  # of an `order`, for the row in its block; the bits above are the block's number
_FIRST_ROWS = 1 << 10  # of a block, searched for an id
REJECTS = "rejects"  # the place, within that of a run's temporary data, where workers keep them


class Example(NamedTuple):
    """A value to show in a message.

    `file` is the index of its file in the block; `line` counts from 0 in the block's part of it.
    """

    line: int
    value: str
    file: int = 0


class FileRead(NamedTuple):
    """The text that a block has from the file at `path`; there, it begins at byte `start`.

    It has `bytes` bytes and `lines` newlines, quoted ones included.
    """

    path: str
    start: int = 0
    bytes: int = 0
    lines: int = 0


@dataclass(frozen=True)
class BlockRead:
    """What is counted when a block is read, or its possible cuts if its boundaries are unknown.

    `files` has an entry for each file that its text comes from. `stored` is the number of stored
    bytes that were read for it, `unpacked` the total unpacked size of the files that end in it (0
    if they need no unpacking). `undecided` holds the possible cuts if its boundaries are unknown
    (see `ranges.find_records`), else None.

    In the numeric column, `missing`, `unusable` (neither empty nor numbers, with up to 20
    `examples`) and `out_of_range` (with `range_examples`) count values. `total` is the exact sum of
    all other values, and `places` the largest number of decimal places; if any value is unusable,
    `usable_examples` has some usable ones. `grouped` counts the values whose point may be a
    thousands separator (see `decimals.Numbers`), with one in `grouped_examples`. `text` is the
    total of all text (see `totals.text_total`), `ids` that of the ids, and `pairs` that of ids and
    records (see `totals.pairing`). `first_id` is an id, for messages. `rejects` counts the rejected
    records, `rejected` holds them, or the first ones. `closings` may be totals rows.
    """

    table: str
    files: tuple[FileRead, ...]
    stored: int = 0
    unpacked: int = 0
    undecided: tuple[Cut, ...] | None = None
    records: int = 0
    first_id: str | None = None
    missing: int = 0
    unusable: int = 0
    out_of_range: int = 0
    total: Decimal = Decimal(0)
    places: int = 0
    text: int = 0
    ids: int = 0
    pairs: int = 0
    examples: Sequence[Example] = ()
    usable_examples: Sequence[str] = ()
    range_examples: Sequence[Example] = ()
    grouped: int = 0
    grouped_examples: Sequence[Example] = ()
    rejects: int = 0
    rejected: Sequence[Reject] = ()
    closings: Sequence[Closing] = ()

    @property
    def bytes(self) -> int:
        """The size of its text."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class NumberColumn:
    """The numeric column of a table: its name, and the range of usable values."""

    name: str
    lowest: int | None = None
    highest: int | None = None

    def parse(self, text: pa.Array, dialect: Dialect) -> tuple[Numbers, np.ndarray]:
        """Return the usable numbers in `text`, and the rows of those out of range.

        For all other values, the number is null (see `parse_with_places`). The rows are ascending
        (int64).
        """
        parsed = parse_with_places(text, dialect)
        numbers = parsed.values
        extremes = pc.min_max(numbers).as_py()
        beyond = np.zeros(len(numbers), bool)
        for limit, extreme, compare in (
            (self.lowest, "min", pc.less),
            (self.highest, "max", pc.greater),
        ):
            # Few columns have such values; for the others, looking at both extremes is enough.
            if limit is not None and compare(extremes[extreme], limit).as_py():
                found = compare(numbers, pa.scalar(Decimal(limit), NUMBER))
                beyond |= pc.fill_null(found, False).to_numpy(zero_copy_only=False)
        usable = pc.if_else(pa.array(beyond), None, numbers) if beyond.any() else numbers
        return parsed._replace(values=usable), np.flatnonzero(beyond)


@dataclass(frozen=True)
class Wanted:
    """The columns to read from a table: the id, the numbers, and some text columns.

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
    return Wanted(columns.id_of_purchases, NumberColumn(columns.amount), escape=escape)


def is_undecided(entry: Entry) -> bool:
    """Tell whether a block's boundaries are unknown, so that a second pass has to read it."""
    read = entry.get(BlockRead)
    return read is not None and read.undecided is not None


def read(source: Source, wanted: Wanted, rejects: Place | None = None) -> dd.DataFrame:
    """Return the records of a table as a lazy dataframe: a partition per block (see `read_block`).

    If a block has many `rejected` records, its worker writes them into the place `rejects` (see
    `kept_rejects`), and only the first ones, up to `MAX_EXAMPLES`, are in its totals.
    """
    first = source.files[0]
    none = parse(b"", source.columns, first.encoding, first.dialect).fields
    numbers, _ = wanted.number.parse(none.column(wanted.number.name), first.dialect)
    meta = _records(none, source.columns, wanted, numbers.values, np.empty(0, np.uint64), 0)
    return from_blocks(
        _read,
        source.blocks,
        source.name,
        source.columns,
        wanted,
        rejects,
        meta=meta,
        step="read",
    )


def _read(block: Block, *args: Any) -> pd.DataFrame:
    keep_freed_memory()
    return read_block(block, *args)


def _keep_rejects(rejected: pa.Table, rejects: Place, name: str) -> pa.Table:
    """Return the first rejects; if there are more, write all of them into the place `rejects`."""
    first = _first_rejects(rejected)
    if len(first) < len(rejected):
        rejects.put(name, _written(rejected))
    return first


def _first_rejects(rejected: pa.Table) -> pa.Table:
    """Return the first rejects, at least one, as many as an entry may hold."""
    first = rejected[:MAX_EXAMPLES]
    sizes = np.cumsum(pc.binary_length(first["raw"]))
    return first[: max(1, int((sizes <= _EXAMPLES_SIZE).sum()))]


def _written(rejected: pa.Table) -> bytes:
    """Return rejects in Arrow's IPC format: reading it runs no code, whoever wrote it."""
    target = pa.BufferOutputStream()
    with pa.ipc.new_stream(target, SCHEMA) as stream:
        stream.write_table(rejected)
    return target.getvalue().to_pybytes()


def kept_rejects(rejects: Place, table: str, block: int) -> pa.Table:
    """Return all rejected records of a block whose worker wrote them into `rejects` (see `read`).

    The table has the `rejects.SCHEMA`. Raises StorageError if what the worker wrote is damaged.
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
            f"{rejects}/{name}: the rejected records that a worker wrote there are damaged; check "
            "that no other program changes this folder, then run the job again"
        ) from error


def _name_of_rejects(table: str, block: int) -> str:
    return f"{table}-{block}.arrow"


def read_block(
    block: Block,
    table: str,
    names: tuple[str, ...],
    wanted: Wanted,
    rejects: Place | None = None,
) -> pd.DataFrame:
    """Read one block of a `table` whose columns are `names`, in output order.

    Columns: `customer_id` and those of `wanted.texts` (text, unchanged), `parsed` (the numeric
    column as decimal128, null if missing or unusable), `rest` (CSV text of all columns except the
    id, with its newline), `order` (int64, increasing in input order) and, if wanted, `key`
    (uint64, a hash of the id as it is compared).

    Totals: `BlockRead`, and the block's `Number`.
    """
    texts, undecided = find_records(block)
    parsed = parse_texts(texts)
    fields = parsed.fields
    values = fields.column(wanted.number.name)
    (numbers, places, grouped), beyond = wanted.number.parse(values, block.file.dialect)
    unusable = _rows_of(pc.and_(numbers.is_null(), values.is_valid()))
    unusable = np.setdiff1d(unusable, beyond, assume_unique=True) if len(beyond) else unusable
    ids = fields.column(wanted.id)
    keys = key_hashes(ids)
    records = _records(fields, names, wanted, numbers, keys, block.number)
    rejected = parsed.rejected
    if rejects is not None:
        rejected = _keep_rejects(rejected, rejects, _name_of_rejects(table, block.number))
    read = BlockRead(
        table=table,
        files=tuple(
            FileRead(one.file.path, one.start, len(one.text), lines)
            for one, lines in zip(texts, parsed.lines, strict=True)
        ),
        stored=block.stored if undecided is None else 0,  # it is read again
        unpacked=block.unpacked if isinstance(block, UnpackedBlock) else 0,
        undecided=undecided,
        records=len(numbers),
        first_id=_first(ids),
        missing=values.null_count,
        unusable=len(unusable),
        out_of_range=len(beyond),
        total=exact_sum(numbers),
        places=places,
        text=parsed.text_total(),
        ids=total_of(keys),
        pairs=pairing(records[ORDER].to_numpy(), keys),
        examples=_examples(values, unusable, parsed),
        usable_examples=_some(values, numbers) if len(unusable) else [],
        range_examples=_examples(values, beyond, parsed),
        grouped=len(grouped),
        grouped_examples=_examples(values, grouped[:1], parsed),
        rejects=len(parsed.rejected),
        rejected=list_rejects(rejected),
        closings=find_closings(parsed, ids, numbers),
    )
    return with_totals(records, read, Number(block.number, block.next_number))


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
            # `_ROW_BITS` are enough for any block: each record has two bytes or more.
            ORDER: np.arange(len(numbers), dtype=np.int64) + (block_number << _ROW_BITS),
            **({KEY: keys} if wanted.keyed else {}),
        }
    )


def place_of(order: int) -> tuple[int, int]:
    """Return the number of the block and the row in it that an `order` stands for."""
    return order >> _ROW_BITS, order & ((1 << _ROW_BITS) - 1)


def _rows_of(mask: pa.Array) -> np.ndarray:
    return np.flatnonzero(mask.to_numpy(zero_copy_only=False))


def _first(ids: pa.Array) -> str | None:
    """Return the first id that is not missing; None if the first rows have none."""
    return next((id for id in ids[:_FIRST_ROWS].to_pylist() if id and id.strip(WHITESPACE)), None)


def _examples(values: pa.Array, rows: np.ndarray, parsed: Parsed) -> list[Example]:
    """Return the values in the first few of `rows`, which are ascending, with their lines."""
    chosen = rows[:MAX_EXAMPLES].tolist()
    return [
        Example(line, values[row].as_py(), file)
        for row, (file, line) in zip(chosen, parsed.lines_of(chosen), strict=True)
    ]


def _some(values: pa.Array, numbers: pa.Array) -> list[str]:
    """Return values that are numbers, from all parts of a block."""
    rows = _rows_of(numbers.is_valid())
    chosen = rows[np.linspace(0, len(rows) - 1, min(MAX_EXAMPLES, len(rows)), dtype=np.int64)]
    found: list[str] = values.take(pa.array(chosen)).to_pylist()
    return found
