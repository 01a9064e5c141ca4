"""A block of a CSV file becomes a partition.

Every field is read as text, and an empty field is a missing value; no word is. The one column
that the job computes with is parsed beside its text, so that the text goes out as it came in.
Whatever the input's columns are called, the frames from here on have the same few.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import NUMBER, TEXT, exact_sum, to_number, to_text
from pipeline.counting import Counted
from pipeline.decimals import parse_numbers
from pipeline.fields import Fields, TableFields
from pipeline.files import open_binary
from pipeline.parse import Piece, parse
from pipeline.partitions import with_meta
from pipeline.records import count_lines
from pipeline.settings import Dialect
from pipeline.sources import Block, Source

ID = "customer_id"
PARSED = "parsed"
REST = "rest"
ORDER = "order"
MAX_EXAMPLES = 20


class Example(NamedTuple):
    """A value that cannot be used, and its line, from 0 at the block's start."""

    line: int
    value: str


class Partition(NamedTuple):
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
        """Return the usable numbers in `text` (see `parse_numbers`), null for every other."""
        if self.lowest is None and self.highest is None:
            return parse_numbers(text, dialect)
        # Between limits there are few numbers, each of which is looked at once.
        every = text.dictionary_encode()
        numbers = pc.cast(parse_numbers(every.dictionary, dialect), NUMBER)
        for limit, compare in ((self.lowest, pc.less), (self.highest, pc.greater)):
            if limit is not None:
                beyond = compare(numbers, pa.scalar(Decimal(limit), NUMBER))
                numbers = pc.if_else(beyond, None, numbers)
        return numbers.take(every.indices)


@dataclass(frozen=True)
class Wanted:
    """What is read of a table: the columns of the id and of the numbers, and some of text.

    `texts` are the further columns that the job works with, by the names they get. With `escape`,
    text that a spreadsheet would run is defused (see `csv_text.quote`).
    """

    id: str
    number: NumberColumn
    texts: Mapping[str, str] = field(default_factory=dict)
    escape: bool = False


def read(source: Source, wanted: Wanted, dialect: Dialect) -> dd.DataFrame:
    """Return a table's records, lazy, one partition for each block.

    The ledger (see `read_block`) is counted by the source's name.
    """
    none = TableFields(pa.table({name: pa.array([], TEXT) for name in source.columns}))
    numbers = wanted.number.parse(none.column(wanted.number.name), dialect)
    meta = _records([none], source.columns, wanted, numbers, 0)
    blocks = dd.from_map(
        read_block,
        source.blocks,
        args=[source.columns, wanted, dialect],
        meta=meta,
        label=f"read-{source.name}",
        enforce_metadata=False,
    )
    return with_meta(_counted, meta, blocks, source.name)


def read_block(block: Block, names: tuple[str, ...], wanted: Wanted, dialect: Dialect) -> Partition:
    """Read one block of a table whose columns are `names`, in the order in which they go out.

    Records: `customer_id` and the columns of `wanted.texts` (text as it came), `parsed` (the
    column of numbers as decimal128, null where one is missing or cannot be used), `rest`
    (CSV text of all columns but the id, with its line end) and `order` (int64, rising in input
    order).
    Ledger, one row: the block's place (path, start) and size (bytes, lines), its records, how
    many values of the number column are missing or cannot be used (with up to 20 examples), the
    exact total of the others, the weight of all text (see `columns.weight`), and the rejected
    records.
    """
    with open_binary(block.file.path) as stream:
        stream.seek(block.start)
        text = stream.read(block.stop - block.start)
    pieces = parse(text, block.file.columns, block.file.encoding, dialect)
    fields = [piece.fields for piece in pieces]
    values = _column(fields, wanted.number.name)
    numbers = wanted.number.parse(values, dialect)
    records = _records(fields, names, wanted, numbers, block.number)
    ledger = {
        "path": block.file.path,
        "start": block.start,
        "bytes": len(text),
        "lines": count_lines(text),
        "records": len(records),
        "missing": values.null_count,
        "unusable": numbers.null_count - values.null_count,
        "total": exact_sum(numbers),
        "weight": sum(part.weight() for part in fields),
        "examples": _examples(values, numbers, pieces, dialect),
        "rejected": [reject for piece in pieces for reject in piece.rejected],
    }
    return Partition(records, pd.DataFrame([ledger]))


def _counted(partition: Partition, name: str) -> Counted:
    return Counted.of(partition.records).with_count(name, partition.ledger)


def _records(
    fields: Sequence[Fields],
    names: tuple[str, ...],
    wanted: Wanted,
    numbers: pa.Array,
    block_number: int,
) -> pd.DataFrame:
    rest = [name for name in names if name != wanted.id]
    texts = {ID: wanted.id, **wanted.texts}
    return pd.DataFrame(
        {
            **{name: to_text(_column(fields, column)) for name, column in texts.items()},
            PARSED: to_number(numbers),
            REST: to_text(_joined(part.lines(rest, wanted.escape) for part in fields)),
            # A block has fewer than 2**32 records: each has a byte, and it is held in memory.
            ORDER: np.arange(len(numbers), dtype=np.int64) + (block_number << 32),
        }
    )


def _column(fields: Sequence[Fields], name: str) -> pa.Array:
    return _joined(part.column(name) for part in fields)


def _joined(parts: Iterable[pa.Array]) -> pa.Array:
    arrays = list(parts)
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def _examples(
    values: pa.Array, numbers: pa.Array, pieces: list[Piece], dialect: Dialect
) -> list[Example]:
    """Find the lines of the first values that cannot be used."""
    unusable = pc.and_(numbers.is_null(), values.is_valid())
    rows = np.flatnonzero(unusable.to_numpy(zero_copy_only=False))[:MAX_EXAMPLES].tolist()
    examples = []
    first = 0
    for piece in pieces:
        here = [row for row in rows if first <= row < first + len(piece.fields)]
        lines = piece.lines_of([row - first for row in here], dialect) if here else ()
        found = zip(here, lines, strict=True)
        examples += [Example(line, values[row].as_py()) for row, line in found]
        first += len(piece.fields)
    return examples
