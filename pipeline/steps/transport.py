"""Totals of the records that a shuffle takes apart and puts together in another order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from pipeline.columns.arrow import raw_text
from pipeline.columns.keys import TrimmedIds
from pipeline.columns.totals import Checksum, mixed, total_of
from pipeline.steps.pieces import partition_numbers


def total_of_cells(
    cells: Iterable[pa.Array], blocks: Sequence[int], partitions: Sequence[int]
) -> int:
    """Return a total of the bytes of cells, each with the numbers of its block and partition."""
    sums = [checksum.value for array in cells for checksum in _checksums(array)]
    places = np.array(blocks, np.uint64) << np.uint64(32) | np.array(partitions, np.uint64)
    return total_of(mixed(mixed(places + np.uint64(1)) ^ np.array(sums, np.uint64)))


def _checksums(cells: pa.Array) -> Iterator[Checksum]:
    text, bounds, _ = raw_text(cells)
    for start, stop in pairwise(bounds.tolist()):
        yield Checksum.of(text[start:stop])


def misplaced(ids: pa.Array, spread: np.ndarray, count: int, number: int) -> int:
    """Return how many ids belong into another partition than this `number` of `count`.

    Those that are missing, or `spread` over all (bool), may be anywhere.
    """
    elsewhere = (partition_numbers(ids, count) != number) & ~spread
    return int(np.count_nonzero(elsewhere & ~TrimmedIds(ids).are_missing()))
