"""Finds the line number of a record that a later step reports."""

from __future__ import annotations

from dataclasses import dataclass, replace

from distributed import Client

from pipeline.csv_text.parse import parse_texts
from pipeline.csv_text.ranges import find_records
from pipeline.csv_text.sources import Block, Source
from pipeline.csv_text.unpacked import nth_block
from pipeline.engine.compute import compute_answer
from pipeline.steps.read import BlockRead


@dataclass(frozen=True)
class Lines:
    """Finds the lines of a table's records; `block_size` is that of the blocks of packed files."""

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
        where = block, number - block.number, self.block_size, row
        return compute_answer(self.client, _find_line, *where, name="line")


def _find_line(block: Block, index: int, size: int, row: int) -> tuple[int, int]:
    if not block.file.is_plain:
        block = nth_block(block, index, size)
    (place,) = parse_texts(find_records(block).texts).lines_of([row])
    return place
