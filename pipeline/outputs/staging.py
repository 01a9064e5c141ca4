"""Stage the outputs of a run in their folder, and commit all of them or none.

A subfolder holds the outputs of a run. Its name says how far the run came, and one rename takes it
from one state to the next:

    .unfinished-ID    the run is at work, or over; the next run deletes it
    .finished         committed: the new outputs move into place, and those that they replace into
                      `.finished/previous`; if a move fails, all of them move back; the next run
                      completes what was cut off

    .unfinished-ID -- commit --> .finished -- all in place, or all back --> .unfinished-ID

A new output that is not in `.finished` is in place. So whenever a process is killed, the next run
sees what is left to do.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from pipeline.errors import StorageError, UsageError, is_storage_fault
from pipeline.outputs.folder_lock import LOCK, locked
from pipeline.outputs.names import FAILED, OUTPUTS, REPORT
from pipeline.outputs.report import RunLog
from pipeline.outputs.signals import uninterrupted

_UNFINISHED, _FINISHED = ".unfinished", ".finished"
_PREVIOUS = "previous"
# What else a run makes there, and deletes.
_TEMPORARY = (f"{_UNFINISHED}-*", _FINISHED, LOCK)
# Errors that mean the user named the wrong folder.
_DENIED = (
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP),
)


def is_reserved(path: str) -> bool:
    """Tell whether a run may write or delete what lies at `path` in the output folder or prefix.

    `path` is relative to it, with `/` between names.
    """
    first = path.partition("/")[0]
    return path in (*OUTPUTS, FAILED) or any(fnmatchcase(first, name) for name in _TEMPORARY)


@contextmanager
def staged_outputs(output_dir: str, fsync: bool, log: RunLog) -> Iterator[Path]:
    """Yield a staging folder for the outputs; commit them if the block succeeds.

    The staging folder lies inside `output_dir`, so a rename moves a file into place. The commit
    deletes every other file in the staging folder. If the block or the commit fails, the outputs of
    the previous run stay or come back, and `failed_run.json` says why. Completes first what a run
    before was cut off in, and warns of it. Raises UsageError if `output_dir` is not
    writable or another run is using it, StorageError if the file system fails, for example when the
    disk is full.
    """
    folder = Path(output_dir)
    # Absolute, because workers may run in another directory. Unique, because a worker that wakes
    # up after its run has ended must not write into another run's files.
    stage = _new_stage(folder.absolute())
    with _errors_about(folder), locked(folder, log.warn):
        try:
            with _failure_reported(folder, stage, log), _errors_about(folder):
                _check_names(folder)
                _recover(folder, fsync, log)
                stage.mkdir()
                yield stage
                _seal(stage, fsync)
            with uninterrupted(), _failure_reported(folder, stage, log):
                _commit(stage, folder, fsync, log)
        finally:
            _clear(stage)


@contextmanager
def _errors_about(folder: Path) -> Iterator[None]:
    """Turn an OSError about `folder` into a UsageError or a StorageError; pass on any other."""
    root = folder.absolute()
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str):  # writes to an open file name none
            path = Path(error.filename).absolute()
            if root not in (path, *path.parents) and path not in root.parents:
                raise
        is_gone = isinstance(error, FileNotFoundError) and error.filename
        if not (is_gone or is_storage_fault(error) or error.errno in _DENIED):
            raise
        if is_gone:
            raise StorageError(
                f"{folder}: outputs cannot be written here: {_reason(error)}; did something delete "
                "or unmount the folder? Run the job again"
            ) from error
        raise (StorageError if is_storage_fault(error) else UsageError)(
            f"{folder}: outputs cannot be written here: {_reason(error)}; "
            "name another folder with --output-dir"
        ) from error


@contextmanager
def _failure_reported(folder: Path, stage: Path, log: RunLog) -> Iterator[None]:
    """Clear the stage and write `failed_run.json` if the block raises anything."""
    try:
        yield
    except BaseException as error:
        with uninterrupted(), suppress(OSError):
            _clear(stage)  # first: it may have filled the disk
            with TemporaryDirectory(prefix=f"{_UNFINISHED}-", dir=folder) as place:
                log.write_failed(Path(place, FAILED), error)
                os.replace(Path(place, FAILED), folder / FAILED)
        raise


def _check_names(folder: Path) -> None:
    for name in (*OUTPUTS, FAILED):
        if (folder / name).is_dir():
            raise UsageError(f"{folder / name}: is a folder, where an output has to go")
    path = folder / _FINISHED
    if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
        raise UsageError(
            f"{path}: is no folder, where a run puts one of its own; delete it, or name another "
            "folder with --output-dir"
        )


def _recover(folder: Path, fsync: bool, log: RunLog) -> None:
    """Complete what a run before was cut off in; delete what others left."""
    (folder / FAILED).unlink(missing_ok=True)  # it describes an earlier run
    begun = f"{folder}: a run before was cut off while it published its outputs"
    try:
        with uninterrupted():
            if (folder / _FINISHED).exists():
                if not _is_in_place(folder):
                    _put_in_place(folder, fsync)
                    log.warn(f"{begun}; this run has completed them")
                _discard(folder / _FINISHED)
    except OSError as error:
        raise StorageError(
            f"{begun}, and they cannot be moved: {_reason(error)}; {_remains(folder)}"
        ) from error
    for left in folder.glob(f"{_UNFINISHED}-*"):
        _clear(left)


def _seal(stage: Path, fsync: bool) -> None:
    """Leave only outputs in the stage, and all of them on the disk."""
    for file in stage.iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name not in OUTPUTS:
            file.unlink()
        elif fsync:
            _sync(file)
    for name in OUTPUTS:
        # An empty file marks an output that this run lacks.
        (stage / name).touch()
    if fsync:
        _sync(stage)


def _commit(stage: Path, folder: Path, fsync: bool, log: RunLog) -> None:
    """Put the outputs in place; if that fails, undo it and raise StorageError."""
    finished = folder / _FINISHED
    try:
        os.rename(stage, finished)  # the commit point
        if fsync:
            _sync(folder)
        _put_in_place(folder, fsync)
    except OSError as error:
        failed = f"{folder}: the outputs cannot be put in place: {_reason(error)}"
        try:
            _undo(folder, fsync)
        except OSError as second:
            raise StorageError(
                f"{failed}; undoing that failed, too: {_reason(second)}; {_remains(folder)}"
            ) from error
        raise StorageError(
            f"{failed}; the outputs are as they were; check the disk, then run the job again"
        ) from error
    log.note_published()
    try:
        _discard(finished)
    except OSError as error:
        log.warn(
            f"{folder}: the outputs are complete, but {finished} cannot be deleted: "
            f"{_reason(error)}; the next run tries again"
        )


def _undo(folder: Path, fsync: bool) -> None:
    """Restore the outputs of the previous run, in a commit that has failed."""
    folder.stat()  # fails where the outputs are gone with their folder
    finished = folder / _FINISHED
    if not finished.exists():
        return
    for name in reversed(OUTPUTS):
        if not (finished / name).exists():
            with suppress(FileNotFoundError):  # somebody has deleted it
                os.replace(folder / name, finished / name)
    for name in OUTPUTS:
        previous = finished / _PREVIOUS / name
        if os.path.lexists(previous):
            os.replace(previous, folder / name)
    if fsync:
        _sync(folder)
    _discard(finished)


def _put_in_place(folder: Path, fsync: bool) -> None:
    """Move the outputs of a finished run into place; go on where a run was cut off doing so."""
    finished = folder / _FINISHED
    (finished / _PREVIOUS).mkdir(exist_ok=True)
    if (finished / REPORT).exists():
        # The old report goes first: without one, a mix of old and new outputs is not a complete
        # run.
        _set_aside(folder / REPORT, finished)
    for name in OUTPUTS:
        new = finished / name
        if new.exists():
            _set_aside(folder / name, finished)
            if new.stat().st_size:
                os.replace(new, folder / name)
    if fsync:
        _sync(folder)


def _is_in_place(folder: Path) -> bool:
    return not os.path.exists(folder / _FINISHED / REPORT)  # which is moved last


def _set_aside(output: Path, finished: Path) -> None:
    if output.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output))
    if os.path.lexists(output):
        os.replace(output, finished / _PREVIOUS / output.name)


def _discard(state: Path) -> None:
    """Delete a folder from which nothing is left to move."""
    left = _new_stage(state.parent)
    os.rename(state, left)  # if this is killed later, the next run deletes it
    _clear(left)


def _remains(folder: Path) -> str:
    """Return what is left of moves that have failed, and what to do."""
    finished = folder / _FINISHED
    if not os.path.exists(folder):
        return "the folder is gone, with the outputs in it"
    if _is_in_place(folder):
        return f"the outputs are complete; the next run deletes {finished}"
    return (
        f"{finished} has the new outputs that are not in place, its folder '{_PREVIOUS}' the ones "
        "before; check the disk, then run the job again: first, it moves the new outputs into place"
    )


def _reason(error: OSError) -> str:
    where = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return f"{error.strerror or error}{where}"


def _new_stage(folder: Path) -> Path:
    return folder / f"{_UNFINISHED}-{uuid4().hex[:8]}"


def _clear(stage: Path) -> None:
    shutil.rmtree(stage, ignore_errors=True)
    with suppress(OSError):  # no folder
        stage.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
