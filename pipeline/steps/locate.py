"""Finds the line of a record that a later step has something to say about."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd
from distributed import Client

from pipeline.csv_text.parse import parse
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

    def __call__(self, number: int, read: BlockRead, row: int) -> int:
        """Return the line of a record, from 0 at the start of its block; reads the block again.

        `number` is that of the block, `row` counts its records from 0.
        """
        (block,) = (
            block for block in self.source.blocks if block.number <= number < block.next_number
        )
        if block.file.is_plain:
            block = replace(block, start=read.start, stop=read.start + read.bytes, exact=True)
        found: list[Entry] = []
        index = number - block.number
        how = index, self.block_size, row
        task = from_blocks(_find, [block], *how, meta=NO_ENTRIES, step="line")
        compute_entries(self.client, [task], found.append)
        return found[0][_Line].line


@dataclass(frozen=True)
class _Line:
    line: int


def _find(block: Block, index: int, size: int, row: int) -> pd.DataFrame:
    if not block.file.is_plain:
        block = nth_block(block.file, index, size)
    text, *_ = find_records(block)
    file = block.file
    parsed = parse(text, file.columns, file.encoding, file.dialect, file.header)
    (line,) = parsed.lines_of([row])
    return entry_with(_Line(line))
