"""Totals of the records that a shuffle takes apart and puts together in another order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import Checksum, mixed, total_of
from pipeline.steps.pieces import partition_numbers


def total_of_cells(
    cells: Iterable[pa.Array], blocks: Sequence[int], partitions: Sequence[int]
) -> int:
    """Return a total of the bytes of cells, each with the numbers of its block and partition."""
    found = [Checksum.of(cell.as_buffer()) for array in cells for cell in array]
    values = np.array([one.value | one.size << 32 for one in found], np.uint64)
    places = np.array(blocks, np.uint64) << np.uint64(32) | np.array(partitions, np.uint64)
    return total_of(mixed(mixed(places + np.uint64(1)) ^ values))


def misplaced(ids: pa.Array, spread: np.ndarray, count: int, number: int) -> int:
    """Return how many ids belong into another partition than this `number` of `count`.

    Those that are missing, or `spread` over all (bool), may be anywhere.
    """
    elsewhere = (partition_numbers(ids, count) != number) & ~spread
    return int(np.count_nonzero(elsewhere & (key_hashes(ids) != 0)))
