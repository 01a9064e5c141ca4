"""The ledger: what every step counts in a partition, carried beside its data.

Each step adds its control totals to the partition's entry, which travels in pandas' own
`DataFrame.attrs`. The last step returns the entry in place of the data. So one pass over the data
gives the result and its proof, with one Dask task per partition. The client receives one small
entry as each partition ends, and adds them up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

_KEY = "ledger"


@dataclass(frozen=True)
class _Entry:
    """Control totals by name. Never copied: pandas deep-copies `attrs` at every operation."""

    totals: dict[str, Any]

    def __deepcopy__(self, _: dict[int, Any]) -> _Entry:
        return self


def with_totals(
    frame: pd.DataFrame, before: pd.DataFrame | None = None, **totals: Any
) -> pd.DataFrame:
    """Return `frame` with the entry of `before`, the frame it was made from, plus these totals."""
    entry = {} if before is None else entry_of(before)
    frame.attrs[_KEY] = _Entry({**entry, **totals})
    return frame


def entry_of(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the control totals added to a frame so far, by name."""
    entry = frame.attrs.get(_KEY)
    return {} if entry is None else entry.totals


def as_entry(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame's entry in place of its data: one row, the column `ledger` (dict)."""
    return pd.DataFrame({_KEY: pd.Series([entry_of(frame)], dtype=object)})


NO_ENTRIES = as_entry(pd.DataFrame()).iloc[:0]


def entries_in(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the entries in frames that `as_entry` returned."""
    return rows[_KEY].tolist()
