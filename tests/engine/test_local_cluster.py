"""A cluster that the job starts itself: what it takes of this machine, and who can reach it."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace

import dask
import pytest
from support.processes import listeners

from pipeline.engine.cluster import connect, dashboard_link, worker_memory
from pipeline.settings import ClusterSettings

SMALL = ClusterSettings(threads_per_worker=1, dashboard_address="127.0.0.1:0")


# Tornado leaves the socket open that it could not bind.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_dashboard_of_a_local_cluster_listens_on_this_machine_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = ClusterSettings(
            dashboard_address="127.0.0.1:{1}".format(*taken.getsockname()), threads_per_worker=1
        )
        with connect(settings) as client:
            link = dashboard_link(client, settings)
            # With its port taken it moves on, and the link is the real one.
            assert link.startswith("http://127.0.0.1:")
            assert link != f"http://{settings.dashboard_address}/status"
            sockets = client.cluster.scheduler.http_server._sockets.values()
            assert {listener.getsockname()[0] for listener in sockets} == {"127.0.0.1"}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.cluster)])
def test_nothing_of_a_local_cluster_can_be_reached_from_other_machines(workers: int) -> None:
    settings = ClusterSettings(
        workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    )
    before = listeners()  # of what other tests have started
    with connect(settings):
        assert {host for host, _ in listeners() - before} == {"127.0.0.1"}


BEGUN, END = threading.Event(), threading.Event()


def work_on() -> None:
    """Work until the test is over, as a task that nobody wants any more."""
    BEGUN.set()
    END.wait(60)


def test_a_cluster_closes_while_a_task_still_works() -> None:
    with connect(SMALL) as client:
        future = client.submit(work_on)
        assert BEGUN.wait(60)
        begin = time.monotonic()
    try:
        assert time.monotonic() - begin < 20  # Dask's own patience is 30 seconds
    finally:
        END.set()
        del future


def test_the_least_memory_limit_counts() -> None:
    settings = ClusterSettings(
        memory_limit="1GiB", threads_per_worker=1, dashboard_address="127.0.0.1:0"
    )
    with connect(settings) as client:
        assert worker_memory(client) == 1 << 30


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.cluster)])
def test_the_cores_that_dask_finds_are_shared_out(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.engine.cluster.CPU_COUNT", 6)
    settings = ClusterSettings(workers=workers, dashboard_address="127.0.0.1:0")
    with connect(settings) as client:
        assert set(client.nthreads().values()) == {6 // workers}


def test_two_threads_share_a_core_where_they_wait_for_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.engine.cluster.CPU_COUNT", 3)
    settings = ClusterSettings(dashboard_address="127.0.0.1:0")
    with connect(settings, waits_for_network=True) as client:
        assert list(client.nthreads().values()) == [6]


@pytest.mark.parametrize(
    "workers",
    [1, pytest.param(2, marks=[pytest.mark.cluster, pytest.mark.slow("more workers")])],
)
def test_threads_are_sampled_only_if_asked_for(workers: int) -> None:
    for profiled in (False, True, False):
        with connect(replace(SMALL, workers=workers), profiled=profiled) as client:
            found = client.run(dask.config.get, "distributed.worker.profile.enabled")
        assert list(found.values()) == [profiled] * workers


def test_what_the_user_has_configured_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL", "30ms")
    # Dask reads the environment when it is imported.
    with dask.config.set({"distributed.admin.tick.interval": "30ms"}), connect(SMALL) as client:
        found = client.run(dask.config.get, "distributed.admin.tick.interval")
    assert list(found.values()) == ["30ms"]
