"""All outputs of a run appear together, or none does."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from pipeline.errors import UsageError

COMBINED = "combined_data.csv"
SPENDING = "age_group_spending.csv"
CHART = "total_spending_by_age_group.png"
REJECTED = "rejected_rows.csv"
REPORT = "run_report.json"

# In the order in which they are put in place: the report is the mark of a complete run.
OUTPUTS = (COMBINED, SPENDING, CHART, REJECTED, REPORT)
_UNFINISHED, _FINISHED = ".unfinished", ".finished"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def staged_outputs(output_dir: str, fsync: bool) -> Iterator[Path]:
    """Give a folder to write outputs into; put them in place when the block ends well.

    The folder lies inside `output_dir`, so that a rename puts a file in place; what has another
    name than an output is dropped. When the block raises, `output_dir` stays as it was; what a
    killed run left is cleared by the next. Raises UsageError where `output_dir` cannot be
    written, or has no room left, or another run writes into it.
    """
    folder = Path(output_dir)
    # Absolute, since workers may run in other folders than this process. Of a name of its own, so
    # that a worker which wakes up after its run has ended writes into no other run's file.
    stage = folder.absolute() / f"{_UNFINISHED}-{uuid4().hex[:8]}"
    with _locked(folder) as handle:
        for name in OUTPUTS:
            if (folder / name).is_dir():
                raise UsageError(f"{folder / name}: is a folder, where an output has to go")
        try:
            if (folder / _FINISHED).exists():  # a run was killed while it put its outputs in place
                _put_in_place(folder)
            for left in folder.glob(f"{_UNFINISHED}-*"):
                _clear(left)
            stage.mkdir()
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            yield stage
            _publish(stage, folder, handle, fsync)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise _unwritable(folder, error) from error
            raise
        finally:
            _clear(stage)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Keep other runs out of `folder`, which is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"{folder}: another run writes its outputs here; wait for it, or name another "
                "folder with --output-dir"
            ) from error
        yield handle
    finally:
        os.close(handle)


def _publish(stage: Path, folder: Path, handle: int, fsync: bool) -> None:
    for file in stage.iterdir():
        if file.name not in OUTPUTS:
            file.unlink()
        elif fsync:
            _sync(file)
    for name in OUTPUTS:
        # Where this run has no such output it is empty here, and an earlier run's goes.
        (stage / name).touch()
    if fsync:
        _sync(stage)
    with _uninterrupted():
        # From this rename on the run counts: a kill behind it leaves the rest to the next run.
        stage.rename(folder / _FINISHED)
        if fsync:
            os.fsync(handle)
        _put_in_place(folder)
        if fsync:
            os.fsync(handle)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let no SIGINT or SIGTERM end this process: a moment later it is done anyway."""
    if threading.current_thread() is not threading.main_thread():  # no signal gets here
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
    """Move the outputs of a finished run to their places; goes on where it was cut short."""
    finished = folder / _FINISHED
    if (finished / REPORT).exists():
        # Without a report, what lies here is no complete run until the new report is in place.
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


def _unwritable(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{folder}: outputs cannot be written here: {error.strerror}; "
        "name another folder with --output-dir"
    )
