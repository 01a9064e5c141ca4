"""What does not fit into memory is made smaller, not chosen, or ends before a purchase is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import Settings, run
from pipeline.engine.cluster import connect
from pipeline.engine.progress import Progress
from pipeline.errors import ClusterError
from pipeline.outputs.names import FAILED
from pipeline.settings import ClusterSettings
from pipeline.steps import sizes
from pipeline.steps.sizes import choose_block_size, choose_join, choose_partitions

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
def test_a_block_is_as_large_as_their_number_and_memory_allow(
    total: int, memory: int | None, size: int
) -> None:
    assert choose_block_size(total, memory) == size


@pytest.mark.parametrize(
    ("total", "memory", "count"),
    [
        (0, None, 1),
        (1, None, 1),
        (128 * MIB, None, 1),
        (129 * MIB, None, 2),
        (1280 * MIB, None, 10),
        (640 * MIB, 24 * 32 * MIB, 20),
        (640 * MIB, 1 * MIB, 80),
    ],
)
def test_partitions_follow_from_bytes_and_memory(
    total: int, memory: int | None, count: int
) -> None:
    assert choose_partitions(total, memory) == count


@pytest.mark.parametrize(
    ("asked", "size", "memory", "how"),
    [
        ("auto", 100, 1000, "broadcast"),
        ("auto", 101, 1000, "shuffle"),
        ("auto", 10**15, None, "broadcast"),
        ("auto", 0, 1, "broadcast"),
        ("broadcast", 10**15, 1, "broadcast"),
        ("shuffle", 0, None, "shuffle"),
    ],
)
def test_auto_broadcasts_where_the_customers_fit(
    asked: str, size: int, memory: int | None, how: str
) -> None:
    assert choose_join(asked, size, memory) == how


def test_a_broadcast_that_does_not_fit_ends_before_purchases_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "_CUSTOMER_TAKES", 4 << 20)
    cluster = ClusterSettings(memory_limit="8GiB", dashboard_address="127.0.0.1:0")
    read: set[str] = set()

    class Watching(Progress):
        def advance(self, table: str, size: int, records: int) -> None:
            read.add(table)

    with connect(cluster) as client, pytest.raises(ClusterError) as caught:
        run(Settings(output_dir=str(tmp_path), join="broadcast"), client, Watching())

    assert str(caught.value) == (
        "2,000 customers need up to 7.81 GiB of memory in each worker, whose limit is 8.00 GiB; "
        "use --join shuffle, or raise the memory limit"
    )
    assert read == {"customers"}
    assert [file.name for file in tmp_path.iterdir()] == [FAILED]
