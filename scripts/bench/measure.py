"""Run all engines in turn, round after round, and check that their results agree."""

from __future__ import annotations

import csv
import os
import shutil
import time
from decimal import Decimal
from pathlib import Path

import click
import numpy as np
import psutil

from bench.engines import DISK, Setup
from bench.results import Results
from bench.timing import Run, timed

_MOST_WAITING = 60  # seconds to wait for the disk, which may never be idle if others use it


def measure(setup: Setup, engines: list[str], rounds: int) -> Results:
    """Run each engine once per round, until it fails."""
    # Counting the inputs also reads them into the page cache.
    customers, purchases = (_records(path) for path in setup.inputs)
    runs: dict[str, list[Run]] = {engine: [] for engine in engines}
    found: dict[tuple[object, int], str] = {}
    bytes_out = 0
    for number in range(rounds):
        for engine in engines:
            if any(run.failure for run in runs[engine]):
                continue
            if engine == DISK and not setup.written.exists():  # no engine has finished yet
                continue
            _make_ready(setup, engine)
            np.ones(setup.touched, np.uint8)  # freed at once
            run = timed(setup.command(engine), setup)
            runs[engine].append(run)
            click.echo(
                f"round {number + 1}: {engine} {run.failure or f'{run.wall:.2f} s'}", err=True
            )
            if run.failure or engine == DISK:
                continue
            combined = setup.target / setup.written.name
            bytes_out = bytes_out or sum(path.stat().st_size for path in _files(combined))
            found.setdefault((_totals(setup.target), _records(combined)), engine)
            if len(found) > 1:
                raise click.ClickException(f"the engines do not agree: {found}")
            if DISK in engines and combined.is_file() and not setup.written.exists():
                combined.replace(setup.written)
    return Results(
        customers=customers,
        purchases=purchases,
        bytes_in=sum(path.stat().st_size for path in setup.inputs),
        bytes_out=bytes_out,
        cores=len(setup.pinned),
        memory=setup.memory,
        fsync=setup.fsync,
        runs={engine: some for engine, some in runs.items() if some},
    )


def _make_ready(setup: Setup, engine: str) -> None:
    """Delete the previous run's files, write back the page cache, and wait for an idle disk."""
    for folder in (setup.target, setup.scratch):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    if engine == DISK:
        _records(setup.written)  # into the page cache: dd must not wait for reads
    os.sync()
    deadline = time.monotonic() + _MOST_WAITING
    while time.monotonic() < deadline:
        before = psutil.disk_io_counters()
        time.sleep(0.5)
        after = psutil.disk_io_counters()
        if before is None or after is None or before.write_bytes == after.write_bytes:
            return


def _totals(target: Path) -> tuple[tuple[str, Decimal], ...]:
    with (target / "age_group_spending.csv").open(newline="") as file:
        rows = csv.DictReader(file)
        totals = {row["age_group"]: Decimal(row["total_spending"] or 0) for row in rows}
    return tuple(sorted((group, total) for group, total in totals.items() if total))


def _records(path: Path) -> int:
    """Count the lines below the headers; in generated data, each line is one record."""
    return sum(map(_lines, _files(path))) - len(_files(path))


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 24), b""))


def _files(path: Path) -> list[Path]:
    """Return the files of a table: some engines write a folder of files, each with a header."""
    return list(path.glob("*.csv")) if path.is_dir() else [path]
