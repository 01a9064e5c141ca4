"""Checks a cluster before a job starts on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zipfile import ZipFile

from distributed import Client, LocalCluster, Worker
from distributed.exceptions import WorkerStartTimeoutError

from pipeline.csv_text.files import shown, version_of
from pipeline.csv_text.sources import Source
from pipeline.engine.by_value import by_value
from pipeline.engine.cluster import no_workers_timeout
from pipeline.engine.places import Place, Probe
from pipeline.errors import ClusterError

_PACKAGES = ("dask", "distributed", "pandas", "pyarrow")


class Package(NamedTuple):
    """This package's state on a machine: its version and the digest of its source."""

    version: str
    digest: str

    @classmethod
    def of(cls, found: tuple[str, str] | None) -> Package | None:
        """Convert the answer of `_package`."""
        return found and cls(*found)

    def __str__(self) -> str:
        return f"{self.version}, source {self.digest[:8]}"


def check_cluster(client: Client, sources: Iterable[Source], place: Place, output_dir: str) -> None:
    """Check that the cluster of `client` can run a job on `sources` that writes into `place`.

    A worker must come in time (see `cluster.no_workers_timeout`). Scheduler and workers must have
    the client's versions of Python, dask, distributed, pandas, pyarrow and this package; if this
    package is missing there, it is sent. Every worker must read the same files as the client and
    write into the same place, for which errors say `output_dir`. Raises ClusterError if any of this
    fails. A LocalCluster runs on this machine and this installation, so it is not checked.
    """
    if isinstance(client.cluster, LocalCluster):
        return
    _wait_for_a_worker(client)
    _check_versions(client)
    _check_package(client)
    sizes = {file.path: file.size for source in sources for file in source.files}
    _check_files(client, sizes, place, output_dir)


def _wait_for_a_worker(client: Client) -> None:
    timeout = no_workers_timeout()
    try:
        client.wait_for_workers(1, timeout=timeout)
    except WorkerStartTimeoutError as error:
        paused = len(client.nthreads())
        if paused:
            raise ClusterError(
                f"the scheduler at '{client.scheduler.address}' has no worker after {timeout:g} s "
                f"but {paused} short of memory, which have paused; raise their memory limit, or "
                "restart them"
            ) from error
        raise ClusterError(
            f"the scheduler at '{client.scheduler.address}' has no worker after {timeout:g} s; "
            "start one with `dask worker`, or wait longer with --wait-for-workers"
        ) from error


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
        raise ClusterError(
            f"other versions than this client's: {_first(faults)}; install those of "
            "scripts/constraints.txt everywhere, or run all from one container image"
        )


def _versions(answer: dict[str, Any]) -> dict[str, str | None]:
    # Python's patch version changes neither its bytecode nor its pickles.
    python = ".".join(answer["host"]["python"].split(".")[:2])
    return {"Python": python, **{name: answer["packages"].get(name) for name in _PACKAGES}}


def _check_package(client: Client) -> None:
    here = Package.of(_package())
    assert here is not None, "this module is part of it"
    found = _packages(client)
    if None in found.values() and set(found.values()) <= {None, here}:
        with _zipped(here) as file:
            client.upload_file(str(file))  # also sent to workers that join later
        found = _packages(client)
    # A place without the package only shows that it was not sent, so those come last.
    places = sorted(found, key=lambda place: found[place] is None)
    faults = [f"{place} ({found[place] or 'missing'})" for place in places if found[place] != here]
    if faults:
        raise ClusterError(
            f"another state of this package than this client's ({here}): {_first(faults)}; "
            "install the same everywhere (containers: docker compose build), and start them again"
        )


def _packages(client: Client) -> dict[str, Package | None]:
    with by_value(__name__):
        scheduler = client.run_on_scheduler(_package)
        workers = _run(client, _package)
    places = {
        "the scheduler": scheduler,
        **{f"worker {address}": found for address, found in workers.items()},
    }
    return {place: Package.of(found) for place, found in places.items()}


def _package() -> tuple[str, str] | None:
    """Return this package's version and the digest of its source; None if it is missing."""
    import hashlib
    from importlib import import_module, resources

    try:
        package = import_module("pipeline")
    except ImportError:
        return None
    # Resources, not paths: the package may have been sent as a zip file.
    folders, sources = [("", resources.files(package))], {}
    while folders:
        prefix, folder = folders.pop()
        for item in folder.iterdir():
            if item.is_dir():
                folders.append((f"{prefix}{item.name}/", item))
            elif item.name.endswith(".py"):
                sources[prefix + item.name] = item.read_bytes()
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + sources[name] + b"\0")
    return getattr(package, "__version__", "of no version"), digest.hexdigest()


@contextmanager
def _zipped(package: Package) -> Iterator[Path]:
    """Yield a zip file of this package's source, from which Python can import."""
    folder = Path(__file__).parents[1]
    with TemporaryDirectory() as temporary:
        path = Path(temporary, f"{folder.name}-{package.digest[:8]}.zip")
        with ZipFile(path, "w") as file:
            for module in sorted(folder.rglob("*.py")):
                file.write(module, module.relative_to(folder.parent))
        yield path


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
