"""A scheduler and workers on this machine."""

from __future__ import annotations

import errno
import socket
import threading
import warnings

import dask
from distributed import LocalCluster

from pipeline.engine.internals import LocalNanny, LocalWorker, serve_dashboard_on_demand
from pipeline.errors import (
    ClusterError,
    PipelineError,
    StorageError,
    UsageError,
    causes,
    system_fault,
)
from pipeline.settings import ClusterSettings

# A worker's threads besides those that work: event loops, connections, opening files.
_OTHER_THREADS = 6
# Error numbers of an address at which this machine cannot listen.
_NO_ADDRESS = (errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EACCES, errno.EAFNOSUPPORT)


def configure_timers(profiled: bool) -> dict[str, object]:
    """Return a configuration with which Dask interrupts working threads less often.

    By default, Dask samples every thread 100 times a second and times its event loops 50 times a
    second: 10% of the CPU time of a run on two processes. The user's own configuration prevails.
    """
    timers = {
        "distributed.worker.profile.enabled": profiled,
        "distributed.admin.tick.interval": "500ms",
    }
    own = dask.config.collect()  # of files and environment
    return {key: value for key, value in timers.items() if dask.config.get(key, None, own) is None}


def start_local_cluster(settings: ClusterSettings, threads: int, level: int) -> LocalCluster:
    """Start a cluster whose workers share `threads`, unless the settings say how many each has.

    `level` is its log level. Raises what `cluster.connect` raises if no cluster starts.
    """
    each = settings.threads_per_worker or max(1, threads // settings.workers)
    try:
        _try_threads(settings.workers * (each + _OTHER_THREADS))
        with warnings.catch_warnings():
            # If the port is taken, Dask uses another; the real link is printed.
            warnings.filterwarnings("ignore", message="Port .* is already in use")
            cluster = LocalCluster(
                n_workers=settings.workers,
                threads_per_worker=each,
                processes=settings.workers > 1,
                worker_class=LocalNanny if settings.workers > 1 else LocalWorker,
                memory_limit=settings.memory_limit,
                dashboard_address=settings.dashboard_address,
                scheduler_kwargs={"dashboard": False},  # served on demand
                silence_logs=level,
            )
    except (OSError, RuntimeError) as error:
        raise _not_started(error, settings) from error
    serve_dashboard_on_demand(cluster.scheduler)
    return cluster


def _try_threads(count: int) -> None:
    """Start that many threads at once, then end them; raise RuntimeError if the system refuses one.

    Dask's event loop may wait forever for the work of a thread that it could not start.
    """
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    finally:
        end.set()
        for thread in started:
            thread.join()


def _not_started(error: Exception, settings: ClusterSettings) -> PipelineError:
    """Return the error to raise if a local cluster could not be started."""
    for cause in causes(error):
        if not isinstance(cause, OSError):
            continue
        if cause.filename:
            return StorageError(
                f"{cause.filename}: the workers' temporary folder cannot be created: "
                f"{cause.strerror}; choose another one with DASK_TEMPORARY_DIRECTORY or TMPDIR"
            )
        if isinstance(cause, socket.gaierror) or cause.errno in _NO_ADDRESS:
            return UsageError(
                f"--dashboard-address: this machine cannot listen on "
                f"'{settings.dashboard_address}': {cause.strerror}; write 127.0.0.1:8787, or "
                "127.0.0.1:0 for any free port"
            )
    return system_fault(error) or ClusterError(
        f"no local cluster could be started: {str(error).rstrip('.')}; --debug shows more, and "
        "--workers 1 starts no other process"
    )
