"""The cluster to run on: started here, or the scheduler at an address."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from ssl import SSLError
from typing import TypeVar

import dask
from dask.system import CPU_COUNT
from dask.utils import parse_timedelta
from distributed import Client, LocalCluster, Security, performance_report
from distributed.comm import connect as dask_connect
from distributed.comm.core import CommClosedError, FatalCommClosedError
from distributed.versions import VersionMismatchWarning

from pipeline.engine.dask_settings import check_dask_settings
from pipeline.engine.internals import worker_states
from pipeline.engine.local_cluster import configure_timers, start_local_cluster
from pipeline.engine.tls import keep_apart
from pipeline.errors import ClusterError, StorageError, UsageError, causes
from pipeline.settings import ClusterSettings

Answer = TypeVar("Answer")

_ASK_FOR = 5.0  # seconds
# Dask's name for `--wait-for-workers`; by default, a scheduler waits forever.
NO_WORKERS_TIMEOUT = "distributed.scheduler.no-workers-timeout"
# Where Dask's configuration names a client's certificates.
_CERTIFICATES = (
    "distributed.comm.tls.ca-file, .client.cert and .client.key in Dask's configuration, or "
    "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY"
)
# The loggers to which Dask gives a level, and the one that reports unawaited tasks.
_LOGGERS = (
    *("distributed", "distributed.client", "distributed.gc"),
    *("tornado", "tornado.application", "bokeh", "asyncio"),
)


@contextmanager
def connect(
    settings: ClusterSettings,
    *,
    debug: bool = False,
    waits_for_network: bool = False,
    profiled: bool = False,
) -> Iterator[Client]:
    """Yield a client of the cluster that `settings` name; at the end, close what was started.

    `local` starts a cluster here, with one thread for each core, or two if tasks often wait for the
    network: then one reads while the other works. A single worker runs in this process: it starts
    at once, and its threads share the broadcast customers. Several workers run in processes of
    their own. Any other `scheduler` is the address or the scheduler file of a running cluster.
    Dask's profiler runs in a local cluster if `profiled`, or if Dask's configuration says so.
    Raises ClusterError if no scheduler responds, the connection to it is lost, or a local cluster
    does not start; UsageError if `settings` name no scheduler, or a dashboard address at which this
    machine cannot listen, or if Dask's configuration is invalid; ResourceError or StorageError if
    the system refuses what a local cluster needs.
    """
    check_dask_settings()
    level = logging.WARNING if debug else logging.CRITICAL
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(level)
    with dask.config.set({NO_WORKERS_TIMEOUT: f"{settings.wait_for_workers} s"}):
        if settings.scheduler == "local":
            threads = CPU_COUNT * (2 if waits_for_network else 1)
            with (
                dask.config.set(configure_timers(profiled)),
                start_local_cluster(settings, threads, level) as cluster,
                Client(cluster) as client,
                _explain_loss("the local cluster was lost", "raise --memory-limit"),
            ):
                yield client
        else:
            with _remote_client(settings) as client:
                lost = f"the connection to the scheduler at '{client.scheduler.address}' was lost"
                with _explain_loss(lost, "run the job again"):
                    yield client


@contextmanager
def _explain_loss(what: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except CommClosedError as error:
        raise ClusterError(f"{what}: {_cause(error)}; {remedy}") from error


def dashboard_link(client: Client, settings: ClusterSettings) -> str:
    """Return the address of the dashboard, or why there is none."""
    port = client.scheduler_info(n_workers=0)["services"].get("dashboard")
    if not port:
        return "none (the scheduler has no dashboard; is bokeh installed there?)"
    if settings.scheduler != "local":
        return client.dashboard_link
    # Dask names this machine's network address, where nothing listens.
    host = settings.dashboard_address.rpartition(":")[0] or "127.0.0.1"
    return f"http://{host}:{port}/status"


@contextmanager
def write_performance_report(client: Client, report: str | None) -> Iterator[None]:
    """Write Dask's performance report on what the block computes, if `report` names a file.

    Raises UsageError if the file cannot be written, StorageError if that turns out only at the end.
    """
    if report is None:
        yield
        return
    try:
        Path(report).write_bytes(b"")  # now, not after hours of work
    except OSError as error:
        raise UsageError(
            f"--performance-report: '{report}' cannot be written: {error.strerror}; use another "
            "file"
        ) from error
    is_done = False
    try:
        with client.as_current(), performance_report(report):
            yield
            is_done = True
    except OSError as error:
        if not is_done:
            raise
        raise StorageError(
            f"--performance-report: '{report}' cannot be written: {error.strerror or error}"
        ) from error


def no_workers_timeout() -> float:
    """Return how many seconds a run waits for a worker while it has none."""
    configured = parse_timedelta(dask.config.get(NO_WORKERS_TIMEOUT))
    return ClusterSettings().wait_for_workers if configured is None else configured


def ask(client: Client, question: Callable[[], Awaitable[Answer]]) -> Answer | None:
    """Return what a coroutine of the client returns; None if the scheduler does not respond.

    A client may not know yet that its scheduler is lost. It would wait half a minute, or forever if
    the scheduler's machine has stopped.
    """

    async def answer() -> Answer:
        return await asyncio.wait_for(question(), _ASK_FOR)

    if client.status == "running":
        with suppress(OSError):  # a timeout is one, too
            return client.sync(answer)
    return None


def is_on_one_machine(client: Client) -> bool:
    """Return whether this process started the cluster: then all workers share one disk."""
    return isinstance(client.cluster, LocalCluster)


def worker_memory(client: Client) -> int | None:
    """Return the smallest memory limit of any worker in bytes; None if no worker has a limit."""
    workers = client.sync(worker_states, client)
    return min((limit for worker in workers if (limit := worker["memory_limit"])), default=None)


def thread_memory(client: Client) -> int | None:
    """Return the smallest memory limit per worker thread in bytes; None without a limit."""
    workers = client.sync(worker_states, client)
    limits = [worker["memory_limit"] // worker["nthreads"] for worker in workers]
    return min((limit for limit in limits if limit), default=None)


def _remote_client(settings: ClusterSettings) -> Client:
    address = settings.scheduler if settings.is_address else _read_address(settings.scheduler)
    timeout = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
    security = _security(address)
    try:
        asyncio.run(_reach(address, security, timeout))
        with warnings.catch_warnings():
            # The preflight check reports different versions, in one line.
            warnings.simplefilter("ignore", VersionMismatchWarning)
            return Client(address, security=security)
    except OSError as error:
        if any(isinstance(cause, FatalCommClosedError | SSLError) for cause in causes(error)):
            raise ClusterError(
                f"the scheduler at '{address}' and this client do not trust each other's "
                f"certificates: {_cause(error)}; configure certificates signed by the "
                f"same authority with {_CERTIFICATES}"
            ) from error
        why = "" if isinstance(error, TimeoutError) else f": {_cause(error)}"
        raise ClusterError(
            f"no scheduler answered at '{address}' within {timeout:g} s{why}; check that it is "
            "running, that this machine can reach it, and that the scheme, tcp:// or tls://, is "
            "right"
        ) from error
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"'{address}' is not the address of a scheduler: {error}; write tcp://host:8786, or "
            "tls://host:8786 with certificates"
        ) from error


async def _reach(address: str, security: Security, timeout: float) -> None:
    """Connect and disconnect: a Client would wait forever for a server that does not respond."""
    arguments = security.get_connection_args("client")
    async with asyncio.timeout(timeout + 1):  # connecting times out first, and says why
        comm = await dask_connect(address, timeout=timeout, **arguments)
    await comm.close()


def _security(address: str) -> Security:
    """Return the certificates that Dask's configuration names."""
    security = Security()
    try:
        context = security.get_connection_args("client")["ssl_context"]
    except OSError as error:
        files = security.tls_ca_file, security.tls_client_cert, security.tls_client_key
        raise UsageError(
            f"no certificates could be read from {', '.join(filter(None, files))}: "
            f"{error.strerror or error}; set them with {_CERTIFICATES}"
        ) from error
    if address.startswith("tls://") and context is None:
        raise UsageError(f"'{address}' needs certificates; set them with {_CERTIFICATES}")
    if context is not None:
        keep_apart()
    return security


def _read_address(file: str) -> str:
    """Return the address in a file that `dask scheduler --scheduler-file` wrote."""
    try:
        return str(json.loads(Path(file).read_bytes())["address"])
    except OSError as error:
        raise UsageError(
            f"--scheduler '{file}' is neither an address such as tcp://host:8786 nor a scheduler "
            f"file: {error.strerror}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--scheduler '{file}' is not a file that `dask scheduler --scheduler-file` wrote"
        ) from error


def _cause(error: BaseException) -> str:
    """Return, on one line, the text of an error's deepest cause that has one."""
    texts = [" ".join(str(cause).split()) for cause in causes(error)]
    return next((text for text in reversed(texts) if text), type(error).__name__)
