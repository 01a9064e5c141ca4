"""Which customers have purchases: a bitmap over the rows of the lookup, for each process.

Each process keeps the union of the rows that its purchases matched. It writes this bitmap under its
own name into a place of the run before a partition counts as done, so losing a worker loses no
matches. Running a partition twice is harmless: every row in a bitmap was matched by some purchase
of this run.
"""

from __future__ import annotations

from collections import Counter
from threading import Lock
from uuid import uuid4

import numpy as np

from pipeline.engine.places import Place
from pipeline.engine.shared import shared


def mark_matched(place: Place, rows: np.ndarray, count: int, block: int) -> tuple[str, int]:
    """Record that the purchases of a block matched these `rows` (int64) of `count`.

    Returns a name for the process, and how many rows this block was the first of it to match; the
    last row, of ids without a customer, does not count.
    """
    return shared(place, lambda: _Matched(place, count)).mark(rows, block)


def find_matched(place: Place, start: int, stop: int) -> np.ndarray:
    """Return which rows from `start` to `stop` any process has marked (bool)."""
    first, last = start // 8, -(-stop // 8)
    bits = np.zeros(last - first, np.uint8)
    for name in place.names():
        found = np.frombuffer(place.get(name, first, last), np.uint8)
        bits[: len(found)] |= found  # shorter if a late worker has only begun its file
    return np.unpackbits(bits)[start - first * 8 : stop - first * 8].astype(bool)


class _Matched:
    """The matched rows of this process, and its name in `place`."""

    def __init__(self, place: Place, count: int) -> None:
        self._place, self._name = place, uuid4().hex
        self._flags = np.zeros(count, bool)
        self._firsts: Counter[int] = Counter()
        self._changes = self._written = 0
        self._flagging, self._writing = Lock(), Lock()

    def mark(self, rows: np.ndarray, block: int) -> tuple[str, int]:
        with self._flagging:
            new = rows[~self._flags.take(rows)]
            if len(new):
                before = np.count_nonzero(self._flags[:-1])
                self._flags[new] = True
                # Added up: a block that is run again marks nothing new.
                self._firsts[block] += int(np.count_nonzero(self._flags[:-1]) - before)
                self._changes += 1
            changes, firsts = self._changes, self._firsts[block]
        # One thread writes for all that wait: writing to an object store takes its time.
        with self._writing:
            if self._written < changes:
                with self._flagging:
                    changes, bits = self._changes, np.packbits(self._flags)
                self._place.put(self._name, bits.tobytes())
                self._written = changes
        return self._name, firsts
