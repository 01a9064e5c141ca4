"""A worker is lost in the midst of a run: the others do again what it held, and no more."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Scheduler, SchedulerPlugin
from support.data import make_data
from support.processes import Processes, wait_until

from pipeline import Settings, run
from pipeline.engine.cluster import connect
from pipeline.outputs.names import COMBINED
from pipeline.settings import ClusterSettings

BLOCK, COUNTER = "read-join-sum-write", "counter"  # what Dask calls the task of a block


@pytest.mark.cluster
@pytest.mark.slow("lost clusters")
def test_a_lost_worker_has_few_blocks_done_again(tmp_path: Path) -> None:
    make_data(tmp_path, customers=2_000, purchases=15_000)
    inputs = (str(tmp_path / "customers.csv"),), (str(tmp_path / "purchases.csv"),)
    settings = Settings(*inputs, block_size=1024, join="broadcast", fsync=False)
    with Processes(tmp_path) as processes:
        processes.start_scheduler()
        victim, _ = processes.start_worker(), processes.start_worker()
        with processes.client() as client:
            count_blocks(client)
            expected = combined(processes, settings, tmp_path / "before")
            blocks = blocks_done(client)

            def kill() -> None:
                wait_until(lambda: blocks_done(client) > 1.5 * blocks)
                victim.kill()

            killer = threading.Thread(target=kill)
            killer.start()
            found = combined(processes, settings, tmp_path / "after")
            killer.join()
            again = blocks_done(client) - 2 * blocks
        assert victim.wait() == -signal.SIGKILL
    assert blocks > 250
    assert 0 <= again <= blocks / 10
    assert found == expected


def combined(processes: Processes, settings: Settings, folder: Path) -> bytes:
    """Run the job on the processes; return what it has joined."""
    with connect(ClusterSettings(processes.address)) as client:
        run(replace(settings, output_dir=str(folder)), client)
    return (folder / COMBINED).read_bytes()


def count_blocks(client: Client) -> None:
    """Have the scheduler count the blocks done from now on; those done twice count twice."""

    class Counter(SchedulerPlugin):  # here, so that it is pickled by value
        done = 0

        def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
            if finish == "memory" and isinstance(key, tuple) and key[0].startswith(BLOCK):
                self.done += 1

    client.register_plugin(Counter(), name=COUNTER)


def blocks_done(client: Client) -> int:
    """Return how many blocks were counted."""

    def count(dask_scheduler: Scheduler) -> int:
        counter: Any = dask_scheduler.plugins[COUNTER]
        return int(counter.done)

    return int(client.run_on_scheduler(count))
