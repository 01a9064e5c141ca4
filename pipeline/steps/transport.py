"""Totals of the records that a shuffle takes apart and puts together in another order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import Checksum, mixed, seal, total_of
from pipeline.steps.pieces import partition_numbers
from pipeline.steps.read import ORDER, PARSED, seal_of_text
from pipeline.steps.render import checksums_of


def sealed_again(table: pd.DataFrame) -> dict[str, Any]:
    """Return the seals of read purchases or rendered customers that the step before took, again.

    Control totals: `text_sent` and `numbers_sent`, or `rendered_sent`.
    """
    if PARSED in table:
        numbers = seal(table[PARSED], table[ORDER])
        return {"text_sent": seal_of_text(table), "numbers_sent": numbers}
    return {"rendered_sent": checksums_of(table)}


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
