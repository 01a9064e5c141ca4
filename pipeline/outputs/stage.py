"""Where the outputs of a run are written before all of them are published, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.engine.objects import is_object_url
from pipeline.engine.places import Folder, Place
from pipeline.outputs.names import COMBINED, OUTPUTS
from pipeline.outputs.object_staging import staged_objects
from pipeline.outputs.report import RunLog
from pipeline.outputs.staging import staged_outputs
from pipeline.settings import Settings
from pipeline.steps.combined_file import CombinedFile
from pipeline.steps.write import Target


class Stage(Protocol):
    """The outputs of a run until they are committed."""

    @property
    def folder(self) -> Path:
        """A folder on this machine for the small outputs."""

    @property
    def place(self) -> Place:
        """Where workers keep temporary data."""

    def __truediv__(self, name: str) -> Path:
        """Return the path to write a small output to."""

    def combined(self, header: bytes, purchases: int) -> Target:
        """Begin the combined table, of so many bytes of purchases; return where it is written."""


def output_paths(stage: Stage, output_dir: str) -> tuple[str, ...]:
    """Return where the outputs of a stage go, in commit order."""
    # In a store, the combined table is no file of the stage.
    names = [name for name in OUTPUTS if name == COMBINED or (stage / name).exists()]
    return tuple(f"{output_dir.rstrip('/')}/{name}" for name in names)


@contextmanager
def staged(settings: Settings, log: RunLog) -> Iterator[Stage]:
    """Yield the stage of a run; commit its outputs if the block succeeds.

    Raises what `staged_outputs` and `staged_objects` raise.
    """
    if is_object_url(settings.output_dir):
        with staged_objects(settings.output_dir, log) as objects:
            yield objects
    else:
        with staged_outputs(settings.output_dir, settings.fsync, log) as folder:
            yield FolderStage(folder)


@dataclass(frozen=True)
class FolderStage:
    """The outputs as files in a folder that all workers see."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        """Return the path to write an output to."""
        return self.folder / name

    @property
    def place(self) -> Folder:
        """Where workers keep temporary data: the same folder."""
        return Folder(str(self.folder))

    def combined(self, header: bytes, _: int) -> CombinedFile:
        """Create the file that workers write the combined table into."""
        return CombinedFile.create(self.folder / COMBINED, header)
