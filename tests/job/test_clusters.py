"""Workers come, leave, restart, or are not there yet; runs share them: the bytes are the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from distributed import Client, LocalCluster
from support.paths import REPOSITORY
from support.processes import Processes, wait_until

from pipeline import Settings, run
from pipeline.engine.progress import Progress, Work
from pipeline.outputs.names import COMBINED

pytestmark = pytest.mark.cluster

EXPECTED = (REPOSITORY / "outputs" / COMBINED).read_bytes()
LOOKUP = "build-lookup-"


def sample(folder: Path) -> Settings:
    data = REPOSITORY / "data"
    return Settings(
        (str(data / "customers.csv"),),
        (str(data / "purchases.csv"),),
        str(folder),
        block_size=5_000,  # some forty blocks
        join="broadcast",
        fsync=False,
    )


@contextmanager
def cluster(workers: int, **how: Any) -> Iterator[Client]:
    """Yield a client of a cluster of worker processes with one thread each."""
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, **how
        ) as local,
        Client(local) as client,
    ):
        yield client


class Acting(Progress):
    """Does something once so many blocks of purchases are done."""

    def __init__(self, blocks: int, act: Callable[[], object]) -> None:
        self._left, self._act = blocks, act

    def advance(self, work: Work) -> None:
        """Count a block."""
        if work.table == "purchases":
            self._left -= 1
            if self._left == 0:
                self._act()


def holders(client: Client) -> list[str]:
    """Return the workers that hold a lookup."""
    held = client.has_what().items()
    return [worker for worker, keys in held if any(str(key).startswith(LOOKUP) for key in keys)]


def kill(client: Client, workers: list[str]) -> None:
    for worker in workers:
        client.run(os._exit, 1, workers=[worker], on_error="ignore")


def test_a_run_starts_the_first_worker_of_an_adaptive_cluster(tmp_path: Path) -> None:
    with cluster(0) as client:
        client.cluster.adapt(minimum=0, maximum=2)

        run(sample(tmp_path), client)

    assert (tmp_path / COMBINED).read_bytes() == EXPECTED


@pytest.mark.parametrize("blocks", [1, 20])
def test_the_only_worker_may_restart(tmp_path: Path, blocks: int) -> None:
    with cluster(1) as client:
        run(sample(tmp_path), client, Acting(blocks, lambda: kill(client, holders(client))))

    assert (tmp_path / COMBINED).read_bytes() == EXPECTED


def test_workers_may_come(tmp_path: Path) -> None:
    with cluster(1) as client:
        run(sample(tmp_path), client, Acting(5, lambda: client.cluster.scale(3)))

    assert (tmp_path / COMBINED).read_bytes() == EXPECTED


def test_workers_may_leave(tmp_path: Path) -> None:
    with cluster(3) as client:

        def retire() -> None:
            client.retire_workers(holders(client)[:2])

        run(sample(tmp_path), client, Acting(5, retire))

    assert (tmp_path / COMBINED).read_bytes() == EXPECTED


def test_every_holder_of_the_lookup_may_be_lost(tmp_path: Path) -> None:
    with cluster(2) as client:
        run(sample(tmp_path), client, Acting(10, lambda: kill(client, holders(client))))

    assert (tmp_path / COMBINED).read_bytes() == EXPECTED


@pytest.mark.parametrize("runs", [2, 4])
def test_runs_in_threads_share_one_worker(tmp_path: Path, runs: int) -> None:
    with cluster(1) as client, ThreadPoolExecutor(runs) as pool:
        folders = [tmp_path / str(number) for number in range(runs)]
        list(pool.map(lambda folder: run(sample(folder), client), folders))
        wait_until(lambda: not holders(client))

    assert all((folder / COMBINED).read_bytes() == EXPECTED for folder in folders)


@pytest.mark.parametrize("join", ["broadcast", "shuffle"])
def test_a_client_need_not_be_the_default(
    tmp_path: Path, join: Literal["broadcast", "shuffle"]
) -> None:
    (tmp_path / "machines").mkdir()
    with Processes(tmp_path / "machines") as processes:
        processes.start_scheduler()
        processes.start_worker()
        with Client(processes.address, set_as_default=False) as client:
            run(replace(sample(tmp_path / "out"), join=join), client)

    written = (tmp_path / "out" / COMBINED).read_bytes()
    assert sorted(written.splitlines()) == sorted(EXPECTED.splitlines())
