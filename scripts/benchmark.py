#!/usr/bin/env python3
"""Time this job and its peers as whole processes, on the same files, interleaved.

    scripts/benchmark --customers 1000000 --purchases 10000000 --rounds 5
    scripts/benchmark --data folder-with-customers.csv-and-purchases.csv --engines ours,pandas

Before each run the disk is idle. All engines must give the same totals and number of records.
What the peers leave out: see the README.
"""

from __future__ import annotations

import csv
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import click
import psutil

SCRIPTS = Path(__file__).parent
PEERS = {
    name: SCRIPTS / "peers" / f"{name}_job.py" for name in ("polars", "duckdb", "pandas", "dask")
}
ENGINES = ("ours", *PEERS)
_SAMPLE_EVERY = 0.02  # seconds


@dataclass(frozen=True)
class Run:
    """One run of one engine: seconds of wall and CPU, most bytes in memory, and its result."""

    wall: float
    cpu: float
    memory: int
    totals: dict[str, Decimal]
    records: int


@click.command(context_settings={"show_default": True})
@click.option("--customers", default=1_000_000, help="Records to make.")
@click.option("--purchases", default=10_000_000, help="Records to make.")
@click.option("--data", type=click.Path(path_type=Path), help="Take these files instead.")
@click.option("--rounds", default=3, help="Runs of each engine.")
@click.option("--engines", default=",".join(ENGINES), help="Which, by commas.")
@click.option("--fsync", is_flag=True, help="Ours waits for the disk, as it does by default.")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Folder for inputs and outputs.  [default: /tmp]",
)
@click.option("--option", "extra", multiple=True, help="One more word for our command line.")
def main(
    customers: int,
    purchases: int,
    data: Path | None,
    rounds: int,
    engines: str,
    fsync: bool,
    work: Path | None,
    extra: tuple[str, ...],
) -> None:
    """Print a Markdown table: medians over the rounds, and the ratio to ours."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        source, target = data or Path(folder, "in"), Path(folder, "out")
        if data is None:
            _make(source, customers, purchases)
        commands = {
            name: _command(name, source, target, fsync, extra) for name in engines.split(",")
        }
        runs: dict[str, list[Run]] = {name: [] for name in commands}
        for number in range(rounds):
            for name, command in commands.items():
                shutil.rmtree(target, ignore_errors=True)
                target.mkdir(parents=True)
                _wait_for_idle_disk()
                runs[name].append(_timed(command, target))
                click.echo(f"round {number + 1}: {name} {runs[name][-1].wall:.2f} s", err=True)
        _check_agreement(runs)
        click.echo(_table(runs))


def _make(source: Path, customers: int, purchases: int) -> None:
    script = str(SCRIPTS / "generate_data.py")
    command = [sys.executable, script, "--odd", "0", "--to", str(source)]
    sizes = ["--customers", str(customers), "--purchases", str(purchases)]
    subprocess.run([*command, *sizes], check=True)


def _command(
    name: str, source: Path, target: Path, fsync: bool, extra: tuple[str, ...]
) -> list[str]:
    if name in PEERS:
        return [sys.executable, str(PEERS[name]), str(source), str(target)]
    inputs = [f"--{table}={source / table}.csv" for table in ("customers", "purchases")]
    durable = [] if fsync else ["--no-fsync"]
    return [
        sys.executable,
        "-m",
        "pipeline",
        "-q",
        *inputs,
        f"--output-dir={target}",
        *durable,
        *extra,
    ]


def _wait_for_idle_disk() -> None:
    os.sync()
    while True:
        before = psutil.disk_io_counters()
        time.sleep(0.5)
        after = psutil.disk_io_counters()
        if before is None or after is None or before.write_bytes == after.write_bytes:
            return


def _timed(command: list[str], target: Path) -> Run:
    cpu_before = _cpu_of_children()
    begin = time.perf_counter()
    process = psutil.Popen(command)
    memory = 0
    while process.poll() is None:
        memory = max(memory, _memory(process))
        time.sleep(_SAMPLE_EVERY)
    wall = time.perf_counter() - begin
    if process.returncode:
        raise click.ClickException(f"{command} ended with {process.returncode}")
    cpu = _cpu_of_children() - cpu_before
    return Run(wall, cpu, memory, _totals(target), _records(target))


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _memory(process: psutil.Process) -> int:
    """Return the resident bytes of a process and its children."""
    try:
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family)
    except psutil.NoSuchProcess:
        return 0


def _totals(target: Path) -> dict[str, Decimal]:
    with (target / "age_group_spending.csv").open(newline="") as file:
        rows = csv.DictReader(file)
        totals = {row["age_group"]: Decimal(row["total_spending"] or 0) for row in rows}
    return {group: total for group, total in totals.items() if total}


def _records(target: Path) -> int:
    with (target / "combined_data.csv").open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 24), b"")) - 1


def _check_agreement(runs: dict[str, list[Run]]) -> None:
    results = {
        (tuple(sorted(run.totals.items())), run.records): name
        for name in runs
        for run in runs[name]
    }
    if len(results) > 1:
        raise click.ClickException(f"the engines do not agree: {results}")


def _table(runs: dict[str, list[Run]]) -> str:
    first = next(iter(runs.values()))
    lines = [
        "| engine | wall, median | min to max | CPU | peak memory | wall, ratio |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, timed in runs.items():
        walls = [run.wall for run in timed]
        median = statistics.median(walls)
        ratio = median / statistics.median(run.wall for run in first)
        cpu = statistics.median(run.cpu for run in timed)
        memory = statistics.median(run.memory for run in timed) / 1e9
        lines.append(
            f"| {name} | {median:.2f} s | {min(walls):.2f} to {max(walls):.2f} s "
            f"| {cpu:.1f} s | {memory:.2f} GB | {ratio:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
