"""Finds the line of a record that a later step has something to say about."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd
from distributed import Client

from pipeline.csv_text.parse import parse_texts
from pipeline.csv_text.ranges import find_records
from pipeline.csv_text.sources import Block, Source
from pipeline.csv_text.unpacked import nth_block
from pipeline.engine.compute import compute_entries
from pipeline.engine.ledger import NO_ENTRIES, Entry, entry_with
from pipeline.engine.partitions import from_blocks
from pipeline.steps.read import BlockRead


@dataclass(frozen=True)
class Lines:
    """Tells the lines of a table's records; `block_size` is that of the blocks of packed files."""

    client: Client
    source: Source
    block_size: int

    def __call__(self, number: int, read: BlockRead, row: int) -> tuple[int, int]:
        """Return which file of its block a record is in, and its line there, from 0.

        This reads the block again. `number` is that of the block, `row` counts its records from 0.
        """
        (block,) = (
            block for block in self.source.blocks if block.number <= number < block.next_number
        )
        if not block.exact:
            start = read.files[0].start
            block = replace(block, start=start, stop=start + read.bytes, exact=True)
        found: list[Entry] = []
        index = number - block.number
        how = index, self.block_size, row
        task = from_blocks(_find, [block], *how, meta=NO_ENTRIES, step="line")
        compute_entries(self.client, [task], found.append)
        return found[0][_Line].place


@dataclass(frozen=True)
class _Line:
    place: tuple[int, int]


def _find(block: Block, index: int, size: int, row: int) -> pd.DataFrame:
    if not block.file.is_plain:
        block = nth_block(block, index, size)
    (place,) = parse_texts(find_records(block).texts).lines_of([row])
    return entry_with(_Line(place))
