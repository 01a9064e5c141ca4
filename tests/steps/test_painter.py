"""The chart that a process draws is the same, and the process never outlives the job."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from support.paths import REPOSITORY
from support.processes import wait_until

from pipeline.settings import AgeGroups
from pipeline.steps.chart import Draw, draw_chart
from pipeline.steps.painter import painter
from pipeline.steps.spending import summarize

GROUPS = AgeGroups()
SUMMARY = summarize([{"Young": (Decimal("5.20"), 4)}], [{"Young": 1_200}], GROUPS)


@pytest.fixture
def draw() -> Iterator[Draw]:
    """What has a process draw."""
    with painter() as draw:
        yield draw


@pytest.fixture
def expected(tmp_path: Path) -> bytes:
    """The chart as this process draws it."""
    path = tmp_path / "expected.png"
    draw_chart(SUMMARY, GROUPS, "price", path)
    return path.read_bytes()


def process_of(parent: psutil.Process) -> psutil.Process:
    """Return the one process that a painter has started."""
    found: list[psutil.Process] = []

    def look() -> list[psutil.Process]:
        alive = [child for child in parent.children() if child.status() != psutil.STATUS_ZOMBIE]
        found[:] = [child for child in alive if "pipeline.steps.painter" in child.cmdline()]
        return found

    wait_until(look)  # a command line is empty at the very start
    (process,) = found
    return process


def test_it_draws_the_same_chart(
    draw: Draw,
    expected: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # a relative path is this process's

    draw(SUMMARY, GROUPS, "price", Path("chart.png"))

    assert (tmp_path / "chart.png").read_bytes() == expected
    assert capfd.readouterr() == ("", "")


def test_where_it_has_died_the_chart_is_drawn_all_the_same(
    draw: Draw, expected: bytes, tmp_path: Path
) -> None:
    process_of(psutil.Process()).kill()

    draw(SUMMARY, GROUPS, "price", tmp_path / "chart.png")

    assert (tmp_path / "chart.png").read_bytes() == expected


def test_what_fails_there_is_told_here_alone(
    draw: Draw, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FileNotFoundError):
        draw(SUMMARY, GROUPS, "price", tmp_path / "nowhere" / "chart.png")

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("drawn", [False, True])
def test_it_ends_with_the_block(drawn: bool, tmp_path: Path) -> None:
    with painter() as draw:
        process = process_of(psutil.Process())
        if drawn:
            draw(SUMMARY, GROUPS, "price", tmp_path / "chart.png")

    assert not process.is_running()


def test_it_ends_when_the_job_is_killed() -> None:
    script = (
        "from pipeline.steps.painter import painter\nwith painter(): print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        job.stdout.readline()
        process = process_of(psutil.Process(job.pid))
        job.kill()
        assert job.stderr.read() == b""
        process.wait()  # for as long as a test may take


def test_nothing_is_imported_from_the_folder_of_a_user(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("raise SystemExit('imported')")
    script = (
        "import sys\n"
        f"sys.path[:1] = {[str(REPOSITORY), *map(str, Path(__file__).parents[:2])]}\n"
        "from pathlib import Path\n"
        "from test_painter import GROUPS, SUMMARY, painter\n"
        "with painter() as draw: draw(SUMMARY, GROUPS, 'price', Path('chart.png'))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_job_itself_imports_no_matplotlib(tmp_path: Path) -> None:
    script = (
        "import atexit, sys\n"
        "from pipeline.cli.command import main\n"
        "atexit.register(lambda: print('matplotlib' in sys.modules))\n"
        "main()\n"
    )
    options = ["--dashboard-address", "127.0.0.1:0", "--no-fsync", "--output-dir", str(tmp_path)]

    done = subprocess.run(
        [sys.executable, "-c", script, "--quiet", *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")
