"""Stage the outputs of a run, and commit all of them or none."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from uuid import uuid4

from pipeline.errors import StorageError, UsageError, is_storage_fault

COMBINED = "combined_data.csv"
SPENDING = "age_group_spending.csv"
CHART = "total_spending_by_age_group.png"
REJECTED = "rejected_rows.csv"
REPORT = "run_report.json"

# In commit order. The report comes last: it marks a complete run.
OUTPUTS = (COMBINED, SPENDING, CHART, REJECTED, REPORT)
FAILED = "failed_run.json"  # next to the outputs, until a run succeeds

_UNFINISHED, _FINISHED, _LOCK = ".unfinished", ".finished", ".lock"
# What else a run makes there, and deletes.
_TEMPORARY = (f"{_UNFINISHED}-*", _FINISHED, _LOCK)
# Errors that mean the user named the wrong folder.
_DENIED = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


def is_reserved(path: str) -> bool:
    """Tell whether a run may write or delete what lies at `path` in the output folder or prefix.

    `path` is relative to it, with `/` between names.
    """
    first = path.partition("/")[0]
    return path in (*OUTPUTS, FAILED) or any(fnmatchcase(first, name) for name in _TEMPORARY)


@contextmanager
def staged_outputs(
    output_dir: str,
    fsync: bool,
    report_failure: Callable[[Path, BaseException], None] | None = None,
) -> Iterator[Path]:
    """Yield a staging folder for the outputs; commit them if the block succeeds.

    The staging folder lies inside `output_dir`, so a rename moves a file into place. The commit
    deletes every other file in the staging folder. If the block raises, the outputs of the previous
    run stay unchanged, and `report_failure` gets a path to write the reason to. The next run cleans
    up after a killed one. Raises UsageError if `output_dir` is not writable or another run is using
    it, StorageError if the file system fails, for example when the disk is full.
    """
    folder = Path(output_dir)
    # Absolute, because workers may run in another directory. Unique, because a worker that wakes
    # up after its run has ended must not write into another run's files.
    stage = folder.absolute() / f"{_UNFINISHED}-{uuid4().hex[:8]}"
    with _locked(folder):
        for name in OUTPUTS:
            if (folder / name).is_dir():
                raise UsageError(f"{folder / name}: is a folder, where an output has to go")
        with _told(folder):
            if (folder / _FINISHED).exists():  # a run was killed during its commit
                _put_in_place(folder)
            for left in folder.glob(f"{_UNFINISHED}-*"):
                _clear(left)
            stage.mkdir()
        try:
            with _told(folder):
                yield stage
                _publish(stage, folder, fsync)
        except Exception as error:
            _clear(stage)  # first: it may have filled the disk
            if report_failure:
                report_failure(folder / FAILED, error)
            raise
        finally:
            _clear(stage)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn an OSError about `folder` into a UsageError or a StorageError; pass on any other."""
    try:
        yield
    except OSError as error:
        failed = is_storage_fault(error)
        if not failed and error.errno not in _DENIED:
            raise
        raise (StorageError if failed else UsageError)(
            f"{folder}: outputs cannot be written here: {error.strerror}; "
            "name another folder with --output-dir"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of `folder`; create it if it is missing."""
    path = folder / _LOCK
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = _lock(path)
    if handle is None:
        raise UsageError(
            f"{folder}: another run writes its outputs here; wait for it, or name another folder "
            "with --output-dir"
        )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _lock(path: Path) -> int | None:
    """Lock the file at `path` and return its descriptor, or None if it is already locked.

    It must be a file opened for writing: on NFS, Linux locks only those at the server, for all
    hosts.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.samefile(f"/proc/self/fd/{handle}"):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        os.close(handle)  # the run that held the lock has since removed the file


def _publish(stage: Path, folder: Path, fsync: bool) -> None:
    for file in stage.iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name not in OUTPUTS:
            file.unlink()
        elif fsync:
            _sync(file)
    for name in OUTPUTS:
        # An empty file marks an output this run lacks: an earlier run's is then deleted.
        (stage / name).touch()
    if fsync:
        _sync(stage)
    with uninterrupted():
        # This rename commits the run. If the run is killed later, the next run does the rest.
        stage.rename(folder / _FINISHED)
        if fsync:
            _sync(folder)
        _put_in_place(folder)
        (folder / FAILED).unlink(missing_ok=True)
        if fsync:
            _sync(folder)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM during the block, which takes only a moment."""
    if threading.current_thread() is not threading.main_thread():  # signals do not arrive here
        yield
        return
    handlers = {
        number: signal.signal(number, _too_late) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _too_late(*_: object) -> None:
    pass


def _put_in_place(folder: Path) -> None:
    """Move the outputs of a finished run into place; resume if a run was killed doing so."""
    finished = folder / _FINISHED
    if (finished / REPORT).exists():
        # Remove the old report first: without one, a mix of old and new outputs is not a
        # complete run.
        (folder / REPORT).unlink(missing_ok=True)
    for name in OUTPUTS:
        file = finished / name
        if file.exists() and file.stat().st_size:
            os.replace(file, folder / name)
        elif file.exists():
            (folder / name).unlink(missing_ok=True)
            file.unlink()
    finished.rmdir()


def _clear(stage: Path) -> None:
    shutil.rmtree(stage, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
