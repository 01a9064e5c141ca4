"""Parts of an object: in the order of their blocks, large enough, and not too many."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledgers import source

from pipeline.columns.totals import Checksum
from pipeline.csv_text.sources import Block
from pipeline.csv_text.versions import Version
from pipeline.engine.objects import LEAST_PART, MOST_PARTS, ObjectFolder, Part, Upload
from pipeline.errors import UsageError
from pipeline.steps.combined_object import CombinedObject, plan_parts
from pipeline.steps.write import Placed, Written

MIB = 1 << 20
HEADER = b"customer_id\n"
FOLDER = ObjectFolder("bucket", "prefix/")
(FILE,) = source("purchases", purchases=1).files


def blocks(*sizes: int) -> list[Block]:
    """Return blocks of so many bytes."""
    return [Block(FILE, 0, size, number) for number, size in enumerate(sizes)]


def numbers(*sizes: int) -> list[int | None]:
    """Return the part numbers of blocks of so many bytes."""
    planned = blocks(*sizes)
    plan = plan_parts(planned)
    return [plan.of(block.number) for block in planned]


def target(planned: list[Block]) -> CombinedObject:
    return CombinedObject(Upload(FOLDER, "c", "id"), FOLDER, HEADER, plan_parts(planned))


def written(target: CombinedObject, sizes: dict[int, int]) -> list[Written]:
    """Return blocks with texts of so many bytes as they would be written, without any store."""
    return [
        Written(block, Placed(part=part_of(target, block, size)), size, 1, Checksum(0, size), 0)
        for block, size in sizes.items()
    ]


def part_of(target: CombinedObject, block: int, size: int) -> Part | None:
    number = target.numbers.of(block)
    if number is None or size < LEAST_PART:
        return None
    return Part(number, "etag", size, None)


def test_a_block_that_is_large_is_a_part_of_its_own_but_for_the_first() -> None:
    assert numbers(8 * MIB, 8 * MIB, 8 * MIB) == [None, 2, 3]


def test_small_neighbours_share_a_number() -> None:
    sizes = [8 * MIB, MIB, 8 * MIB, 8 * MIB, 3 * MIB, 3 * MIB, 9 * MIB, MIB]
    assert numbers(*sizes) == [None, None, None, 3, None, None, 5, None]


def test_too_many_blocks_share_numbers() -> None:
    assert set(numbers(*[8 * MIB] * 20_000)) == {None}
    assert numbers(*[8 * MIB] * 8_999)[-1] == 8_999


def test_a_compressed_file_keeps_numbers_for_all_its_blocks_but_the_first() -> None:
    packed = replace(FILE, is_plain=False, version=Version(100 * MIB))
    plan = plan_parts(
        [
            Block(packed, 0, 100 * MIB, 0, following=1000),
            *(Block(FILE, 0, 100 * MIB, number) for number in (1000, 1001)),
            Block(packed, 0, 100 * MIB, 1002, following=2002),
        ]
    )

    each = 9_000 * 4 // 10
    assert [plan.of(block) for block in (0, 1, 2, 999)] == [None, 2, 3, 1000]
    assert [plan.of(block) for block in (1000, 1001, 1002)] == [each + 1, each + 2, None]
    assert [plan.of(block) for block in (1003, 2001)] == [each + 4, each + 1002]


def test_a_compressed_file_that_becomes_more_blocks_than_it_has_numbers_for() -> None:
    packed = replace(FILE, is_plain=False, version=Version(100 * MIB))
    plan = plan_parts([Block(packed, 0, 100 * MIB, 0, following=1 << 20)])
    assert plan.of(8_099) == 8_100
    assert plan.of(8_100) is None


def test_what_cannot_fit_is_refused_before_the_work() -> None:
    with pytest.raises(UsageError, match="54 TB of purchases do not fit into one object"):
        plan_parts(blocks(*[1 << 30] * 50_000))


SIZES = st.sampled_from([0, 1, MIB, 4 * MIB, LEAST_PART, 6 * MIB, 9 * MIB, 40 * MIB])


@given(st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=12), st.lists(SIZES, max_size=4))
def test_parts_are_the_blocks_in_order(inputs: list[tuple[int, int]], behind: list[int]) -> None:
    planned = blocks(*(size for size, _ in inputs))
    outputs = [size for _, size in inputs] + behind
    combined = target(planned)
    done = written(combined, dict(enumerate(outputs)))

    if not combined.fits(done):
        combined = target([])
        done = written(combined, dict(enumerate(outputs)))
    waiting = combined._waiting(done)

    assert waiting is not None
    sizes = {f"block-{one.block}": one.bytes for one in done}
    parts = {one.placed.part.number: [f"block-{one.block}"] for one in done if one.placed.part}
    assert not parts.keys() & {pieces.number for pieces in waiting}
    parts |= {pieces.number: list(pieces.names) for pieces in waiting}
    in_order = [parts[number] for number in sorted(parts)]
    every = [name for names in in_order for name in names]
    assert every == [name for name, size in sizes.items() if size]
    assert [pieces.lead for pieces in waiting if pieces.lead] == [HEADER]
    assert waiting[0].number == min(parts)
    assert 1 <= min(parts) <= max(parts) <= MOST_PARTS
    total = [sum(sizes[name] for name in names) for names in in_order]
    total[0] += len(HEADER)
    assert all(size >= LEAST_PART for size in total[:-1])


def test_many_blocks_that_wait_are_few_parts() -> None:
    combined = target([])
    done = written(combined, dict.fromkeys(range(50_000), 20 * MIB))

    parts = combined._waiting(done)

    assert parts is not None
    assert 5_000 < len(parts) <= MOST_PARTS


def test_a_block_that_turns_out_small_between_two_parts_does_not_fit() -> None:
    combined = target(blocks(*[8 * MIB] * 4))

    assert combined.fits(written(combined, dict.fromkeys(range(4), 9 * MIB)))
    assert combined.fits(written(combined, {0: 9 * MIB, 1: 9 * MIB, 2: 9 * MIB, 3: MIB}))
    assert combined.fits(written(combined, {0: 9 * MIB, 1: 9 * MIB, 2: 0, 3: 9 * MIB}))
    assert not combined.fits(written(combined, {0: 9 * MIB, 1: 9 * MIB, 2: MIB, 3: 9 * MIB}))
    assert not combined.fits(written(combined, {0: MIB, 1: 9 * MIB, 2: 9 * MIB, 3: 9 * MIB}))
