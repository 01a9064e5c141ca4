"""Stages the outputs of a run, and commits all or none of them, to a folder or a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

from pipeline.errors import StorageError
from pipeline.outputs.folder_stage import FolderStage
from pipeline.outputs.names import COMBINED, OUTPUTS
from pipeline.outputs.object_stage import ObjectStage
from pipeline.outputs.report import RunLog
from pipeline.outputs.signals import defer_interrupts
from pipeline.storage.objects import is_object_url

Stage: TypeAlias = FolderStage | ObjectStage


@contextmanager
def stage_outputs(output_dir: str, fsync: bool, log: RunLog) -> Iterator[Stage]:
    """Yield a run's staging area, for outputs in a folder or below a prefix; commit on success.

    First completes an interrupted commit, with a warning. If the block fails, or the commit to a
    folder does, the outputs of the previous run are kept or restored, and `failed_run.json` says
    what went wrong. Raises UsageError if nothing can be written there or another run is writing
    there, StorageError if the file system or the store fails, for example when the disk is full.
    """
    is_object = is_object_url(output_dir)
    stage = ObjectStage(output_dir) if is_object else FolderStage(output_dir, fsync)
    with _explain_errors(stage), stage.lock(log.warn):
        with _report_failure(stage, log), _explain_errors(stage):
            stage.recover(log.warn)
            yield stage
            stage.prepare()
        with defer_interrupts(), _report_failure(stage, log), _explain_errors(stage):
            stage.commit(log)


@contextmanager
def _explain_errors(stage: Stage) -> Iterator[None]:
    """Raise a UsageError or a StorageError for an OSError about the place of the outputs."""
    try:
        yield
    except OSError as error:
        if explained := stage.explain(error):
            raise explained from error
        raise


@contextmanager
def _report_failure(stage: Stage, log: RunLog) -> Iterator[None]:
    """Put `failed_run.json` beside the outputs if the block raises anything."""
    try:
        yield
    except BaseException as error:
        # If this fails, the place cannot be reached, or already belongs to the next run.
        with suppress(OSError, StorageError):
            stage.fail(log, error)
        raise


def output_paths(stage: Stage, output_dir: str) -> tuple[str, ...]:
    """Return where the outputs of a stage go, in commit order."""
    # In a store, the combined table is not a file of the stage.
    names = [name for name in OUTPUTS if name == COMBINED or (stage / name).exists()]
    return tuple(f"{output_dir.rstrip('/')}/{name}" for name in names)
