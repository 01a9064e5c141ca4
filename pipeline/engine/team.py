"""The workers that do the tasks of a run: those that are fit, whenever they join."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

from distributed import Client, Future

from pipeline.csv_text.files import version_of
from pipeline.engine.cluster import ask
from pipeline.engine.fitness import Fault, Fitness, package_fault
from pipeline.engine.internals import make_task, pack_tasks
from pipeline.engine.package import source_digest
from pipeline.engine.shared import forget

_ANSWER = 10.0  # seconds
RETRIES = 2  # a file system may fail once and then recover


class Team:
    """Which workers a run does not use, and why.

    `fitness` is what a worker must have; until it is known, no worker is refused. `say` reports
    each refused worker. It is not stopped, as other jobs may use it, and gives back any task that
    it is still given.
    """

    def __init__(self, client: Client, say: Callable[[str], object]) -> None:
        self._client, self._say = client, say
        self.fitness: Fitness | None = None
        self.refused: dict[str, str] = {}
        self._known = set[str]()

    async def look_at(self, workers: Iterable[str]) -> None:
        """Ask workers that joined since the last time whether they are fit.

        A worker that does not respond is asked again the next time.
        """
        new = [worker for worker in workers if worker not in self._known]
        if not new or not self.fitness:
            return
        with suppress(TimeoutError):
            asking = find_faults(self._client, self.fitness, new)
            for worker, fault in (await asyncio.wait_for(asking, _ANSWER)).items():
                self._known.add(worker)
                if fault and worker not in self.refused:
                    self.refused[worker] = f"{worker} {fault.text}; {fault.remedy}"
                    self._say(f"a worker is not used: {self.refused[worker]}")


async def find_faults(
    client: Client, fitness: Fitness, workers: list[str] | None = None
) -> dict[str, Fault | None]:
    """Ask these workers, or all if None, whether they are fit; return the faults by address.

    Leaves out workers lost in the meantime: the job can do without them.
    """
    answers = await client.run(fitness.fault, workers=workers, on_error="return")
    faults = {}
    for address, answer in answers.items():
        sizes: dict[str, int] = {}
        fault = answer
        while isinstance(fault, Fault) and fault.has_grown and fault.has_grown not in sizes:
            # If somebody appends to the file, this machine sees its new size, too.
            sizes[fault.has_grown] = version_of(fault.has_grown).size
            again = await client.run(fitness.fault, sizes, workers=[address], on_error="return")
            fault = again.get(address)
        if not isinstance(fault, OSError):
            faults[address] = fault_of_error(fault) if isinstance(fault, Exception) else fault
    return faults


def fault_of_error(error: Exception) -> Fault:
    """Return why a process cannot check itself: it lacks this package, or its source differs.

    If unpickling failed there, the error arrives here as an Exception with the same text.
    """
    lacks = "No module named 'pipeline'" in str(error)
    text = (
        "lacks this package"
        if lacks
        else f"has different source code ({' '.join(str(error).split())})"
    )
    return package_fault(source_digest(), text)


def submit(
    client: Client, function: Callable[..., Any], *args: Any, name: str, worker: str | None = None
) -> Future:
    """Start a task, if possible on that worker, and return the future of its result.

    Futures in `args`, even within a list, are passed as their results. `name` names the task.
    """
    key = f"{name}-{uuid4().hex}"  # unique: runs may share a cluster
    how = {"workers": [worker], "allow_other_workers": True} if worker else {}
    team = current_team()
    graph = pack_tasks({key: make_task(key, function, *args)}, team.fitness if team else None)
    (future,) = client.get(graph, [key], sync=False, retries=RETRIES, fifo_timeout="0 s", **how)
    return future


_team: ContextVar[Team | None] = ContextVar("team", default=None)


def current_team() -> Team | None:
    """Return the team of the run in this thread; None outside a run."""
    return _team.get()


def name_of_run() -> str:
    """Return the name under which processes keep what they share until this run has ended."""
    team = current_team()
    return team.fitness.token if team and team.fitness else uuid4().hex


@contextmanager
def form_team(client: Client, say: Callable[[str], object]) -> Iterator[None]:
    """Let only fit workers do what this thread computes within the block.

    The team is not passed from step to step, because no step needs it: the thread's context has it.
    """
    team = Team(client, say)
    token = _team.set(team)
    try:
        yield
    finally:
        _team.reset(token)
        if fitness := team.fitness:
            ask(client, lambda: client.run(forget, fitness.token, on_error="ignore"))
