"""Real local clusters for tests of the whole job, and what happens to them in the midst of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client, LocalCluster

from pipeline.engine.progress import Progress

LOOKUP = "build-lookup-"


@contextmanager
def local_cluster(workers: int, **how: Any) -> Iterator[Client]:
    """Yield a client of a cluster of worker processes with one thread each."""
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", **how
        ) as local,
        Client(local) as client,
    ):
        yield client


class Acting(Progress):
    """Does something once so many blocks of purchases have been read; keeps what is said."""

    def __init__(self, count: int, act: Callable[[], object]) -> None:
        self._left, self._act = count, act
        self.said: list[str] = []

    def advance(self, table: str, size: int, records: int) -> None:
        """Count a block."""
        if table == "purchases":
            self._left -= 1
            if self._left == 0:
                self._act()

    def say(self, message: str) -> None:
        """Keep a message."""
        self.said.append(message)


def holders(client: Client, prefix: str = LOOKUP) -> list[str]:
    """Return the workers that hold a result of a task whose name begins so."""
    held = client.has_what().items()
    return [worker for worker, keys in held if any(str(key).startswith(prefix) for key in keys)]
