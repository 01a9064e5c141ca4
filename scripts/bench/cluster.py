"""A scheduler and one-thread workers, each in its own process, and what a process has used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

# As in a local cluster and in docker-compose.yml.
_RARE_TIMERS = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
}


class Cost(NamedTuple):
    """What a process has used: CPU seconds, and its peak memory in bytes."""

    seconds: float
    memory: int


@contextmanager
def cluster(folder: Path, cores: Sequence[int] = ()) -> Iterator[dict[str, psutil.Process]]:
    """Start a scheduler, and a worker pinned to each core; yield the processes by name.

    The scheduler may use all of these cores. Without any, there is one worker, and nothing is
    pinned. The scheduler's file is `scheduler.json` in the folder.
    """
    file = ["--scheduler-file", str(folder / "scheduler.json")]
    of_scheduler = ["scheduler", *file, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    of_worker = ["worker", *file, "--no-nanny", "--no-dashboard", "--nthreads", "1"]
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        started["scheduler"] = start(["dask", *of_scheduler], cores)
        for number, core in enumerate(cores or [None], 1):
            words = ["dask", *of_worker, "--local-directory", str(folder)]
            started[f"worker {number}"] = start(words, () if core is None else [core])
        yield {who: psutil.Process(process.pid) for who, process in started.items()}
    finally:
        for process in started.values():
            process.terminate()
            process.wait()


def start(module: Sequence[str], cores: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a Python module with its options, pinned to some cores if there are any."""
    return subprocess.Popen(
        [sys.executable, "-m", *module],
        env={**os.environ, **_RARE_TIMERS},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
    )


def cost(process: psutil.Process) -> Cost:
    """Return what a process has used."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return Cost(sum(process.cpu_times()[:2]), int(peak) * 1024)
