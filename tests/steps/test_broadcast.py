"""Every worker process has a lookup of all customers, whatever workers are lost meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from threading import Barrier

import pytest
from distributed import Client, futures_of
from support.frames import in_blocks, rendered_customers
from support.processes import two_workers, wait_until

from pipeline.columns.arrow import to_arrow
from pipeline.engine.compute import start
from pipeline.steps import broadcast
from pipeline.steps.broadcast import Parts, build_lookup

IDS = [str(number) for number in range(60)]
TOGETHER = Barrier(2, timeout=60)
CUSTOMERS = rendered_customers(IDS, ["Young"] * len(IDS))


@pytest.fixture
def processes() -> Iterator[Client]:
    """Two worker processes with one thread each."""
    with two_workers() as client:
        yield client


def look_up(parts: Parts) -> tuple[int, list[int]]:
    """Return this process, and the rows of some ids in its lookup."""
    ids = to_arrow(CUSTOMERS["customer_id"]).take([59, 0, 31])
    return os.getpid(), parts.lookup().rows(ids).tolist()


def together_look_up(parts: Parts) -> list[int]:
    TOGETHER.wait()
    return look_up(parts)[1]


def process_id() -> int:
    return os.getpid()


@pytest.mark.cluster
def test_every_process_has_all_customers(processes: Client) -> None:
    frame = start(processes, in_blocks(CUSTOMERS, 6))
    parts = Parts("all", tuple(future.key for future in futures_of(frame)), "nobody")

    found = processes.gather(
        [
            processes.submit(look_up, parts, workers=[address], pure=False)
            for address in processes.nthreads()
        ]
    )

    assert len({process for process, _ in found}) == 2
    assert [rows for _, rows in found] == [[59, 0, 31]] * 2


@pytest.mark.cluster
def test_lost_partitions_are_made_anew(processes: Client) -> None:
    frame = start(processes, in_blocks(CUSTOMERS, 6))
    futures = futures_of(frame)
    wait_until(lambda: all(future.done() for future in futures))
    parts = Parts("lost", tuple(future.key for future in futures), "nobody")
    pids = processes.run(process_id)
    lost = next(address for (address, *_) in processes.who_has(futures).values())
    (left,) = set(pids) - {lost}

    os.kill(pids[lost], signal.SIGKILL)
    result = processes.submit(look_up, parts, workers=[left])

    assert result.result(timeout=60) == (pids[left], [59, 0, 31])


def test_threads_share_what_one_of_them_builds(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = start(client, in_blocks(CUSTOMERS, 3))
    parts = Parts("shared", tuple(future.key for future in futures_of(frame)), "nobody")
    built = []

    def build(*args: object) -> object:
        built.append(args)
        return build_lookup(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(broadcast, "build_lookup", build)
    found = client.gather(client.map(together_look_up, [parts] * 2, pure=False))

    assert found == [[59, 0, 31]] * 2
    assert len(built) == 1
