"""The staging area of a run in its output folder: a subfolder, renamed to commit all or nothing.

Its name says how far the run got, and a single rename takes it from one state to the next:

    .unfinished-ID    the run is at work, or has ended; the next run deletes it
    .finished         committed: the new outputs move into place, and those that they replace move
                      into `.finished/previous`; if a move fails, all move back; if the run is
                      killed, the next run completes the moves

    .unfinished-ID -- commit --> .finished -- all in place, or all back --> .unfinished-ID

A new output that is not in `.finished` is in place. So whenever a run is killed, the next run sees
what is left to do.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from pipeline.errors import PipelineError, StorageError, UsageError, is_storage_fault
from pipeline.outputs.folder_lock import lock_folder
from pipeline.outputs.names import COMBINED, FAILED, FINISHED, OUTPUTS, REPORT, UNFINISHED
from pipeline.outputs.report import RunLog
from pipeline.outputs.signals import defer_interrupts
from pipeline.steps.combined_file import CombinedFile
from pipeline.storage.places import Folder

_PREVIOUS = "previous"
# Error numbers that mean that the user named an unsuitable folder.
_DENIED = (
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP),
)


class FolderStage:
    """The outputs of a run in a subfolder of the output folder, from which renames move them.

    `folder` is the subfolder. `place`, where workers keep temporary data, is the same folder.
    """

    def __init__(self, output_dir: str, fsync: bool) -> None:
        """Stage outputs for a folder; with `fsync`, wait until they are on disk."""
        self._output, self._fsync = Path(output_dir), fsync
        self._finished = self._output / FINISHED
        # Absolute, because workers may run in another directory. Unique, because a worker that
        # wakes up after its run has ended must not write into another run's files.
        self.folder = _new_stage(self._output.absolute())
        self.place = Folder(str(self.folder))

    def __truediv__(self, name: str) -> Path:
        """Return the path to write an output to."""
        return self.folder / name

    def combined(self, header: bytes, _: int) -> CombinedFile:
        """Create the file into which workers write the combined table."""
        return CombinedFile.create(self / COMBINED, header)

    @contextmanager
    def lock(self, warn: Callable[[str], None]) -> Iterator[None]:
        """Create the folder if it is missing, keep other runs out of it, then clear the stage."""
        with lock_folder(self._output, warn):
            try:
                yield
            finally:
                _clear(self.folder)

    def recover(self, warn: Callable[[str], None]) -> None:
        """Complete a commit that was cut off, delete what other runs left, and create the stage."""
        self._check_names()
        (self._output / FAILED).unlink(missing_ok=True)  # it describes an earlier run
        if self._finished.exists():
            begun = f"{self._output}: an earlier run was interrupted while publishing its outputs"
            try:
                with defer_interrupts():
                    if not self._is_in_place:
                        self._put_in_place()
                        warn(f"{begun}; this run has completed them")
                    self._discard()
            except OSError as error:
                why = f"recovery failed: {_reason(error)}; {self._remains()}"
                raise StorageError(f"{begun}; {why}") from error
        for left in self._output.glob(f"{UNFINISHED}*"):
            _clear(left)
        self.folder.mkdir()

    def prepare(self) -> None:
        """Leave only outputs in the stage, all of them on disk."""
        for file in self.folder.iterdir():
            if file.is_dir():
                shutil.rmtree(file)
            elif file.name not in OUTPUTS:
                file.unlink()
            else:
                self._sync(file)
        for name in OUTPUTS:
            # An empty file stands for an output that this run does not have.
            (self / name).touch()
        self._sync(self.folder)

    def commit(self, log: RunLog) -> None:
        """Move the outputs into place; if that fails, undo it, and raise StorageError."""
        try:
            os.rename(self.folder, self._finished)  # the commit point
            self._sync(self._output)
            self._put_in_place()
        except OSError as error:
            failed = f"{self._output}: the outputs cannot be put in place: {_reason(error)}"
            try:
                self._undo()
            except OSError as second:
                also = f"rolling back failed, too: {_reason(second)}"
                raise StorageError(f"{failed}; {also}; {self._remains()}") from error
            raise StorageError(
                f"{failed}; the outputs are unchanged; check the disk, then run the job again"
            ) from error
        log.note_published()
        try:
            self._discard()
        except OSError as error:
            log.warn(
                f"{self._output}: the outputs are complete, but {self._finished} cannot be "
                f"deleted: {_reason(error)}; the next run tries again"
            )

    def fail(self, log: RunLog, error: BaseException) -> None:
        """Clear the stage, and put `failed_run.json` beside the outputs."""
        with defer_interrupts():
            _clear(self.folder)  # first: it may have filled the disk
            self.folder.mkdir()
            log.write_failed(self / FAILED, error)
            os.replace(self / FAILED, self._output / FAILED)

    def explain(self, error: OSError) -> PipelineError | None:
        """Return the error to raise for one about the folder; None for any other, or for a bug."""
        root = self._output.absolute()
        if isinstance(error.filename, str):  # errors of an open file name none
            path = Path(error.filename).absolute()
            if root not in (path, *path.parents) and path not in root.parents:
                return None
        failed = f"{self._output}: outputs cannot be written here: {_reason(error)}; "
        if isinstance(error, FileNotFoundError) and error.filename:
            return StorageError(
                f"{failed}did something delete or unmount the folder? Run the job again"
            )
        if is_storage_fault(error) or error.errno in _DENIED:
            kind = StorageError if is_storage_fault(error) else UsageError
            return kind(f"{failed}choose another folder with --output-dir")
        return None

    def _check_names(self) -> None:
        for name in (*OUTPUTS, FAILED):
            if (self._output / name).is_dir():
                raise UsageError(
                    f"{self._output / name} is a folder, but an output has to go there"
                )
        path = self._finished
        if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
            raise UsageError(
                f"{path} is not a folder, but a run needs to put one there; delete it, or choose "
                "another folder with --output-dir"
            )

    def _put_in_place(self) -> None:
        """Move the outputs of a finished run into place, except those that are there already."""
        (self._finished / _PREVIOUS).mkdir(exist_ok=True)
        if not self._is_in_place:
            # The old report goes first: without a report, a mixture of old and new outputs does
            # not look like a complete run.
            self._set_aside(REPORT)
        for name in OUTPUTS:
            new = self._finished / name
            if new.exists():
                self._set_aside(name)
                if new.stat().st_size:
                    os.replace(new, self._output / name)
        self._sync(self._output)

    @property
    def _is_in_place(self) -> bool:
        return not os.path.exists(self._finished / REPORT)  # which is moved last

    def _set_aside(self, name: str) -> None:
        output = self._output / name
        if output.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output))
        if os.path.lexists(output):
            os.replace(output, self._finished / _PREVIOUS / name)

    def _undo(self) -> None:
        """Restore the outputs of the previous run after a commit that failed."""
        self._output.stat()  # fails if the folder is gone, with the outputs in it
        if not self._finished.exists():
            return
        for name in reversed(OUTPUTS):
            if not (self._finished / name).exists():
                with suppress(FileNotFoundError):  # somebody deleted it
                    os.replace(self._output / name, self._finished / name)
        for name in OUTPUTS:
            previous = self._finished / _PREVIOUS / name
            if os.path.lexists(previous):
                os.replace(previous, self._output / name)
        self._sync(self._output)
        self._discard()

    def _discard(self) -> None:
        """Delete the folder of a commit, which has nothing left to move."""
        left = _new_stage(self._output)
        # If this run is killed after that, the next one deletes the folder.
        os.rename(self._finished, left)
        _clear(left)

    def _remains(self) -> str:
        """Return where the outputs are after moves that failed, and what to do."""
        if not self._output.exists():
            return "the folder is gone, with the outputs in it"
        if self._is_in_place:
            return f"the outputs are complete; the next run deletes {self._finished}"
        return (
            f"{self._finished} has the new outputs that are not in place, and its folder "
            f"'{_PREVIOUS}' has the previous ones; check the disk, then run the job again: it "
            "begins by moving the new outputs into place"
        )

    def _sync(self, path: Path) -> None:
        if self._fsync:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _reason(error: OSError) -> str:
    where = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return f"{error.strerror or error}{where}"


def _new_stage(folder: Path) -> Path:
    return folder / f"{UNFINISHED}{uuid4().hex[:8]}"


def _clear(stage: Path) -> None:
    shutil.rmtree(stage, ignore_errors=True)
    with suppress(OSError):  # if it is not a folder
        stage.unlink()
