"""Totals of the records that a shuffle takes apart and puts together in another order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from pipeline.columns.arrow import raw_text
from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import mixed, total_of
from pipeline.kernels.ids import hash_ids
from pipeline.steps.pieces import partition_numbers

_SEEDS = np.array(
    [0x2B992DDFA23249D6, 0x9E3779B97F4A7C15, 0xE7037ED1A0B428DB, 0x589965CC75374CC3], np.uint64
)


def total_of_cells(
    cells: Iterable[pa.Array], blocks: Sequence[int], partitions: Sequence[int]
) -> int:
    """Return a total of the bytes of cells, each with the numbers of its block and partition."""
    values = np.concatenate([_hashes(array) for array in cells] or [np.empty(0, np.uint64)])
    places = np.array(blocks, np.uint64) << np.uint64(32) | np.array(partitions, np.uint64)
    return total_of(mixed(mixed(places + np.uint64(1)) ^ values))


def _hashes(cells: pa.Array) -> np.ndarray:
    text, bounds, _ = raw_text(cells)
    found = np.empty(len(cells), np.uint64)
    hash_ids(text, bounds[:-1], bounds[1:], _SEEDS, found)
    return found


def misplaced(ids: pa.Array, spread: np.ndarray, count: int, number: int) -> int:
    """Return how many ids belong into another partition than this `number` of `count`.

    Those that are missing, or `spread` over all (bool), may be anywhere.
    """
    elsewhere = (partition_numbers(ids, count) != number) & ~spread
    return int(np.count_nonzero(elsewhere & (key_hashes(ids) != 0)))
