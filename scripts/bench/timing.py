"""Run one process, and watch and time it together with its children."""

from __future__ import annotations

import math
import os
import resource
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.engines import Setup

_SAMPLE_EVERY = 0.02  # seconds
# Finding children and shared pages takes milliseconds for each gigabyte; this limits it to a
# fiftieth of one core.
_REST = 50


@dataclass(frozen=True)
class Run:
    """One run of one engine: wall and CPU seconds, peak memory in bytes, and why it failed."""

    wall: float
    cpu: float
    memory: int
    failure: str = ""


def timed(command: list[str], setup: Setup) -> Run:
    """Run a command, and kill it if it exceeds the memory limit.

    With `fsync`, the time includes an fsync of all outputs, by the command or by this function.
    """
    cores = setup.pinned
    cpu_before = _cpu_of_children()
    begin = time.perf_counter()
    process = psutil.Popen(
        command,
        env={**os.environ, "TMPDIR": str(setup.scratch)},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    ended = os.pidfd_open(process.pid)
    watch = _Watch(process)
    try:
        while process.poll() is None:
            if watch.sample() > (setup.memory or math.inf):
                break
            # Wakes up as soon as the process ends, so short runs are not rounded up to a sample.
            select.select([ended], [], [], _SAMPLE_EVERY)
    finally:
        os.close(ended)
        _kill(process)
    code = process.wait()
    if setup.fsync and not code:
        _wait_for_disk(setup.target)
    wall = time.perf_counter() - begin
    return Run(wall, _cpu_of_children() - cpu_before, watch.peak, _failure(code))


def _failure(code: int) -> str:
    if code == -signal.SIGKILL:  # by `timed`, or by the kernel of a machine without free memory
        return "killed, out of memory"
    return f"failed, exit code {code}" if code else ""


class _Watch:
    """The memory of a process and its children: resident bytes, with shared pages counted once."""

    def __init__(self, process: psutil.Process) -> None:
        self.peak = 0
        self._family = [process]
        self._shared = 0
        self._due = 0.0

    def sample(self) -> int:
        """Return the bytes in use now."""
        begin = time.perf_counter()
        resident = sum(map(_resident, self._family))
        if begin > self._due:
            self._look_closer()
            self._due = begin + _REST * (time.perf_counter() - begin)
        held = max(resident - self._shared, 0)
        self.peak = max(self.peak, held)
        return held

    def _look_closer(self) -> None:
        process = self._family[0]
        try:
            self._family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        # A page can be counted twice only if there are several processes.
        if len(self._family) > 1:
            sizes = [(_resident(one), _proportional(one)) for one in self._family]
            self._shared = sum(rss - pss for rss, pss in sizes if pss)


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def _proportional(process: psutil.Process) -> int:
    """Return the proportional set size in bytes, which splits shared pages among processes."""
    try:
        return process.memory_full_info().pss
    except psutil.NoSuchProcess:
        return 0


def _kill(process: psutil.Process) -> None:
    """Kill a process and its children, if any is alive; parents first, as they may start others."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=10)


def _wait_for_disk(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
