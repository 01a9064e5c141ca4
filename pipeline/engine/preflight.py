"""Checks a cluster before a job starts on it."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

from distributed import Client
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from pipeline.csv_text.sources import Source
from pipeline.engine.cluster import is_on_one_machine, no_workers_timeout
from pipeline.engine.fitness import Fault, Fitness, describe_installation, version_fault
from pipeline.engine.team import current_team, fault_of_error, find_faults
from pipeline.errors import ClusterError
from pipeline.storage.places import Place


def wait_for_worker(client: Client) -> None:
    """Wait until a worker has computed something; an adaptive cluster starts one only for a task.

    Raises ClusterError if no worker does so in time (see `cluster.no_workers_timeout`).
    """
    timeout = no_workers_timeout()
    future = client.submit(int, key=f"first-{uuid4().hex}")  # unique: runs may share a cluster
    try:
        future.result(timeout=timeout)
    except (TimeoutError, NoWorkerError, NoValidWorkerError) as error:
        where = f"the scheduler at '{client.scheduler.address}'"
        if paused := len(client.nthreads()):
            raise ClusterError(
                f"{where} still had no running worker after {timeout:g} s; its workers "
                f"({paused}) are paused, because they use too much memory; raise their memory "
                "limit, or restart them"
            ) from error
        raise ClusterError(
            f"{where} still had no worker after {timeout:g} s; start one with `dask worker`, or "
            "wait longer with --wait-for-workers"
        ) from error
    finally:
        future.release()


def check_cluster(client: Client, sources: Iterable[Source], place: Place, output_dir: str) -> None:
    """Check that the cluster of `client` can run a job on `sources` that writes to `place`.

    Scheduler and workers must have the client's versions of Python, of the packages it computes
    with, and of this package down to its source. Every worker must read the same files as the
    client and write to the same place, which errors call `output_dir`. Raises ClusterError if any
    of this fails. A local cluster uses this machine and this installation, so it is not checked
    now; a worker that joins later is checked before its first task (see `engine.team`).
    """
    fitness = Fitness.of_run(sources, place, output_dir)
    if team := current_team():
        team.fitness = fitness
    if is_on_one_machine(client):
        return
    faults = {"the scheduler": _fault_of_scheduler(client)}
    for address, fault in client.sync(find_faults, client, fitness).items():
        faults[f"worker {address}"] = fault
    if len(faults) == 1:
        raise ClusterError("no worker responds; check the workers' logs")
    found = [(where, fault) for where, fault in faults.items() if fault]
    if found:
        where, first = found[0]
        others = sum(fault.about == first.about for _, fault in found) - 1
        more = f" (and {others} more)" if others else ""
        raise ClusterError(f"{first.about}{where} {first.text}{more}; {first.remedy}")


def _fault_of_scheduler(client: Client) -> Fault | None:
    """Return how the scheduler differs from this process. The scheduler reads no files."""
    try:
        fault: Fault | None = client.run_on_scheduler(version_fault, describe_installation())
    except OSError:
        raise
    except Exception as error:
        return fault_of_error(error)
    return fault
