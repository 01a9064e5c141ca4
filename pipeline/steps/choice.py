"""Chooses between the broadcast join and the shuffle, by what a lookup of the customers takes."""

from __future__ import annotations

from collections.abc import Sequence

from dask.utils import format_bytes

from pipeline.errors import ClusterError
from pipeline.steps.read import BlockRead

# What a lookup takes at most, while it is built: so many times the size of the customers' files
# and so many bytes for each customer. For the shortest records, that is so many times their size.
_SIZE, _EACH = 2, 140
_LOOKUP = 10
_PAUSE = 0.8  # of its memory limit, at which Dask pauses a worker


def choose_join(choice: str, customers_size: int, worker_memory: int | None) -> str:
    """Return `broadcast` or `shuffle`; `auto` broadcasts if the customers fit into memory.

    `customers_size` is the size of their files, `worker_memory` the smallest limit of a worker
    (both in bytes; None: no limit). A lookup was seen to take 2.7 times the size of the files for
    records of 217 bytes, 4 times for 48 bytes, 9 times for 16 bytes.
    """
    if choice != "auto":
        return choice
    fits = worker_memory is None or _LOOKUP * customers_size <= worker_memory
    return "broadcast" if fits else "shuffle"


def check_fits(customers: Sequence[BlockRead], worker_memory: int | None) -> None:
    """Raise ClusterError if the lookup of all customers will not fit into a worker's memory.

    `customers` are their blocks; for `worker_memory`, see
    `choose_join`.
    """
    size = sum(block.bytes for block in customers)
    records = sum(block.records for block in customers)
    needed = _SIZE * size + _EACH * records
    if worker_memory is not None and needed > _PAUSE * worker_memory:
        raise ClusterError(
            f"{records:,} customers take up to {format_bytes(needed)} of memory in each worker, "
            f"which may have {format_bytes(worker_memory)}; join them with --join shuffle, or "
            "raise the memory limit"
        )
