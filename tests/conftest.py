"""Fixtures that more than one test module uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from distributed import Client

from pipeline.cluster import connect
from pipeline.settings import ClusterSettings


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A real local cluster: one worker with two threads, in this process."""
    settings = ClusterSettings(threads_per_worker=2, dashboard_address="127.0.0.1:0")
    with connect(settings) as client:
        yield client
