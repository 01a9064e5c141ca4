"""Apply a function to every partition of Dask dataframes, with the result's schema known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import dask.dataframe as dd

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


def with_meta(function: Callable[..., Any], meta: Any, *args: Any) -> dd.DataFrame:
    """Do the same for a function whose result's schema is `meta`."""
    return dd.map_partitions(
        function, *args, meta=meta, align_dataframes=False, enforce_metadata=False
    )
