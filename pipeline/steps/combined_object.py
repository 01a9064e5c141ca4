"""The combined table as one object in a store: a multipart upload by all workers.

A block whose text is a part of its own is uploaded where it was read; the number of the part says
where it belongs. A store takes no part below 5 MiB but the last, and no number above 10,000. So
blocks that are small, or too many, are put as temporary objects, which are read again and uploaded,
several as one part, once all blocks are written. A part uploaded twice has the same bytes.

Which blocks are parts is planned before the run, by the sizes of the inputs: an output record holds
all of its input record. Where the plan does not hold, because most records of a block are rejected,
`CombinedObject.fits` says so; the run then puts all blocks as temporary objects.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

import dask.dataframe as dd
import pandas as pd
from dask import delayed
from dask.delayed import Delayed
from distributed import Client

from pipeline.csv_text.sources import Block
from pipeline.engine.ledger import NO_ENTRIES, Ledger, entry_with
from pipeline.engine.objects import (
    LARGEST_PART,
    LEAST_PART,
    MOST_PARTS,
    ObjectFolder,
    Part,
    Upload,
)
from pipeline.engine.partitions import from_blocks
from pipeline.errors import UsageError
from pipeline.steps.write import Placed, Written

# Planned parts: the rest of the numbers is for what comes after the planned blocks.
_MOST_PLANNED = 9_000
# Bytes of input that surely make a part: a field that loses its quotes is a little shorter.
_PLANNED = LEAST_PART + (1 << 20)
_SPARE = 10  # of a file's numbers, one in ten is for blocks that share a part
_COMBINED = 16 << 20  # bytes, at least, of a part that is put together
_READERS = 8  # threads that read temporary objects in one task


class _Pieces(NamedTuple):
    """A part to put together: its number, the text before it, the objects that are its text."""

    number: int
    lead: bytes
    names: tuple[str, ...]


class _Reserved(NamedTuple):
    """Part numbers, from `number` on, of the blocks from `block` to `stop`, but for the first."""

    block: int
    stop: int
    number: int


@dataclass(frozen=True)
class Combined:
    """A part that was put together of blocks that waited."""

    part: Part


@dataclass(frozen=True)
class PartNumbers:
    """The numbers of the blocks that are parts of their own: `single` blocks, and ranges."""

    single: Mapping[int, int]
    ranges: tuple[_Reserved, ...]

    def of(self, block: int) -> int | None:
        """Return the part number of a block; None if it shares a part with others."""
        place = bisect_left(self.ranges, block, key=lambda reserved: reserved.block) - 1
        if place >= 0 and block < self.ranges[place].stop:
            return self.ranges[place].number + block - self.ranges[place].block
        return self.single.get(block)


def plan_parts(blocks: Sequence[Block]) -> PartNumbers:
    """Plan which blocks are parts of their own.

    `blocks` are in output order. Neighbours that are small, or all where there are too many, share
    a number. So does the first block with the header. How many blocks a compressed file becomes is
    not known: it keeps a share of the numbers, and its first block waits for what is left of the
    file before it. Raises UsageError if the output cannot fit into one object.
    """
    sizes = [block.plain_size for block in blocks]
    total = sum(sizes)
    least = max(_PLANNED, -(-total // _MOST_PLANNED))
    if least > LARGEST_PART:
        raise UsageError(
            f"{total / 1e12:,.0f} TB of purchases do not fit into one object, which has at most "
            f"{MOST_PARTS:,} parts of 5 GiB; name a folder with --output-dir, or do it in pieces"
        )
    single, ranges, last = dict[int, int](), list[_Reserved](), 0
    group, size = list[Block](), 0
    for block, bytes_ in zip(blocks, sizes, strict=True):
        share = 0 if block.file.is_plain else _MOST_PLANNED * bytes_ // total
        if share > _SPARE:
            stop = min(block.number + share - share // _SPARE, block.next_number)
            ranges.append(_Reserved(block.number, stop, last + 1))
            last += share
            group, size = [], 0
            continue
        group.append(block)
        size += bytes_
        if size >= least:
            last += 1
            if group == [block] and block.file.is_plain and last > 1:
                single[block.number] = last
            group, size = [], 0
    return PartNumbers(single, tuple(ranges))


@dataclass(frozen=True)
class CombinedObject:
    """The combined table as a multipart upload, and its first line (see `write.Target`).

    `numbers` are the part numbers of the blocks that are parts, `place` is where others wait.
    """

    upload: Upload
    place: ObjectFolder
    header: bytes
    numbers: PartNumbers

    @property
    def path(self) -> None:
        """None: it is not in a file."""

    def start(self) -> None:
        """Do nothing: the header goes into the first part."""

    def for_tasks(self, client: Client) -> Delayed:
        """Return this target, lazy: it has an entry for each block."""
        name = f"target-{uuid4().hex}"  # unique: runs may share a cluster
        lazy: Delayed = client.persist(delayed(self, name=name, traverse=False))
        return lazy

    def write(self, block: int, _: int, size: int, texts: Iterator[memoryview]) -> Placed:
        """Upload a block as its part, or put it as a temporary object."""
        text = b"".join(texts)
        number = self.numbers.of(block)
        if number is not None and size >= LEAST_PART:
            return Placed(part=self.upload.put(number, text))
        if size:
            self.place.put(_name(block), text)
        return Placed()

    def fits(self, written: Sequence[Written]) -> bool:
        """Tell whether what waits makes parts that are large enough."""
        return self._waiting(written) is not None

    def assemble(self, written: Sequence[Written]) -> list[dd.DataFrame]:
        """Return lazy tasks that upload all temporary objects as parts. Totals: `Combined`."""
        parts = self._waiting(written)
        assert parts, "the header is part of at least one"
        what = self.upload, self.place
        return [from_blocks(_combine, parts, *what, meta=NO_ENTRIES, step="assemble")]

    def size(self, ledger: Ledger) -> int:
        """Return the size of all parts that the store has from the workers, in bytes."""
        parts = [written.placed.part for written in ledger.all(Written)]
        parts += [combined.part for combined in ledger.all(Combined)]
        # A part's number, ETag and size: a store may tell its CRC only in some answers.
        uploaded = {part[:3] for part in parts if part}
        return sum(part.size for part in self.upload.parts() if part[:3] in uploaded)

    def _waiting(self, written: Sequence[Written]) -> list[_Pieces] | None:
        """Return the parts to put together; None if one of them would be too small."""
        parts: list[tuple[_Pieces, int]] = []
        low, run = 0, list[Written]()  # what waits behind part number `low`
        for block in written:
            if block.placed.part:
                high = block.placed.part.number
                between = self._cut(run, low, high)
                if between and (between[-1][1] < LEAST_PART or between[-1][0].number >= high):
                    return None
                parts += between
                low, run = high, []
            elif block.bytes:
                run.append(block)
        parts += self._cut(run, low, MOST_PARTS + 1)
        return [pieces for pieces, _ in parts]

    def _cut(self, run: Sequence[Written], low: int, high: int) -> list[tuple[_Pieces, int]]:
        """Return blocks that wait as parts with numbers between `low` and `high`, and their sizes.

        Only the last may be too small, if there is but one.
        """
        lead = b"" if low else self.header
        total = len(lead) + sum(block.bytes for block in run)
        if not total:
            return []
        least = max(_COMBINED, -(-total // max(1, high - low - 1)))
        groups, sizes = [list[str]()], [len(lead)]
        left = total - len(lead)
        for block in run:
            if sizes[-1] >= least and left >= least:
                groups.append([])
                sizes.append(0)
            groups[-1].append(_name(block.block))
            sizes[-1] += block.bytes
            left -= block.bytes
        return [
            (_Pieces(low + place, lead if place == 1 else b"", tuple(names)), size)
            for place, (names, size) in enumerate(zip(groups, sizes, strict=True), start=1)
        ]


def _combine(pieces: _Pieces, upload: Upload, place: ObjectFolder) -> pd.DataFrame:
    with ThreadPoolExecutor(_READERS) as pool:
        texts = list(pool.map(place.get, pieces.names))
    part: Part = upload.put(pieces.number, b"".join([pieces.lead, *texts]))
    return entry_with(Combined(part))


def _name(block: int) -> str:
    return f"block-{block}"
