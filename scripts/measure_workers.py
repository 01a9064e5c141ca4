"""Time one worker and two, and two independent runs at once.

Each worker is a one-thread process on its own core; the scheduler and the client of a run share
the cores of its workers. The time of the sample on the same cluster is subtracted from each time.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Barrier
from typing import NamedTuple

import click
import numpy as np
import psutil
from bench.cluster import cluster, start
from dask.utils import key_split
from distributed import Client

_SAMPLE = Path(__file__).parents[1] / "data"
_BLOCKS = "read-transform-render", "read-join-sum-write"  # the names of their tasks


class Run(NamedTuple):
    """The wall time of a run less that of the sample, CPU times less those of the sample, and more.

    `tasks` is the CPU time of the workers' threads that run tasks, `loops` that of their event
    loops; `stream` is the time in each kind of task, and in fetching from other workers what tasks
    need. All are in seconds. `blocks` is the number of blocks of both tables.
    """

    wall: float
    sample: float
    tasks: float
    loops: float
    scheduler: float
    client: float
    blocks: int
    stream: Counter[str]


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder with customers.csv and purchases.csv.",
)
@click.option("--rounds", default=3, help="Number of rounds.")
@click.option(
    "--work", type=click.Path(path_type=Path), help="Folder for the outputs.  [default: /tmp]"
)
@click.option("--apart/--no-apart", default=True, help="Also time two runs at once.")
@click.option("--tasks", is_flag=True, help="Also print the seconds of each kind of task.")
def main(data: Path, rounds: int, work: Path | None, apart: bool, tasks: bool) -> None:
    """Print a table of all rounds, interleaved, and the median speed-up of two workers."""
    first, second = sorted(os.sched_getaffinity(0))[:2]
    gains: dict[str, list[float]] = {"two workers": [], "two runs at once": []}

    def run(name: str, *clusters: list[int]) -> list[Run]:
        runs = measure(data, work, *clusters)
        for one in runs:
            click.echo(f"| {name} | {line(one)} |")
            every = ", ".join(f"{what} {taken:.2f}" for what, taken in one.stream.items())
            if tasks:
                click.echo(f"{name}: {every}", err=True)
        return runs

    click.echo("| | wall | sample | CPU of tasks | per block: event loops | scheduler | client |")
    click.echo("| --- | --- | --- | --- | --- | --- | --- |")
    for _ in range(rounds):
        (one,) = run("one worker", [first])
        (two,) = run("two workers", [first, second])
        gains["two workers"].append(one.wall / two.wall)
        if apart:
            both = run("one of two runs at once", [first], [second])
            gains["two runs at once"].append(sum(one.wall / each.wall for each in both))
    for name, found in gains.items():
        if found:
            click.echo(f"\n{name}: {median(found):.2f} times as fast as one")


def line(run: Run) -> str:
    """Return the figures of a run."""
    each = (1000 * taken / run.blocks for taken in (run.loops, run.scheduler, run.client))
    costs = " | ".join(f"{milliseconds:.1f} ms" for milliseconds in each)
    return f"{run.wall:.1f} s | {run.sample:.1f} s | {run.tasks:.1f} s | {costs}"


def measure(data: Path, work: Path | None, *clusters: Sequence[int]) -> list[Run]:
    """Run the job on `data` on each of these clusters, all at once.

    A cluster is given as the cores of its workers.
    """
    for path in data.iterdir():
        with path.open("rb") as file:  # into the page cache
            while file.read(1 << 24):
                pass
    os.sync()
    # A virtual machine may have returned free memory to its host, and gets it back at first use.
    np.ones(psutil.virtual_memory().available // 2, np.uint8)
    ready = Barrier(len(clusters))
    with ThreadPoolExecutor(len(clusters)) as pool:
        return list(pool.map(lambda cores: run_on(cores, data, work, ready), clusters))


def run_on(cores: Sequence[int], data: Path, work: Path | None, ready: Barrier) -> Run:
    """Run the job with a worker on each core, once these are warm and the other runs are ready."""
    with TemporaryDirectory(dir=work) as name, ExitStack() as stack:
        folder = Path(name)
        processes = stack.enter_context(cluster(folder, cores))
        watching = stack.enter_context(Client(scheduler_file=str(folder / "scheduler.json")))
        watching.wait_for_workers(len(cores))
        job(_SAMPLE, folder, cores, processes)  # imports
        sample = Counter(job(_SAMPLE, folder, cores, processes))
        watching.get_task_stream()  # from here on
        ready.wait()
        begin = time.time()
        whole = Counter(job(data, folder, cores, processes))
        done = watching.get_task_stream(start=begin)
    stream = Counter[str]()
    for task in done:
        for part in task["startstops"]:
            what = key_split(task["key"]) if part["action"] == "compute" else part["action"]
            stream[what] += part["stop"] - part["start"]
    whole.subtract(sample)
    blocks = sum(key_split(task["key"]) in _BLOCKS for task in done)
    return Run(sample=sample["wall"], blocks=blocks, stream=stream, **whole)


def job(
    data: Path, folder: Path, cores: Sequence[int], processes: Mapping[str, psutil.Process]
) -> dict[str, float]:
    """Run the job on `data`; return what it took, the fields of `Run` by name."""
    outputs = folder / "outputs"
    words = [
        *("pipeline", "--quiet", "--no-fsync", "--join", "broadcast"),
        *("--scheduler", str(folder / "scheduler.json"), "--output-dir", str(outputs)),
        *("--customers", str(data / "customers.csv"), "--purchases", str(data / "purchases.csv")),
    ]
    before, begin = cpu_times(processes), time.perf_counter()
    process = start(words, cores)
    _, status, usage = os.wait4(process.pid, 0)
    wall, taken = time.perf_counter() - begin, cpu_times(processes)
    if status:
        raise click.ClickException(f"the job failed: {os.waitstatus_to_exitcode(status)}")
    shutil.rmtree(outputs)
    taken.subtract(before)
    return {"wall": wall, "client": usage.ru_utime + usage.ru_stime, **taken}


def cpu_times(processes: Mapping[str, psutil.Process]) -> Counter[str]:
    """Return the seconds of CPU that the scheduler, event loops and tasks have used."""
    taken = Counter[str]()
    for who, process in processes.items():
        for thread in process.threads():
            of_worker = "loops" if thread.id == process.pid else "tasks"
            what = "scheduler" if who == "scheduler" else of_worker
            taken[what] += thread.user_time + thread.system_time
    return taken


if __name__ == "__main__":
    main()
