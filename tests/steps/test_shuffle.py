"""How many partitions a shuffle has."""

from __future__ import annotations

import pytest

from pipeline.steps.shuffle import choose_partitions

MIB = 1 << 20


@pytest.mark.parametrize(
    ("total", "memory", "count"),
    [
        (0, None, 1),
        (1, None, 1),
        (128 * MIB, None, 1),
        (129 * MIB, None, 2),
        (1280 * MIB, None, 11),  # primes only
        (640 * MIB, 24 * 32 * MIB, 23),
        (640 * MIB, 1 * MIB, 83),
    ],
)
def test_partitions_follow_from_bytes_and_memory(
    total: int, memory: int | None, count: int
) -> None:
    assert choose_partitions(total, memory) == count
