"""A block is as large as the number of blocks and the memory of a thread allow."""

from __future__ import annotations

import pytest

from pipeline.steps.plan import choose_block_size

MIB = 1 << 20


@pytest.mark.parametrize(
    ("total", "memory", "size"),
    [
        (0, None, 8 * MIB),
        (100_000 * MIB, None, 8 * MIB),
        (1_000_000 * MIB, None, 50 * MIB),
        (1_000_000 * MIB, 800 * MIB, 50 * MIB),
        (1_000_000 * MIB, 480 * MIB, 30 * MIB),
        (1_000_000 * MIB, 10 * MIB, 8 * MIB),
        (100_000_000 * MIB, None, 1024 * MIB),
    ],
)
def test_the_size_of_a_block(total: int, memory: int | None, size: int) -> None:
    assert choose_block_size(total, memory) == size
