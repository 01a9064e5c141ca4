"""Where each block begins in one file: the prefix sum of sizes, without a chain of tasks."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from threading import Lock

from pipeline.storage.places import open_file

# Waiting longer for another thread costs more than writing a part file and copying it later.
_PATIENCE = 0.05  # seconds
_LOOK_EVERY = 0.001  # seconds
# How many blocks this machine may be working on: each process may be pinned to one core.
_AT_WORK = os.cpu_count() or 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The slot of a block: its size + 1 (0: not known yet), and the number of the following block.
_SLOT = struct.Struct("<QQ")


class PrefixSum:
    """The prefix sum of the blocks' sizes, as far as this machine knows them.

    Blocks are read in order. If one machine has them all, it knows the predecessors of each block,
    or soon will: its threads and processes share the sizes in a file. It does not know where a
    block begins whose predecessors went to another machine.
    """

    def __init__(self, start: int, folder: Path) -> None:
        """Share sizes in a file in `folder`; the first block begins at `start`."""
        # Containers on one machine have the same boot id. Without one, processes share nothing.
        machine = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else str(os.getpid())
        self._path = folder / f"sizes-{machine}"
        self._lock = Lock()
        self._next = 0  # the first block of unknown size
        self._starts = {self._next: start}  # of the blocks up to this one

    def add(self, block: int, size: int, following: int) -> int | None:
        """Add a block of `size` bytes; return where it begins, or None if that is unknown here.

        Blocks have ascending numbers: the first is 0, and `following` comes after this one. A retry
        calls this again with the same arguments; whether the start is known here may have changed.
        """
        # Never creates the folder: a worker that outlives its run must leave nothing behind.
        with open_file(str(self._path), os.O_RDWR | os.O_CREAT) as file:
            os.pwrite(file, _SLOT.pack(size + 1, following), block * _SLOT.size)
            deadline = time.monotonic() + _PATIENCE
            while self._look(file, block) is None:
                # If the predecessor is far away, no other thread or process is working on it.
                if block - self._next >= _AT_WORK or time.monotonic() >= deadline:
                    break
                time.sleep(_LOOK_EVERY)
        return self._starts.get(block)

    def _look(self, file: int, block: int) -> int | None:
        """Read what other threads and processes recorded since; return where `block` begins."""
        with self._lock:
            while self._next <= block:
                slot = os.pread(file, _SLOT.size, self._next * _SLOT.size)
                size, following = _SLOT.unpack(slot) if len(slot) == _SLOT.size else (0, 0)
                if not (size and following):  # a slot may be seen half written
                    break
                self._starts[following] = self._starts[self._next] + size - 1
                self._next = following
            return self._starts.get(block)
