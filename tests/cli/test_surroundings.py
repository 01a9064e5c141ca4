"""What surrounds a run may fail: then one line says how to fix it, and never asks for a report."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import REPOSITORY, TESTS_PATH
from support.warm import run_command

from pipeline.outputs.names import COMBINED, LOCK, REPORT

# Another user, who still may read what root may, such as the installed packages.
NOBODY = (
    *("setpriv", "--reuid", "54321", "--clear-groups"),
    *("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "+dac_read_search"),
)


SLOW = pytest.mark.slow("surroundings")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with both inputs, in which any user may write."""
    (tmp_path / "customers.csv").write_text(
        "customer_id,first_name,last_name,age\n1,Ada,Byron,36\n2,Bo,Chu,20\n"
    )
    (tmp_path / "purchases.csv").write_text("customer_id,product,price\n1,Lamp,19.90\n")
    (tmp_path / "tmp").mkdir()
    for path in (tmp_path, tmp_path / "tmp"):
        path.chmod(0o777)
    return tmp_path


@pytest.fixture
def nobody(folder: Path) -> tuple[str, ...]:
    """The begin of a command that another user executes."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    for path in folder.parents:
        if path.name.startswith("pytest-"):  # for the user of pytest only
            path.chmod(path.stat().st_mode | 0o011)
    may_write = [*NOBODY, "test", "-w", str(folder)]
    if subprocess.run(may_write, capture_output=True, check=False).returncode:
        pytest.skip("root cannot become another user here")
    return NOBODY


def run(
    folder: Path, *options: str, before: str = "", user: tuple[str, ...] = (), **more: str | None
) -> subprocess.CompletedProcess[str]:
    """Run the job in `folder`, by a shell that first executes `before`.

    The paths are those of `folder` unless `options` say otherwise. With nothing but options, it
    need not start anew.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "TMPDIR": str(folder / "tmp"),
        **more,
    }
    paths = {
        "--customers": "customers.csv",
        "--purchases": "purchases.csv",
        "--output-dir": "out",
    }
    words = [
        *("--quiet", "--dashboard-address", "127.0.0.1:0", *options),
        *(f"{name}={folder / path}" for name, path in paths.items() if name not in options),
    ]
    if not (before or user or more):
        return run_command(folder, *words)
    command = [*user, sys.executable, "-m", "pipeline", *words]
    return subprocess.run(
        ["bash", "-c", f"{before}\nexec {shlex.join(command)}"],
        cwd=folder,
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def error(ended: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line that a run printed before it ended with `code`."""
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def succeeded(folder: Path, ended: subprocess.CompletedProcess[str]) -> None:
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert (folder / "out" / REPORT).exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--dashboard-address", "none"), "'none' is not HOST:PORT"),
        (("--dashboard-address", ""), "'' is not HOST:PORT"),
        (("--dashboard-address", "[::1]:0"), "'[::1]:0' is not HOST:PORT"),
        (("--dashboard-address", "127.0.0.1:70000"), "'127.0.0.1:70000' is not HOST:PORT"),
        (
            ("--dashboard-address", "99.1.2.3:8787"),
            "this machine cannot listen on '99.1.2.3:8787': Cannot assign requested address; "
            "write 127.0.0.1:8787, or 127.0.0.1:0 for any free port",
        ),
        (
            ("--dashboard-address", "host.invalid:8787"),
            "this machine cannot listen on 'host.invalid:8787': ",
        ),
        (("--memory-limit", "1MB"), "'1MB' is less than the 256 MiB that a worker needs; write"),
        (("--memory-limit", "1MB", "--workers", "2"), "'1MB' is less than the 256 MiB"),
        (("--customers", ""), "the path is empty; use a file or folder"),
        (("--output-dir", ""), "the path is empty; use a file or folder"),
        (("--performance-report", ""), "the path is empty; use a file"),
        (("--threads-per-worker", "100000"), "'100000' is more than the limit of 1,024; omit"),
        (("--output-dir", "FILE:///tmp/x"), "cannot write to 'file:///tmp/x'; use the"),
        (
            ("--output-dir", "s3:/b"),
            "'s3:/b' may be a path or a URL; write it as s3://b, or as ./s3:/b if it is a",
        ),
        (("--purchases", "s3:/b/c.csv"), "'s3:/b/c.csv' may be a path or a URL; write it as"),
        (("--output-dir", "s3://"), "'s3://' names no bucket; write it as s3://bucket/prefix"),
        (("--output-dir", "file:///tmp/x"), "cannot write to 'file:///tmp/x'; use the"),
        (("--output-dir", "~no-such-user/x"), "the home folder '~no-such-user' is unknown; write"),
        (("--performance-report", "s3://b/c"), "'s3://b/c' is not a local file; use one, such as"),
        (("--scheduler", "~/none.json"), "/none.json' is neither an address"),
    ],
)
def test_options_that_cannot_be_meant_here(
    folder: Path, option: tuple[str, ...], message: str
) -> None:
    line = error(run(folder, *option), 2)

    assert line.startswith(f"{option[0]}")
    assert message in line
    assert not (folder / "out").exists()


def test_a_dry_run_over_an_input_is_an_error(folder: Path) -> None:
    (folder / COMBINED).write_bytes((folder / "purchases.csv").read_bytes())

    options = ("--output-dir", ".", "--purchases", COMBINED)

    assert "a run would replace or delete the input" in error(run(folder, "--dry-run", *options), 2)
    assert "a run would replace or delete the input" in error(run(folder, *options), 2)
    assert (folder / COMBINED).read_bytes() == (folder / "purchases.csv").read_bytes()


@pytest.mark.parametrize(("one", "other"), [("customers", "purchases"), ("purchases", "customers")])
def test_one_table_is_not_joined_with_the_sample(folder: Path, one: str, other: str) -> None:
    ended = run_command(REPOSITORY, f"--{one}", f"{folder}/{one}.csv", "--dry-run")

    assert error(ended, 2) == (
        f"--{other} is missing; pass it as well as --{one}, or neither to read the sample"
    )


def test_a_tilde_is_the_home_folder(folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    (folder / "customers.csv").rename(home / "customers.csv")
    (folder / "purchases.csv").rename(home / "purchases.csv")

    options = (
        *("--customers", "~/customers.csv", "--purchases", "~/purch*.csv", "--output-dir", "~/out"),
        *("--performance-report", "~/page.html"),
    )
    words = "--quiet", "--dashboard-address", "127.0.0.1:0", *options
    succeeded(home, run_command(folder, *words, environment={"HOME": str(home)}))
    assert (home / "page.html").stat().st_size
    assert {path.name for path in folder.iterdir()} == {"home", "tmp"}


def test_a_disk_that_is_full_once_the_outputs_are_published(folder: Path) -> None:
    assert error(run(folder, "--performance-report", "/dev/full"), 4) == (
        "--performance-report: '/dev/full' cannot be written: No space left on device; "
        "the outputs are published"
    )
    assert (folder / "out" / REPORT).exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_current_folder_that_was_deleted(folder: Path, workers: str) -> None:
    ended = run(folder, "--workers", workers, before="mkdir gone; cd gone; rmdir ../gone")

    assert error(ended, 2) == (
        "the current folder has been deleted; change to another one (cd), then run again"
    )


@pytest.mark.parametrize("limit", [1, pytest.param(7, marks=SLOW)])
def test_no_thread_is_left(folder: Path, nobody: tuple[str, ...], limit: int) -> None:
    line = error(run(folder, before=f"ulimit -u {limit}", user=nobody), 4)

    assert line.startswith("system resource unavailable: ")
    assert "raise the limit on processes (ulimit -u, " in line


def test_too_little_memory_to_start(folder: Path) -> None:
    line = error(run(folder, before="ulimit -v 200000"), 4)

    assert line.startswith(("system resource unavailable: ", "out of memory: "))


def test_no_temporary_folder(folder: Path) -> None:
    line = error(run(folder, before="ulimit -f 0"), 4)  # no file may have a byte

    assert "No usable temporary directory found in " in line
    assert line.endswith("; set TMPDIR to a writable folder")


@pytest.mark.parametrize("place", [pytest.param("customers.csv/x", marks=SLOW), "/proc/none"])
def test_a_temporary_folder_of_dask_that_cannot_be_made(folder: Path, place: str) -> None:
    line = error(run(folder, DASK_TEMPORARY_DIRECTORY=place), 4)

    assert f"{place}: the workers' temporary folder cannot be created: " in line
    assert line.endswith("; choose another one with DASK_TEMPORARY_DIRECTORY or TMPDIR")


@pytest.mark.parametrize(
    ("home", "fails"),
    [
        ("/proc/none", False),
        pytest.param("/proc/none", True, marks=SLOW),
        pytest.param(None, False, marks=SLOW),
        pytest.param("", True, marks=SLOW),
    ],
)
def test_a_home_that_cannot_be_written_leaves_no_folder(
    folder: Path, nobody: tuple[str, ...], home: str | None, fails: bool
) -> None:
    options = ("--customers", "nowhere.csv") if fails else ()

    ended = run(folder, *options, user=nobody, HOME=home)

    if fails:
        assert "no file at 'nowhere.csv'" in error(ended, 2)
    else:
        succeeded(folder, ended)
    left = {path.name for path in (folder / "tmp").iterdir()}
    assert left <= {"dask-scratch-space"}


@SLOW
def test_a_current_folder_that_cannot_be_written(folder: Path, nobody: tuple[str, ...]) -> None:
    (folder / "closed").mkdir(mode=0o755)

    succeeded(folder, run(folder, before="cd closed", user=nobody))


def test_odd_surroundings_in_which_a_run_succeeds(folder: Path) -> None:
    before = "exec 0<&-; export LC_ALL=xx_YY 2> /dev/null"
    ended = run(
        folder,
        before=before,
        TMPDIR="/none",
        COLUMNS="0",
        PYTHONSAFEPATH="1",
        PYTHONWARNINGS="error",
        PYTHONIOENCODING="ascii",
        HOME=str(folder / "home"),
    )

    succeeded(folder, ended)
    assert not (folder / "home").exists()


@SLOW
def test_a_run_without_locks_warns(folder: Path) -> None:
    without_locks = (sys.executable, "-m", "support.no_flock", "ENOLCK")
    ended = run(folder, user=without_locks, PYTHONPATH=TESTS_PATH)
    if "no seccomp" in ended.stderr:
        pytest.skip(ended.stderr)

    succeeded(folder, ended)
    report = json.loads((folder / "out" / REPORT).read_text())
    assert report["warnings"][0].startswith(
        f"{folder / 'out'}: file locking is unsupported (No locks available); "
    )
    assert not (folder / "out" / LOCK).exists()
