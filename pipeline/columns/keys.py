"""Ids as they are compared: as text without surrounding whitespace. A blank id is missing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import raw_text
from pipeline.kernels.ids import hash_ids, trim_ids

# Those of `kernels.ids.whitespace_at`.
WHITESPACE = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\ufeff"
# For hashes that must be the same in every process. Control totals have seeds of their own, so ids
# whose hashes collide in a shuffle or an index do not collide there.
_SEEDS = np.array(
    [0x5D1B9C3E2F8A4761, 0xA3C65C2D97F4B10F, 0x3E8D17B2C96F05A5, 0xC9F1482B6D7E93B7], np.uint64
)
_CONTROL_SEEDS = np.array(
    [0x8F6D2E91B7C4A035, 0x1C93E5A7486FDB29, 0xD4A7906C3B5E18F3, 0x67B81FD25A0C94ED], np.uint64
)


class TrimmedIds:
    """Where ids are in the text of a column (large_string), without surrounding whitespace.

    `text` is the bytes of the column (uint8). The id of row `r` is from `begin[r]` to `end[r]`
    (int64); an empty one is missing. `shorter` is the number of ids that are shorter than their
    field.
    """

    def __init__(self, ids: pa.Array) -> None:
        self.text, bounds, valid = raw_text(ids)
        self.begin, self.end = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
        self.shorter: int = trim_ids(self.text, bounds, valid, ids.offset, self.begin, self.end)

    def hashes(self, seeds: np.ndarray = _SEEDS) -> np.ndarray:
        """Return a hash of each id (uint64) that depends on four `seeds` (uint64)."""
        found = np.empty(len(self.begin), np.uint64)
        hash_ids(self.text, self.begin, self.end, seeds, found)
        return found

    def are_missing(self) -> np.ndarray:
        """Return which ids are missing (bool)."""
        return self.begin == self.end


def key_hashes(ids: pa.Array) -> np.ndarray:
    """Return a hash of each id as it is compared (uint64), for control totals; 0 if it is missing.

    No other hash of ids has its seeds.
    """
    keys = TrimmedIds(ids)
    hashes = keys.hashes(_CONTROL_SEEDS)
    hashes[keys.are_missing()] = 0
    return hashes


def trimmed(ids: pa.Array) -> pa.Array:
    """Return ids without surrounding whitespace; blank ids become null."""
    ids = pc.utf8_trim(ids, WHITESPACE)
    are_empty = pc.equal(pc.binary_length(ids), 0)
    return pc.if_else(are_empty, None, ids) if pc.any(are_empty).as_py() else ids
