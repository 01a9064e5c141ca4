"""Unpack files that can only be read from the start: compressed ones, or those to be recoded.

A worker reads such a file, or several small ones, once, and cuts them into blocks, one after the
other. Each block stays in that worker's memory until it is joined, there or on another worker. A
few blocks wait at a time, whatever the size of the file.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import dask.dataframe as dd
import pandas as pd
from distributed import Client, Future, Reschedule, get_worker

from pipeline.csv_text.sources import Block, Source, UnpackedBlock
from pipeline.csv_text.unpacked import BlockStream
from pipeline.engine.ledger import NO_ENTRIES, Entry, Number, entry_with
from pipeline.engine.partitions import from_blocks
from pipeline.engine.portable import Portable
from pipeline.engine.shared import shared
from pipeline.engine.team import name_of_run, submit
from pipeline.errors import UsageError
from pipeline.steps.read import BlockRead

_REFUSALS = 10


class _Next(NamedTuple):
    """The next block to unpack from a `whole` one, and the worker that reads its files."""

    whole: Block
    number: int
    worker: str | None


class Unpacking:
    """Unpacks the files of a table, and runs their blocks through `steps` as they appear.

    Each of the source's blocks covers whole files (see `ranges.cut_into_ranges`); `size` is that of
    the blocks to cut them into. A block is freed as soon as its entry has arrived.
    """

    def __init__(
        self,
        client: Client,
        source: Source,
        size: int,
        steps: Callable[[Source], dd.DataFrame],
    ) -> None:
        self._client, self._source, self._steps = client, source, steps
        self._args = size, name_of_run()
        self._waiting = deque(_Next(whole, whole.number, None) for whole in source.blocks)
        self._unpacking: dict[int, tuple[Block, Future]] = {}
        self._unfinished: dict[int, Future] = {}  # unpacked blocks

    def __enter__(self) -> Unpacking:
        return self

    def __exit__(self, *_: object) -> None:
        for future in (
            *(future for _, future in self._unpacking.values()),
            *self._unfinished.values(),
        ):
            future.release()

    def more(self, entries: Sequence[Entry]) -> list[dd.DataFrame]:
        """Return what to compute next, given the entries that have just arrived."""
        unpacked = []
        for entry in entries:
            if block := entry.get(_Noted):
                whole, future = self._unpacking.pop(block.number)
                unpacked.append(future)
                self._unfinished[block.number] = future
                if not block.is_last:  # first, so that few files are open at a time
                    self._waiting.appendleft(_Next(whole, block.number + 1, block.worker))
            elif BlockRead in entry and entry[Number].block in self._unfinished:
                # Released now, because a graph that refers to it may live longer.
                self._unfinished.pop(entry[Number].block).release()
        frames = []
        if unpacked:
            frames.append(self._steps(replace(self._source, blocks=tuple(unpacked))))
        if begun := self._begin():
            frames.append(from_blocks(_note, begun, meta=NO_ENTRIES, step="unpacked"))
        return frames

    def _begin(self) -> list[Future]:
        """Start unpacking as many blocks as there is room for."""
        threads = max(1, sum(self._client.nthreads().values())) if self._waiting else 0
        begun = []
        while (
            self._waiting
            # Unpacking a block takes about as long as what follows.
            and len(self._unpacking) < max(1, threads // 2)
            and len(self._unpacking) + len(self._unfinished) < 2 * threads
        ):
            whole, number, worker = self._waiting.popleft()
            if number >= whole.next_number:
                raise UsageError(f"{whole.file.name}: too many blocks; raise --block-size")
            task = _unpack, whole, number, *self._args
            begun.append(submit(self._client, *task, name="unpack", worker=worker))
            self._unpacking[number] = whole, begun[-1]
        return begun


@dataclass(frozen=True)
class _Unpacked(Portable, UnpackedBlock):
    """A block, and the worker that has read the file up to the end of this block."""

    worker: str = ""


@dataclass(frozen=True)
class _Noted:
    """What the client needs to know of an unpacked block; see `_Unpacked`."""

    number: int
    is_last: bool
    worker: str


class _Reader(BlockStream):
    """The blocks of some files, as this process reads them."""

    def __init__(self, whole: Block, size: int) -> None:
        super().__init__(whole, size)
        self._refused = Counter[int]()

    def refuses(self, index: int) -> bool:
        """Return whether to leave a block to another worker, which has read the file up to it.

        Dask steals tasks for idle workers, whatever a task prefers. If a block keeps coming back,
        the other worker must be lost.
        """
        if index in (0, self.next):
            return False
        self._refused[index] += 1
        return self._refused[index] <= _REFUSALS


def _unpack(whole: Block, number: int, size: int, run: str) -> _Unpacked:
    reader = shared((run, whole), lambda: _Reader(whole, size))
    index = number - whole.number
    if reader.refuses(index):
        raise Reschedule
    block = reader.block(index)
    following = whole.following if block.is_last else None
    own = {"number": number, "following": following, "worker": get_worker().address}
    return _Unpacked(**{**vars(block), **own})


def _note(block: _Unpacked) -> pd.DataFrame:
    return entry_with(_Noted(block.number, block.is_last, block.worker))
