"""Run the blocks of a table through the steps of the job.

A block begins as a range of bytes. A worker can nearly always tell where records begin from the
range it reads anyway. If it cannot, because of quotes, it returns the possible cuts; one is picked
here, and the range is read again. Files that can only be read from the start are unpacked
meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeAlias

import dask.dataframe as dd
import pandas as pd
from distributed import Client, Future

from pipeline.csv_text.ranges import Cut, cut_again, decide_blocks, find_records
from pipeline.csv_text.sources import Block, Source
from pipeline.engine.compute import compute_answer, compute_entries, ledger_of
from pipeline.engine.ledger import NO_ENTRIES, Entry, Number, entry_with
from pipeline.engine.partitions import from_blocks, schema
from pipeline.steps.read import BlockRead, FileRead
from pipeline.steps.unpack import Unpacking

Read: TypeAlias = Callable[[Source], dd.DataFrame]
Step: TypeAlias = Callable[[dd.DataFrame], dd.DataFrame]

_AT_ONCE = 1 << 10  # blocks of one dataframe

# How to cut each block of a table, by its number; where that is unknown, the possible cuts.
_Cuts: TypeAlias = dict[int, Cut | tuple[Cut, ...]]


class Collected(NamedTuple):
    """All blocks of a table: lazy, or on the cluster and noted already."""

    frame: dd.DataFrame
    is_lazy: bool


@dataclass(frozen=True)
class Blocks:
    """Runs blocks of `block_size` bytes on a cluster; `note` gets the entry of each when done."""

    client: Client
    block_size: int
    note: Callable[[Entry], None]

    def run(self, table: Source, read: Read, *steps: Step) -> None:
        """Read a table, and take each block through the steps; only the entries are kept."""
        self._run(table, _chain(read, steps), None)

    def keep(self, table: Source, read: Read, *steps: Step) -> list[Future]:
        """Do what `run` does, but leave the results on the cluster: a frame for each block."""
        kept: list[Future] = []
        self._run(table, _chain(read, steps), kept)
        return kept

    def compute(self, frames: Iterable[dd.DataFrame]) -> None:
        """Compute lazy dataframes that belong to no table; only their entries are kept."""
        compute_entries(self.client, frames, self.note)

    @contextmanager
    def collect(self, table: Source, read: Read, *steps: Step) -> Iterator[Collected]:
        """Yield all blocks of a table as one dataframe (see `compute_shuffled`)."""
        through = _chain(read, steps)
        if table.is_plain:
            yield Collected(through(self._cut_exactly(table)), is_lazy=True)
            return
        kept = self.keep(table, through)
        try:
            frame = dd.from_delayed(kept, meta=schema(through(table)), verify_meta=False)
            yield Collected(frame, is_lazy=False)
        finally:
            for future in kept:  # the dataframe refers to them, and may live longer
                future.release()

    def compute_shuffled(self, joined: dd.DataFrame, *tables: Collected) -> None:
        """Compute a join of whole tables; also note the entries of the lazy ones."""
        frames = [joined, *(table.frame for table in tables if table.is_lazy)]
        # One graph, because they share the blocks read.
        self.compute([dd.concat([ledger_of(frame) for frame in frames])])

    def _run(self, table: Source, through: Read, kept: list[Future] | None) -> None:
        plain, packed = _parted(table)

        def in_turn() -> Iterator[dd.DataFrame]:
            yield from unpacking.more(())
            for first in range(0, len(plain.blocks), _AT_ONCE):
                yield through(replace(table, blocks=plain.blocks[first : first + _AT_ONCE]))

        cuts: _Cuts = {}

        with Unpacking(self.client, packed, self.block_size, through) as unpacking:
            note_cut = partial(_note_cut, cuts)
            compute_entries(
                self.client, in_turn(), note_cut, self.note, more=unpacking.more, kept=kept
            )
        exact = self._decide(plain, cuts)
        left = [block for block in exact if not isinstance(cuts[block.number], Cut)]
        if left:
            again = through(replace(table, blocks=tuple(left)))
            compute_entries(self.client, [again], self.note, kept=kept)

    def _cut_exactly(self, table: Source) -> Source:
        """Return a table whose blocks hold whole records; reads every block that does not yet."""
        cuts: _Cuts = {}
        if ranges := [block for block in table.blocks if not block.exact]:
            ledger = from_blocks(_look, ranges, table.name, meta=NO_ENTRIES, step="cut")
            compute_entries(self.client, [ledger], partial(_note_cut, cuts))
        return replace(table, blocks=tuple(self._decide(table, cuts)) or table.blocks[:1])

    def _decide(self, table: Source, cuts: _Cuts) -> Iterator[Block]:
        """Return the exact blocks of a table, given what the workers found in each."""
        again = partial(compute_answer, self.client, cut_again, name="cut")
        return decide_blocks(table, cuts, again)


def _chain(read: Read, steps: Sequence[Step]) -> Read:
    def through(table: Source) -> dd.DataFrame:
        frame = read(table)
        for step in steps:
            frame = step(frame)
        return frame

    return through


def _parted(source: Source) -> tuple[Source, Source]:
    """Return a table's blocks of plain files, and those of files to unpack."""
    plain = tuple(block for block in source.blocks if block.file.is_plain)
    packed = tuple(block for block in source.blocks if not block.file.is_plain)
    return replace(source, blocks=plain), replace(source, blocks=packed)


def _note_cut(cuts: _Cuts, entry: Entry) -> None:
    if read := entry.get(BlockRead):
        start = read.files[0].start
        cut = Cut(start, start + read.bytes) if read.undecided is None else read.undecided
        cuts[entry[Number].block] = cut


def _look(block: Block, table: str) -> pd.DataFrame:
    """Return the entry that reading a block would give, with only the location of its records."""
    texts, undecided = find_records(block)
    files = tuple(FileRead(one.file.path, one.start, len(one.text)) for one in texts)
    return entry_with(
        Number(block.number, block.next_number), BlockRead(table, files, undecided=undecided)
    )
