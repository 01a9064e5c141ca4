"""An index of ids: which row is the first that has one."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa

from pipeline.columns.arrow import raw_text
from pipeline.columns.flat import Flat
from pipeline.columns.keys import TrimmedIds
from pipeline.kernels.ids import find_ids, index_ids

_ROOM = 1.5  # slots in the table for each id, at least


class IdIndex(Flat):
    """An index of a column of ids (large_string), compared as `TrimmedIds` are.

    Its hashes have random seeds, so nobody can make a file whose ids collide.

    Attributes: `ids`, the column.
    """

    def __init__(self, ids: pa.Array) -> None:
        self.ids = ids
        self._seeds = np.frombuffer(os.urandom(32), np.uint64)
        self._table = np.zeros(2 << int(_ROOM * len(ids)).bit_length(), np.uint64)
        known = TrimmedIds(ids)
        # Most columns have no whitespace around ids; then their own offsets suffice.
        self._begin: np.ndarray | None = known.begin if known.shorter else None
        self._end: np.ndarray | None = known.end if known.shorter else None
        hashes = known.hashes(self._seeds)
        index_ids(hashes, known.text, known.begin, known.end, self._table)

    def rows(self, ids: pa.Array) -> np.ndarray:
        """Return the first row with each of some ids (int64); the number of rows if none has it."""
        wanted = TrimmedIds(ids)
        rows = np.empty(len(ids), np.int64)
        text, bounds, _ = raw_text(self.ids)
        begin = bounds[:-1] if self._begin is None else self._begin
        end = bounds[1:] if self._end is None else self._end
        find_ids(
            *(wanted.hashes(self._seeds), wanted.text, wanted.begin, wanted.end),
            *(text, begin, end, self._table),
            rows,
        )
        return rows
