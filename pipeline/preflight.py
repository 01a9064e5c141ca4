"""What must hold on a cluster before a job starts there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zipfile import ZipFile

import cloudpickle
import fsspec
from distributed import Client, LocalCluster, Worker
from distributed.exceptions import WorkerStartTimeoutError

from pipeline.cluster import no_workers_timeout
from pipeline.errors import ClusterError
from pipeline.files import shown
from pipeline.sources import Source

_PACKAGES = ("dask", "distributed", "pandas", "pyarrow")
_PROBE = "probe"
_MARK = b"1"


class Package(NamedTuple):
    """The state of this package on a machine: its version and the digest of its source."""

    version: str
    digest: str

    @classmethod
    def of(cls, found: tuple[str, str] | None) -> Package | None:
        """Take the answer of `_package`."""
        return found and cls(*found)

    def __str__(self) -> str:
        return f"{self.version}, source {self.digest[:8]}"


def check_cluster(client: Client, sources: Iterable[Source], stage: Path) -> None:
    """Check that the cluster of `client` can run a job on `sources` that writes into `stage`.

    There is a worker in time (see `cluster.no_workers_timeout`). Scheduler and workers have the
    client's versions of Python, dask, distributed, pandas, pyarrow and this package; where this
    package is missing it is sent there. Every worker reads the same files as the client, and
    writes into the same folder. Raises ClusterError for what does not hold. A LocalCluster is of
    this machine and this installation, and is not checked.
    """
    if isinstance(client.cluster, LocalCluster):
        return
    _wait_for_a_worker(client)
    _check_versions(client)
    _check_package(client)
    _check_files(client, [file.path for source in sources for file in source.files], stage)


def _wait_for_a_worker(client: Client) -> None:
    timeout = no_workers_timeout()
    try:
        client.wait_for_workers(1, timeout=timeout)
    except WorkerStartTimeoutError as error:
        paused = len(client.scheduler_info(n_workers=-1)["workers"])
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
    # Dask's own question: no code of ours runs there, so that any Python can answer.
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
    # The third number of Python's version changes neither its bytecode nor its pickles.
    python = ".".join(answer["host"]["python"].split(".")[:2])
    return {"Python": python, **{name: answer["packages"].get(name) for name in _PACKAGES}}


def _check_package(client: Client) -> None:
    here = Package.of(_package())
    assert here is not None, "this module is part of it"
    found = _packages(client)
    if None in found.values() and set(found.values()) <= {None, here}:
        with _zipped(here) as file:
            client.upload_file(str(file))  # also to the workers that come later
        found = _packages(client)
    # Where it is missing only says that it was not sent.
    places = sorted(found, key=lambda place: found[place] is None)
    faults = [f"{place} ({found[place] or 'missing'})" for place in places if found[place] != here]
    if faults:
        raise ClusterError(
            f"another state of this package than this client's ({here}): {_first(faults)}; "
            "install the same everywhere (containers: docker compose build), and start them again"
        )


def _packages(client: Client) -> dict[str, Package | None]:
    # By value: a machine that lacks this package could not look the function up by its name.
    this = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(this)
    try:
        scheduler = client.run_on_scheduler(_package)
        workers = _run(client, _package)
    finally:
        cloudpickle.unregister_pickle_by_value(this)
    places = {
        "the scheduler": scheduler,
        **{f"worker {address}": found for address, found in workers.items()},
    }
    return {place: Package.of(found) for place, found in places.items()}


def _package() -> tuple[str, str] | None:
    """Return this package's version and the digest of its source; None where it is missing."""
    import hashlib
    from importlib import import_module, resources

    try:
        package = import_module("pipeline")
    except ImportError:
        return None
    digest = hashlib.sha256()
    for file in sorted(resources.files(package).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return getattr(package, "__version__", "of no version"), digest.hexdigest()


@contextmanager
def _zipped(package: Package) -> Iterator[Path]:
    """Give a zip file of this package's source, from which Python can import."""
    folder = Path(__file__).parent
    with TemporaryDirectory() as temporary:
        path = Path(temporary, f"{folder.name}-{package.digest[:8]}.zip")
        with ZipFile(path, "w") as file:
            for module in sorted(folder.glob("*.py")):
                file.write(module, f"{folder.name}/{module.name}")
        yield path


def _check_files(client: Client, paths: list[str], stage: Path) -> None:
    with ThreadPoolExecutor() as pool:
        sizes = dict(zip(paths, pool.map(_size, paths), strict=True))
    # Each worker marks a place of its own in one file, which has to be the one that lies here.
    workers = list(client.scheduler_info(n_workers=-1)["workers"])
    places = {address: place for place, address in enumerate(workers)}
    probe = stage / _PROBE
    probe.write_bytes(bytes(len(places)))
    try:
        answers = _run(client, _look, sizes, str(probe), places)
        marks = probe.read_bytes()
    finally:
        probe.unlink()
    unread = [f"worker {address} {fault}" for address, (fault, _) in answers.items() if fault]
    if unread:
        raise ClusterError(
            f"{_first(unread)}; workers open the inputs by the client's paths: put them where "
            "all machines see them at the same path, or name a URL"
        )
    unwritten = [
        f"worker {address} {fault or 'writes into another folder of that name'}"
        for address, (_, fault) in answers.items()
        if fault or marks[places[address]] != _MARK[0]
    ]
    if unwritten:
        raise ClusterError(
            f"{shown(str(stage.parent.absolute()))}: {_first(unwritten)}; name a folder with "
            "--output-dir that all machines share at the same path, and let the workers' user "
            "write there"
        )


def _look(
    sizes: dict[str, int], probe: str, places: dict[str, int], dask_worker: Worker
) -> tuple[str, str]:
    """Return, on a worker, what is wrong with the inputs, and with the output folder; or ""."""
    return _misread(sizes), _mark(probe, places.get(dask_worker.address))


def _misread(sizes: dict[str, int]) -> str:
    with ThreadPoolExecutor() as pool:
        for path, found in zip(sizes, pool.map(_try_size, sizes), strict=True):
            if isinstance(found, OSError):
                return f"cannot read {shown(path)}: {found.strerror or found}"
            if found != sizes[path]:
                return f"sees another file at {shown(path)}: of {found} bytes, not {sizes[path]}"
    return ""


def _mark(probe: str, place: int | None) -> str:
    if place is None:  # it came after the others were counted
        return ""
    try:
        # Not created here: it must be the client's file, and this user must be let in.
        descriptor = os.open(probe, os.O_WRONLY)
    except FileNotFoundError:
        return "does not see this folder"
    except OSError as error:
        return f"cannot write here: {error.strerror}"
    try:
        os.pwrite(descriptor, _MARK, place)
    finally:
        os.close(descriptor)
    return ""


def _try_size(path: str) -> int | OSError:
    try:
        return _size(path)
    except OSError as error:
        return error


def _size(path: str) -> int:
    """Return the bytes of a file that can be opened."""
    with fsspec.open(path, "rb") as file:
        return file.seek(0, os.SEEK_END)


def _run(client: Client, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """Call a function on each worker; return what it gave, by address.

    A worker that is lost meanwhile is left out: the job can do without it.
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
    """Name the first of several places with the same kind of fault, and how many more there are."""
    more = len(faults) - 1
    return faults[0] + (f" (and {more} more)" if more else "")
