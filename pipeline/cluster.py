"""A cluster to run on: one started here, or the scheduler at an address."""

from __future__ import annotations

import logging
import os
import warnings
from asyncio import CancelledError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dask
import dask.dataframe as dd
from distributed import Client, KilledWorker, LocalCluster
from distributed.comm import CommClosedError

from pipeline.errors import ClusterError, UsageError
from pipeline.progress import Progress
from pipeline.settings import ClusterSettings
from pipeline.sources import shown


@contextmanager
def connect(settings: ClusterSettings, debug: bool = False) -> Iterator[Client]:
    """Give a client of the cluster that `settings` name; close what was started.

    `local` starts a cluster here: with one worker in this process (its threads share the
    broadcast customers, and it starts in no time), with several as processes of their own.
    Raises ClusterError where no scheduler answers or no cluster can be started.
    """
    level = logging.WARNING if debug else logging.CRITICAL
    logging.getLogger("distributed").setLevel(level)
    if settings.scheduler == "local":
        with _local_cluster(settings, level) as cluster, Client(cluster) as client:
            yield client
    else:
        with _remote_client(settings.scheduler) as client:
            yield client


def dashboard_link(client: Client, settings: ClusterSettings) -> str:
    """Return the address at which the dashboard can be opened, or why there is none."""
    port = client.scheduler_info(n_workers=0)["services"].get("dashboard")
    if not port:
        return "none (the scheduler serves no dashboard; is bokeh installed there?)"
    if settings.scheduler != "local":
        return client.dashboard_link
    # Dask names this machine's address in the network, where nothing listens.
    host = settings.dashboard_address.rpartition(":")[0] or "127.0.0.1"
    return f"http://{host}:{port}/status"


def compute(client: Client, frames: Sequence[dd.DataFrame], progress: Progress) -> list[Any]:
    """Compute some lazy dataframes in one pass over the data; return them as pandas.

    Raises ClusterError where workers or the scheduler are lost for good, UsageError where a
    worker cannot read or write a file, and whatever else a task raises.
    """
    futures = client.compute(list(frames))
    try:
        with progress.following(client, futures):
            return client.gather(futures)
    except KilledWorker as error:
        raise ClusterError(
            f"{error.allowed_failures + 1} workers were lost over one task, most likely out of "
            "memory; raise --memory-limit, or lower --block-size or --threads-per-worker"
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise ClusterError("the scheduler was lost while the job ran; start it again") from error
    except OSError as error:
        where = shown(error.filename) if error.filename else "a file"
        raise UsageError(f"{where}: {error.strerror or error} (on a worker)") from error


def worker_memory(client: Client) -> int | None:
    """Return the least memory limit of all workers in bytes; None where none has a limit."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [worker["memory_limit"] for worker in workers]
    return min((limit for limit in limits if limit), default=None)


def _local_cluster(settings: ClusterSettings, level: int) -> LocalCluster:
    threads = settings.threads_per_worker or max(1, _cores() // settings.workers)
    try:
        with warnings.catch_warnings():
            # With the port taken it serves on another one, and the real link is printed.
            warnings.filterwarnings("ignore", message="Port .* is already in use")
            return LocalCluster(
                n_workers=settings.workers,
                threads_per_worker=threads,
                processes=settings.workers > 1,
                memory_limit=settings.memory_limit,
                dashboard_address=settings.dashboard_address,
                silence_logs=level,
            )
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no local cluster with the dashboard at '{settings.dashboard_address}': {error}; "
            "see --dashboard-address"
        ) from error


def _remote_client(address: str) -> Client:
    timeout = dask.config.get("distributed.comm.timeouts.connect")
    try:
        return Client(address)
    except (OSError, TimeoutError) as error:
        raise ClusterError(
            f"no scheduler answers at '{address}' within {timeout}; "
            "is it running, and can this machine reach it?"
        ) from error
    except ValueError as error:
        raise UsageError(
            f"'{address}' is not a scheduler's address: {error}; write it as tcp://host:8786"
        ) from error


def _cores() -> int:
    return len(os.sched_getaffinity(0))
