"""Two runs never write into one folder, also where the file system has no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from support.paths import TESTS_PATH
from support.staging import contents, fail, publish, staged

from pipeline.errors import UsageError
from pipeline.outputs.folder_lock import lock_folder
from pipeline.outputs.names import FAILED, LOCK

# Prints its warning as it holds the lock, and goes on at a line of input.
SCRIPT = """
import sys
from pathlib import Path
from pipeline.errors import UsageError
from pipeline.outputs.folder_lock import lock_folder
try:
    with lock_folder(Path(sys.argv[1]), lambda warning: print(warning, flush=True)):
        sys.stdin.readline()
except UsageError as error:
    print(error)
    sys.exit(2)
"""


def run_without_locks(folder: Path, error: str = "ENOLCK") -> subprocess.Popen[str]:
    """Start a run in a process for which no file system has locks."""
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    return subprocess.Popen(
        [sys.executable, "-m", "support.no_flock", error, *command],
        env={**os.environ, "PYTHONPATH": TESTS_PATH},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    """Return the first line of a run's output, which it prints once it holds the lock."""
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        _, messages = process.communicate(timeout=60)
        if "no seccomp" in messages:
            pytest.skip(messages)
        pytest.fail(messages)
    return line


def end(process: subprocess.Popen[str]) -> int:
    process.communicate("\n", timeout=60)
    return process.returncode


@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_a_file_keeps_runs_apart_where_there_are_no_locks(tmp_path: Path, error: str) -> None:
    first = run_without_locks(tmp_path, error)
    with first:
        reason = os.strerror(getattr(errno, error))
        path = tmp_path / LOCK
        assert first_line(first) == (
            f"{tmp_path}: file locking is unsupported ({reason}); the file {path} keeps other "
            "runs out, and remains if this run is killed\n"
        )
        holder = path.read_text()

        with run_without_locks(tmp_path, error) as second:
            assert first_line(second) == (
                f"{tmp_path}: another run is writing its outputs here (on this host); wait for it, "
                f"or choose another folder with --output-dir; if that run is dead, delete {path}\n"
            )
            assert end(second) == 2
        assert path.read_text() == holder

        assert end(first) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_lock_file_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    with run_without_locks(tmp_path) as first:
        first_line(first)
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert (tmp_path / LOCK).exists()

    with run_without_locks(tmp_path) as second:
        assert "file locking is unsupported" in first_line(second)
        assert end(second) == 0

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("holder", "who"), [("elsewhere 1", "elsewhere"), ("", "an unknown host")])
def test_a_lock_file_that_may_be_of_a_living_run_is_named(
    tmp_path: Path, holder: str, who: str
) -> None:
    path = tmp_path / LOCK
    path.write_text(holder)

    with run_without_locks(tmp_path) as first:
        message = first_line(first)
        assert end(first) == 2

    assert f"another run is writing its outputs here (on {who}); " in message
    assert message.endswith(f"; if that run is dead, delete {path}\n")
    path.unlink()
    with run_without_locks(tmp_path) as second:
        first_line(second)
        assert end(second) == 0


def test_only_one_of_many_takes_a_lock_file_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In threads, to meet as often as they can; a filter of the kernel would outlive the test."""

    def no_flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_flock)
    with lock_folder(tmp_path, lambda _: None):
        dead = (tmp_path / LOCK).read_text()
    barrier = Barrier(8)
    inside = tmp_path / "inside"

    def take() -> int:
        barrier.wait()
        try:
            with lock_folder(tmp_path, lambda _: None):
                inside.mkdir()  # fails if another one is there
                inside.rmdir()
                return 1
        except UsageError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            (tmp_path / LOCK).write_text(dead)
            assert sum(pool.map(lambda _: take(), range(8))) >= 1
            assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_cannot_be_written_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_with(number: int) -> Callable[..., int]:
        def call(*_: object) -> int:
            raise OSError(number, os.strerror(number))

        return call

    monkeypatch.setattr(fcntl, "flock", fail_with(errno.ENOLCK))
    monkeypatch.setattr(os, "write", fail_with(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"), lock_folder(tmp_path, lambda _: None):
        pytest.fail("it was locked")

    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_removed_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run may end between the opening of its lock file and the locking."""
    path, flock, calls = tmp_path / LOCK, fcntl.flock, []

    def flock_too_late(*args: int) -> None:
        calls.append(args)
        if len(calls) == 1:
            path.unlink()
        flock(*args)

    monkeypatch.setattr(fcntl, "flock", flock_too_late)

    with staged(tmp_path):
        assert path.exists()
        with pytest.raises(UsageError), staged(tmp_path):
            pytest.fail("the second run got in")
    assert len(calls) == 3


def test_the_lock_of_another_run_is_not_removed(tmp_path: Path) -> None:
    with lock_folder(tmp_path, lambda _: None):
        (tmp_path / LOCK).unlink()  # by a user who took this run for dead
        with lock_folder(tmp_path, lambda _: None):
            pass
        (tmp_path / LOCK).write_text("of another run")
    assert (tmp_path / LOCK).read_text() == "of another run"


def test_a_run_that_is_refused_reports_no_failure_there(tmp_path: Path) -> None:
    with staged(tmp_path):
        with pytest.raises(UsageError):
            fail(tmp_path)
        assert not (tmp_path / FAILED).exists()


@pytest.mark.parametrize("target", ["nowhere/lock", "file", None])
def test_what_lies_at_the_place_of_the_lock_is_named(tmp_path: Path, target: str | None) -> None:
    folder, lock = tmp_path / "out", tmp_path / "out" / LOCK
    folder.mkdir()
    (tmp_path / "file").write_text("mine")
    lock.mkdir() if target is None else lock.symlink_to(tmp_path / target)

    what = "Is a directory" if target is None else "Too many levels of symbolic links"
    with pytest.raises(UsageError, match=f"{what} .*/{LOCK}.; choose another folder"):
        fail(folder)

    assert [path.name for path in folder.iterdir()] == [LOCK]
    assert (tmp_path / "file").read_text() == "mine"
    lock.rmdir() if target is None else lock.unlink()
    publish(folder, "new")
    assert LOCK not in contents(folder)
