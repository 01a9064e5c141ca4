"""Where compiled kernels are kept between processes.

numba's own cache misses edits of a function in another file, ignores NUMBA_BOUNDSCHECK, fails where
there is no writable folder, and raises if a file in it is damaged. So each state of the sources,
versions, settings and processor has a folder of its own here, and a cache that cannot be used only
costs time. A cache holds pickles, and loading one runs code, so no other user may be able to write
to its folder.

numba has no public way to say where a function's cache is: this module uses `numba.core.caching`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import llvmlite
import llvmlite.binding as llvm
import numba
from numba import config
from numba.core import caching

_OWN = "age-group-spending"


class _Locator(caching._CacheLocator):
    """Names `cache_folder()`, which must not be None."""

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Locator:
        return cls()

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return ""  # a folder holds one state of the sources

    def get_disambiguator(self) -> str:
        return "kernel"


class _Files(caching.CompileResultCacheImpl):
    _locator_classes = (_Locator,)


class KernelCache(caching.FunctionCache):
    """The cache of one function. If it is empty, other processes wait until this one closes it.

    So if several processes need a kernel at once, only one compiles it. No error of the cache
    reaches the caller.
    """

    _impl_class = _Files

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._turn: IO[str] | None = None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the function compiled for these types, or None."""
        found = self._load(sig, target_context)
        if found is None:
            self._take_turn()
            found = self._load(sig, target_context)
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for these types."""
        with suppress(OSError):  # such as a full disk
            super().save_overload(sig, data)

    def close(self) -> None:
        """Let other processes look again."""
        if self._turn is not None:
            self._turn.close()

    def _load(self, sig: Any, target_context: Any) -> Any:
        try:
            # numba's `load_overload` first imports everything it can compile, which takes 0.15 s. A
            # cached function needs none of that, and the compiler imports it when it needs it.
            return self._load_overload(sig, target_context)
        except Exception:  # a damaged pickle may raise any
            with suppress(OSError):
                self.flush()
            return None

    def _take_turn(self) -> None:
        with suppress(OSError):  # a file system without locks
            self._turn = open(Path(self.cache_path, "lock"), "w")  # noqa: SIM115  # until closed
            fcntl.flock(self._turn, fcntl.LOCK_EX)


@cache
def cache_folder() -> Path | None:
    """Return the folder that compiled kernels are kept in; None if there is none to trust.

    It is in NUMBA_CACHE_DIR, beside the sources, in the user's cache, or among temporary files: the
    first that can be written. Kernels that were compiled beside the sources, by whoever installed
    the package, are copied from there.
    """
    name = f"kernels-{_state()}"
    beside_sources = Path(__file__).parent / "__pycache__" / name
    if config.CACHE_DIR and _is_made(folder := Path(config.CACHE_DIR, name)):
        return folder
    if _is_made(beside_sources, 0o755):
        return beside_sources
    for folder in (base / name for base in _own_folders()):
        if beside_sources.is_dir() and not folder.exists():
            _copy(beside_sources, folder)
        if _is_made(folder) and _is_out_of_reach(folder):
            return folder
    return None


def is_cache_empty() -> bool:
    """Return whether no kernel is kept yet, so that a first run must compile them."""
    folder = cache_folder()
    return folder is None or next(folder.glob("*.nbi"), None) is None


def _state() -> str:
    """Return a digest of all that compiled kernels depend on."""
    digest = sha256()
    for source in sorted(resources.files(__package__).iterdir(), key=lambda file: file.name):
        if source.name.endswith(".py"):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    settings = config.BOUNDSCHECK, config.OPT, config.DEBUGINFO_DEFAULT
    processor = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    chosen = config.CPU_NAME, config.CPU_FEATURES
    versions = numba.__version__, llvmlite.__version__
    digest.update(repr((settings, processor, chosen, versions)).encode())
    return digest.hexdigest()[:16]


def _own_folders() -> Iterator[Path]:
    """Yield folders for this user's files, below folders that others may write to."""
    home = os.path.expanduser("~")
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(caches):
        yield Path(caches, _OWN)
    elif os.path.isdir(home):
        yield Path(home, ".cache", _OWN)
    with suppress(OSError):
        yield Path(tempfile.gettempdir(), f"{_OWN}-{os.geteuid()}")


def _copy(source: Path, folder: Path) -> None:
    """Copy the files of a folder, all or none."""
    new = folder.with_name(f"{folder.name}.{uuid4().hex}")
    try:
        folder.parent.mkdir(0o700, parents=True, exist_ok=True)
        new.mkdir(0o700)
        for file in source.iterdir():
            shutil.copyfile(file, new / file.name)
        new.rename(folder)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)


def _is_made(folder: Path, mode: int = 0o700) -> bool:
    """Make a folder if it is not there; return whether this user, and no other, can write to it."""
    try:
        folder.parent.mkdir(mode, parents=True, exist_ok=True)
        folder.mkdir(mode, exist_ok=True)
        found = folder.lstat()
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return is_ours and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _is_out_of_reach(folder: Path) -> bool:
    """Return whether no other user can replace this folder."""
    for parent in folder.resolve().parents:
        found = parent.stat()
        others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if found.st_uid not in (0, os.geteuid()):
            return False
        if others_write and not found.st_mode & stat.S_ISVTX:
            return False
    return True
