"""Parts of an object: in the order of their blocks, large enough, and not too many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns.totals import Checksum
from pipeline.errors import UsageError
from pipeline.steps.combined_object import CombinedObject
from pipeline.steps.write import Written
from pipeline.storage.objects import LEAST_PART, MOST_PARTS, ObjectFolder, Upload

MIB = 1 << 20
HEADER = b"customer_id\n"
FOLDER = ObjectFolder("bucket", "prefix/")
TARGET = CombinedObject(Upload(FOLDER, "c", "id"), FOLDER, HEADER)


def written(*sizes: int) -> list[Written]:
    """Return blocks of so many bytes as they would be written, without any store."""
    return [Written(block, None, size, 1, Checksum(0, size), 0) for block, size in enumerate(sizes)]


def parts_of(*sizes: int) -> list[list[int]]:
    """Return the blocks, by number, in each part."""
    return [
        [int(name.removeprefix("block-")) for name in part.names]
        for part in TARGET._parts(written(*sizes))
    ]


def test_a_large_block_is_a_part_of_its_own() -> None:
    assert parts_of(8 * MIB, 5 * MIB, 90 * MIB, 1) == [[0], [1], [2], [3]]


def test_small_neighbours_share_a_part() -> None:
    sizes = [8 * MIB, MIB, 8 * MIB, 3 * MIB, 0, 3 * MIB, 9 * MIB, MIB]
    assert parts_of(*sizes) == [[0], [1, 2], [3, 5], [6], [7]]


def test_too_many_blocks_share_parts() -> None:
    assert len(parts_of(*[8 * MIB] * 9_000)) == 9_000
    assert MOST_PARTS / 2 < len(parts_of(*[8 * MIB] * 10_001)) <= MOST_PARTS


def test_what_cannot_fit_is_refused_before_the_work() -> None:
    with pytest.raises(UsageError, match="64 TB of purchases do not fit into one object"):
        CombinedObject.begin(FOLDER, "c", FOLDER, HEADER, 60_000 << 30)


@given(st.lists(st.sampled_from([0, 1, MIB, 4 * MIB, LEAST_PART, 9 * MIB, 40 * MIB]), max_size=16))
def test_parts_are_the_blocks_in_order(sizes: list[int]) -> None:
    parts = TARGET._parts(written(*sizes))

    names = [name for part in parts for name in part.names]
    assert names == [f"block-{block}" for block, size in enumerate(sizes) if size]
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert [part.lead for part in parts] == [HEADER, *[b""] * (len(parts) - 1)]
    totals = [sum(sizes[block] for block in part) for part in parts_of(*sizes)]
    totals[0] += len(HEADER)
    assert all(total >= LEAST_PART for total in totals[:-1])
