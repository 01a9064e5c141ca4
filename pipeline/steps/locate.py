"""Finds the line of a record that a later step has something to say about."""

from __future__ import annotations

from dataclasses import dataclass, replace

from distributed import Client

from pipeline.csv_text.parse import parse
from pipeline.csv_text.ranges import find_records
from pipeline.csv_text.sources import Block, Source
from pipeline.csv_text.unpacked import nth_block
from pipeline.engine.compute import compute_answer
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
        where = block, number - block.number, self.block_size, row
        return compute_answer(self.client, _find_line, *where, name="line")


def _find_line(block: Block, index: int, size: int, row: int) -> int:
    if not block.file.is_plain:
        block = nth_block(block.file, index, size)
    text, *_ = find_records(block)
    file = block.file
    parsed = parse(text, file.columns, file.encoding, file.dialect, file.header)
    (line,) = parsed.lines_of([row])
    return line
