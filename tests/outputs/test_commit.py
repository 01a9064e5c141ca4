"""Whatever happens at any step of a commit, the outputs are the old ones or the new ones."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.driver import Driver
from support.scale import scaled
from support.staging import contents, fail, of_run, outputs, publish, staged
from support.steps import Act, Step, acting_at_steps, failing

from pipeline.errors import StorageError
from pipeline.outputs.names import CHART, COMBINED, FAILED, OUTPUTS, REPORT, SPENDING
from pipeline.outputs.report import RunLog
from pipeline.settings import Settings

NEW = (COMBINED, SPENDING, CHART, REPORT)  # without REJECTED, which the run before has
STATES = {"old": of_run("old"), "new": of_run("new", NEW)}
FOREVER = 1000
FAULTS = scaled("faults of a commit that is killed as it undoes them", 3, 5)
COMPLETED = "was interrupted while publishing its outputs; this run has completed them"


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


def begin(folder: Path) -> None:
    """Have the outputs of a run before, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    publish(folder, "old")


def commit(folder: Path, act: Act) -> tuple[RunLog, list[Step], Exception | BaseException | None]:
    """Replace old outputs; return the log, the steps of the commit, and what it has raised."""
    begin(folder)
    log, steps = RunLog(Settings()), list[Step]()

    def note(step: Step) -> None:
        steps.append(step)
        act(step)

    acting = acting_at_steps(note)
    error = None
    try:
        with staged(folder, fsync=True, log=log) as stage:
            for name in NEW:
                (stage / name).write_text(f"new {name}")
            acting.__enter__()
    except (StorageError, KeyboardInterrupt) as raised:
        error = raised
    finally:
        acting.__exit__(None, None, None)
    return log, steps, error


def state(folder: Path) -> str:
    """Return whose outputs there are: `old`, `new`, or `none` without a report."""
    found = {name: text for name, text in contents(folder).items() if name in OUTPUTS}
    if REPORT not in found:
        return "none"
    (word,) = (word for word, of_word in STATES.items() if of_word == found)
    return word


def next_run(folder: Path) -> tuple[str, str]:
    """Let the next run fail; return whose outputs there are then, and its warning, or none.

    Nothing but outputs is left then.
    """
    warnings = fail(folder)
    assert json.loads((folder / FAILED).read_text())["warnings"] == warnings
    assert {path.name for path in folder.iterdir()} == {*STATES[state(folder)], FAILED}
    return state(folder), ", ".join(warnings)


def test_a_step_that_fails_is_undone(folder: Path) -> None:
    failed: list[Step] = []
    for number in itertools.count():
        log, steps, error = commit(folder, failing([number]))
        if len(steps) <= number:  # no such step
            assert (error, log.warnings, contents(folder)) == (None, [], STATES["new"])
            break
        if error:
            failed.append(steps[number])
            assert str(error).startswith(f"{folder}: ")
            assert "Input/output error" in str(error)
            if "put in place" in str(error):
                assert "; the outputs are unchanged; " in str(error)
            assert outputs(folder) == STATES["old"]
            assert {path.name for path in folder.iterdir()} == {*OUTPUTS, FAILED}
            assert json.loads((folder / FAILED).read_text())["error"] == str(error)
        else:  # nothing but litter was left to delete
            assert state(folder) == "new"
        assert log.progress.published == (error is None)
        assert next_run(folder) == ("old" if error else "new", "")

    moves = [step for step in failed if step.name in ("rename", "replace")]
    # The stage; the old report; three other outputs, the old one and the new one; the rejected
    # rows, which the new run does not have; the new report.
    assert [step.name for step in moves] == ["rename"] + ["replace"] * 9


def test_a_disk_that_fails_for_good_in_a_commit_leaves_what_the_message_says(folder: Path) -> None:
    seen: dict[str, list[Step]] = {}
    for number in itertools.count():
        log, steps, error = commit(folder, failing(range(number, FOREVER)))
        if len(steps) <= number:
            break
        message, left = str(error or log.warnings), state(folder)
        word, warning = next_run(folder)
        if "; the outputs are unchanged; " in message or "cannot be written here" in message:
            assert (left, word, warning) == ("old", "old", "")
            kind = "as they were"
        elif "; the outputs are complete" in message or ": the outputs are complete" in message:
            assert (left, word, warning) == ("new", "new", "")
            kind = "complete"
        elif message == "[]":
            assert (left, word, warning) == ("new", "new", "")
            kind = "done"
        else:
            ending = "then run the job again: it begins by moving the new outputs into place"
            assert message.endswith(f"; check the disk, {ending}")
            assert f"; {folder / '.finished'} has the new outputs that are not in place" in message
            assert word == "new"
            assert COMPLETED in warning
            kind = "to be completed"
        assert log.progress.published == (kind in ("done", "complete") and error is None)
        seen.setdefault(kind, []).append(steps[number])
    assert list(seen) == ["as they were", "to be completed", "complete", "done"]


def test_if_undoing_fails_too_the_next_run_completes_the_commit(folder: Path) -> None:
    seen = set()
    _, steps, _ = commit(folder, failing([]))
    # It fails at the last rename of a file: most is to be undone.
    fault = max(step.number for step in steps if step.name == "replace")
    for number in itertools.count(fault + 1):
        log, steps, error = commit(folder, failing([fault, *range(number, FOREVER)]))
        if len(steps) <= number:
            break
        left = state(folder)
        word, warning = next_run(folder)
        if "; the outputs are unchanged; " in str(error):
            assert (left, word, warning) == ("old", "old", "")
            seen.add("undone")
        else:
            assert f"{folder / '.finished'} has the new outputs" in str(error)
            assert str(error).endswith("it begins by moving the new outputs into place")
            assert word == "new"
            assert COMPLETED in warning
            seen.add("to be completed")
        assert not log.progress.published
    assert seen == {"undone", "to be completed"}


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_at_any_step_waits_for_the_end_of_the_commit(folder: Path) -> None:
    published = []
    for number in itertools.count():

        def interrupt(step: Step, number: int = number) -> None:
            if step.number == number:
                signal.raise_signal(signal.SIGINT)

        log, steps, error = commit(folder, interrupt)
        if len(steps) <= number:
            break
        assert isinstance(error, KeyboardInterrupt)
        assert state(folder) == ("new" if log.progress.published else "old")
        assert (folder / FAILED).exists() != log.progress.published
        published.append(log.progress.published)
        assert next_run(folder) == ("new" if published[-1] else "old", "")
    assert published == sorted(published)
    assert set(published) == {False, True}


def test_a_folder_that_vanishes_in_a_commit_is_named(folder: Path) -> None:
    failed = 0
    for number in itertools.count():

        def remove(step: Step, number: int = number) -> None:
            if step.number == number:
                shutil.rmtree(folder)

        log, steps, error = commit(folder, remove)
        if len(steps) <= number:
            break
        if error:
            assert isinstance(error, StorageError)
            assert str(error).startswith(f"{folder}: ")
            assert "No such file or directory" in str(error)
            assert "as they were" not in str(error)
            failed += 1
        assert log.progress.published == (error is None)
    assert failed > len(OUTPUTS)


def test_a_kill_at_any_step(driver: Driver, folder: Path, tmp_path: Path) -> None:
    new = new_outputs(tmp_path)
    left: list[str] = []
    later: list[str] = []
    warnings: list[bool] = []
    ended = -signal.SIGKILL
    while ended == -signal.SIGKILL:
        begin(folder)
        ended = driver.publish(folder, new, fail=[], kill=len(left))
        left.append(state(folder))
        word, warning = next_run(folder)
        later.append(word)
        warnings.append(COMPLETED in warning)
        assert warning == "" or warnings[-1]
    assert ended == 0
    assert left == sorted(left, key=["old", "none", "new"].index)
    assert later == sorted(later, key=["old", "new"].index)
    # The next run says so where it moves anything: from the commit on, until all is in place.
    assert warnings == [was != word for was, word in zip(left, later, strict=True)]
    assert {(was, word) for was, word in zip(left, later, strict=True)} == {
        ("old", "old"),
        ("old", "new"),
        ("none", "new"),
        ("new", "new"),
    }


def test_a_kill_at_any_step_of_undoing(driver: Driver, folder: Path, tmp_path: Path) -> None:
    new = new_outputs(tmp_path)
    _, steps, _ = commit(folder, failing([]))
    moves = [step.number for step in steps if step.name == "replace"]
    for fault in moves[:: len(moves) // FAULTS]:
        left: list[str] = []
        later: list[str] = []
        ended = -signal.SIGKILL
        while ended == -signal.SIGKILL:
            begin(folder)
            ended = driver.publish(folder, new, fail=[fault], kill=fault + 1 + len(left))
            left.append(state(folder))
            word, warning = next_run(folder)
            later.append(word)
            assert (COMPLETED in warning) == (word == "new")
        assert ended == StorageError.exit_code
        assert left == sorted(left, key=["none", "old"].index)
        # A run that is killed as it undoes its commit is as one that is killed in it.
        assert later == sorted(later, key=["new", "old"].index)
        assert set(later) == {"new", "old"}


def new_outputs(folder: Path) -> Path:
    """Write the new outputs to where they are copied from."""
    new = folder / "new"
    new.mkdir()
    for name in NEW:
        (new / name).write_text(f"new {name}")
    return new
