"""All outputs of a run appear together, or those of the run before stay as they were."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import PipelineError, StorageError, UsageError
from pipeline.outputs.staging import (
    CHART,
    COMBINED,
    FAILED,
    OUTPUTS,
    REJECTED,
    REPORT,
    SPENDING,
    staged_outputs,
)


def contents(folder: Path) -> dict[str, str]:
    """Return the text of every file in a folder, hidden ones and those in folders too."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def publish(folder: Path, word: str, names: tuple[str, ...] = OUTPUTS) -> None:
    with staged_outputs(str(folder), fsync=True) as stage:
        for name in names:
            (stage / name).write_text(f"{word} {name}")


def fail(folder: Path, error: type[BaseException]) -> None:
    with staged_outputs(str(folder), fsync=False) as stage:
        for name in OUTPUTS:
            (stage / name).write_text("half")
        raise error


def of_run(word: str, names: tuple[str, ...] = OUTPUTS) -> dict[str, str]:
    return {name: f"{word} {name}" for name in names}


@pytest.mark.parametrize("fsync", [True, False])
def test_nothing_appears_before_the_end_and_everything_then(tmp_path: Path, fsync: bool) -> None:
    folder = tmp_path / "deep" / "outputs"

    with staged_outputs(str(folder), fsync) as stage:
        for name in OUTPUTS:
            (stage / name).write_text(f"new {name}")
        assert {path for path in folder.iterdir() if path != stage} == {folder / ".lock"}

    assert contents(folder) == of_run("new")
    assert {path.name for path in folder.iterdir()} == set(OUTPUTS)


def test_a_run_replaces_the_one_before_and_leaves_other_files_alone(tmp_path: Path) -> None:
    publish(tmp_path, "old")
    (tmp_path / "notes.txt").write_text("mine")

    publish(tmp_path, "new")

    assert contents(tmp_path) == {**of_run("new"), "notes.txt": "mine"}


def test_rejected_rows_of_the_run_before_do_not_stay(tmp_path: Path) -> None:
    publish(tmp_path, "old")

    publish(tmp_path, "new", (COMBINED, SPENDING, CHART, REPORT))

    assert contents(tmp_path) == of_run("new", (COMBINED, SPENDING, CHART, REPORT))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failed_run_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    publish(tmp_path, "old")

    with pytest.raises(error):
        fail(tmp_path, error)

    assert contents(tmp_path) == of_run("old")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(OUTPUTS)


def test_the_report_is_put_in_place_last(tmp_path: Path) -> None:
    assert OUTPUTS[-1] == REPORT

    publish(tmp_path, "new")

    changed = {name: (tmp_path / name).stat().st_ctime_ns for name in OUTPUTS}
    assert max(changed.values()) == changed[REPORT]


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    publish(tmp_path, "old")
    script = (
        "import os, signal, sys\n"
        "from pipeline.outputs.staging import staged_outputs\n"
        "with staged_outputs(sys.argv[1], fsync=False) as stage:\n"
        "    (stage / 'combined_data.csv').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert killed.returncode == -9
    left = contents(tmp_path)
    assert {name: left.pop(name) for name in OUTPUTS} == of_run("old")
    assert left.pop(".lock") == ""
    assert list(left.values()) == ["half"]

    publish(tmp_path, "new", (COMBINED, REPORT))

    assert contents(tmp_path) == of_run("new", (COMBINED, REPORT))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([COMBINED, REPORT])


@pytest.mark.parametrize("moved", range(4))
def test_a_run_that_was_killed_while_it_put_its_outputs_in_place_is_completed_by_the_next(
    tmp_path: Path, moved: int
) -> None:
    publish(tmp_path, "old")
    script = (
        "import os, signal, sys\n"
        "from pipeline.outputs.staging import CHART, COMBINED, REPORT, SPENDING, staged_outputs\n"
        "replace, moved = os.replace, []\n"
        "def replace_or_die(source, target):\n"
        "    if len(moved) == int(sys.argv[2]):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    moved.append(replace(source, target))\n"
        "os.replace = replace_or_die\n"
        "with staged_outputs(sys.argv[1], fsync=False) as stage:\n"
        "    for name in (COMBINED, SPENDING, CHART, REPORT):\n"
        "        (stage / name).write_text(f'new {name}')\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path), str(moved)], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / REPORT).exists()  # nothing there claims to be complete

    with pytest.raises(RuntimeError):
        fail(tmp_path, RuntimeError)

    names = (COMBINED, SPENDING, CHART, REPORT)
    assert contents(tmp_path) == of_run("new", names)
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with staged_outputs(str(tmp_path), fsync=False) as stage:
        (stage / COMBINED).write_text("first")

        with (
            pytest.raises(UsageError, match=r"another run writes.* --output-dir"),
            staged_outputs(str(tmp_path), fsync=False),
        ):
            pytest.fail("the second run got in")

        assert contents(stage) == {COMBINED: "first"}

    assert contents(tmp_path) == {COMBINED: "first"}


def test_the_folder_is_free_again_after_a_run(tmp_path: Path) -> None:
    publish(tmp_path, "old")

    assert contents(tmp_path) == of_run("old")
    publish(tmp_path, "new")
    assert contents(tmp_path) == of_run("new")


def test_a_lock_that_was_removed_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run may end between the opening of its lock file and the locking."""
    path, flock, calls = tmp_path / ".lock", fcntl.flock, []

    def flock_too_late(*args: int) -> None:
        calls.append(args)
        if len(calls) == 1:
            path.unlink()
        flock(*args)

    monkeypatch.setattr(fcntl, "flock", flock_too_late)

    with staged_outputs(str(tmp_path), fsync=False):
        assert path.exists()
        with pytest.raises(UsageError), staged_outputs(str(tmp_path), fsync=False):
            pytest.fail("the second run got in")
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("error", "kind"),
    [(errno.ENOSPC, StorageError), (errno.EROFS, StorageError), (errno.EACCES, UsageError)],
)
def test_what_the_file_system_does_not_do_is_told(
    tmp_path: Path, error: int, kind: type[PipelineError]
) -> None:
    with pytest.raises(kind) as caught, staged_outputs(str(tmp_path), fsync=False):
        raise OSError(error, os.strerror(error))

    assert str(caught.value) == (
        f"{tmp_path}: outputs cannot be written here: {os.strerror(error)}; "
        "name another folder with --output-dir"
    )


def test_a_failure_is_reported_until_a_run_succeeds(tmp_path: Path) -> None:
    def report(path: Path, error: BaseException) -> None:
        path.write_text(str(error))

    publish(tmp_path, "old")
    with (
        pytest.raises(ValueError),
        staged_outputs(str(tmp_path), fsync=False, report_failure=report),
    ):
        raise ValueError("why")
    assert contents(tmp_path) == {**of_run("old"), FAILED: "why"}

    publish(tmp_path, "new")
    assert contents(tmp_path) == of_run("new")


def test_an_interrupt_is_no_failure(tmp_path: Path) -> None:
    def report(path: Path, _: BaseException) -> None:
        path.write_text("failed")

    with (
        pytest.raises(KeyboardInterrupt),
        staged_outputs(str(tmp_path), fsync=False, report_failure=report),
    ):
        raise KeyboardInterrupt

    assert contents(tmp_path) == {}


@pytest.mark.parametrize("below", ["", "folder"])
def test_a_file_in_the_place_of_the_folder_is_wrong_usage(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    folder = tmp_path / "file" / below

    with pytest.raises(UsageError) as caught, staged_outputs(str(folder), fsync=False):
        pytest.fail("the run began")

    assert str(caught.value).startswith(f"{folder}: outputs cannot be written here: ")
    assert str(caught.value).endswith("; name another folder with --output-dir")
    assert contents(tmp_path) == {"file": "mine"}


@pytest.mark.parametrize("name", [COMBINED, SPENDING, REJECTED])
def test_a_folder_in_the_place_of_an_output_is_found_before_the_work(
    tmp_path: Path, name: str
) -> None:
    publish(tmp_path, "old")
    (tmp_path / name).unlink()
    (tmp_path / name / "inside").mkdir(parents=True)

    with (
        pytest.raises(UsageError, match=f"{name}: is a folder"),
        staged_outputs(str(tmp_path), fsync=False),
    ):
        pytest.fail("the run began")

    assert contents(tmp_path) == of_run("old", tuple(one for one in OUTPUTS if one != name))
    assert (tmp_path / name / "inside").is_dir()
    assert len(list(tmp_path.iterdir())) == len(OUTPUTS)


def test_each_run_writes_into_a_folder_of_its_own_and_clears_what_is_left(tmp_path: Path) -> None:
    left = tmp_path / ".unfinished-of-a-killed-run"
    left.mkdir()
    (left / COMBINED).write_text("half")
    stages = []
    for _ in range(2):
        with staged_outputs(str(tmp_path), fsync=False) as stage:
            assert not left.exists()
            (stage / REPORT).write_text("{}")
            stages.append(stage)
    assert stages[0] != stages[1]
    assert [file.name for file in tmp_path.iterdir()] == [REPORT]
