"""A cluster to run on: one started here, or the scheduler at an address."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from ssl import SSLError
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
from dask.utils import parse_timedelta
from distributed import Client, Future, KilledWorker, LocalCluster, Security
from distributed.comm import CommClosedError
from distributed.comm import connect as dask_connect
from distributed.comm.core import FatalCommClosedError
from distributed.core import Status
from distributed.scheduler import NoValidWorkerError, NoWorkerError
from distributed.versions import VersionMismatchWarning

from pipeline.errors import ClusterError, UsageError
from pipeline.files import shown
from pipeline.partitions import with_meta
from pipeline.progress import Progress
from pipeline.settings import ClusterSettings

# Dask's name for what `--wait-for-workers` sets; without it a scheduler waits for ever.
NO_WORKERS_TIMEOUT = "distributed.scheduler.no-workers-timeout"
# Those to which Dask gives a level, and the one that tells of its tasks which nobody waits for.
_LOGGERS = (
    *("distributed", "distributed.client", "distributed.gc"),
    *("tornado", "tornado.application", "bokeh", "asyncio"),
)
_LOOK_EVERY = 1.0  # seconds

_ROWS = pd.DataFrame({"frame": pd.Series(dtype=object)})


@contextmanager
def connect(settings: ClusterSettings, debug: bool = False) -> Iterator[Client]:
    """Give a client of the cluster that `settings` name; close what was started.

    `local` starts a cluster here: with one worker in this process (its threads share the
    broadcast customers, and it starts in no time), with several as processes of their own.
    Whatever else `scheduler` is, it is the address or the file of one that runs already. Raises
    ClusterError where no scheduler answers, UsageError where none can be meant or started.
    """
    level = logging.WARNING if debug else logging.CRITICAL
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(level)
    with dask.config.set({NO_WORKERS_TIMEOUT: f"{settings.wait_for_workers} s"}):
        if settings.scheduler == "local":
            with _local_cluster(settings, level) as cluster, Client(cluster) as client:
                yield client
        else:
            with _remote_client(settings) as client:
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
    future = client.compute(_stack(frames))
    with progress.following(client, [future]):
        return _gather(client, future)["frame"].tolist()


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


def _stack(frames: Sequence[dd.DataFrame]) -> dd.DataFrame:
    """Return one dataframe with a row for each of several, which holds it whole.

    Dask fuses the tasks of one dataframe, but not those of several that are computed together:
    unfused, a run takes twice as many tasks, and its intermediate results stay in memory longer.
    """
    rows = [with_meta(_as_row, _ROWS, frame.repartition(npartitions=1)) for frame in frames]
    return dd.concat(rows).optimize()


def _as_row(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"frame": pd.Series([frame.reset_index(drop=True)], dtype=object)})


def no_workers_timeout() -> float:
    """Return for how many seconds a run waits while there is no worker."""
    configured = parse_timedelta(dask.config.get(NO_WORKERS_TIMEOUT))
    return ClusterSettings().wait_for_workers if configured is None else configured


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


def _remote_client(settings: ClusterSettings) -> Client:
    address = settings.scheduler if settings.is_address else _read_address(settings.scheduler)
    timeout = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
    security = _security(settings, address)
    try:
        asyncio.run(_reach(address, security, timeout))
        with warnings.catch_warnings():
            # The check before the start tells of other versions, and in one line.
            warnings.simplefilter("ignore", VersionMismatchWarning)
            return Client(address, security=security)
    except OSError as error:
        if any(isinstance(cause, FatalCommClosedError | SSLError) for cause in _chain(error)):
            raise ClusterError(
                f"the scheduler at '{address}' and this client do not trust each other's "
                f"certificates: {_cause(error)}; name ones of the same authority with "
                "--tls-ca-file, --tls-cert and --tls-key"
            ) from error
        silent = isinstance(error, TimeoutError)
        raise ClusterError(
            f"no scheduler answers at '{address}' within {timeout:g} s: "
            f"{'what is there keeps silent' if silent else _cause(error)}; is it running, can "
            "this machine reach it, and is it tcp:// or tls://?"
        ) from error
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"'{address}' is no address of a scheduler: {error}; write it as tcp://host:8786, or "
            "tls://host:8786 with certificates"
        ) from error


async def _reach(address: str, security: Security, timeout: float) -> None:
    """Connect, and close again: a Client would wait without end for a silent server."""
    arguments = security.get_connection_args("client")
    async with asyncio.timeout(timeout + 1):  # to connect ends first, and says why
        comm = await dask_connect(address, timeout=timeout, **arguments)
    await comm.close()


def _security(settings: ClusterSettings, address: str) -> Security:
    """Return the certificates of the options, or else of Dask's own configuration."""
    files = {
        "tls_ca_file": settings.tls_ca_file,
        "tls_client_cert": settings.tls_cert,
        "tls_client_key": settings.tls_key,
    }
    security = Security(**{name: file for name, file in files.items() if file})
    try:
        context = security.get_connection_args("client")["ssl_context"]
    except OSError as error:
        named = ", ".join(str(getattr(security, name)) for name in files if getattr(security, name))
        raise UsageError(
            f"no certificates in {named}: {error.strerror or error}; see --tls-ca-file, "
            "--tls-cert and --tls-key"
        ) from error
    if address.startswith("tls://") and context is None:
        raise UsageError(
            f"'{address}' wants certificates; name them with --tls-ca-file, --tls-cert and "
            "--tls-key"
        )
    return security


def _read_address(file: str) -> str:
    """Return the address in a file that `dask scheduler --scheduler-file` has written."""
    try:
        return str(json.loads(Path(file).read_bytes())["address"])
    except OSError as error:
        raise UsageError(
            f"--scheduler '{file}' is no address, as tcp://host:8786, and no scheduler file: "
            f"{error.strerror}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--scheduler '{file}': not a file that `dask scheduler --scheduler-file` has written"
        ) from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, what caused it, what caused that, …."""
    while error is not None:
        yield error
        error = error.__cause__


def _cause(error: BaseException) -> str:
    """Return the deepest text in a chain of errors, on one line."""
    texts = [" ".join(str(cause).split()) for cause in _chain(error)]
    return next((text for text in reversed(texts) if text), type(error).__name__)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
