"""Which customers have purchases: the marks that each block leaves, and their union.

A block of purchases puts its marks, the rows of the lookup that it matched, under its own number
into the place of the run, before the block counts as done. The block's entry carries their number
and checksum. So losing a worker loses no marks, and a block that runs twice puts the same bytes. At
the end the marks of all blocks are read and compared with the entries: marks that are missing, old
or damaged end the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from distributed import Client, Future

from pipeline.columns.totals import Checksum
from pipeline.engine.team import submit
from pipeline.errors import DataError
from pipeline.storage.places import Place

_AT_ONCE = 256  # blocks whose marks one task reads
_FAR = 255  # a gap that says: so far, and no row there
_AS_BITMAP, _AS_GAPS = b"b", b"g"


class Marks(NamedTuple):
    """What a block's entry tells of its marks: the block, how many rows, and their checksum."""

    block: int
    rows: int
    checksum: Checksum


def put_marks(place: Place, block: int, rows: np.ndarray, customers: int) -> Marks:
    """Put the marks of a block that matched these `rows` (int64) of a lookup.

    The row after the last of `customers` stands for no customer, and does not count.
    """
    flags = np.zeros(customers + 1, bool)
    flags[rows] = True
    data = encode(np.flatnonzero(flags[:-1]), customers)
    place.put(_name(block), data)
    return Marks(block, int(np.count_nonzero(flags[:-1])), Checksum.of(data))


def find_matched(client: Client, place: Place, marks: Sequence[Marks], customers: int) -> Future:
    """Return the union of all marks, a bitmap (uint8, a bit for each customer), on the cluster.

    It is not waited for: while tasks wait that need it and the lookup, Dask keeps the lookup where
    it is. It fails with a DataError (see `union_of`).
    """
    parts = [
        submit(client, union_of, place, marks[first : first + _AT_ONCE], customers, name="matches")
        for first in range(0, len(marks), _AT_ONCE)
    ]
    return submit(client, united, parts, name="matched")


def union_of(place: Place, marks: Iterable[Marks], customers: int) -> np.ndarray:
    """Return which customers any of these marks names, as a bitmap (uint8, a bit for each).

    Raises DataError if the marks in the place are not those that the blocks have put there.
    """
    flags = np.zeros(customers, bool)
    for one in marks:
        try:
            data = place.get(_name(one.block))
        except FileNotFoundError:
            data = b""
        rows = decode(data, customers) if Checksum.of(data) == one.checksum else None
        if rows is None or len(rows) != one.rows:
            raise DataError(
                f"the matches of block {one.block:,} in {place} are not those that were put there; "
                "nothing was published; does another program change this folder? run the job again"
            )
        flags[rows] = True
    return np.packbits(flags)


def united(bitmaps: Sequence[np.ndarray]) -> np.ndarray:
    """Return the union of bitmaps."""
    return np.bitwise_or.reduce(bitmaps)


def in_slice(bitmap: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return which rows from `start` to `stop` a bitmap names (bool)."""
    first = start // 8
    return np.unpackbits(bitmap[first : -(-stop // 8)])[start - first * 8 :][: stop - start] != 0


def encode(rows: np.ndarray, customers: int) -> bytes:
    """Return ascending rows (int64) of so many customers in a byte for each, or less.

    Each byte is the gap to the row before; where many rows are matched, a bitmap is shorter.
    """
    if 8 * len(rows) > customers:
        flags = np.zeros(customers, bool)
        flags[rows] = True
        return _AS_BITMAP + np.packbits(flags).tobytes()
    gaps = np.diff(rows, prepend=-1) - 1
    leaps = gaps // _FAR
    data = np.full(len(rows) + int(leaps.sum()), _FAR, np.uint8)
    data[np.cumsum(leaps + 1) - 1] = gaps - _FAR * leaps
    return _AS_GAPS + data.tobytes()


def decode(data: bytes, customers: int) -> np.ndarray:
    """Return the rows that `encode` has encoded (int64)."""
    kind, body = data[:1], np.frombuffer(data, np.uint8, offset=min(1, len(data)))
    if kind == _AS_BITMAP:
        return np.flatnonzero(np.unpackbits(body, count=customers))
    is_row = body != _FAR
    return np.cumsum(body.astype(np.int64) + is_row)[is_row] - 1


def _name(block: int) -> str:
    return f"{block}"
