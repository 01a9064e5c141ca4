"""Applies a function to every partition of Dask dataframes, with an explicit schema."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import dask
import dask.base
import dask.dataframe as dd
import pandas as pd
from dask.dataframe.utils import make_meta

from pipeline.csv_text.sources import Block

_configuring = Lock()
# Dask names tasks after their arguments. Its own way to name a block takes ten times as long.
dask.base.normalize_token.register(Block, pickle.dumps)


def from_blocks(
    function: Callable[..., pd.DataFrame],
    blocks: Sequence[Any],
    *args: Any,
    meta: pd.DataFrame,
    step: str,
) -> dd.DataFrame:
    """Return a lazy dataframe with one partition, `function(block, *args)`, for each block.

    `meta` is an empty frame with the result's columns and dtypes. `step` names the tasks on the
    dashboard.
    """
    # All text is already in Arrow, so Dask need not add a task that converts other text. Locked,
    # because all threads share the configuration, and would undo each other's changes.
    with _configuring, dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(
            function, blocks, args=args, meta=meta, label=step, enforce_metadata=False
        )


def on_partitions(
    function: Callable[..., pd.DataFrame], *args: Any, step: str, meta: pd.DataFrame | None = None
) -> dd.DataFrame:
    """Return `function` applied to each partition of the dataframes in `args`, lazily.

    A Delayed value or a dataframe of one partition is passed to every call. Without `meta`, it is
    what `function` returns for the dataframes' own metas, which have no rows; Dask would make up
    rows.
    """
    if meta is None:
        meta = function(*(schema(arg) if isinstance(arg, dd.DataFrame) else arg for arg in args))
    return dd.map_partitions(
        function, *args, meta=meta, align_dataframes=False, enforce_metadata=False, token=step
    )


def schema(frame: dd.DataFrame) -> pd.DataFrame:
    """Return a lazy dataframe's columns and dtypes as an empty frame (Dask's meta)."""
    meta: pd.DataFrame = make_meta(frame)
    return meta
