"""Apply a function to every partition of Dask dataframes, with the result's schema known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import dask.dataframe as dd
from dask._collections import new_collection
from dask._task_spec import Task, TaskRef
from dask.dataframe.dask_expr._expr import Expr
from dask.utils import funcname

# Dask would add a task to each partition that looks for texts to turn into Arrow's: here all text
# is Arrow's from the start, and a partition on its way may be no dataframe.
dask.config.set({"dataframe.convert-string": False})


def on_partitions(function: Callable[..., Any], *args: Any) -> dd.DataFrame:
    """Return `function` applied to each partition of the dataframes in `args`, lazy.

    A dataframe of one partition is given to every call. The result's columns and dtypes (Dask's
    meta) are found by calling `function` with the dataframes' own metas, which have no rows; Dask
    would try it on rows that it makes up.
    """
    meta = function(*(getattr(arg, "_meta", arg) for arg in args))
    return with_meta(function, meta, *args)


def with_meta(
    function: Callable[..., Any], meta: Any, *args: Any, name: str | None = None
) -> dd.DataFrame:
    """Do the same for a function whose result's schema is `meta`.

    `name` is what the dashboard calls the tasks, in place of the function's own name.
    """
    return dd.map_partitions(
        function,
        *args,
        meta=meta,
        align_dataframes=False,
        enforce_metadata=False,
        token=(name or funcname(function)).strip("_").replace("_", "-"),
    )


def running(
    function: Callable[..., Any], meta: Any, frame: dd.DataFrame, before: dd.DataFrame | None = None
) -> dd.DataFrame:
    """Return `function` of each partition and of its own result for the partition before.

    For the first partition the latter is the last one of `before`, or None. One task a partition;
    Dask's `cumsum` needs four.
    """
    return new_collection(
        _Running(frame.expr, None if before is None else before.expr, function, meta)
    )


class _Running(Expr):
    _parameters = ("frame", "before", "function", "meta")

    @property
    def _meta(self) -> Any:
        return self.operand("meta")

    def _divisions(self) -> tuple:
        return self.frame._divisions()

    def _layer(self) -> dict:
        name, frame, function = self._name, self.frame._name, self.operand("function")
        before = self.operand("before")
        last = None if before is None else TaskRef((before._name, before.npartitions - 1))
        results = [last, *(TaskRef((name, place)) for place in range(self.frame.npartitions - 1))]
        return {
            (name, place): Task((name, place), function, TaskRef((frame, place)), result)
            for place, result in enumerate(results)
        }
