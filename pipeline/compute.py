"""Computing on a cluster, and what becomes of it when machines are lost."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import CancelledError
from typing import Any

import dask.dataframe as dd
import pandas as pd
from distributed import Client, Future, KilledWorker
from distributed.comm import CommClosedError
from distributed.core import Status
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from pipeline.cluster import no_workers_timeout
from pipeline.errors import ClusterError, UsageError
from pipeline.files import shown
from pipeline.progress import Progress

_LOOK_EVERY = 1.0  # seconds


def compute(client: Client, frame: dd.DataFrame, progress: Progress) -> pd.DataFrame:
    """Compute a lazy dataframe; return it as pandas.

    Raises ClusterError where workers or the scheduler are lost for good, UsageError where a
    worker cannot read or write a file, and whatever else a task raises.
    """
    # Left to the scheduler, the steps of a partition would not be made one task.
    future = client.compute(frame.optimize())
    with progress.following(client, [future]):
        return _gather(client, future)


def _gather(client: Client, future: Future) -> Any:
    """Wait for a result, or for the cluster to fail; see `compute`."""
    limit = "the memory limit of the workers" if client.cluster is None else "--memory-limit"
    patience = no_workers_timeout()
    try:
        return client.sync(_while_workers_last, client, future, patience)
    except KilledWorker as error:
        raise ClusterError(
            f"{error.allowed_failures + 1} workers were lost over one task, most likely out of "
            f"memory; raise {limit}, or lower --block-size or the threads of a worker"
        ) from error
    except (NoWorkerError, NoValidWorkerError, _WorkersLostError) as error:
        raise ClusterError(
            f"all workers were lost, and none came back within {patience:g} s; start some, and "
            "the job again (how long it waits: --wait-for-workers)"
        ) from error
    except _WorkersPausedError as error:
        raise ClusterError(
            f"all workers have paused for {patience:g} s, short of memory; raise {limit}, or "
            "lower --block-size or the threads of a worker"
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise ClusterError(
            f"the scheduler at '{client.scheduler.address}' was lost while the job ran; start it, "
            "and the job again"
        ) from error
    except OSError as error:
        where = shown(error.filename) if error.filename else "a file"
        raise UsageError(f"{where}: {error.strerror or error} (on a worker)") from error


class _WorkersLostError(Exception):
    """For too long there was no worker."""


class _WorkersPausedError(Exception):
    """For too long every worker was short of memory."""


async def _while_workers_last(client: Client, future: Future, patience: float) -> Any:
    """Return a future's result.

    Raises _WorkersLostError or _WorkersPausedError after `patience` seconds without a worker that
    works: a scheduler waits for ever then, unless it is configured otherwise where it runs.
    """
    result = asyncio.ensure_future(client.gather(future, asynchronous=True))
    lost = asyncio.ensure_future(_workers_lost(client, patience))
    try:
        await asyncio.wait([result, lost], return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            lost.result()
            raise _WorkersLostError
        return result.result()
    finally:
        lost.cancel()
        if not result.done():
            await client.cancel(future, asynchronous=True)
            await asyncio.wait([result])


async def _workers_lost(client: Client, patience: float) -> None:
    """Return when for `patience` seconds there has been no worker that works."""
    last_seen = time.monotonic()
    while time.monotonic() - last_seen <= patience:
        await asyncio.sleep(_LOOK_EVERY)
        try:
            workers = (await client.scheduler.identity(n_workers=-1))["workers"].values()
        except OSError:  # that the scheduler is lost, the result's future tells
            last_seen = time.monotonic()
        else:
            if any(map(_works, workers)):
                last_seen = time.monotonic()
            elif workers and time.monotonic() - last_seen > patience:
                raise _WorkersPausedError


def _works(worker: dict[str, Any]) -> bool:
    """Whether a worker takes tasks, or still executes one: short of memory it only does that."""
    counts = worker["metrics"].get("task_counts", {})
    return worker["status"] == Status.running.name or counts.get("executing", 0) > 0
