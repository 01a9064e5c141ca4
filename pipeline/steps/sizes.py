"""What fits into memory: a block, a partition of a shuffle, the customers of a broadcast join.

All sizes and limits are in bytes; None means no limit.
"""

from __future__ import annotations

from dask.utils import format_bytes

from pipeline.errors import ClusterError

_LEAST_BLOCK, _LARGEST_BLOCK = 8 << 20, 1 << 30
_MOST_BLOCKS = 20_000  # each costs the scheduler a few milliseconds
_LEAST_PARTITION, _LARGEST_PARTITION = 8 << 20, 128 << 20
_PAUSE = 0.8  # of its limit, at which Dask pauses a worker

# The most memory that each takes, as a multiple of its size. A partition was seen to take up to 10;
# with the process's other memory, it must stay below `_PAUSE`. A lookup, while it is built, was
# seen to take 2.7 times the size of the customers' files for records of 217 bytes, 4 for 48 and 9
# for 16.
_BLOCK_TAKES, _PARTITION_TAKES, _LOOKUP_TAKES = 16, 24, 10
# For a lookup, once customers are counted: a multiple of their text, and bytes per customer.
_TEXT_TAKES, _CUSTOMER_TAKES = 2, 140


def choose_block_size(total: int, thread_memory: int | None) -> int:
    """Return how many of `total` bytes a task reads, so that a block fits into `thread_memory`."""
    few = -(-total // _MOST_BLOCKS)
    fits = few if thread_memory is None else thread_memory // _BLOCK_TAKES
    return max(_LEAST_BLOCK, min(few, fits, _LARGEST_BLOCK))


def choose_partitions(total: int, thread_memory: int | None) -> int:
    """Return into how many partitions a shuffle divides `total` bytes.

    Each fits into `thread_memory`.
    """
    fits = _LARGEST_PARTITION if thread_memory is None else thread_memory // _PARTITION_TAKES
    size = max(_LEAST_PARTITION, min(fits, _LARGEST_PARTITION))
    return max(1, -(-total // size))


def choose_join(choice: str, customers_size: int, worker_memory: int | None) -> str:
    """Return `broadcast` or `shuffle`; `auto` broadcasts if the customers fit into memory.

    `customers_size` is the size of their files, `worker_memory` the smallest limit of a worker.
    """
    if choice != "auto":
        return choice
    fits = worker_memory is None or _LOOKUP_TAKES * customers_size <= worker_memory
    return "broadcast" if fits else "shuffle"


def check_lookup_fits(customers: int, size: int, worker_memory: int | None) -> None:
    """Raise ClusterError if the lookup of this many customers does not fit into a worker's memory.

    `size` is that of their text. For `worker_memory`, see `choose_join`.
    """
    needed = _TEXT_TAKES * size + _CUSTOMER_TAKES * customers
    if worker_memory is not None and needed > _PAUSE * worker_memory:
        raise ClusterError(
            f"{customers:,} customers need up to {format_bytes(needed)} of memory in each worker, "
            f"whose limit is {format_bytes(worker_memory)}; use --join shuffle, or raise the "
            "memory limit"
        )
