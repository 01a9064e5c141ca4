"""Runs that only stage and commit outputs, each a word and its own name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.outputs import staging
from pipeline.outputs.names import FAILED, OUTPUTS
from pipeline.outputs.report import RunLog
from pipeline.settings import Settings


@contextmanager
def staged(folder: Path, fsync: bool = False, log: RunLog | None = None) -> Iterator[Path]:
    """Stage outputs into a folder; yield where they are written."""
    with staging.stage_outputs(str(folder), fsync, log or RunLog(Settings())) as stage:
        yield stage.folder


def publish(folder: Path, word: str, names: tuple[str, ...] = OUTPUTS) -> None:
    """Publish outputs."""
    with staged(folder) as stage:
        for name in names:
            (stage / name).write_text(f"{word} {name}")


class FailureError(Exception):
    """What a run fails with that has published nothing."""


def fail(folder: Path, error: type[BaseException] = FailureError) -> list[str]:
    """Begin to write outputs, then fail; return the warnings of the run."""
    log = RunLog(Settings())
    try:
        with staged(folder, log=log) as stage:
            for name in OUTPUTS:
                (stage / name).write_text("half")
            raise error
    except error:
        return log.warnings


def of_run(word: str, names: tuple[str, ...] = OUTPUTS) -> dict[str, str]:
    """Return what outputs of a run hold, by name."""
    return {name: f"{word} {name}" for name in names}


def contents(folder: Path) -> dict[str, str]:
    """Return the text of every file in a folder, hidden ones and those in folders too."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def outputs(folder: Path) -> dict[str, str]:
    """Return the text of all there is in a folder, but for the report of a failure."""
    return {name: text for name, text in contents(folder).items() if name != FAILED}
