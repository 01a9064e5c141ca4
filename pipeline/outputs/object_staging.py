"""Stage the outputs of a run in an object store, and commit all of them or none.

The combined table is a multipart upload: nobody sees it before it is completed. The other outputs
are small; they are written on the client, and put at the end. What is temporary lies in a folder
below the prefix.

The commit begins with an object, `.finished`, that says what is to be put in place. Without it, the
next run clears what a run has left. With it, the run goes on until all is in place; if it is killed
or loses the store, the next run does that. Objects cannot be renamed together: until
`run_report.json` is there again, a reader may see a mixture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from pipeline.engine.objects import ObjectFolder, Upload
from pipeline.errors import StorageError, UsageError, is_storage_fault
from pipeline.outputs.names import COMBINED, FAILED, OUTPUTS, REPORT
from pipeline.outputs.object_lock import ObjectLock, locked
from pipeline.outputs.report import RunLog
from pipeline.outputs.signals import uninterrupted
from pipeline.steps.combined_object import CombinedObject

_UNFINISHED, _FINISHED = ".unfinished-", ".finished"
_SMALL = tuple(name for name in OUTPUTS if name not in (COMBINED, REPORT))


@dataclass
class ObjectStage:
    """The outputs of a run until they are committed.

    `output` is where they go, `place` a folder in it for temporary objects, `folder` one on this
    machine for the small outputs.
    """

    output: ObjectFolder
    place: ObjectFolder
    folder: Path
    upload: Upload | None = None
    is_committed: bool = False

    def __truediv__(self, name: str) -> Path:
        """Return the path to write a small output to."""
        return self.folder / name

    def combined(self, header: bytes, purchases: int) -> CombinedObject:
        """Start the upload of the combined table; see `CombinedObject.begin`."""
        target = CombinedObject.begin(self.output, COMBINED, self.place, header, purchases)
        self.upload = target.upload
        return target


@contextmanager
def staged_objects(url: str, log: RunLog) -> Iterator[ObjectStage]:
    """Yield the stage of a run whose outputs go to `s3://bucket/prefix`; commit on success.

    If the block raises, the outputs of the previous run stay unchanged, and `failed_run.json` says
    why. Completes first what a run before was cut off in, and warns of it. Raises UsageError if
    nothing can be written there or another run does, StorageError if the store fails.
    """
    output, run_id = ObjectFolder.of(url), uuid4().hex[:8]
    with _errors_about(output), locked(output, run_id) as lock, TemporaryDirectory() as folder:
        stage = ObjectStage(output, output.below(_UNFINISHED + run_id), Path(folder))
        with _failure_reported(stage, lock, log), _errors_about(output):
            _recover(output, log)
            yield stage
            lock.hold()
            plan = _prepare(stage)
        with uninterrupted(), _failure_reported(stage, lock, log), _errors_about(output):
            _commit(stage, plan, log)
        with suppress(OSError):
            stage.place.clear()


@contextmanager
def _failure_reported(stage: ObjectStage, lock: ObjectLock, log: RunLog) -> Iterator[None]:
    """Put `failed_run.json` if the block raises anything; clear what is not committed."""
    try:
        yield
    except BaseException as error:
        # The next run clears what cannot be reached now, or belongs to that run already.
        with suppress(OSError, StorageError):
            if not stage.is_committed:
                if stage.upload:
                    stage.upload.abort()
                stage.place.clear()
            lock.hold()
            log.write_failed(stage / FAILED, error)
            stage.output.put(FAILED, (stage / FAILED).read_bytes())
        raise


@contextmanager
def _errors_about(output: ObjectFolder) -> Iterator[None]:
    """Turn an OSError about objects in `output` into a UsageError or a StorageError."""
    try:
        yield
    except OSError as error:
        if not str(error.filename).startswith(str(output)):
            raise
        raise (StorageError if is_storage_fault(error) else UsageError)(
            f"{error.filename}: outputs cannot be written here: {error.strerror}"
        ) from error


def _recover(output: ObjectFolder, log: RunLog) -> None:
    """Complete what a run before was cut off in; abort and delete what others left."""
    output.delete([FAILED])  # it describes an earlier run
    if output.stat(_FINISHED):
        begun = f"{output}: a run before was cut off while it published its outputs"
        plan = json.loads(output.get(_FINISHED))
        if _put_in_place(output, plan):
            log.warn(f"{begun}; this run has completed them")
        else:
            log.warn(f"{begun}, and the store has deleted them since; run that job again")
        output.delete([_FINISHED])
    for upload in (*output.uploads(COMBINED), *output.uploads(_UNFINISHED)):
        if upload.name == COMBINED or upload.name.startswith(_UNFINISHED):
            upload.abort()
    left = ObjectFolder(output.bucket, output.prefix + _UNFINISHED)
    left.clear()


def _prepare(stage: ObjectStage) -> dict[str, Any]:
    """Put all that the commit needs, so that another process can do it; return the plan of it."""
    assert stage.upload
    names = [name for name in (*_SMALL, REPORT) if (stage / name).exists()]
    for name in names:
        stage.place.put(name, (stage / name).read_bytes())
    parts = stage.upload.parts()
    return {
        "place": stage.place.prefix,
        "upload": stage.upload.id,
        "parts": len(parts),
        "bytes": sum(part.size for part in parts),
        "small": [name for name in names if name != REPORT],
    }


def _commit(stage: ObjectStage, plan: dict[str, Any], log: RunLog) -> None:
    """Put the outputs in place; raise StorageError if the store is lost before they are."""
    output, stage.is_committed = stage.output, True
    try:
        try:
            output.put(_FINISHED, json.dumps(plan).encode())
            is_there = _put_in_place(output, plan)
        except OSError:
            if not output.stat(_FINISHED):
                stage.is_committed = False
                raise
            is_there = _put_in_place(output, plan)  # the store answers again
    except OSError as error:
        if not stage.is_committed:
            raise
        raise StorageError(
            f"{error.filename}: the outputs cannot be put in place: {error.strerror}; the next run "
            f"into {output} does so first if '{_FINISHED}' has reached the store, or else leaves "
            "the outputs as they are"
        ) from error
    if not is_there:
        stage.is_committed = False
        output.delete([_FINISHED])
        raise StorageError(
            f"{output.url(COMBINED)}: the store has lost the upload; run the job again"
        )
    log.note_published()
    try:
        output.delete([_FINISHED])
    except OSError as error:
        log.warn(
            f"{output}: the outputs are complete, but {output.url(_FINISHED)} cannot be deleted: "
            f"{error.strerror}; the next run tries again"
        )


def _put_in_place(output: ObjectFolder, plan: dict[str, Any]) -> bool:
    """Put the outputs of a finished run in place; go on where a run was cut off doing so.

    Return False, with nothing changed, if the store has lost them.
    """
    place, upload = (
        ObjectFolder(output.bucket, plan["place"]),
        Upload(output, COMBINED, plan["upload"]),
    )
    if not place.stat(REPORT) or not (_is_open(upload) or _is_complete(upload, plan)):
        return False
    # First the old report: without one, a mixture of old and new outputs is no complete run.
    output.delete([REPORT])
    try:
        upload.complete(upload.parts())
    except FileNotFoundError:
        if not _is_complete(upload, plan):
            raise
    for name in plan["small"]:
        place.copy(name, output)
    output.delete([name for name in _SMALL if name not in plan["small"]])
    report = json.loads(place.get(REPORT))
    report["outputs"] = {name: _seen(output, name) for name in (COMBINED, *plan["small"])}
    text = json.dumps(report, indent=2, ensure_ascii=False)
    output.put(REPORT, f"{text}\n".encode())
    return True


def _is_open(upload: Upload) -> bool:
    try:
        upload.parts()
    except FileNotFoundError:  # completed, or aborted by the bucket's lifecycle rule
        return False
    return True


def _is_complete(upload: Upload, plan: dict[str, Any]) -> bool:
    found = upload.folder.stat(upload.name)
    same = found and found.size == plan["bytes"]
    return bool(found and same and found.etag.endswith(f"-{plan['parts']}"))


def _seen(output: ObjectFolder, name: str) -> dict[str, Any]:
    found = output.stat(name)
    assert found, "it was just put"
    return {"etag": found.etag, "bytes": found.size}
