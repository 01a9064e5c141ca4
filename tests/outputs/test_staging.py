"""All outputs of a run appear together, or those of the run before stay as they were."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import TESTS_PATH
from support.staging import FailureError, contents, fail, of_run, outputs, publish, staged

from pipeline.errors import PipelineError, StorageError, UsageError
from pipeline.outputs.names import CHART, COMBINED, FAILED, OUTPUTS, REJECTED, REPORT, SPENDING
from pipeline.outputs.report import RunLog


@pytest.mark.parametrize("fsync", [True, False])
def test_nothing_appears_before_the_end_and_everything_then(tmp_path: Path, fsync: bool) -> None:
    folder = tmp_path / "deep" / "outputs"

    with staged(folder, fsync) as stage:
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

    fail(tmp_path, error)

    assert outputs(tmp_path) == of_run("old")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*OUTPUTS, FAILED])


def test_the_report_is_put_in_place_last(tmp_path: Path) -> None:
    assert OUTPUTS[-1] == REPORT

    publish(tmp_path, "new")

    changed = {name: (tmp_path / name).stat().st_ctime_ns for name in OUTPUTS}
    assert max(changed.values()) == changed[REPORT]


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_where_a_run_puts_a_folder_is_named(tmp_path: Path, is_link: bool) -> None:
    name = ".finished"
    publish(tmp_path, "old")
    planted = tmp_path / name
    planted.symlink_to(tmp_path) if is_link else planted.write_text("mine")

    with pytest.raises(
        UsageError, match=f"{name} is not a folder, .*; delete it, or choose another"
    ):
        publish(tmp_path, "new")

    assert {path.name for path in tmp_path.iterdir()} == {*OUTPUTS, FAILED, name}
    planted.unlink()
    assert outputs(tmp_path) == of_run("old")
    publish(tmp_path, "new")
    assert contents(tmp_path) == of_run("new")


def test_a_file_or_a_link_with_the_name_of_a_stage_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / ".unfinished-1").write_text("")
    (tmp_path / ".unfinished-2").symlink_to("mine")

    publish(tmp_path, "new")

    assert {path.name for path in tmp_path.iterdir()} == {*OUTPUTS, "mine"}


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    publish(tmp_path, "old")
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from support.staging import staged\n"
        "with staged(Path(sys.argv[1])) as stage:\n"
        "    (stage / 'combined_data.csv').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": TESTS_PATH},
        check=False,
    )
    assert killed.returncode == -9
    left = contents(tmp_path)
    assert {name: left.pop(name) for name in OUTPUTS} == of_run("old")
    assert left.pop(".lock") == ""
    assert list(left.values()) == ["half"]

    publish(tmp_path, "new", (COMBINED, REPORT))

    assert contents(tmp_path) == of_run("new", (COMBINED, REPORT))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([COMBINED, REPORT])


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        (stage / COMBINED).write_text("first")

        with (
            pytest.raises(UsageError, match=r"another run is writing.* --output-dir"),
            staged(tmp_path),
        ):
            pytest.fail("the second run got in")

        assert contents(stage) == {COMBINED: "first"}

    assert contents(tmp_path) == {COMBINED: "first"}


def test_the_folder_is_free_again_after_a_run(tmp_path: Path) -> None:
    publish(tmp_path, "old")

    assert contents(tmp_path) == of_run("old")
    publish(tmp_path, "new")
    assert contents(tmp_path) == of_run("new")


@pytest.mark.parametrize(
    ("error", "kind"),
    [(errno.ENOSPC, StorageError), (errno.EROFS, StorageError), (errno.EACCES, UsageError)],
)
def test_what_the_file_system_does_not_do_is_told(
    tmp_path: Path, error: int, kind: type[PipelineError]
) -> None:
    with pytest.raises(kind) as caught, staged(tmp_path):
        raise OSError(error, os.strerror(error))

    assert str(caught.value) == (
        f"{tmp_path}: outputs cannot be written here: {os.strerror(error)}; "
        "choose another folder with --output-dir"
    )


@pytest.mark.parametrize("error", [FailureError, KeyboardInterrupt, SystemExit])
def test_a_failure_is_reported_until_the_next_run(
    tmp_path: Path, error: type[BaseException]
) -> None:
    publish(tmp_path, "old")

    fail(tmp_path, error)

    report = json.loads((tmp_path / FAILED).read_text())
    assert (report["status"], report["error"]) == ("failed", error.__name__)
    with staged(tmp_path) as stage:
        # Killed from here on, it would leave no report of another run's failure.
        assert not (tmp_path / FAILED).exists()
        (stage / REPORT).write_text("new")
    assert contents(tmp_path) == {REPORT: "new"}


def test_a_later_failure_replaces_the_report_of_an_earlier_one(tmp_path: Path) -> None:
    fail(tmp_path, KeyboardInterrupt)
    fail(tmp_path)

    assert json.loads((tmp_path / FAILED).read_text())["error"] == "FailureError"
    assert [path.name for path in tmp_path.iterdir()] == [FAILED]


def test_that_a_failure_cannot_be_reported_is_no_failure_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_is_full(_: RunLog, path: Path, __: BaseException) -> None:
        path.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RunLog, "write_failed", disk_is_full)

    fail(tmp_path)  # which catches its own error only

    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_while_a_failure_is_reported_is_deferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RunLog.write_failed

    def interrupted(log: RunLog, path: Path, error: BaseException) -> None:
        signal.raise_signal(signal.SIGINT)
        write(log, path, error)

    monkeypatch.setattr(RunLog, "write_failed", interrupted)

    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path)

    assert json.loads((tmp_path / FAILED).read_text())["error"] == "FailureError"


@pytest.mark.parametrize("below", ["", "folder"])
def test_a_file_in_the_place_of_the_folder_is_wrong_usage(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    folder = tmp_path / "file" / below

    with pytest.raises(UsageError) as caught, staged(folder):
        pytest.fail("the run began")

    assert str(caught.value).startswith(f"{folder}: outputs cannot be written here: ")
    assert str(caught.value).endswith("; choose another folder with --output-dir")
    assert contents(tmp_path) == {"file": "mine"}


@pytest.mark.parametrize("name", [COMBINED, SPENDING, REJECTED])
def test_a_folder_in_the_place_of_an_output_is_found_before_the_work(
    tmp_path: Path, name: str
) -> None:
    publish(tmp_path, "old")
    (tmp_path / name).unlink()
    (tmp_path / name / "inside").mkdir(parents=True)

    with (
        pytest.raises(UsageError, match=f"{name} is a folder"),
        staged(tmp_path),
    ):
        pytest.fail("the run began")

    assert outputs(tmp_path) == of_run("old", tuple(one for one in OUTPUTS if one != name))
    assert (tmp_path / name / "inside").is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {*OUTPUTS, FAILED}


def test_each_run_writes_into_a_folder_of_its_own_and_clears_what_is_left(tmp_path: Path) -> None:
    left = tmp_path / ".unfinished-of-a-killed-run"
    left.mkdir()
    (left / COMBINED).write_text("half")
    stages = []
    for _ in range(2):
        with staged(tmp_path) as stage:
            assert not left.exists()
            (stage / REPORT).write_text("{}")
            stages.append(stage)
    assert stages[0] != stages[1]
    assert [file.name for file in tmp_path.iterdir()] == [REPORT]
