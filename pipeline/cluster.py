"""A cluster to run on: one started here, or the scheduler at an address."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from ssl import SSLError
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed import Client, LocalCluster, Security, Worker
from distributed.comm import connect as dask_connect
from distributed.comm.core import FatalCommClosedError
from distributed.versions import VersionMismatchWarning

from pipeline.dashboard import serve_on_demand
from pipeline.errors import ClusterError, UsageError
from pipeline.settings import ClusterSettings

# Dask's name for what `--wait-for-workers` sets; without it a scheduler waits for ever.
NO_WORKERS_TIMEOUT = "distributed.scheduler.no-workers-timeout"
# Those to which Dask gives a level, and the one that tells of its tasks which nobody waits for.
_LOGGERS = (
    *("distributed", "distributed.client", "distributed.gc"),
    *("tornado", "tornado.application", "bokeh", "asyncio"),
)
# Where scheduler, worker and job share one process, what Dask looks at so often (10 and 20 ms by
# default: what runs, and whether the loop does) costs the job a twentieth of its time.
_SELDOM = {
    "distributed.worker.profile.interval": "100 ms",
    "distributed.admin.tick.interval": "200 ms",
}


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
            with (
                dask.config.set(_SELDOM),
                _local_cluster(settings, level) as cluster,
                Client(cluster) as client,
            ):
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
            cluster = LocalCluster(
                n_workers=settings.workers,
                threads_per_worker=threads,
                processes=settings.workers > 1,
                worker_class=None if settings.workers > 1 else _LocalWorker,
                memory_limit=settings.memory_limit,
                dashboard_address=settings.dashboard_address,
                scheduler_kwargs={"dashboard": False},  # but on demand
                silence_logs=level,
            )
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no local cluster with the dashboard at '{settings.dashboard_address}': {error}; "
            "see --dashboard-address"
        ) from error
    serve_on_demand(cluster.scheduler)
    return cluster


class _LocalWorker(Worker):
    """A worker in this process; its own HTTP server too listens on this machine alone."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "dashboard_address": "127.0.0.1:0"})


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
