"""Checks a cluster before a job starts on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

from distributed import Client, LocalCluster, Worker
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from pipeline.csv_text.files import shown, version_of
from pipeline.csv_text.sources import Source
from pipeline.engine.cluster import no_workers_timeout
from pipeline.engine.package import source_digest
from pipeline.engine.places import Place, Probe
from pipeline.errors import ClusterError

# Those whose versions this package's tasks and their results depend on.
_PACKAGES = ("dask", "distributed", "pandas", "pyarrow", "numpy", "numba", "llvmlite")
_INSTALL = (
    "install the same everywhere: run all from one container image (docker compose build), or pip "
    "install -c scripts/constraints.txt . on each machine, and start it again; to change workers "
    "that run, use Dask's PipInstall or Client.upload_file"
)


def wait_for_worker(client: Client) -> None:
    """Wait until a worker has computed something; an adaptive cluster starts one for it.

    Raises ClusterError if none has in time (see `cluster.no_workers_timeout`).
    """
    timeout = no_workers_timeout()
    future = client.submit(int, key=f"first-{uuid4().hex}")  # unique: runs may share a cluster
    try:
        future.result(timeout=timeout)
    except (TimeoutError, NoWorkerError, NoValidWorkerError) as error:
        where = f"the scheduler at '{client.scheduler.address}'"
        if paused := len(client.nthreads()):
            raise ClusterError(
                f"{where} has no worker after {timeout:g} s but {paused} short of memory, which "
                "have paused; raise their memory limit, or restart them"
            ) from error
        raise ClusterError(
            f"{where} has no worker after {timeout:g} s; start one with `dask worker`, or wait "
            "longer with --wait-for-workers"
        ) from error
    finally:
        future.release()


def check_cluster(client: Client, sources: Iterable[Source], place: Place, output_dir: str) -> None:
    """Check that the cluster of `client` can run a job on `sources` that writes into `place`.

    Scheduler and workers must have the client's versions of Python, of this package, its source
    included, and of those it computes with. Every worker must read the same files as the client and
    write into the same place, for which errors say `output_dir`. Raises ClusterError if any of this
    fails. A LocalCluster runs on this machine and this installation, so it is not checked.
    """
    if isinstance(client.cluster, LocalCluster):
        return
    _check_versions(client)
    _check_source(client)
    sizes = {file.path: file.size for source in sources for file in source.files}
    _check_files(client, sizes, place, output_dir)


def _check_versions(client: Client) -> None:
    # Dask's own query: it runs none of our code, so any version of Python can answer.
    answers = client.get_versions(packages=_PACKAGES)
    here = _versions(answers["client"])
    there = {
        "the scheduler": answers["scheduler"],
        **{f"worker {address}": answer for address, answer in answers["workers"].items()},
    }
    faults = []
    for place, answer in there.items():
        found = _versions(answer)
        differs = [
            f"{name} {found[name] or 'missing'} for {version}"
            for name, version in here.items()
            if found[name] != version
        ]
        if differs:
            faults.append(f"{place} has {', '.join(differs)}")
    if faults:
        raise ClusterError(f"other versions than this client's: {_first(faults)}; {_INSTALL}")


def _versions(answer: dict[str, Any]) -> dict[str, str | None]:
    # Python's patch version changes neither its bytecode nor its pickles.
    python = ".".join(answer["host"]["python"].split(".")[:2])
    return {"Python": python, **{name: answer["packages"].get(name) for name in _PACKAGES}}


def _check_source(client: Client) -> None:
    here = source_digest()
    workers = client.run(source_digest, on_error="return")
    found = {
        "the scheduler": _answer(lambda: client.run_on_scheduler(source_digest)),
        **{f"worker {address}": answer for address, answer in workers.items()},
    }
    faults = []
    for place, answer in found.items():
        # What cannot be pickled arrives as an Exception with its text.
        if isinstance(answer, Exception) and "No module named 'pipeline" in str(answer):
            faults.append(f"{place} lacks it")
        elif isinstance(answer, str) and answer != here:
            faults.append(f"{place} has another source ({answer[:8]})")
        elif isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise answer
    if faults:
        raise ClusterError(
            f"not this package everywhere (source {here[:8]}): {_first(faults)}; {_INSTALL}"
        )


def _answer(question: Callable[[], Any]) -> Any:
    """Return an answer, or the error that came instead."""
    try:
        return question()
    except Exception as error:
        return error


def _check_files(client: Client, sizes: dict[str, int], place: Place, output_dir: str) -> None:
    workers = list(client.nthreads())
    numbers = {address: number for number, address in enumerate(workers)}
    probe = place.start_probe(len(workers))
    try:
        answers = _run(client, _look, sizes, probe, numbers)
        unwritten = [
            f"worker {address} {fault or 'writes into another place of that name'}"
            for address, (_, fault) in answers.items()
            if fault or not probe.marked(numbers[address])
        ]
    finally:
        probe.remove()
    unread = [
        f"worker {address} {fault}"
        for address, (other, _) in answers.items()
        if (fault := _misread(sizes, other))
    ]
    if unread:
        raise ClusterError(
            f"{_first(unread)}; workers open the inputs by the client's paths: put them where "
            "all machines see them at the same path, or name a URL"
        )
    if unwritten:
        raise ClusterError(f"{shown(output_dir)}: {_first(unwritten)}; {probe.hint}")


def _look(
    sizes: dict[str, int], probe: Probe, numbers: dict[str, int], dask_worker: Worker
) -> tuple[dict[str, int | OSError], str]:
    """Return the inputs that differ for a worker (see `_differing`), its fault with the outputs."""
    return _differing(sizes), _mark(probe, numbers.get(dask_worker.address))


def _differing(sizes: dict[str, int]) -> dict[str, int | OSError]:
    """Return the files that have another size here, each with its size or why it has none."""
    with ThreadPoolExecutor() as pool:
        found = zip(sizes, pool.map(_try_size, sizes), strict=True)
        return {path: size for path, size in found if size != sizes[path]}


def _misread(sizes: dict[str, int], found: dict[str, int | OSError]) -> str:
    """Return a worker's fault with the inputs, of which it `found` some to differ; "" if none."""
    for path, size in found.items():
        if isinstance(size, OSError):
            return f"cannot read {shown(path)}: {size.strerror or size}"
        # Others may append to a file meanwhile: then this machine sees that, too.
        if not sizes[path] <= size <= version_of(path).size:
            return f"sees another file at {shown(path)}: of {size} bytes, not {sizes[path]}"
    return ""


def _mark(probe: Probe, number: int | None) -> str:
    if number is None:  # it joined after the others were counted
        return ""
    try:
        probe.mark(number)
    except FileNotFoundError:
        return "does not see this folder"
    except OSError as error:
        return f"cannot write here: {error.strerror}"
    return ""


def _try_size(path: str) -> int | OSError:
    """Return the size of a file in bytes, or why it cannot be opened."""
    try:
        return version_of(path).size
    except OSError as error:
        return error


def _run(client: Client, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """Call a function on each worker; return the results by address.

    Leaves out a worker that is lost meanwhile: the job can do without it. Raises ClusterError if no
    worker answers.
    """
    answers = client.run(function, *args, on_error="return")
    lost = {address: answer for address, answer in answers.items() if isinstance(answer, OSError)}
    for answer in answers.values():
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise answer
    if len(lost) == len(answers):
        raise ClusterError("no worker answers; look into the workers' logs")
    return {address: answer for address, answer in answers.items() if address not in lost}


def _first(faults: list[str]) -> str:
    """Return the first of several faults of the same kind, and how many more there are."""
    more = len(faults) - 1
    return faults[0] + (f" (and {more} more)" if more else "")
