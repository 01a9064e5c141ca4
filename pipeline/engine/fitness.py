"""Whether a process is fit for the tasks of a run: the same versions, inputs and output folder.

The client writes its versions and the sizes of the inputs to the place of the run: a temporary
folder, or a prefix in a store, that all workers must be able to read and write. Each worker
compares itself with that, once, before its first task.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple
from uuid import uuid4

from pipeline.csv_text.files import call_at_once, shown, version_of
from pipeline.csv_text.sources import Source
from pipeline.engine.package import source_digest
from pipeline.engine.shared import shared
from pipeline.storage.places import Place

# This package's tasks and their results depend on the versions of these.
_PACKAGES = ("dask", "distributed", "pandas", "pyarrow", "numpy", "numba", "llvmlite")
_NAME = "requirements.json"
_INSTALL = (
    "install the same versions everywhere: use one container image (docker compose build), or pip "
    "install -c scripts/constraints.txt . on each machine, then restart the scheduler and the "
    "workers; to change workers without a restart, use Dask's PipInstall or Client.upload_file"
)
_SHARE = (
    "workers open the inputs by the client's paths; put the files where all machines see them at "
    "the same path, or use URLs"
)


class Fault(NamedTuple):
    """Why a process is not fit: what the fault is `about`, its `text`, and the `remedy`.

    `has_grown` is the path of an input that is larger there; it may have grown everywhere.
    """

    about: str
    text: str
    remedy: str
    has_grown: str = ""


@dataclass(frozen=True)
class Fitness:
    """What a process must have for the tasks of a run; small, because it travels with each task.

    `place` holds the requirements. `token` is their digest, and names the run in each process.
    Errors call the place `output_dir`.
    """

    place: Place
    output_dir: str
    token: str

    @classmethod
    def of_run(cls, sources: Iterable[Source], place: Place, output_dir: str) -> Fitness:
        """Require what this process has, and the files of `sources`. This process itself is fit."""
        sizes = {file.path: file.size for source in sources for file in source.files}
        requirements = {**describe_installation(), "sizes": sizes, "run": uuid4().hex}
        data = json.dumps(requirements).encode()
        place.put(_NAME, data)
        fitness = cls(place, output_dir, hashlib.sha256(data).hexdigest())
        shared(fitness.token, lambda: {"fault": None})
        return fitness

    def fault(self, sizes: Mapping[str, int] | None = None) -> Fault | None:
        """Return why this process is not fit, None if it is; check only the first time.

        Given `sizes`, the current sizes of some inputs, check again.
        """
        found: dict[str, Fault | None] = shared(self.token, dict)
        if sizes or not found:
            found["fault"] = self._look(sizes or {})
        return found["fault"]

    def _look(self, sizes: Mapping[str, int]) -> Fault | None:
        where = f"{shown(self.output_dir)}: "
        try:
            data = self.place.get(_NAME)
        except FileNotFoundError:
            return Fault(where, "does not see this folder", self.place.hint)
        except OSError as error:
            return Fault(where, f"cannot read here: {error.strerror}", self.place.hint)
        if hashlib.sha256(data).hexdigest() != self.token:
            return Fault(where, "sees a different folder at this path", self.place.hint)
        wanted = json.loads(data)
        if fault := version_fault(wanted) or _file_fault(wanted["sizes"], sizes):
            return fault
        try:
            self.place.put(_NAME, data)
        except OSError as error:
            return Fault(where, f"cannot write here: {error.strerror}", self.place.hint)
        return None


def describe_installation() -> dict[str, Any]:
    """Return the versions and the source digest that this process runs."""
    # Python's patch version changes neither its bytecode nor its pickles.
    versions = {"Python": ".".join(map(str, sys.version_info[:2]))}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "missing"
    return {"versions": versions, "source": source_digest()}


def version_fault(wanted: Mapping[str, Any]) -> Fault | None:
    """Return how this process differs from the client's installation; None if it does not."""
    here = describe_installation()
    differs = [
        f"{name} {here['versions'].get(name, 'missing')} instead of {wished}"
        for name, wished in wanted["versions"].items()
        if here["versions"].get(name) != wished
    ]
    if differs:
        return Fault("versions differ from this client's: ", f"has {', '.join(differs)}", _INSTALL)
    if here["source"] != wanted["source"]:
        text = f"has different source code ({here['source'][:8]})"
        return package_fault(wanted["source"], text)
    return None


def package_fault(source: str, text: str) -> Fault:
    """Return the fault of a process that lacks this package with that digest."""
    about = f"this package is not the same everywhere (source {source[:8]}): "
    return Fault(about, text, _INSTALL)


def _file_fault(planned: Mapping[str, int], grown: Mapping[str, int]) -> Fault | None:
    """Return the fault of the first file that is not as `planned` (path: bytes) or `grown`."""
    for path, size in zip(planned, call_at_once(_try_size, list(planned)), strict=True):
        if isinstance(size, OSError):
            return Fault("", f"cannot read {shown(path)}: {size.strerror or size}", _SHARE)
        if not planned[path] <= size <= grown.get(path, planned[path]):
            text = f"sees a different file at {shown(path)}: {size} bytes, not {planned[path]}"
            return Fault("", text, _SHARE, path if size > planned[path] else "")
    return None


def _try_size(path: str) -> int | OSError:
    """Return the size of a file in bytes, or why it cannot be opened."""
    try:
        return version_of(path).size
    except OSError as error:
        return error
