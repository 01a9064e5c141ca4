"""How workers allocate the memory of columns."""

from __future__ import annotations

import ctypes

import pyarrow as pa
from distributed import Client, Worker, WorkerPlugin

from pipeline.engine.by_value import by_value

# From glibc's malloc.h, and the largest thresholds that glibc sets by itself.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_THRESHOLD = 32 << 20
_TRIM_THRESHOLD = 2 * _MMAP_THRESHOLD


def keep_freed_memory(client: Client) -> None:
    """Set up all workers, also those that come later (see `KeepFreedMemory`)."""
    # A worker that comes later sets up its plugins all at once, perhaps before it has this package.
    with by_value(__name__):
        client.register_plugin(KeepFreedMemory())


class KeepFreedMemory(WorkerPlugin):
    """Makes every worker keep some of the memory of freed columns for new ones.

    Columns are large and short-lived. If their memory is released and allocated again, the kernel
    zeroes all of it each time. glibc learns to keep enough, but not in the worker processes that
    Dask starts: Dask makes them release everything. Without this plugin, 10 million purchases on
    two such workers take 21 % longer (medians of three, interleaved).
    """

    name = "keep-freed-memory"

    def setup(self, worker: Worker) -> None:
        """Set up the process in which this worker runs."""
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:  # only glibc has it
            mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
            mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)


def release_freed_memory() -> None:
    """Give the memory that this process keeps for new columns back to the system."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
