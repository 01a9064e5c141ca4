"""Measure what many blocks cost client, scheduler and worker, each a process of its own.

A small table in small blocks costs each process what a large one in as many blocks does, beside the
work on its bytes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import click
import psutil
from distributed import Client

from pipeline import Settings, run

_BLOCK = 1024  # bytes, the least size of a block
_LINE = "{},A lamp with a long name,{}.25\n"
_CUSTOMERS = 1000


class Cost(NamedTuple):
    """What a process took so far: seconds of CPU, and the peak of its memory in bytes."""

    seconds: float
    memory: int


@click.command(help=__doc__)
@click.option("--blocks", default=100_000, show_default=True, help="How many blocks to run.")
@click.option("--to", type=click.Path(path_type=Path), help="Where to put data, instead of /tmp.")
def main(blocks: int, to: Path | None) -> None:
    """Print a table: what each block costs each process."""
    with TemporaryDirectory(dir=to) as name:
        settings = write_tables(Path(name), blocks)
        with processes(Path(name)) as every, Client(scheduler_file=f"{name}/scheduler.json") as at:
            at.wait_for_workers(1)
            run(replace(settings, block_size=None), at, draw=no_chart)  # imports, and one block
            before = {who: cost(process) for who, process in every.items()}
            begin = time.perf_counter()
            run(settings, at, draw=no_chart)
            wall = time.perf_counter() - begin
            after = {who: cost(process) for who, process in every.items()}
    click.echo(f"{blocks:,} blocks in {wall:.0f} s, {1000 * wall / blocks:.2f} ms each\n")
    click.echo("| process | CPU for a block | memory for a block | peak of memory |")
    click.echo("| --- | --- | --- | --- |")
    for who, (seconds, memory) in after.items():
        each = 1000 * (seconds - before[who].seconds) / blocks
        kib = (memory - before[who].memory) / blocks / 1024
        click.echo(f"| {who} | {each:.2f} ms | {kib:.1f} KiB | {memory / 1e6:,.0f} MB |")


def write_tables(folder: Path, blocks: int) -> Settings:
    """Write customers, and purchases of so many blocks; return settings that read them."""
    customers, purchases = folder / "customers.csv", folder / "purchases.csv"
    with customers.open("w") as file:
        file.write("customer_id,first_name,last_name,age\n")
        file.writelines(f"{row},Ada,Byron,{18 + row % 60}\n" for row in range(_CUSTOMERS))
    lines = [_LINE.format(row % _CUSTOMERS, row % 977) for row in range(10_000)]
    size = sum(map(len, lines))
    with purchases.open("w") as file:
        file.write("customer_id,product,price\n")
        whole, rest = divmod(blocks * _BLOCK, size)
        for _ in range(whole):
            file.writelines(lines)
        file.writelines(lines[: rest * len(lines) // size])
    return Settings(
        (str(customers),),
        (str(purchases),),
        str(folder / "outputs"),
        join="broadcast",
        block_size=_BLOCK,
        fsync=False,
    )


@contextmanager
def processes(folder: Path) -> Iterator[dict[str, psutil.Process]]:
    """Start a scheduler and a worker with one thread; yield them and this process by name."""
    file = ["--scheduler-file", str(folder / "scheduler.json")]
    commands = {
        "scheduler": ["scheduler", *file, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"],
        "worker": ["worker", *file, "--no-nanny", "--no-dashboard", "--nthreads", "1"],
    }
    started = {
        who: subprocess.Popen([sys.executable, "-m", "dask", *command], stderr=subprocess.DEVNULL)
        for who, command in commands.items()
    }
    try:
        found = {who: psutil.Process(process.pid) for who, process in started.items()}
        yield {"client": psutil.Process(), **found}
    finally:
        for process in started.values():
            process.terminate()
            process.wait()


def cost(process: psutil.Process) -> Cost:
    """Return what a process took so far."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return Cost(sum(process.cpu_times()[:2]), int(peak) * 1024)


def no_chart(*_: object) -> None:
    """Draw nothing: that costs the same for any number of blocks."""


if __name__ == "__main__":
    main()
