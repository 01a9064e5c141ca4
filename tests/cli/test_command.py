"""The command line: what it says where, and the exit codes that scripts rely on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import REPOSITORY
from support.processes import INTERRUPTIBLE, UNINTERRUPTIBLE
from support.warm import run_command

from pipeline.outputs.names import CHART, COMBINED, FAILED, LOCK, OUTPUTS, REPORT, SPENDING

CUSTOMERS = """\
customer_id,first_name,last_name,age
1,Ada,Byron,36
2,Bo,Chu,20
"""
PURCHASES = """\
customer_id,product,price
1,Lamp,19.90
2,Cup,1000
9,Pen,abc
"""
TABLE = """\
age group    total spending  purchases  customers  spending per customer  share of total
Young              1,000.00          1          1               1,000.00          0.9805
Middle-aged           19.90          1          1                  19.90          0.0195
Senior                 0.00          0          0                                 0.0000
Unknown                0.00          1          0                                 0.0000
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with both inputs, an empty folder, and the outputs of an earlier run."""
    (tmp_path / "customers.csv").write_text(CUSTOMERS)
    (tmp_path / "purchases.csv").write_text(PURCHASES)
    (tmp_path / "empty").mkdir()
    (tmp_path / "outputs").mkdir()
    for name in OUTPUTS:
        (tmp_path / "outputs" / name).write_text(f"earlier {name}")
    return tmp_path


@pytest.fixture
def nobody_there() -> Iterator[str]:
    """An address at which no scheduler listens: its port is taken, but answers nobody."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{taken.getsockname()[1]}"


OPTIONS = (
    *("--dashboard-address", "127.0.0.1:0"),
    *("--customers", "customers.csv", "--purchases", "purchases.csv"),
)


def arguments(*options: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", *OPTIONS, *options]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **more}


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the job in `folder`."""
    return run_command(folder, *OPTIONS, *options)


def start(folder: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the job in `folder` as a user would, with more in the environment."""
    return subprocess.run(
        arguments(*options),
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def outputs(folder: Path) -> dict[str, str]:
    paths = (folder / "outputs").iterdir()
    return {path.name: path.read_text(errors="replace") for path in paths}


def outputs_but_failure(folder: Path) -> dict[str, str]:
    return {name: text for name, text in outputs(folder).items() if name != FAILED}


def earlier_outputs() -> dict[str, str]:
    return {name: f"earlier {name}" for name in OUTPUTS}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--customers", "nowhere.csv"],
            2,
            "customers: no file at 'nowhere.csv'; use a CSV file, a glob or a folder",
        ),
        (
            ["--amount-column", "total"],
            2,
            "purchases.csv: purchases need a column 'total'; found: customer_id, product, price; "
            "name it with --amount-column",
        ),
        (["--purchases", "empty"], 2, "no *.csv file in the folder 'empty'"),
        (
            ["--age-groups", "Young=x"],
            2,
            "age groups 'Young=x': 'x' is not an age; "
            "write them youngest first, such as Young=18,Middle-aged=30",
        ),
        (["--customer", "x"], 2, "No such option '--customer'. Did you mean '--customers'?"),
        (
            ["--output-dir", "customers.csv"],
            2,
            "customers.csv: outputs cannot be written here: Not a directory (customers.csv/.lock); "
            "choose another folder with --output-dir",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_changes_nothing(
    folder: Path, options: list[str], code: int, message: str
) -> None:
    ended = run(folder, "--quiet", *options)

    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", f"error: {message}\n")
    assert outputs_but_failure(folder) == earlier_outputs()
    if FAILED in outputs(folder):  # the folder was known
        assert json.loads(outputs(folder)[FAILED])["error"] == message


def test_an_unreachable_scheduler_is_one_line_and_changes_nothing(
    folder: Path, nobody_there: str
) -> None:
    ended = start(
        folder, "--scheduler", nobody_there, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="200ms"
    )

    assert (ended.returncode, ended.stdout) == (3, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: no scheduler answered at '{nobody_there}' within ")
    assert line.endswith(
        "; check that it is running, that this machine can reach it, and that the scheme, tcp:// "
        "or tls://, is right"
    )
    assert "CancelledError" not in line  # a name from the inside, not a reason
    assert outputs(folder) == earlier_outputs()


def test_records_set_aside_are_reported(folder: Path) -> None:
    with (folder / "customers.csv").open("a") as file:
        file.write("3,Cy\n4,Di,Eng,40,5\n")

    ended = run(folder)

    assert ended.returncode == 0
    warning = (
        "2 of 4 customers could not be read (first: customers.csv line 4: too few fields (2 where "
        "the header has 4): '3,Cy')"
    )
    assert f"warning: {warning}\n" in ended.stderr


def test_the_table_goes_to_stdout_and_the_messages_to_stderr(folder: Path) -> None:
    ended = start(folder)

    assert ended.returncode == 0
    assert ended.stdout == TABLE
    first, *_, last = ended.stderr.splitlines()
    assert first.startswith("dashboard: http://127.0.0.1:")
    assert last.startswith("done in ")
    assert [line for line in ended.stderr.splitlines() if line.startswith("warning: ")] == [
        "warning: 1 of 3 values of price is not a usable number and counts as missing (first: "
        "'abc', purchases.csv line 4)",
        "warning: 1 of 3 purchases has an id that no customer has (first: '9', purchases.csv line "
        "4; customers have ids such as '1')",
    ]
    assert "Traceback" not in ended.stderr
    assert "\r" not in ended.stderr  # nothing moves off a terminal
    names = {COMBINED, SPENDING, CHART, REPORT}
    assert {path.name for path in (folder / "outputs").iterdir()} == names
    assert all(f"outputs/{name}" in last for name in names)


def test_a_performance_report_has_the_tasks_of_the_run(folder: Path) -> None:
    ended = run(folder, "--quiet", "--performance-report", "tasks.html")

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    page = (folder / "tasks.html").read_text()
    assert "<html" in page
    assert "read-join-sum-write" in page


def test_a_performance_report_that_cannot_be_written_is_told_at_once(folder: Path) -> None:
    ended = run(folder, "--quiet", "--performance-report", "none/tasks.html")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "error: --performance-report: 'none/tasks.html' cannot be written: "
        "No such file or directory; use another file\n"
    )
    assert outputs(folder) == earlier_outputs()


def test_quiet_prints_nothing(folder: Path) -> None:
    ended = run(folder, "--quiet", "--output-dir", "fresh", "--no-fsync")

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert (folder / "fresh" / REPORT).exists()
    assert outputs(folder) == earlier_outputs()


def test_a_join_that_matches_nothing_fails_even_if_quiet(folder: Path) -> None:
    text = (folder / "purchases.csv").read_text()
    (folder / "purchases.csv").write_text(text.replace("1,L", "1.0,L").replace("2,C", "2.0,C"))

    ended = run(folder, "--quiet")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "error: no purchase matches a customer: 3 of 3 have an id that no customer has (first: "
        "'1.0', purchases.csv line 2; customers have ids such as '1'; 2 of 3 sampled ids "
        "would match without a trailing '.0'); nothing was published; fix the files, or allow this "
        "with --max-unmatched 100%; also, 1 of 3 values of price is not a usable number and "
        "counts as missing (first: 'abc', purchases.csv line 4)\n"
    )
    assert {name: text for name, text in outputs(folder).items() if name in OUTPUTS} == (
        earlier_outputs()
    )
    assert run(folder, "--quiet", "--max-unmatched", "100%").returncode == 0


@pytest.mark.parametrize("option", ["--strict", "--max-unusable=purchases=0"])
def test_an_unusable_value_is_refused_on_demand(folder: Path, option: str) -> None:
    ended = run(folder, "--quiet", option)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.endswith(
        "more than --max-unusable purchases=0 (or --strict) allows; nothing was published; fix the "
        "files, or raise the limit\n"
    )


def test_debug_adds_a_traceback_before_the_line(folder: Path) -> None:
    ended = run(folder, "--quiet", "--debug", "--age-groups", "Young=x")

    assert ended.returncode == 2
    assert ended.stderr.startswith("Traceback (most recent call last):\n")
    assert ended.stderr.splitlines()[-1].startswith("error: age groups 'Young=x'")


def test_a_signal_to_end_is_one_line_and_changes_nothing(folder: Path) -> None:
    with (folder / "purchases.csv").open("a") as file:
        file.writelines(f"{number},Lamp,19.90\n" for number in range(300_000))

    with subprocess.Popen(
        [*INTERRUPTIBLE, *arguments()],
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("dashboard: ")  # the job begins
        os.killpg(process.pid, signal.SIGTERM)  # all at once, as a terminal does
        messages = process.stderr.read()

    assert process.returncode == 130
    assert messages.splitlines()[-1] == "error: interrupted; the outputs are unchanged"
    assert "Traceback" not in messages
    # The next run takes a lock that was being made; see `folder_lock`.
    left = {name: data for name, data in outputs_but_failure(folder).items() if name != LOCK}
    assert left == earlier_outputs()


def test_an_ignored_interrupt_stays_ignored(folder: Path) -> None:
    """As a shell starts what runs in the background of a script."""
    with subprocess.Popen(
        [*UNINTERRUPTIBLE, *arguments()],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("dashboard: ")
        process.send_signal(signal.SIGINT)
        messages = process.stderr.read()

    assert process.returncode == 0
    assert messages.splitlines()[-1].startswith("done in ")


@pytest.mark.parametrize("unread", ["stdout", "stdout and stderr"])
def test_a_reader_that_leaves_neither_ends_nor_fails_the_job(folder: Path, unread: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # as `| head -0` does
    both = unread == "stdout and stderr"

    with os.fdopen(writer) as pipe:
        ended = run_command(folder, *OPTIONS, stdout=pipe, stderr=pipe if both else None)

    assert ended.returncode == 0
    assert both or ended.stderr.splitlines()[-1].startswith("done in ")
    assert "BrokenPipe" not in ended.stderr
    assert '"customers"' in (folder / "outputs" / REPORT).read_text()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            "OSError(28, 'No space left on device', '/tmp/x')",
            4,
            "error: /tmp/x: No space left on device",
        ),
        ("OSError(5, 'Input/output error')", 4, "error: a file system failed: Input/output error"),
        (
            "OSError(2, 'No such file or directory')",
            4,
            "error: system error: FileNotFoundError: [Errno 2] No such ",
        ),
        (
            'RuntimeError("can\'t start new thread")',
            4,
            "error: system resource unavailable: can't start new thread; raise the limit",
        ),
        ("OSError(24, 'Too many open files')", 4, "error: system resource unavailable: "),
        ("MemoryError()", 4, "error: out of memory: an allocation failed; give the job more "),
        ("RuntimeError('odd')", 70, "error: unexpected error: RuntimeError: odd; "),
        ("InputChangedError('x: changed')", 4, "error: x: changed"),
    ],
)
def test_what_nobody_foresaw_is_no_refused_data(error: str, code: int, line: str) -> None:
    script = (
        "from pipeline.cli import command\n"
        "from pipeline.errors import InputChangedError\n"
        "def fail(*_):\n"
        f"    raise {error}\n"
        "command.settings_of = fail\n"
        "command.main()\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("is_dry", [False, True], ids=["a run", "a dry run"])
def test_results_that_cannot_be_printed_are_a_failed_file_system(
    folder: Path, is_dry: bool
) -> None:
    with open("/dev/full", "w") as full:
        options = ["--quiet", "--dry-run"] if is_dry else []
        ended = run_command(folder, *OPTIONS, *options, stdout=full)

    line = "error: standard output: No space left on device"
    published = "" if is_dry else "; the outputs are published"
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (4, f"{line}{published}")
    assert (outputs(folder) == earlier_outputs()) == is_dry
    assert FAILED not in outputs(folder)


def test_messages_that_cannot_be_written_do_not_fail_a_run(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        ended = run_command(folder, *OPTIONS, stderr=full)

    assert (ended.returncode, ended.stdout) == (0, TABLE)
    assert '"customers"' in (folder / "outputs" / REPORT).read_text()


def test_what_fails_after_the_commit_says_that_the_outputs_are_published(folder: Path) -> None:
    ended = run(folder, "--quiet", "--performance-report", "/dev/full")

    assert ended.returncode == 4
    assert ended.stderr.endswith("No space left on device; the outputs are published\n")
    assert set(outputs(folder)) == {COMBINED, SPENDING, CHART, REPORT}
