"""The shuffle join: records with the same id are brought into one partition and joined there.

On one machine, workers keep the pieces of each block in files, and each partition is read from
there. Between machines, Dask's own shuffle moves them. Either way a partition's records are in
input order, so the result is the same for the same number of partitions.

An id with a large share of the purchases is hot: its purchases are spread over all partitions, and
copies of its customers go to each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.columns.arrow import NUMBER, TEXT, chunks, raw_text, to_arrow, to_number, to_text
from pipeline.columns.keys import TrimmedIds
from pipeline.columns.totals import Checksum, scramble, total_of
from pipeline.engine.ledger import Number, entry_of, with_totals
from pipeline.engine.memory import keep_freed_memory
from pipeline.engine.partitions import from_blocks, on_partitions
from pipeline.steps.join import combined_schema, join_all
from pipeline.steps.lookup import Lookup
from pipeline.steps.pieces import (
    CELL,
    from_cells,
    gather,
    partition_numbers,
    read_cells,
    split,
    spread,
    write_cells,
)
from pipeline.steps.read import ID, KEY, ORDER, PARSED, REST, is_undecided
from pipeline.steps.render import CUSTOMER, totals_of
from pipeline.steps.skew import is_hot
from pipeline.steps.transform import AGE_GROUP

_COPY = "copy"
_PARTITION, _BLOCK, _PIECE = "partition", "block", "piece"
# The columns of pieces, and their types, for partitions without pieces.
_PURCHASES = {ID: TEXT, PARSED: NUMBER, REST: TEXT, ORDER: pa.int64()}
_CUSTOMERS = {
    ID: TEXT,
    CUSTOMER: TEXT,
    AGE_GROUP: pa.int8(),
    KEY: pa.uint64(),
    _COPY: pa.bool_(),
}
_Cells = tuple[list[int], list[pa.Array]]  # the block of each cell, and the cells


@dataclass(frozen=True)
class Sent:
    """The totals of the pieces that a block sends (see `total_of_cells`), by table."""

    purchases: int
    customers: int


@dataclass(frozen=True)
class Received:
    """The totals of the pieces that a partition receives, by table.

    `text` is the total of its customers' text, except that of copies; `misplaced` counts the
    records that belong to another partition.
    """

    purchases: int
    customers: int
    text: int
    misplaced: int


@dataclass(frozen=True)
class Shuffle:
    """How two tables are shuffled and joined.

    `count` is the number of partitions, `hot` are the ids to be spread over all of them (see
    `skew.find_hot`), `no_customer` is the text of a missing customer. `purchases` and `customers`
    are the schemas of the two tables (see `engine.partitions.schema`).
    """

    count: int
    hot: tuple[str, ...]
    no_customer: str
    purchases: pd.DataFrame
    customers: pd.DataFrame

    def split(self, table: dd.DataFrame) -> dd.DataFrame:
        """Split each block of a lazy table (purchases as read, or rendered customers) into pieces.

        Totals: `Sent`.
        """
        return on_partitions(_split, table, self, None, step="split", meta=_CELLS)

    def into(self, folder: Path) -> PiecesFolder:
        """Return a new folder that keeps the pieces of a table."""
        folder.mkdir()
        return PiecesFolder(self, str(folder))

    def join_files(self, purchases: PiecesFolder, customers: PiecesFolder) -> dd.DataFrame:
        """Join the pieces in two folders; see `join`."""
        return from_blocks(
            _join_files,
            range(self.count),
            purchases.path,
            customers.path,
            self,
            meta=self._combined,
            step="join",
        )

    def join(self, purchases: dd.DataFrame, customers: dd.DataFrame) -> dd.DataFrame:
        """Shuffle the pieces of both tables, and join each partition.

        The result has the columns of `Broadcast.join`. A partition has its purchases in input
        order, then its customers without purchases in input order. Totals: `Received`, and those of
        `join.join_all`.
        """
        # Without a default client, Dask would choose its disk shuffle, which needs one machine.
        how = {"divisions": list(range(self.count + 1)), "shuffle_method": "p2p"}
        return on_partitions(
            _join_cells,
            from_blocks(_number, range(self.count), meta=_number(0), step="partition"),
            *(table.set_index(_PARTITION, **how) for table in (purchases, customers)),
            self,
            meta=self._combined,
            step="join",
        )

    @property
    def _combined(self) -> pd.DataFrame:
        return combined_schema(self.purchases, self.customers, self.no_customer)


@dataclass(frozen=True)
class PiecesFolder:
    """A folder that keeps the pieces of a table, for the workers of one machine."""

    shuffle: Shuffle
    path: str

    def split(self, table: dd.DataFrame) -> dd.DataFrame:
        """Do what `Shuffle.split` does, and keep the pieces: the result has no rows."""
        how = {"step": "split", "meta": _CELLS}
        return on_partitions(_split, table, self.shuffle, self.path, **how)


def _number(number: int) -> pd.DataFrame:
    return pd.DataFrame({"number": [number]})


def _cells(block: int, pieces: pa.Array) -> pd.DataFrame:
    """Return the pieces of a block as a frame: a row for each partition, in their order."""
    cells = pd.array(pieces, dtype=pd.ArrowDtype(CELL))
    partitions = np.arange(len(pieces))
    return pd.DataFrame({_PARTITION: partitions, _BLOCK: np.int64(block), _PIECE: cells})


_CELLS = _cells(0, pa.array([], CELL))


def _split(table: pd.DataFrame, shuffle: Shuffle, folder: str | None) -> pd.DataFrame:
    entry = entry_of(table)
    if is_undecided(entry):  # a second pass splits it
        return with_totals(_CELLS.copy(), before=table)
    is_purchases = PARSED in table
    columns, numbers = (_purchases if is_purchases else _customers)(table, shuffle)
    cells = split(columns, numbers, shuffle.count)
    block, partitions = entry[Number].block, range(shuffle.count)
    total = total_of_cells([cells], [block] * shuffle.count, partitions)
    sent = Sent(total, 0) if is_purchases else Sent(0, total)
    if folder is None:
        return with_totals(_cells(block, cells), sent, before=table)
    write_cells(cells, Path(folder), block)
    return with_totals(_CELLS.copy(), sent, before=table)


def _purchases(purchases: pd.DataFrame, shuffle: Shuffle) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Return the columns of purchases to split, and the partition number of each row."""
    columns = {name: to_arrow(purchases[name]) for name in (ID, PARSED, REST)}
    columns[ORDER] = pa.array(purchases[ORDER].to_numpy())
    numbers = partition_numbers(columns[ID], shuffle.count)
    if shuffle.hot:
        hot = _which_hot(columns[ID], shuffle)
        numbers[hot] = spread(len(hot), shuffle.count)
    return columns, numbers


def _customers(customers: pd.DataFrame, shuffle: Shuffle) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Return the columns of customers to split, with copies, and each row's partition number."""
    columns = {name: to_arrow(customers[name]) for name in (ID, CUSTOMER)}
    columns[AGE_GROUP] = pa.array(customers[AGE_GROUP].cat.codes.to_numpy())
    columns |= {name: pa.array(customers[name].to_numpy()) for name in (KEY, ORDER)}
    numbers = partition_numbers(columns[ID], shuffle.count)
    copy = np.zeros(len(numbers), bool)
    if shuffle.hot:
        # A copy for each partition but their own.
        hot = np.repeat(_which_hot(columns[ID], shuffle), shuffle.count)
        places = spread(len(hot), shuffle.count)
        away = places != numbers[hot]
        rows = pa.array(hot[away])
        columns = {
            name: pa.concat_arrays([column, column.take(rows)]) for name, column in columns.items()
        }
        numbers = np.append(numbers, places[away])
        copy = np.append(copy, np.ones(len(rows), bool))
    return {**columns, _COPY: pa.array(copy)}, numbers


def _which_hot(ids: pa.Array, shuffle: Shuffle) -> np.ndarray:
    """Return the rows of hot ids."""
    return np.flatnonzero(is_hot(ids, shuffle.hot).to_numpy(zero_copy_only=False))


def _join_files(number: int, purchases: str, customers: str, shuffle: Shuffle) -> pd.DataFrame:
    keep_freed_memory()
    of_purchases, of_customers = (
        read_cells(Path(path), number, shuffle.count) for path in (purchases, customers)
    )
    return _join(number, of_purchases, of_customers, shuffle)


def _join_cells(
    part: pd.DataFrame, purchases: pd.DataFrame, customers: pd.DataFrame, shuffle: Shuffle
) -> pd.DataFrame:
    ordered = (cells.sort_values(_BLOCK) for cells in (purchases, customers))
    of_purchases, of_customers = (
        (cells[_BLOCK].tolist(), chunks(cells[_PIECE])) for cells in ordered
    )
    return _join(int(part["number"].item()), of_purchases, of_customers, shuffle)


def _join(number: int, purchases: _Cells, customers: _Cells, shuffle: Shuffle) -> pd.DataFrame:
    """Join the pieces of one partition; see `Shuffle.join`."""
    lookup, copies = _lookup(customers[1], shuffle)
    table = _table(purchases[1])
    # The first customer of a hot id certainly has purchases, here or in another partition.
    buyers = lookup.rows(pa.array(shuffle.hot, TEXT))
    joined = join_all(table, lookup, buyers, copies)
    copied = lookup.part(0, len(lookup))[copies]
    own = lookup.ids.filter(pa.array(~copies)) if copies.any() else lookup.ids
    found = to_arrow(joined[CUSTOMER]).indices.to_numpy()[: len(table)]
    unmatched = to_arrow(table[ID]).take(pa.array(np.flatnonzero(found == len(lookup))))
    received = Received(
        purchases=_total(purchases, number),
        customers=_total(customers, number),
        text=lookup.totals.text - totals_of(copied).text,
        misplaced=sum(count_misplaced(ids, number, shuffle) for ids in (own, unmatched)),
    )
    return with_totals(joined, Number(number, number + 1), received, before=joined)


def _total(cells: _Cells, number: int) -> int:
    blocks, arrays = cells
    return total_of_cells(arrays, blocks, [number] * len(blocks))


def _lookup(cells: Sequence[pa.Array], shuffle: Shuffle) -> tuple[Lookup, np.ndarray]:
    """Return the lookup of a partition's customers, and which are copies (bool)."""
    pieces = from_cells(cells)
    columns = {name: gather(pieces, name, type) for name, type in _CUSTOMERS.items()}
    groups = pd.Categorical.from_codes(
        columns[AGE_GROUP].to_numpy(), dtype=shuffle.customers[AGE_GROUP].dtype
    )
    texts = {name: to_text(columns[name]) for name in (ID, CUSTOMER)}
    frame = pd.DataFrame({**texts, AGE_GROUP: groups, KEY: columns[KEY].to_numpy()})
    return Lookup.build(frame, shuffle.no_customer), columns[_COPY].to_numpy()


def _table(cells: Sequence[pa.Array]) -> pd.DataFrame:
    """Return the purchases of a partition."""
    pieces = from_cells(cells)
    columns = {
        name: gather(pieces, name, type).combine_chunks() for name, type in _PURCHASES.items()
    }
    return pd.DataFrame(
        {
            ID: to_text(columns[ID]),
            PARSED: to_number(columns[PARSED]),
            REST: to_text(columns[REST]),
            ORDER: columns[ORDER].to_numpy(),
        }
    )


def total_of_cells(
    cells: Iterable[pa.Array], blocks: Sequence[int], partitions: Sequence[int]
) -> int:
    """Return a total of the bytes of cells, each with its block and partition number."""
    sums = [checksum.value for array in cells for checksum in _checksums(array)]
    places = np.array(blocks, np.uint64) << np.uint64(32) | np.array(partitions, np.uint64)
    return total_of(scramble(scramble(places + np.uint64(1)) ^ np.array(sums, np.uint64)))


def _checksums(cells: pa.Array) -> Iterator[Checksum]:
    text, bounds, _ = raw_text(cells)
    for start, stop in pairwise(bounds.tolist()):
        yield Checksum.of(text[start:stop])


def count_misplaced(ids: pa.Array, number: int, shuffle: Shuffle) -> int:
    """Return how many ids belong to a partition other than this `number`.

    Missing and hot ids may be anywhere.
    """
    elsewhere = partition_numbers(ids, shuffle.count) != number
    elsewhere[_which_hot(ids, shuffle)] = False
    return int(np.count_nonzero(elsewhere & ~TrimmedIds(ids).are_missing()))
