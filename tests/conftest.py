"""Fixtures that more than one test module uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from distributed import Client
from hypothesis import settings as hypothesis_settings

from pipeline.cluster import connect
from pipeline.settings import ClusterSettings

# No deadline: how long an example takes says more of the machine than of the code.
hypothesis_settings.register_profile("pipeline", deadline=None)
hypothesis_settings.load_profile("pipeline")


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A real local cluster: one worker with two threads, in this process."""
    settings = ClusterSettings(threads_per_worker=2, dashboard_address="127.0.0.1:0")
    with connect(settings) as client:
        yield client
