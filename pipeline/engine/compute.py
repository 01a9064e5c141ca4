"""Computes on a cluster, entry by entry, and handles the loss of machines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, TypeVar

import dask.dataframe as dd
from distributed import Client, KilledWorker, as_completed, futures_of
from distributed.comm import CommClosedError
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from pipeline.csv_text.files import shown
from pipeline.engine.cluster import no_workers_timeout
from pipeline.engine.internals import is_shuffle_fault, worker_states, works
from pipeline.engine.ledger import NO_ENTRIES, as_entry, entries_in
from pipeline.engine.memory import release_freed_memory
from pipeline.engine.partitions import on_partitions, schema
from pipeline.errors import ClusterError, StorageError

Entry = dict[str, Any]
Answer = TypeVar("Answer")

_LOOK_EVERY = 1.0  # seconds
_ASK_FOR = 5.0  # seconds
_NEEDED = 1 << 32  # a priority above that of any other partition
# Partitions that the scheduler has at least, while there are more: a few for each thread of a large
# cluster. Each takes some 10 KiB of its memory.
_AHEAD = 1 << 11
RETRIES = 2  # a file system may fail once and then recover


def start(
    client: Client, frame: dd.DataFrame, is_needed: bool = False, after: int = 0
) -> dd.DataFrame:
    """Start computing a lazy dataframe on the cluster; return it backed by futures.

    Partitions start in order, `after` so many of other dataframes, which Dask alone does not
    ensure. So blocks are written in place (see `prefix_sum`), and files are read from the front. If
    tasks of other dataframes wait for this one while they run (`is_needed`), it comes before them,
    also when it is computed again.
    """
    first = _NEEDED if is_needed else -after
    return client.persist(
        frame.optimize(),  # here, so that a partition's steps are one task, named after them
        # A lambda is pickled by value, so the scheduler need not have this package.
        priority=lambda key: first - key[1] if isinstance(key, tuple) else first,
        retries=RETRIES,
    )


def ledger_of(frame: dd.DataFrame) -> dd.DataFrame:
    """Return the lazy ledger of a dataframe: the entries of its partitions (see `ledger`)."""
    is_ledger = list(frame.columns) == list(NO_ENTRIES.columns)
    return frame if is_ledger else on_partitions(as_entry, frame, step="ledger")


def united(frames: Sequence[dd.DataFrame]) -> dd.DataFrame:
    """Return dataframes backed by futures (see `start`) as one; its partitions are in no order."""
    futures, meta = futures_of(list(frames)), schema(frames[0])
    return dd.from_delayed(futures, meta=meta, verify_meta=False)


def compute_entries(
    client: Client,
    frames: Iterable[dd.DataFrame],
    *each: Callable[[Entry], object],
    more: Callable[[list[Entry]], Iterable[dd.DataFrame]] | None = None,
) -> None:
    """Compute the ledgers of lazy dataframes; pass every entry to each function of `each`.

    The dataframes start one after the other, each when few partitions are left of those before: the
    scheduler never has all of a large table. Entries come in any order, each as soon as its
    partition is done. So a lost worker loses only what it is working on. `more` gets the entries
    that came in together, and returns what else to compute. Raises ClusterError if workers or the
    scheduler are lost for good, StorageError if a task cannot read or write a file, and whatever
    else a task, `each` or `more` raises.
    """
    limit = "the memory limit of the workers" if client.cluster is None else "--memory-limit"
    patience = no_workers_timeout()
    try:
        with _Computing(client, patience, frames) as computing:
            while entries := computing.next_entries():
                for entry in entries:
                    for function in each:
                        function(entry)
                if more:
                    computing.add(more(entries))
    except KilledWorker as error:
        raise ClusterError(
            f"{error.allowed_failures + 1} workers were lost over one task, most likely out of "
            f"memory; raise {limit}, or lower --block-size or the threads of a worker; --join "
            "shuffle needs less than a broadcast"
        ) from error
    except MemoryError as error:
        raise ClusterError(
            f"a worker has too little memory for a task: {str(error) or 'it ran out'}; raise "
            f"{limit}, or lower --block-size or the threads of a worker; --join shuffle needs less "
            "than a broadcast"
        ) from error
    except (NoWorkerError, NoValidWorkerError, _WorkersLostError) as error:
        if client.nthreads():
            raise ClusterError(
                f"all workers have paused for {patience:g} s, short of memory; raise {limit}, or "
                "lower --block-size or the threads of a worker; --join shuffle needs less than a "
                "broadcast"
            ) from error
        raise ClusterError(
            f"all workers were lost, and none came back within {patience:g} s; start some, and "
            "the job again (how long it waits: --wait-for-workers)"
        ) from error
    except (CancelledError, CommClosedError) as error:
        if isinstance(error, CancelledError) and client.status == "running":
            raise ClusterError(
                f"the scheduler at '{client.scheduler.address}' has given up tasks of the job: "
                f"{str(error).rstrip('.')}; run the job again"
            ) from error
        raise ClusterError(
            f"the scheduler at '{client.scheduler.address}' was lost while the job ran; start it, "
            "and the job again"
        ) from error
    except RuntimeError as error:
        if not is_shuffle_fault(error):
            raise
        if isinstance(error.__cause__, OSError):
            raise _of_file(error.__cause__) from error
        raise ClusterError(
            "Dask's shuffle failed, because workers came or went, or the disk that they shuffle on "
            f"is full: {error.__cause__ or error}; run the job again, or point "
            "DASK_TEMPORARY_DIRECTORY of the workers at a larger disk"
        ) from error


def ask(client: Client, question: Callable[[], Awaitable[Answer]]) -> Answer | None:
    """Return what a coroutine of the client answers; None if the scheduler keeps silent.

    A client may not know yet that its scheduler is lost. It would wait for it for half a minute, or
    forever if the scheduler's machine has stopped.
    """

    async def answer() -> Answer:
        return await asyncio.wait_for(question(), _ASK_FOR)

    if client.status == "running":
        with suppress(OSError):  # a timeout is one, too
            return client.sync(answer)
    return None


def _of_file(error: OSError) -> StorageError:
    """Return what to raise for a task's error of a file system or a network.

    Whatever it is, the job's files could be opened when it began.
    """
    if isinstance(error.__cause__, OSError) and not error.filename:  # of Dask's shuffle
        return StorageError(
            f"the disk that workers shuffle on: {error.__cause__.strerror} (on a worker); choose "
            "a larger one, where DASK_TEMPORARY_DIRECTORY says"
        )
    where = shown(error.filename) if error.filename else "a file or a server"
    why = error.strerror or f"{error}" or type(error).__name__
    return StorageError(f"{where}: {why} (on a worker)")


class _WorkersLostError(Exception):
    """For too long, there was no worker, or every worker was short of memory."""


class _Computing:
    """Ledgers that are being computed, and a watch over the workers meanwhile."""

    def __init__(self, client: Client, patience: float, frames: Iterable[dd.DataFrame]) -> None:
        self._client, self._patience = client, patience
        self._frames, self._started = iter(frames), 0
        self._done = as_completed(loop=client.loop)

    def __enter__(self) -> _Computing:
        self._lost = self._client.sync(self._watch)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._client.sync(self._end, cancel=kind is not None)

    def add(self, frames: Iterable[dd.DataFrame], after: int = 0) -> None:
        """Start computing lazy dataframes; raise CommClosedError if the scheduler is lost."""
        if self._client.status != "running":  # what is started now waits for it, half a minute
            raise CommClosedError
        started = [start(self._client, ledger_of(frame), after=after) for frame in frames]
        self._done.update(futures_of(started))

    def next_entries(self) -> list[Entry]:
        """Return the entries computed since the last call: none only if all are computed.

        Raises _WorkersLostError after `patience` seconds without a working worker: the scheduler
        would wait forever, unless its own configuration says otherwise.
        """
        while self._done.count() < _AHEAD and (frame := next(self._frames, None)) is not None:
            self.add([frame], after=self._started)
            self._started += frame.npartitions
        return [] if self._done.is_empty() else self._client.sync(self._next_entries)

    async def _watch(self) -> asyncio.Future[None]:
        return asyncio.ensure_future(_workers_lost(self._client, self._patience))

    async def _next_entries(self) -> list[Entry]:
        batch = asyncio.ensure_future(self._next_batch())
        await asyncio.wait([batch, self._lost], return_when=asyncio.FIRST_COMPLETED)
        if batch.done():
            return batch.result()
        batch.cancel()  # it may wait for results lost with their worker
        await asyncio.wait([batch])
        self._lost.result()  # raises what has gone wrong there
        raise _WorkersLostError

    async def _next_batch(self) -> list[Entry]:
        futures = [await self._done.__anext__(), *self._done.next_batch(block=False)]
        try:
            found = await self._client.gather(futures, asynchronous=True)
        except CommClosedError:
            raise
        except OSError as error:
            raise _of_file(error) from error
        return [entry for rows in found for entry in entries_in(rows)]

    async def _end(self, cancel: bool) -> None:
        self._lost.cancel()
        if cancel and self._client.status == "running":  # else it would wait for the scheduler
            await self._client.cancel(list(self._done.futures), asynchronous=True)


async def _workers_lost(client: Client, patience: float) -> None:
    """Return once no worker has worked for `patience` seconds.

    Dask pauses a worker whose process has too much memory, also if most of it is kept for columns
    to come. If all have paused, they are told to give that back.
    """
    last_seen = time.monotonic()
    while time.monotonic() - last_seen <= patience:
        await asyncio.sleep(_LOOK_EVERY)
        try:
            workers = await worker_states(client)
            if any(map(works, workers)):
                last_seen = time.monotonic()
            elif workers:
                await client.run(release_freed_memory, on_error="ignore")
        except OSError:  # the futures report a lost scheduler
            last_seen = time.monotonic()
