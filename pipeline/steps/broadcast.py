"""Puts the lookup of all customers into every worker process.

Each process builds its own, from the rendered partitions in the memory of all workers. So no worker
has to send the whole to all others, and no task depends on where the lookup is. Its first task that
needs the lookup builds it; the others wait.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Event, Lock

import pandas as pd
from distributed import Client, get_worker, rejoin, secede, worker_client

from pipeline.engine.cluster import no_workers_timeout
from pipeline.engine.compute import ask
from pipeline.engine.internals import fetch
from pipeline.engine.shared import forget, shared
from pipeline.steps.lookup import Lookup
from pipeline.steps.read import ORDER

_KIND, _KEPT = "lookup", 2  # they are large
_LOOK_EVERY = 0.1  # seconds
_MOST_LEFT = 32  # threads


@dataclass(frozen=True)
class Parts:
    """Where the rendered customers are: the Dask keys of their partitions.

    `name` is unique to a run. `no_customer` is the text of a missing customer.
    """

    name: str
    keys: tuple[object, ...]
    no_customer: str

    def lookup(self) -> Lookup:
        """Return this process's lookup; call it in a task."""
        held = shared(self.name, _Held, kind=_KIND, kept=_KEPT)
        while held.lookup is None:
            with held.lock:
                is_first, held.is_begun = not held.is_begun, True
            if is_first:
                try:
                    self._build(held)
                finally:
                    held.is_begun = held.ready.is_set()  # if not, another thread builds it
            else:
                held.wait()
        return held.lookup

    def itself(self) -> Parts:
        """Return this, as the result of a task."""
        return self

    def forget(self, client: Client) -> None:
        """Free the lookups of all workers; if the scheduler is lost, they end without it."""
        ask(client, lambda: client.run(forget, self.name, _KIND, on_error="ignore"))

    def _build(self, held: _Held) -> None:
        parts = self._here()
        if len(parts) == len(self.keys):
            held.set(build_lookup(list(parts.values()), self.no_customer))
            return
        # Leaves its slot to another task; at the end, it waits for a slot again, so that must come
        # after the lookup, which those that have a slot may wait for.
        with worker_client() as client:
            self._fetch(client, parts, held)
            held.set(build_lookup(list(parts.values()), self.no_customer))

    def _fetch(self, client: Client, parts: dict[object, pd.DataFrame], held: _Held) -> None:
        """Add the partitions that other workers have; wait for those that have to be made anew."""
        deadline = time.monotonic() + no_workers_timeout()
        while missing := [key for key in self.keys if key not in parts]:
            found = client.sync(fetch, client, missing)
            parts.update(found)
            parts.update(self._here())
            if found:
                continue
            if time.monotonic() > deadline:
                raise RuntimeError("the rendered customers are gone")
            held.needs_slots = True
            time.sleep(_LOOK_EVERY)

    def _here(self) -> dict[object, pd.DataFrame]:
        data = get_worker().data
        return {key: data[key] for key in self.keys if key in data}


@dataclass
class _Held:
    """A lookup that is, or will be, in this process."""

    lookup: Lookup | None = None
    is_begun: bool = False
    needs_slots: bool = False
    left: int = 0  # threads that wait without a slot
    lock: Lock = field(default_factory=Lock)
    ready: Event = field(default_factory=Event)

    def set(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self.ready.set()

    def wait(self) -> None:
        """Wait for the thread that builds the lookup, or until it has failed.

        If partitions were lost with their worker, this worker may have to make them anew, so
        threads that wait leave their slots to those tasks. They have a higher priority (see
        `compute.start`), so a few slots are enough, and not all purchases are read meanwhile.
        """
        has_left = False
        while self.is_begun and not self.ready.wait(_LOOK_EVERY):
            with self.lock:
                leaves = self.needs_slots and not has_left and self.left < _MOST_LEFT
                self.left += leaves
            if leaves:
                has_left = True
                secede()
        if has_left:
            rejoin()


def build_lookup(parts: list[pd.DataFrame], no_customer: str) -> Lookup:
    """Build a lookup of the partitions of rendered customers, which come in any order."""
    filled = [part for part in parts if len(part)] or parts[:1]
    # Each is in order: to sort them is much cheaper than to sort the records.
    filled.sort(key=lambda part: part[ORDER].iloc[0] if len(part) else 0)
    return Lookup.build(pd.concat(filled, ignore_index=True), no_customer)
