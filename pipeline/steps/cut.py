"""Turn the blocks of a table from byte ranges into whole records.

A worker can nearly always tell where records begin from the range it reads anyway. If it cannot,
because of quotes, it returns the possible cuts. This module then picks one, and the range is read
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import dask.dataframe as dd
import pandas as pd
from distributed import Client, Future

from pipeline.csv_text.ranges import Cut, cut_again, decide, find_records
from pipeline.csv_text.sources import Block, Source
from pipeline.engine.compute import Entry, compute_entries
from pipeline.engine.ledger import NO_ENTRIES, as_entry, with_totals
from pipeline.engine.partitions import from_blocks
from pipeline.settings import Dialect
from pipeline.steps.unpack import Unpacking

_AT_ONCE = 1 << 10  # blocks of one dataframe


def in_passes(
    client: Client,
    source: Source,
    block_size: int,
    dialect: Dialect,
    steps: Callable[[Source], dd.DataFrame],
    *each: Callable[[Entry], object],
    kept: list[Future] | None = None,
) -> None:
    """Run the blocks of a table through `steps`, and the undecided ones in a second pass.

    `steps` turns a table into a lazy dataframe. Every entry of it is passed to each function in
    `each`. Files that can only be read from their front are unpacked meanwhile, into blocks of
    `block_size` bytes. For `kept`, see `compute_entries`.
    """
    plain, packed = _parted(source)

    def in_turn() -> Iterator[dd.DataFrame]:
        yield from unpacking.begin()
        for first in range(0, len(plain.blocks), _AT_ONCE):
            yield steps(replace(source, blocks=plain.blocks[first : first + _AT_ONCE]))

    entries: list[Entry] = []
    with Unpacking(client, packed, block_size, dialect, steps) as unpacking:
        compute_entries(client, in_turn(), entries.append, *each, more=unpacking.more, kept=kept)
    blocks = _decided(client, plain, dialect, entries)
    undecided = {entry["block"] for entry in entries if entry.get("undecided") is not None}
    left = tuple(block for block in blocks if block.number in undecided)
    if left:
        compute_entries(client, [steps(replace(source, blocks=left))], *each, kept=kept)


def _parted(source: Source) -> tuple[Source, Source]:
    """Return a table's blocks of plain files, and those of files to unpack."""
    plain = tuple(block for block in source.blocks if block.file.is_plain)
    packed = tuple(block for block in source.blocks if not block.file.is_plain)
    return replace(source, blocks=plain), replace(source, blocks=packed)


def cut_exactly(client: Client, source: Source, dialect: Dialect) -> Source:
    """Return a table whose blocks hold whole records; this reads every byte of it."""
    entries: list[Entry] = []
    ledger = from_blocks(_look, source.blocks, source.name, dialect, meta=NO_ENTRIES, step="cut")
    compute_entries(client, [ledger], entries.append)
    blocks = _decided(client, source, dialect, entries)
    return replace(source, blocks=tuple(blocks) or source.blocks[:1])


def _decided(
    client: Client, source: Source, dialect: Dialect, entries: Sequence[Entry]
) -> list[Block]:
    """Return the exact blocks of a table, given what the workers found in each."""
    found = {
        entry["block"]: Cut(entry["start"], entry["start"] + entry["bytes"])
        if entry["undecided"] is None
        else entry["undecided"]
        for entry in entries
        if entry.get("table") == source.name
    }

    def again(block: Block, start: int) -> Cut:
        cuts: list[Entry] = []
        ledger = from_blocks(_cut_again, [block], start, dialect, meta=NO_ENTRIES, step="cut")
        compute_entries(client, [ledger], cuts.append)
        return Cut(*cuts[0]["cut"])

    return list(decide(source, found, again))


def _look(block: Block, table: str, dialect: Dialect) -> pd.DataFrame:
    text, start, undecided = find_records(block, dialect)
    totals = {"block": block.number, "start": start, "bytes": len(text), "undecided": undecided}
    return as_entry(with_totals(pd.DataFrame(), table=table, **totals))


def _cut_again(block: Block, start: int, dialect: Dialect) -> pd.DataFrame:
    return as_entry(with_totals(pd.DataFrame(), cut=cut_again(block, start, dialect)))
