"""Stage the outputs of a run in an object store, and commit all of them or none.

The combined table is a multipart upload: nobody sees it before it is completed. The other outputs
are small; they are written on the client, and put at the end. What is temporary lies in a folder
below the prefix.

The commit begins with an object that says what is to be put in place. A run that was killed before
is cleared by the next run, one that was killed after it is completed by the next run. Objects
cannot be renamed together: until `run_report.json` is there again, a reader may see a mixture.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from pipeline.csv_text.sources import Block
from pipeline.engine.objects import ObjectFolder, Upload
from pipeline.errors import StorageError, UsageError, is_storage_fault
from pipeline.outputs.object_lock import locked
from pipeline.outputs.staging import COMBINED, FAILED, OUTPUTS, REPORT, uninterrupted
from pipeline.steps.combined_object import CombinedObject, plan_parts

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
    upload: Upload | None = field(default=None)

    def __truediv__(self, name: str) -> Path:
        """Return the path to write a small output to."""
        return self.folder / name

    def combined(self, header: bytes, blocks: Sequence[Block]) -> CombinedObject:
        """Start the upload of the combined table; abort one that was started before.

        `blocks` are those that may become parts of their own, in output order.
        """
        self.abort()
        self.upload = self.output.start_upload(COMBINED)
        return CombinedObject(self.upload, self.place, header, plan_parts(blocks))

    def abort(self) -> None:
        """Abort the upload, if one was started."""
        if self.upload:
            self.upload.abort()
        self.upload = None


@contextmanager
def staged_objects(
    url: str, report_failure: Callable[[Path, BaseException], None] | None = None
) -> Iterator[ObjectStage]:
    """Yield the stage of a run whose outputs go to `s3://bucket/prefix`; commit on success.

    If the block raises, the outputs of the previous run stay unchanged, and `report_failure` gets a
    path to write the reason to. Raises UsageError if nothing can be written there or another run
    does, StorageError if the store fails.
    """
    output, run_id = ObjectFolder.of(url), uuid4().hex[:8]
    with _told(output), locked(output, run_id) as lock, TemporaryDirectory() as folder:
        _clear_up(output)
        stage = ObjectStage(output, output.below(_UNFINISHED + run_id), Path(folder))
        kept = False
        try:
            yield stage
            lock.hold()
            with uninterrupted():
                _prepare(stage)
                kept = True
                _commit(stage)
                kept, stage.upload = False, None
        except Exception as error:
            with suppress(OSError):
                _clean(stage, kept)
                if report_failure:
                    report_failure(stage / FAILED, error)
                    output.put(FAILED, (stage / FAILED).read_bytes())
            raise
        except BaseException:
            with suppress(OSError):
                _clean(stage, kept)
            raise
        with suppress(OSError):
            _clean(stage, kept)


def _clean(stage: ObjectStage, committed: bool) -> None:
    """Abort and delete what is temporary; the next run does so with what cannot be reached now."""
    if not committed:  # else the next run completes it
        stage.abort()
        stage.place.clear()


@contextmanager
def _told(output: ObjectFolder) -> Iterator[None]:
    """Turn an OSError about objects in `output` into a UsageError or a StorageError."""
    try:
        yield
    except OSError as error:
        if not str(error.filename).startswith(str(output)):
            raise
        raise (StorageError if is_storage_fault(error) else UsageError)(
            f"{error.filename}: outputs cannot be written here: {error.strerror}"
        ) from error


def _clear_up(output: ObjectFolder) -> None:
    """Complete what a run was killed in publishing; abort and delete what others left."""
    if output.stat(_FINISHED):
        _put_in_place(output)
    for upload in (*output.uploads(COMBINED), *output.uploads(_UNFINISHED)):
        if upload.name == COMBINED or upload.name.startswith(_UNFINISHED):
            upload.abort()
    left = ObjectFolder(output.bucket, output.prefix + _UNFINISHED)
    left.clear()


def _prepare(stage: ObjectStage) -> None:
    """Put all that the commit needs, so that another process can do it."""
    names = [name for name in (*_SMALL, REPORT) if (stage / name).exists()]
    for name in names:
        stage.place.put(name, (stage / name).read_bytes())


def _commit(stage: ObjectStage) -> None:
    assert stage.upload
    parts = stage.upload.parts()
    plan = {
        "place": stage.place.prefix,
        "upload": stage.upload.id,
        "parts": len(parts),
        "bytes": sum(part.size for part in parts),
        "small": [name for name in _SMALL if (stage / name).exists()],
    }
    # This commits the run. If it is killed later, the next run does the rest.
    stage.output.put(_FINISHED, json.dumps(plan).encode())
    _put_in_place(stage.output)


def _put_in_place(output: ObjectFolder) -> None:
    """Put the outputs of a finished run in place; resume if a run was killed doing so."""
    plan = json.loads(output.get(_FINISHED))
    place = ObjectFolder(output.bucket, plan["place"])
    # First the old report: without one, a mixture of old and new outputs is no complete run.
    output.delete([REPORT])
    if _complete(Upload(output, COMBINED, plan["upload"]), plan):
        for name in plan["small"]:
            place.copy(name, output)
        output.delete([name for name in _SMALL if name not in plan["small"]])
        report = json.loads(place.get(REPORT))
        report["outputs"] = {name: _seen(output, name) for name in (COMBINED, *plan["small"])}
        text = json.dumps(report, indent=2, ensure_ascii=False)
        output.put(REPORT, f"{text}\n".encode())
    output.delete([_FINISHED, FAILED])


def _complete(upload: Upload, plan: dict[str, Any]) -> bool:
    """Complete an upload; return whether its object is there now, or was already."""
    try:
        upload.complete(upload.parts())
    except FileNotFoundError:  # completed already, or aborted by the bucket's lifecycle rule
        found = upload.folder.stat(upload.name)
        same = found and found.size == plan["bytes"]
        return bool(found and same and found.etag.endswith(f"-{plan['parts']}"))
    return True


def _seen(output: ObjectFolder, name: str) -> dict[str, Any]:
    found = output.stat(name)
    assert found, "it was just put"
    return {"etag": found.etag, "bytes": found.size}
