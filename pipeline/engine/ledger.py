"""The ledger: what each step counts in a partition, carried beside the data.

A step keeps what it counts, its totals, in a frozen dataclass of its own. The totals of a partition
are its entry, stored in `DataFrame.attrs`; the last step returns the entry in place of the data. So
one pass over the data gives the result and its checks, with one Dask task for each partition. The
client receives a small entry whenever a partition is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pandas as pd

from pipeline.engine.portable import Portable

_KEY = "ledger"
T = TypeVar("T")


@dataclass(frozen=True)
class Number:
    """The number of a block in output order, and the number of the next block."""

    block: int
    following: int


class Entry(Portable):
    """The totals of one partition, one object of each type."""

    def __init__(self, *totals: Any) -> None:
        self._totals = {type(one): one for one in totals}

    def __getitem__(self, kind: type[T]) -> T:
        return self._totals[kind]

    def get(self, kind: type[T]) -> T | None:
        """Return the totals of a type; None if no step has added them."""
        return self._totals.get(kind)

    def __contains__(self, kind: type) -> bool:
        return kind in self._totals

    def __iter__(self) -> Iterator[Any]:
        return iter(self._totals.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self._totals == other._totals

    def __deepcopy__(self, _: dict[int, Any]) -> Entry:
        return self  # pandas copies `attrs` at every operation


def with_totals(frame: pd.DataFrame, *totals: Any, before: pd.DataFrame | None = None) -> Any:
    """Return `frame` with the entry of `before`, the frame it was made from, plus these totals.

    These totals replace those of the same type.
    """
    entry = () if before is None else entry_of(before)
    frame.attrs[_KEY] = Entry(*entry, *totals)
    return frame


def entry_of(frame: pd.DataFrame) -> Entry:
    """Return the entry of a frame: the totals added so far."""
    entry = frame.attrs.get(_KEY)
    return Entry() if entry is None else entry


def as_entry(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame's entry in place of its data: one row, the column `ledger` (Entry)."""
    return pd.DataFrame({_KEY: pd.Series([entry_of(frame)], dtype=object)})


def entry_with(*totals: Any) -> pd.DataFrame:
    """Return an entry of these totals, as `as_entry` does, from a task that has no data."""
    return as_entry(with_totals(pd.DataFrame(), *totals))


NO_ENTRIES = as_entry(pd.DataFrame()).iloc[:0]


def entries_in(rows: pd.DataFrame) -> list[Entry]:
    """Return the entries in a frame that `as_entry` returned."""
    # Access by name takes twice as long.
    found: list[Entry] = rows.to_numpy()[:, 0].tolist()
    return found


@dataclass
class Ledger:
    """The entries of all partitions of a run, in order of arrival."""

    entries: list[Entry] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        """Add an entry."""
        self.entries.append(entry)

    def all(self, kind: type[T]) -> list[T]:
        """Return all totals of a type, in block order."""
        return [entry[kind] for entry in self.having(kind)]

    def having(self, kind: type) -> list[Entry]:
        """Return the entries that have totals of a type, in block order."""
        return sorted((entry for entry in self.entries if kind in entry), key=_block)


def _block(entry: Entry) -> int:
    number = entry.get(Number)
    return number.block if number else 0
