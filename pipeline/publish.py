"""All outputs of a run appear together, or none does."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UsageError

COMBINED = "combined_data.csv"
SPENDING = "age_group_spending.csv"
CHART = "total_spending_by_age_group.png"
REJECTED = "rejected_rows.csv"
REPORT = "run_report.json"

# In the order in which they are put in place: the report is the mark of a complete run.
OUTPUTS = (COMBINED, SPENDING, CHART, REJECTED, REPORT)
_STAGE = ".unfinished"


@contextmanager
def staged_outputs(output_dir: str, fsync: bool) -> Iterator[Path]:
    """Give a folder to write outputs into; put them in place when the block ends well.

    The folder lies inside `output_dir`, so that a rename puts a file in place. When the block
    raises, `output_dir` stays as it was; what a killed run left is cleared by the next. Raises
    UsageError where `output_dir` cannot be written, or another run writes into it.
    """
    folder = Path(output_dir)
    stage = folder / _STAGE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        _lock(handle, folder)
        for name in OUTPUTS:
            if (folder / name).is_dir():
                raise UsageError(f"{folder / name}: is a folder, where an output has to go")
        try:
            shutil.rmtree(stage, ignore_errors=True)
            stage.mkdir()
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            yield stage
            _publish(stage, folder, handle, fsync)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"{folder}: another run writes its outputs here; wait for it, or name another folder "
            "with --output-dir"
        ) from error


def _publish(stage: Path, folder: Path, handle: int, fsync: bool) -> None:
    if fsync:
        for file in stage.iterdir():
            _sync(file)
    # Without its report, what lies here is no complete run until the new report is in place.
    (folder / REPORT).unlink(missing_ok=True)
    for name in OUTPUTS:
        if (stage / name).exists():
            os.replace(stage / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    if fsync:
        os.fsync(handle)


def _sync(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _unwritable(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{folder}: outputs cannot be written here: {error.strerror}; "
        "name another folder with --output-dir"
    )
