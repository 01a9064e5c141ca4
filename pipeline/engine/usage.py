"""What a run takes of its cluster: workers seen and lost, bytes moved and spilled."""

from __future__ import annotations

from typing import NamedTuple

from distributed import Client, Scheduler

from pipeline.engine.by_value import by_value
from pipeline.engine.compute import ask


class _State(NamedTuple):
    """A scheduler's clock, its workers so far, and the bytes that they moved and spilled."""

    time: float
    seen: set[str]
    lost: set[str]
    moved: int
    spilled: int


class Usage:
    """Measures from now on."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._before = self._state(since=float("inf"))

    def describe(self, spilled: int = 0) -> dict[str, int]:
        """Return how many workers were seen and lost, and how many bytes were moved and spilled.

        `spilled` are bytes that tasks wrote to disk on their own.

        Moved are bytes that a worker sent to another, or to the client; spilled those that workers
        wrote to disk to save memory, or in a shuffle. Workers report them about every second, so
        those of the last moment may be missing, and those of other runs may be counted. Returns
        nothing if the scheduler keeps silent, which does not undo what a run has written.
        """
        before = self._before
        if before is None or (now := self._state(since=before.time)) is None:
            return {}
        return {
            "workers_seen": len(before.seen | now.seen),
            "workers_lost": len(now.lost),
            "bytes_moved": now.moved - before.moved,
            "bytes_spilled": now.spilled - before.spilled + spilled,
        }

    def _state(self, since: float) -> _State | None:
        """Return None if the scheduler keeps silent."""
        with by_value(__name__):
            found = ask(
                self._client, lambda: self._client.run_on_scheduler(_state_of_scheduler, since)
            )
        return None if found is None else _State(*found)


def _state_of_scheduler(
    since: float, dask_scheduler: Scheduler
) -> tuple[float, set[str], set[str], int, int]:
    """Return the fields of `_State`; workers that came and went only after the time `since`."""
    from time import time

    seen, lost = set(dask_scheduler.workers), set[str]()
    for at, event in dask_scheduler.get_events("all"):
        action = event.get("action") if isinstance(event, dict) else None
        if at >= since and action in ("add-worker", "remove-worker"):
            (seen if action == "add-worker" else lost).add(event["worker"])
    moved = spilled = 0
    # https://distributed.dask.org/en/stable/fine-performance-metrics.html
    for key, amount in dask_scheduler.cumulative_worker_metrics.items():
        *activity, kind, unit = map(str, key)
        if unit != "bytes":
            continue
        if activity[0] == "get-data" or key[:3] == ("p2p", "background-comms", "process"):
            moved += int(amount)
        elif kind == "disk-write":
            spilled += int(amount)
    return time(), seen, lost, moved, spilled
