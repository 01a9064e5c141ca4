"""The report of a run says what its cluster did for it."""

from __future__ import annotations

import numpy as np
import pytest
from distributed import Client, LocalCluster
from support.processes import wait_until

from pipeline.engine.usage import Usage


@pytest.mark.cluster
def test_workers_that_come_and_go_and_bytes_that_move_are_counted() -> None:
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", processes=True
        ) as cluster,
        Client(cluster) as client,
    ):
        usage = Usage(client)
        assert usage.describe() == {
            "workers_seen": 2,
            "workers_lost": 0,
            "bytes_moved": 0,
            "bytes_spilled": 0,
        }
        one, other = client.nthreads()
        million = client.submit(np.ones, 1_000_000, "u1", workers=[one])
        assert client.submit(len, million, workers=[other]).result() == 1_000_000

        wait_until(lambda: usage.describe()["bytes_moved"] >= 1_000_000)
        client.retire_workers([other])
        cluster.scale(3)
        wait_until(lambda: len(client.nthreads()) == 2)

        found = usage.describe()
        assert found["workers_seen"] == 3
        assert found["workers_lost"] == 1
        assert Usage(client).describe()["workers_lost"] == 0


@pytest.mark.cluster
def test_a_lost_scheduler_is_not_waited_for() -> None:
    with LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        client = Client(cluster.scheduler_address)
        usage = Usage(client)
    try:
        wait_until(lambda: client.status != "running")
        assert usage.describe() == {}
    finally:
        client.close()
