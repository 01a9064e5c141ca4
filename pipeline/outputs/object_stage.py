"""The staging area of a run in a store: an upload, temporary objects, and a plan for the commit.

The combined table is a multipart upload: nobody sees it before it is completed. The other outputs
are small; the client writes them to files, and puts them at the end. Temporary objects are in a
folder below the prefix.

The commit begins with an object, `.finished`, that says what to put in place. If a run ends before
that object exists, the next run clears what it left. Once it exists, the outputs will be put in
place: by this run or, if it is killed or loses the store, by the next one. Objects cannot be
renamed together: until there is a `run_report.json` again, objects may be old or new.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from pipeline.errors import PipelineError, StorageError, UsageError, is_storage_fault
from pipeline.outputs.names import COMBINED, FAILED, FINISHED, OUTPUTS, REPORT, UNFINISHED
from pipeline.outputs.object_lock import lock_prefix
from pipeline.outputs.report import RunLog
from pipeline.steps.combined_object import CombinedObject
from pipeline.storage.objects import ObjectFolder, Upload

_SMALL = tuple(name for name in OUTPUTS if name not in (COMBINED, REPORT))


class ObjectStage:
    """The outputs of a run: an upload to their prefix, and files in a local `folder`.

    `place` is where workers keep temporary objects.
    """

    def __init__(self, url: str) -> None:
        """Stage outputs for `s3://bucket/prefix`."""
        self._output, self._id = ObjectFolder.of(url), uuid4().hex[:8]
        self._temporary = TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        self.place = self._output.below(UNFINISHED + self._id)
        self._plan: dict[str, Any] = {}
        self._is_committed = False

    def __truediv__(self, name: str) -> Path:
        """Return the path to write a small output to."""
        return self.folder / name

    def combined(self, header: bytes, purchases: int) -> CombinedObject:
        """Start the upload of the combined table; see `CombinedObject.begin`."""
        target = CombinedObject.begin(self._output, COMBINED, self.place, header, purchases)
        self.upload = target.upload
        return target

    @contextmanager
    def lock(self, _: Callable[[str], None]) -> Iterator[None]:
        """Keep other runs from writing below the prefix; clear the stage if the run succeeds."""
        with self._temporary, lock_prefix(self._output, self._id) as self._lock:
            yield
            with suppress(OSError):
                self.place.clear()

    def recover(self, warn: Callable[[str], None]) -> None:
        """Complete a commit that was cut off; abort and delete what other runs left."""
        output = self._output
        output.delete([FAILED])  # it describes an earlier run
        if output.stat(FINISHED):
            begun = f"{output}: an earlier run was interrupted while publishing its outputs"
            try:
                _put_in_place(output, json.loads(output.get(FINISHED)))
                warn(f"{begun}; this run has completed them")
            except FileNotFoundError:
                warn(f"{begun}, and the store no longer has them; run that job again")
            output.delete([FINISHED])
        self._clear()

    def prepare(self) -> None:
        """Store everything that the commit needs, so that another process can complete it."""
        self._lock.renew()
        names = [name for name in (*_SMALL, REPORT) if (self / name).exists()]
        for name in names:
            self.place.put(name, (self / name).read_bytes())
        parts = self.upload.parts()
        self._plan = {
            "place": self.place.prefix,
            "upload": self.upload.id,
            "parts": len(parts),
            "bytes": sum(part.size for part in parts),
            "small": [name for name in names if name != REPORT],
        }

    def commit(self, log: RunLog) -> None:
        """Put the outputs in place; raise StorageError if the store is lost before they are."""
        output, self._is_committed = self._output, True
        try:
            try:
                output.put(FINISHED, json.dumps(self._plan).encode())
                _put_in_place(output, self._plan)
            except OSError:
                if not output.stat(FINISHED):
                    self._is_committed = False
                    raise
                _put_in_place(output, self._plan)  # the store answers again
        except OSError as error:
            if not self._is_committed:
                raise
            raise StorageError(
                f"{error.filename}: the outputs cannot be put in place: {error.strerror}; if "
                f"'{FINISHED}' reached the store, the next run into {output} completes this; if "
                "not, the outputs are unchanged"
            ) from error
        log.note_published()
        try:
            output.delete([FINISHED])
        except OSError as error:
            log.warn(
                f"{output}: the outputs are complete, but {output.url(FINISHED)} cannot be "
                f"deleted: {error.strerror}; the next run tries again"
            )

    def fail(self, log: RunLog, error: BaseException) -> None:
        """Clear the stage unless it is committed; put `failed_run.json` beside the outputs."""
        self._lock.renew()
        if not self._is_committed:
            self._clear()
        log.write_failed(self / FAILED, error)
        self._output.put(FAILED, (self / FAILED).read_bytes())

    def explain(self, error: OSError) -> PipelineError | None:
        """Return the error to raise for one about an object below the prefix; else None."""
        if not str(error.filename).startswith(str(self._output)):
            return None
        kind = StorageError if is_storage_fault(error) else UsageError
        return kind(f"{error.filename}: outputs cannot be written here: {error.strerror}")

    def _clear(self) -> None:
        """Abort all uploads of the combined table, and delete all temporary objects."""
        for upload in self._output.uploads(COMBINED):
            upload.abort()
        ObjectFolder(self._output.bucket, self._output.prefix + UNFINISHED).clear()


def _put_in_place(output: ObjectFolder, plan: dict[str, Any]) -> None:
    """Put the outputs of a finished run in place, except those that are there already.

    Raises FileNotFoundError, with nothing changed, if the store no longer has them.
    """
    place = ObjectFolder(output.bucket, plan["place"])
    upload = Upload(output, COMBINED, plan["upload"])
    if not place.stat(REPORT) or not (_is_open(upload) or _is_complete(upload, plan)):
        raise FileNotFoundError(errno.ENOENT, "the store no longer has them", output.url(COMBINED))
    # The old report goes first: without a report, a mixture does not look like a complete run.
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
    report["outputs"] = {name: _describe(output, name) for name in (COMBINED, *plan["small"])}
    text = json.dumps(report, indent=2, ensure_ascii=False)
    output.put(REPORT, f"{text}\n".encode())


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


def _describe(output: ObjectFolder, name: str) -> dict[str, Any]:
    found = output.stat(name)
    assert found, "this run has just put it"
    return {"etag": found.etag, "bytes": found.size}
