"""Frames on their way through the job, and what is counted of each.

The result and the books are counts. As Dask dataframes of their own they would make ten tasks of
every partition, a few milliseconds each; carried beside the frame they cost none, since Dask makes
one task of the steps that follow one another.

A counted dataframe is a Dask dataframe whose partitions are `Counted`, and whose meta is that of
their frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import dask.dataframe as dd
import pandas as pd
from dask.utils import funcname

from pipeline.partitions import with_meta

_ROWS = pd.DataFrame({"counts": pd.Series(dtype=object)})
_SPLIT_EVERY = 32

Merge = Callable[[pd.DataFrame], pd.DataFrame]


class Count(NamedTuple):
    """Rows that were counted of one partition or more, and what makes few of many (None: no)."""

    rows: pd.DataFrame
    merge: Merge | None


@dataclass(frozen=True)
class Counts:
    """What was counted, by name.

    No dict, and `Counted` no tuple: Dask would weigh all that is in it after every task.
    """

    by_name: dict[str, Count]


@dataclass(frozen=True)
class Counted:
    """A partition's frame, and what was counted of it so far."""

    frame: pd.DataFrame | pd.Series
    counts: Counts

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Counted:
        """Return a frame of which nothing is counted yet."""
        return cls(frame, Counts({}))

    def with_count(self, name: str, rows: pd.DataFrame, merge: Merge | None = None) -> Counted:
        """Return the same frame, with one count more."""
        return replace(self, counts=Counts({**self.counts.by_name, name: Count(rows, merge)}))

    def rows_of(self, name: str) -> pd.DataFrame:
        """Return what was counted by `name`."""
        return self.counts.by_name[name].rows

    def __sizeof__(self) -> int:
        """Return the bytes of the frame, for Dask to know when to spill."""
        usage = self.frame.memory_usage(index=False)
        return int(usage if isinstance(self.frame, pd.Series) else usage.sum())


def counted(frame: dd.DataFrame) -> dd.DataFrame:
    """Return a dataframe of which nothing is counted yet."""
    return with_meta(Counted.of, frame._meta, frame)


def apply(
    function: Callable[..., Any], frame: dd.DataFrame, *args: Any, meta: Any = None
) -> dd.DataFrame:
    """Return `function` applied to the frame of each partition, its counts kept.

    Without `meta` it is found by calling `function` with the metas of all dataframes.
    """
    if meta is None:
        meta = function(frame._meta, *(getattr(arg, "_meta", arg) for arg in args))
    return with_meta(_apply, meta, frame, function, *args, name=funcname(function))


def count(
    name: str,
    function: Callable[..., pd.DataFrame],
    frame: dd.DataFrame,
    *args: Any,
    merge: Merge | None = None,
) -> dd.DataFrame:
    """Return the same frames, with `function` of each counted by `name`.

    `merge` makes few rows of those of several partitions, as they are brought together.
    """
    return with_meta(
        _count, frame._meta, frame, name, function, merge, *args, name=funcname(function)
    )


def frames(frame: dd.DataFrame) -> dd.DataFrame:
    """Return the frames without their counts."""
    return with_meta(_frame, frame._meta, frame)


def counts(frame: dd.DataFrame) -> dd.DataFrame:
    """Return what was counted of all partitions, in one: see `merged`."""
    rows = with_meta(_as_row, _ROWS, frame)
    return rows.reduction(_in_one, aggregate=_in_one, meta=_ROWS, split_every=_SPLIT_EVERY)


def merged(several: Iterable[pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return all rows that were counted, by name, from several computed `counts`."""
    every = [counts for rows in several for counts in rows["counts"]]
    return {name: found.rows for name, found in _merge(every).by_name.items()}


def _apply(partition: Counted, function: Callable[..., Any], *args: Any) -> Counted:
    return replace(partition, frame=function(partition.frame, *args))


def _count(
    partition: Counted,
    name: str,
    function: Callable[..., pd.DataFrame],
    merge: Merge | None,
    *args: Any,
) -> Counted:
    return partition.with_count(name, function(partition.frame, *args), merge)


def _frame(partition: Counted) -> pd.DataFrame | pd.Series:
    return partition.frame


def _as_row(partition: Counted) -> pd.DataFrame:
    return _row(partition.counts)


def _in_one(rows: pd.DataFrame) -> pd.DataFrame:
    return rows if len(rows) == 1 else _row(_merge(rows["counts"]))


def _row(counts: Counts) -> pd.DataFrame:
    return pd.DataFrame({"counts": pd.Series([counts], dtype=object)})


def _merge(several: Iterable[Counts]) -> Counts:
    found: dict[str, list[Count]] = {}
    for counts in several:
        for name, one in counts.by_name.items():
            found.setdefault(name, []).append(one)
    return Counts({name: _merge_counts(same) for name, same in found.items()})


def _merge_counts(same: list[Count]) -> Count:
    if len(same) == 1:
        return same[0]
    merge = same[0].merge
    rows = pd.concat([one.rows for one in same], ignore_index=True)
    return Count(rows if merge is None else merge(rows), merge)
