"""Finds the line of a record that a later step has something to say about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from distributed import Client

from pipeline.csv_text.parse import parse
from pipeline.csv_text.ranges import find_records
from pipeline.csv_text.sources import Block, Source
from pipeline.csv_text.unpacked import nth_block
from pipeline.engine.compute import Entry, compute_entries
from pipeline.engine.ledger import NO_ENTRIES, as_entry, with_totals
from pipeline.engine.partitions import from_blocks
from pipeline.settings import Dialect


@dataclass(frozen=True)
class Lines:
    """Tells the lines of a table's records; `block_size` is that of the blocks of packed files."""

    client: Client
    source: Source
    block_size: int
    dialect: Dialect

    def __call__(self, entry: Mapping[str, Any], row: int) -> int:
        """Return the line of a record, from 0 at the start of its block; reads the block again.

        `entry` is that of the block (see `read.read_block`), `row` counts its records from 0.
        """
        number = entry["block"]
        (block,) = (
            block for block in self.source.blocks if block.number <= number < block.next_number
        )
        if block.file.is_plain:
            block = replace(
                block, start=entry["start"], stop=entry["start"] + entry["bytes"], exact=True
            )
        found: list[Entry] = []
        index = number - block.number
        task = from_blocks(
            _find, [block], index, self.block_size, self.dialect, row, meta=NO_ENTRIES, step="line"
        )
        compute_entries(self.client, [task], found.append)
        line: int = found[0]["line"]
        return line


def _find(block: Block, index: int, size: int, dialect: Dialect, row: int) -> pd.DataFrame:
    if not block.file.is_plain:
        block = nth_block(block.file, index, size, dialect)
    text, *_ = find_records(block, dialect)
    (line,) = parse(text, block.file.columns, block.file.encoding, dialect).lines_of([row])
    return as_entry(with_totals(pd.DataFrame(), line=line))
