"""Finds hot ids: those with too many purchases for one partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from distributed import Client, Future

from pipeline.columns.arrow import TEXT, to_arrow
from pipeline.columns.keys import trimmed
from pipeline.csv_text.sources import Source
from pipeline.csv_text.unpacked import nth_block
from pipeline.engine.compute import compute_entries
from pipeline.engine.ledger import NO_ENTRIES, Entry, entry_with
from pipeline.engine.partitions import on_partitions
from pipeline.engine.team import submit
from pipeline.steps.read import ID

_SAMPLE = 8  # blocks


@dataclass(frozen=True)
class _Sample:
    """How many records a block has, and how often its frequent ids occur."""

    records: int
    frequent: dict[str, int]


def find_hot(
    client: Client,
    purchases: Source,
    block_size: int,
    read: Callable[[Source], dd.DataFrame],
    partitions: int,
) -> tuple[str, ...]:
    """Return the ids, stripped, that would make one of the `partitions` much larger.

    In a sample of evenly spaced blocks, each such id has at least a quarter of a partition's
    purchases, so each certainly has a purchase. Of files to unpack, the sample has the first
    `block_size` bytes.
    """
    if partitions == 1 or not purchases.blocks:
        return ()
    share = 1 / (4 * partitions)
    blocks = purchases.blocks[:: -(-len(purchases.blocks) // _SAMPLE)]
    some = tuple(
        block
        if block.file.is_plain
        else submit(client, nth_block, block, 0, block_size, name="sample")
        for block in blocks
    )
    counted = on_partitions(
        _count_ids, read(replace(purchases, blocks=some)), share, step="sample", meta=NO_ENTRIES
    )
    entries: list[Entry] = []
    try:
        compute_entries(client, [counted], entries.append)
    finally:
        for block in some:
            if isinstance(block, Future):  # a graph that refers to it may live longer
                block.release()
    samples = [entry[_Sample] for entry in entries]
    counts = sum((Counter(sample.frequent) for sample in samples), Counter[str]())
    least = max(share * sum(sample.records for sample in samples), 1)
    return tuple(sorted(id for id, count in counts.items() if count >= least))


def _count_ids(purchases: pd.DataFrame, share: float) -> pd.DataFrame:
    ids = trimmed(to_arrow(purchases[ID]))
    found = pc.value_counts(ids.drop_null())
    often = found.filter(pc.greater_equal(found.field("counts"), share / 2 * len(ids)))
    counts = {row["values"]: row["counts"] for row in often.to_pylist()}
    return entry_with(_Sample(len(ids), counts))


def is_hot(ids: pa.Array, hot: tuple[str, ...]) -> pa.Array:
    """Return which ids are among those that `find_hot` returned (bool)."""
    if not hot:
        return pa.repeat(False, len(ids))
    return pc.is_in(trimmed(ids), pa.array(hot, TEXT))
