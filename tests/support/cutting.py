"""Tables cut into blocks in this process, as workers and client do together."""

from __future__ import annotations

from dataclasses import replace

from pipeline.csv_text.ranges import Cut, cut_again, cut_into_ranges, decide_blocks, find_records
from pipeline.csv_text.sources import Block, Source, UnpackedBlock
from pipeline.csv_text.unpacked import BlockStream


def cut(source: Source, block_size: int) -> Source:
    """Return a table with blocks of whole records, some of which may be undecided ranges before.

    A range that was decided is left as it is, so that it is read as in a run.
    """
    ranges = cut_into_ranges(source, block_size)
    plain = replace(ranges, blocks=tuple(b for b in ranges.blocks if b.file.is_plain))
    found: dict[int, Cut | tuple[Cut, ...]] = {}
    for block in plain.blocks:
        (first, *_), undecided = find_records(block)
        assert undecided is None or not first.text
        stop = first.start + len(first.text)
        found[block.number] = Cut(first.start, stop) if undecided is None else undecided

    def again(block: Block, start: int) -> Cut:
        return cut_again(block, start)

    exact = {block.number: block for block in decide_blocks(plain, found, again)}
    blocks: list[Block] = []
    for block in ranges.blocks:
        if not block.file.is_plain:
            blocks += unpacked(block, block_size)
        elif block.number in exact:
            is_cut = isinstance(found[block.number], Cut)
            blocks.append(block if is_cut else exact[block.number])
    return replace(ranges, blocks=tuple(blocks) or ranges.blocks[:1])


def unpacked(whole: Block, block_size: int) -> list[UnpackedBlock]:
    """Return all blocks of files that can only be read from their fronts."""
    stream = BlockStream(whole, block_size)
    blocks = [stream.block(0)]
    while not blocks[-1].is_last:
        blocks.append(stream.block(len(blocks)))
    return [replace(block, number=whole.number + block.number) for block in blocks]


def exactly(source: Source, block_size: int) -> list[Block]:
    """Return the exact blocks of a table."""
    blocks = []
    for block in cut(source, block_size).blocks:
        first = find_records(block).texts[0]
        stop = first.start + len(first.text)
        blocks.append(replace(block, start=first.start, stop=stop, exact=True))
    return blocks
