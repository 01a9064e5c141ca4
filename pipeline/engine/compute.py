"""Computes on a cluster, entry by entry, and handles the loss of machines."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import dask.dataframe as dd
from distributed import Client, Future, KilledWorker, as_completed
from distributed.comm import CommClosedError
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from pipeline.csv_text.files import shown
from pipeline.engine.cluster import Answer, ask, no_workers_timeout
from pipeline.engine.internals import (
    is_shuffle_fault,
    is_working,
    pack_tasks,
    prefer_workers,
    worker_states,
)
from pipeline.engine.ledger import NO_ENTRIES, Entry, as_entry, entries_in
from pipeline.engine.memory import release_freed_memory
from pipeline.engine.partitions import on_partitions
from pipeline.engine.team import RETRIES, Team, current_team, submit
from pipeline.errors import ClusterError, StorageError

_LOOK_EVERY = 1.0  # seconds
_AHEAD = 2  # partitions on the cluster for each of its threads: one that runs, one that waits


def compute_entries(
    client: Client,
    frames: Iterable[dd.DataFrame],
    *each: Callable[[Entry], object],
    more: Callable[[list[Entry]], Iterable[dd.DataFrame]] | None = None,
    kept: list[Future] | None = None,
) -> None:
    """Compute the ledgers of lazy dataframes; pass every entry to each function of `each`.

    Partitions start in order, two at a time for each thread of the cluster. So the scheduler never
    holds all tasks of a large table, other jobs' tasks get their turn, and a lost worker loses only
    what it is working on. Entries arrive in any order, each as soon as its partition is done.
    `more` receives the entries that arrived together, and returns what else to compute. The
    partitions themselves stay on the cluster if there is a list, `kept`, for their futures. Raises
    ClusterError if workers or the scheduler are lost for good, StorageError if a task cannot read
    or write a file, and whatever else a task, `each` or `more` raises.
    """
    with _explain_losses(client), _Computing(client, frames, kept) as computing:
        while entries := computing.next_entries():
            for entry in entries:
                for function in each:
                    function(entry)
            if more:
                computing.add(more(entries))


def compute_result(client: Client, function: Callable[..., Any], *args: Any, name: str) -> Future:
    """Call a function on the cluster, and leave the result there; `name` names the task.

    Futures in `args`, even within a list, are passed as their results. Raises what
    `compute_entries` raises.
    """
    future = submit(client, function, *args, name=name)
    with _explain_losses(client), _Computing(client, (), None) as computing:
        computing.wait_for(future)
    return future


def compute_answer(
    client: Client, function: Callable[..., Answer], *args: Any, name: str
) -> Answer:
    """Call a function on the cluster, and return the result; `name` names the task.

    Raises what `compute_entries` raises.
    """
    with _explain_losses(client), _Computing(client, (), None) as computing:
        answer: Answer = computing.fetch(submit(client, function, *args, name=name))
    return answer


def keep_copies(client: Client, result: Future) -> list[Future]:
    """Have each worker keep its copy of a result until the returned futures are released.

    Dask's active memory manager keeps only as many copies of a result as there are tasks waiting
    for it, and sends it again for the next task. The tasks made here wait forever: no worker has
    the resource that they need.
    """
    key = f"keep-copy-{uuid4().hex}"
    nothing_has = {key: 1}
    return [
        client.submit(bool, result, key=f"{key}-{number}", resources=nothing_has)
        for number in range(len(client.nthreads()))
    ]


@contextmanager
def _explain_losses(client: Client) -> Iterator[None]:
    """Turn what Dask raises if machines are lost into a ClusterError or a StorageError."""
    limit = "the memory limit of the workers" if client.cluster is None else "--memory-limit"
    remedy = (
        f"raise {limit}, or lower --block-size or the threads per worker; --join shuffle needs "
        "less memory than a broadcast"
    )
    patience, team = no_workers_timeout(), current_team()
    try:
        yield
    except KilledWorker as error:
        raise ClusterError(
            f"{error.allowed_failures + 1} workers were lost while they ran the same task, most "
            f"likely out of memory; {remedy}"
        ) from error
    except MemoryError as error:
        raise ClusterError(
            f"a worker ran out of memory: {str(error) or 'an allocation failed'}; {remedy}"
        ) from error
    except (NoWorkerError, NoValidWorkerError, _WorkersLostError) as error:
        refused = [team.refused.get(worker) for worker in client.nthreads()] if team else []
        if refused and all(refused):
            more = f"{len(refused)} were refused, for example " if len(refused) > 1 else ""
            raise ClusterError(
                f"for {patience:g} s, no worker could do the job: {more}{refused[0]}"
            ) from error
        if client.nthreads():
            raise ClusterError(
                f"all workers were paused for {patience:g} s, because they used too much memory; "
                f"{remedy}"
            ) from error
        raise ClusterError(
            f"all workers were lost, and none came back within {patience:g} s; start workers, and "
            "run the job again (--wait-for-workers sets how long it waits)"
        ) from error
    except (CancelledError, CommClosedError) as error:
        if isinstance(error, CancelledError) and client.status == "running":
            raise ClusterError(
                f"the scheduler at '{client.scheduler.address}' cancelled tasks of the job: "
                f"{str(error).rstrip('.')}; run the job again"
            ) from error
        raise ClusterError(
            f"the scheduler at '{client.scheduler.address}' was lost while the job ran; start it, "
            "and run the job again"
        ) from error
    except RuntimeError as error:
        if not is_shuffle_fault(error):
            raise
        if isinstance(error.__cause__, OSError):
            raise _of_file(error.__cause__) from error
        raise ClusterError(
            "Dask's shuffle failed, because workers joined or left, or because their disk is full: "
            f"{error.__cause__ or error}; run the job again, or set DASK_TEMPORARY_DIRECTORY on "
            "the workers to a folder on a larger disk"
        ) from error


def ledger_of(frame: dd.DataFrame) -> dd.DataFrame:
    """Return the lazy ledger of a dataframe: the entries of its partitions (see `ledger`)."""
    return frame if _is_ledger(frame) else on_partitions(as_entry, frame, step="ledger")


def _is_ledger(frame: dd.DataFrame) -> bool:
    return list(frame.columns) == list(NO_ENTRIES.columns)


def _of_file(error: OSError) -> StorageError:
    """Return the StorageError for a task's file system or network error.

    The paths are not at fault: the job's files could be opened when it began.
    """
    if isinstance(error.__cause__, OSError) and not error.filename:  # of Dask's shuffle
        return StorageError(
            f"the shuffle's temporary folder: {error.__cause__.strerror} (on a worker); set "
            "DASK_TEMPORARY_DIRECTORY to a folder on a larger disk"
        )
    where = shown(error.filename) if error.filename else "a file or a server"
    why = error.strerror or f"{error}" or type(error).__name__
    return StorageError(f"{where}: {why} (on a worker)")


class _Part(NamedTuple):
    """A graph of tasks, the keys of the partitions it computes, and whether to keep them."""

    graph: dict[Any, Any]
    keys: list[Any]
    is_kept: bool


class _WorkersLostError(Exception):
    """For too long, all workers were gone, paused or unfit."""


class _Computing:
    """Computes partitions, and watches the workers while it does."""

    def __init__(
        self, client: Client, frames: Iterable[dd.DataFrame], kept: list[Future] | None
    ) -> None:
        self._client, self._frames, self._kept = client, iter(frames), kept
        self._queue = deque[_Part]()  # what is next
        self._fit: list[str] = []  # workers
        self._shares_tasks = False
        self._done = as_completed(loop=client.loop)
        self._fetched: Sequence[Future] = ()  # done, but not here yet
        self._team = current_team() or Team(client, str)

    def __enter__(self) -> _Computing:
        workers = ask(self._client, lambda: worker_states(self._client)) or ()
        self._note(workers)
        self._lost = self._client.sync(self._watch)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._client.sync(self._end, cancel=kind is not None)

    def add(self, frames: Iterable[dd.DataFrame]) -> None:
        """Compute these lazy dataframes before everything else that has not started."""
        self._queue.extendleft(reversed([part for frame in frames for part in self._parts(frame)]))

    def next_entries(self) -> list[Entry]:
        """Return the entries computed since the last call; an empty list once all are computed.

        Raises _WorkersLostError if all workers have been gone, paused or unfit for too long: the
        scheduler would wait forever, unless its own configuration says otherwise.
        """
        while self._done.count() < _AHEAD * max(self._threads, 1):
            if not self._queue:
                if (frame := next(self._frames, None)) is None:
                    break
                self._queue.extend(self._parts(frame))
            if self._queue:
                self._start(self._queue.popleft())
        if self._done.is_empty():
            return []
        batch = self._client.sync(self._race, self._next_results)
        return [entry for rows in batch for entry in entries_in(rows)]

    def fetch(self, future: Future) -> Any:
        """Return the result of a future."""
        self._done.add(future)
        (result,) = self._client.sync(self._race, self._next_results)
        return result

    def wait_for(self, future: Future) -> None:
        """Wait until a result is on the cluster."""
        self._done.add(future)
        self._client.sync(self._race, self._next_result)

    def _parts(self, frame: dd.DataFrame) -> list[_Part]:
        """Return what can start by itself: each partition, or all of them if they share tasks."""
        is_kept = self._kept is not None and not _is_ledger(frame)
        if not is_kept:
            frame = ledger_of(frame)
        frame = frame.optimize()  # so that a partition's steps are one task, named after them
        graph = pack_tasks(frame.__dask_graph__(), self._team.fitness)
        keys = list(frame.__dask_keys__())
        if len(graph) > len(keys):
            return [_Part(graph, keys, is_kept)]
        return [_Part({key: graph[key]}, [key], is_kept) for key in keys]

    def _start(self, part: _Part) -> None:
        self._shares_tasks |= len(part.keys) > 1
        if self._client.status != "running":  # `get` would wait half a minute for the scheduler
            raise CommClosedError
        # Dask would reorder tasks that are submitted within `fifo_timeout` of each other.
        how: dict[str, Any] = {"sync": False, "retries": RETRIES, "fifo_timeout": "0 s"}
        if self._team.refused and self._fit:
            how |= {"workers": self._fit, "allow_other_workers": True}  # workers may be lost
        futures = self._client.get(part.graph, part.keys, **how)
        if self._kept is not None and part.is_kept:
            self._kept += futures
            futures = [submit(self._client, as_entry, one, name="ledger") for one in futures]
        self._done.update(futures)

    async def _watch(self) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._workers_lost())

    async def _race(self, wanted: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return what a coroutine returns, unless all workers are lost first."""
        task = asyncio.ensure_future(wanted())
        await asyncio.wait([task, self._lost], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()  # it may wait for results that are lost with their worker
        await asyncio.wait([task])
        self._lost.result()  # raises what went wrong there
        raise _WorkersLostError

    async def _next_results(self) -> list[Any]:
        return await self._results(
            [await self._done.__anext__(), *self._done.next_batch(block=False)]
        )

    async def _next_result(self) -> None:
        future = await self._done.__anext__()
        if future.status == "error":
            await self._results([future])  # raises what the task raised

    async def _results(self, futures: Sequence[Future]) -> list[Any]:
        self._fetched = futures
        try:
            found: list[Any] = await self._client.gather(list(futures), asynchronous=True)
        except CommClosedError:
            raise
        except OSError as error:
            raise _of_file(error) from error
        self._fetched = ()
        return found

    async def _workers_lost(self) -> None:
        """Return once all workers have been gone, paused or unfit for as long as a run waits.

        Dask pauses a worker whose process uses too much memory, even if most of it is only kept for
        future columns. If all workers are paused, they are asked to give that memory back.
        """
        last_seen, patience = time.monotonic(), no_workers_timeout()
        while time.monotonic() - last_seen <= patience:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                workers = await worker_states(self._client)
                await self._team.look_at(worker["address"] for worker in workers)
                workers = [one for one in workers if one["address"] not in self._team.refused]
                self._note(workers)
                if self._team.refused:
                    await self._keep_to_fit_workers()
                if any(map(is_working, workers)):
                    last_seen = time.monotonic()
                elif workers:
                    await self._client.run(release_freed_memory, on_error="ignore")
            except OSError:  # the futures report a lost scheduler
                last_seen = time.monotonic()

    async def _keep_to_fit_workers(self) -> None:
        """Move tasks away from unfit workers; raise ClusterError if they cannot be moved."""
        if self._shares_tasks:
            raise ClusterError(
                "Dask's shuffle cannot go on, because a new worker cannot do the job: "
                f"{next(iter(self._team.refused.values()))}; then run the job again"
            )
        keys = [future.key for future in (*self._done.futures, *self._fetched)]
        await self._client.run_on_scheduler(prefer_workers, keys, self._fit)

    def _note(self, workers: Iterable[dict[str, Any]]) -> None:
        self._fit = [worker["address"] for worker in workers]
        self._threads = sum(worker["nthreads"] for worker in workers)

    async def _end(self, cancel: bool) -> None:
        self._lost.cancel()
        # If the scheduler is lost, this would wait for it.
        if cancel and self._client.status == "running":
            await self._client.cancel(list(self._done.futures), asynchronous=True)
