"""Which customers have purchases: the marks that each block leaves, and their union.

A block of purchases marks the rows of the lookup that it matched in a compressed bitmap. Before the
block counts as done, the bitmap is stored under the block's number with the run's temporary data.
The block's entry carries the checksum of these marks. So losing a worker loses no marks, and a
block that runs twice stores the same bytes. At the end, the marks of all blocks are read and
compared with the entries: marks that are missing, old or damaged end the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from distributed import Client, Future
from isal import isal_zlib

from pipeline.columns.totals import Checksum
from pipeline.engine.team import submit
from pipeline.errors import DataError
from pipeline.storage.places import Place

_AT_ONCE = 256  # blocks whose marks one task reads


class Marks(NamedTuple):
    """What a block's entry says of its marks: the block, and their checksum."""

    block: int
    checksum: Checksum


def put_marks(place: Place, block: int, rows: np.ndarray, customers: int) -> Marks:
    """Store the marks of a block that matched these `rows` (int64) of a lookup.

    The row after the last of `customers` stands for no customer, and does not count.
    """
    flags = np.zeros(customers + 1, bool)
    flags[rows] = True
    data = isal_zlib.compress(np.packbits(flags[:-1]), isal_zlib.ISAL_BEST_SPEED)
    place.put(_name(block), data)
    return Marks(block, Checksum.of(data))


def find_matched(client: Client, place: Place, marks: Sequence[Marks], customers: int) -> Future:
    """Return the union of all marks, a bitmap (uint8, a bit for each customer), on the cluster.

    Does not wait for the result, which may be a DataError (see `union_of`).
    """
    parts = [
        submit(client, union_of, place, marks[first : first + _AT_ONCE], customers, name="matches")
        for first in range(0, len(marks), _AT_ONCE)
    ]
    return submit(client, united, parts, name="matched")


def union_of(place: Place, marks: Iterable[Marks], customers: int) -> np.ndarray:
    """Return the customers in any of these marks, as a bitmap (uint8, a bit for each).

    Raises DataError if the marks in the place are not those that the blocks have stored there.
    """
    union = np.packbits(np.zeros(customers, bool))
    for one in marks:
        try:
            data = place.get(_name(one.block))
        except FileNotFoundError:
            data = b""
        if Checksum.of(data) != one.checksum:
            raise DataError(
                f"the matches of block {one.block:,} in {place} are missing or damaged; nothing "
                "was published; check that no other program changes this folder, then run the job "
                "again"
            )
        bits = np.frombuffer(isal_zlib.decompress(data), np.uint8)
        union[: len(bits)] |= bits[: len(union)]  # a lookup of another size fails the checks later
    return union


def united(bitmaps: Sequence[np.ndarray]) -> np.ndarray:
    """Return the union of bitmaps."""
    return np.bitwise_or.reduce(bitmaps)


def in_slice(bitmap: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return which rows from `start` to `stop` are set in a bitmap (bool)."""
    first = start // 8
    return np.unpackbits(bitmap[first : -(-stop // 8)])[start - first * 8 :][: stop - start] != 0


def _name(block: int) -> str:
    return f"{block}"
