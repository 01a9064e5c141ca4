"""A block has its place where its predecessors are known, and nobody waits for long."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.processes import wait_until

from pipeline.engine import prefix_sum
from pipeline.engine.prefix_sum import PrefixSum


def test_blocks_in_order_lie_one_behind_the_other(tmp_path: Path) -> None:
    places = PrefixSum(10, tmp_path)

    assert [places.add(block, size, block + 1) for block, size in enumerate([5, 0, 7, 1])] == [
        10,
        15,
        15,
        22,
    ]


def test_a_block_whose_predecessor_is_elsewhere_has_no_place(tmp_path: Path) -> None:
    places = PrefixSum(0, tmp_path)

    assert places.add(0, 5, 1) == 0
    assert places.add(2, 5, 3) is None
    assert places.add(1, 3, 2) == 5
    assert places.add(3, 1, 4) == 13


def test_processes_of_a_machine_know_of_each_other(tmp_path: Path) -> None:
    one, other = PrefixSum(0, tmp_path), PrefixSum(0, tmp_path)

    assert [one.add(0, 5, 1), other.add(1, 0, 2), one.add(2, 7, 4), other.add(4, 1, 5)] == [
        0,
        5,
        5,
        12,
    ]


def test_machines_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = PrefixSum(0, tmp_path)
    (tmp_path / "boot_id").write_text("another machine\n")
    monkeypatch.setattr(prefix_sum, "_BOOT_ID", tmp_path / "boot_id")

    assert one.add(0, 5, 1) == 0
    assert PrefixSum(0, tmp_path).add(1, 5, 2) is None


def test_a_run_that_has_ended_is_not_revived(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        PrefixSum(0, tmp_path / "gone").add(0, 5, 1)


def test_a_retry_has_the_same_place(tmp_path: Path) -> None:
    places = PrefixSum(0, tmp_path)
    first = [places.add(block, 4, block + 1) for block in range(3)]

    assert [places.add(block, 4, block + 1) for block in (2, 0, 1, 3)] == [8, 0, 4, 12]
    assert first == [0, 4, 8]


def test_a_block_far_behind_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_sum, "_PATIENCE", 3600)

    assert PrefixSum(0, tmp_path).add(1000, 1, 1001) is None


def test_threads_beside_each_other_wait_for_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix_sum, "_PATIENCE", 60)
    places, together = PrefixSum(0, tmp_path), Barrier(2)

    def place(block: int) -> int | None:
        together.wait()
        return places.add(block, 10, block + 1)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(place, [1, 0])) == [10, 0]


@pytest.mark.skipif(os.cpu_count() == 1, reason="there is one core")
def test_a_process_kept_to_one_core_waits_for_another_process(tmp_path: Path) -> None:
    script = f"""
import os
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
from pathlib import Path
from pipeline.engine import prefix_sum
prefix_sum._PATIENCE = 60
print(prefix_sum.PrefixSum(0, Path({str(tmp_path)!r})).add(1, 5, 2))
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    # It has recorded its block, and looks for the one before.
    wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob("sizes-*")), other)

    assert PrefixSum(0, tmp_path).add(0, 10, 1) == 0
    assert other.communicate()[0] == "10\n"


@given(st.permutations(range(8)), st.lists(st.integers(0, 9), min_size=8, max_size=8))
def test_a_place_is_right_or_unknown_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], sizes: list[int]
) -> None:
    places, told = PrefixSum(3, tmp_path_factory.mktemp("sizes")), set[int]()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_sum, "_PATIENCE", 0)
        for block in order:
            told.add(block)
            known = told.issuperset(range(block))
            expected = 3 + sum(sizes[:block]) if known else None
            assert places.add(block, sizes[block], block + 1) == expected
