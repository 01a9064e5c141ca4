"""The benchmark measures what it says, ends what takes too much, and shows what it found."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest
from matplotlib.image import imread
from support.paths import REPOSITORY

SCRIPTS = REPOSITORY / "scripts"
sys.path.insert(0, str(SCRIPTS))

from bench import measure as measuring  # noqa: E402 - found on the path set above, as are these
from bench.chart import draw  # noqa: E402 - the same
from bench.engines import DISK, PEERS, Setup, find_missing  # noqa: E402 - the same
from bench.results import Results  # noqa: E402 - the same
from bench.timing import Run, timed  # noqa: E402 - the same

MEGABYTE = 10**6
HOLD = "import time; held = bytearray(100 * 10**6); time.sleep(0.5)"
LONG = HOLD.replace("0.5", "60")
# A child that writes nothing shares its parent's pages.
SHARE = f"import os; held = b'x' * {100 * MEGABYTE}; os.fork(); import time; time.sleep(0.5)"
OUTPUTS = """
import pathlib, sys
target = pathlib.Path(sys.argv[1])
(target / "combined_data.csv").write_text("customer_id\\n1\\n2\\n")
(target / "age_group_spending.csv").write_text(f"age_group,total_spending\\nYoung,{sys.argv[2]}\\n")
"""


@dataclass(frozen=True)
class Scripts(Setup):
    """A setup whose engines are texts of Python."""

    scripts: dict[str, str] = field(default_factory=dict)

    def command(self, engine: str) -> list[str]:
        """Run the script of an engine; its last line is the sum that it finds."""
        if engine == DISK:
            return super().command(engine)
        script, _, total = self.scripts[engine].rpartition("\n")
        return [sys.executable, "-c", script, str(self.target), total]


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setattr(measuring, "_MOST_WAITING", 0)
    (tmp_path / "customers.csv").write_text("customer_id\n1\n")
    (tmp_path / "purchases.csv").write_text("customer_id\n1\n2\n")
    return Setup(tmp_path, tmp_path)


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


@pytest.mark.parametrize("script", [HOLD, SHARE])
def test_shared_memory_is_counted_once(script: str, setup: Setup) -> None:
    run = timed(python(script), setup)
    assert not run.failure
    assert 100 * MEGABYTE < run.memory < 150 * MEGABYTE
    assert 0.5 < run.wall < 20
    assert run.cpu < run.wall


def test_what_takes_too_much_is_ended_with_its_children(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    child = f"import os; open({str(told)!r}, 'w').write(str(os.getpid())); {LONG}"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    run = timed(python(script), Setup(tmp_path, tmp_path, memory=50 * MEGABYTE))
    assert run.failure == "killed, out of memory"
    assert run.wall < 20  # it would sleep for a minute
    pid = int(told.read_text())
    state = Path(f"/proc/{pid}/stat")  # nobody may have waited for an orphan yet
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_failures_are_told_apart(setup: Setup) -> None:
    assert timed(python("raise SystemExit(3)"), setup).failure == "failed, exit code 3"
    killed = timed(python("import os; os.kill(os.getpid(), 9)"), setup)
    assert killed.failure == "killed, out of memory"


def test_runs_are_pinned(tmp_path: Path) -> None:
    first = min(os.sched_getaffinity(0))
    script = f"import os; assert os.sched_getaffinity(0) == {{{first}}}"
    assert not timed(python(script), Setup(tmp_path, tmp_path, cores=1)).failure


def test_all_engines_run_in_turn(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    scripts = {
        "one": f"{OUTPUTS}\n1.50",
        "two": "raise SystemExit(1)\n",
        "three": f"{OUTPUTS}\n1.5",
    }
    found = measuring.measure(
        Scripts(setup.source, setup.folder, fsync=True, scripts=scripts), [*scripts, DISK], 2
    )
    assert {engine: len(runs) for engine, runs in found.runs.items()} == {
        "one": 2,
        "two": 1,
        "three": 2,
        DISK: 2,
    }
    assert (found.customers, found.purchases, found.bytes_in, found.bytes_out) == (1, 2, 30, 16)
    assert not any(run.failure for run in found.runs[DISK])
    assert "round 2: one" in capsys.readouterr().err


def test_engines_have_to_agree(setup: Setup) -> None:
    scripts = {"one": f"{OUTPUTS}\n1.50", "two": f"{OUTPUTS}\n1.51"}
    with pytest.raises(click.ClickException, match="do not agree"):
        measuring.measure(Scripts(setup.source, setup.folder, scripts=scripts), [*scripts], 1)


def test_a_table_in_a_folder_is_the_same_table(setup: Setup) -> None:
    folder = """
import pathlib, sys
combined = pathlib.Path(sys.argv[1]) / "combined_data.csv"
combined.mkdir()
(combined / "part-0.csv").write_text("customer_id\\n1\\n")
(combined / "part-1.csv").write_text("customer_id\\n2\\n")
(combined / ".part-1.csv.crc").write_text("no record\\n")
"""
    spending = "\n".join(OUTPUTS.splitlines()[:3] + OUTPUTS.splitlines()[4:])
    scripts = {"one": f"{folder}{spending}\n1.50", "two": f"{OUTPUTS}\n1.50"}
    found = measuring.measure(
        Scripts(setup.source, setup.folder, fsync=True, scripts=scripts), [*scripts, DISK], 1
    )
    assert not any(run.failure for runs in found.runs.values() for run in runs)
    assert found.bytes_out == 28
    assert list(found.runs) == [*scripts, DISK]  # dd copies the file, not the folder


def test_every_peer_has_a_script_and_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {f"{peer}_job.py" for peer in PEERS} == {
        path.name for path in (SCRIPTS / "peers").glob("*.py")
    }
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert "no package datafusion: " in find_missing("datafusion")
    assert find_missing("datafusion").endswith(" -c scripts/constraints.txt -e '.[compare]'")
    assert find_missing("spark").endswith(" -c scripts/constraints.txt -e '.[spark]'")
    (tmp_path / "pyspark.py").touch()
    sys.path.append(str(tmp_path))
    assert find_missing("spark") == (
        "spark: no Java: apt install default-jre-headless, or set JAVA_HOME"
    )
    (tmp_path / "java").touch(mode=0o755)
    assert not find_missing("spark")


def test_results_are_kept_and_shown(tmp_path: Path) -> None:
    runs = {
        "ours": [Run(2.0, 3.0, 10**9), Run(4.0, 5.0, 10**9), Run(2.5, 3.5, 2 * 10**9)],
        "polars": [Run(5.0, 9.0, 3 * 10**9)],
        "dask": [Run(9.0, 9.0, 4 * 10**9, "killed, out of memory")],
    }
    results = Results(1_500_000, 10_000, 2_590_000_000, 2, 2**32, True, 838_000_000, runs)
    results.save(tmp_path / "kept.json")
    assert Results.load(tmp_path / "kept.json") == results
    assert results.table().splitlines() == [
        "1.5 million customers, 10,000 purchases, 2.6 GB in, 838 MB out; "
        "2 cores, 4 GiB of memory, on disk",
        "",
        "| engine | wall, median | min to max | CPU | peak memory | wall, ratio |",
        "| --- | --- | --- | --- | --- | --- |",
        "| ours | 2.50 s | 2.00 to 4.00 s | 3.5 s | 1.00 GB | 1.00 |",
        "| polars | 5.00 s | 5.00 to 5.00 s | 9.0 s | 3.00 GB | 2.00 |",
        "| dask | killed, out of memory | | | 4.00 GB | |",
    ]
    less = Results(10, 10, 1_000, 1, runs={"ours": runs["ours"]})
    for number, each in enumerate(([results], [results, less, results])):
        draw(each, tmp_path / f"{number}.png")
    one, three = (imread(tmp_path / f"{number}.png").shape for number in range(2))
    assert one[1] > 1_000
    assert three[1] > 1_700


@pytest.mark.cluster
@pytest.mark.slow("benchmarks")
def test_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "benchmark.py"), "--customers=50", "--purchases=500"]
    options = [
        "--rounds=1",
        "--memory=1GB",
        "--engines=ours,pandas",
        f"--work={tmp_path}",
        f"--chart={tmp_path}/c.png",
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert "| ours |" in done.stdout
    assert "| pandas |" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


@pytest.mark.slow("benchmarks")
def test_the_breakdown_shows_every_step() -> None:
    command = [sys.executable, str(SCRIPTS / "breakdown.py"), "--data", str(REPOSITORY / "data")]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows[0][0] == "| step"
    assert rows[-1][0] == "| all"
    seconds = [float(row[1]) for row in rows[2:]]
    assert sum(seconds[:-1]) == pytest.approx(seconds[-1], abs=0.1)
    assert "copying as much within memory" in done.stdout
