"""Real schedulers and workers for tests, each in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from distributed import Client, LocalCluster, Security

from support.paths import REPOSITORY

PATIENCE = 60.0  # seconds until a process has to have started

# Before a command: SIGINT interrupts it, also where these tests were started with SIGINT ignored,
# as a shell starts what runs in the background of a script; or SIGINT is ignored.
INTERRUPTIBLE = ("env", "--default-signal=INT")
UNINTERRUPTIBLE = ("env", "--ignore-signal=INT")


@contextmanager
def two_workers() -> Iterator[Client]:
    """Yield a client of two worker processes with one thread each, which end with the block."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", processes=True
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


class Processes:
    """Dask processes that run in a folder of theirs, and end with the `with` block."""

    def __init__(self, folder: Path, security: Security | None = None) -> None:
        self._folder = folder
        self._security = security
        self._all: list[subprocess.Popen[bytes]] = []
        self.address = ""
        self.file = folder / "scheduler.json"

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._all:
            process.kill()
        for process in self._all:
            process.wait()

    def start_scheduler(self, *options: str, **how: str) -> subprocess.Popen[bytes]:
        """Start a scheduler, and wait until it listens at `address`."""
        where = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        file = ["--scheduler-file", str(self.file)]
        process = self._start("dask_scheduler", *where, *file, *options, **how)
        wait_until(lambda: self.file.exists() and self.file.read_text().endswith("}"), process)
        with self.client() as client:
            self.address = client.scheduler.address
        return process

    def start_worker(self, *options: str, **how: Any) -> subprocess.Popen[bytes]:
        """Start a worker without a nanny, and wait until the scheduler knows it."""
        plain = ["--no-nanny", "--no-dashboard", "--nthreads", "1"]
        with self.client() as client:
            before = len(self.workers(client))
            process = self._start(
                "dask_worker", "--scheduler-file", str(self.file), *plain, *options, **how
            )
            wait_until(lambda: len(self.workers(client)) > before, process)
        return process

    def client(self) -> Client:
        """Return a client that does not mind other versions."""
        return Client(scheduler_file=str(self.file), security=self._security)

    @staticmethod
    def workers(client: Client) -> list[str]:
        """Return the addresses of the workers that the scheduler knows."""
        return list(client.scheduler_info(n_workers=-1)["workers"])

    def _start(
        self,
        tool: str,
        *options: str,
        python: str = sys.executable,
        pythonpath: str = "",
        prefix: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        # They work in another folder, and this package may be installed from another clone.
        here = [str(REPOSITORY)] if python == sys.executable else []
        paths = os.pathsep.join(filter(None, [pythonpath, *here]))
        log = (self._folder / f"{tool}-{len(self._all)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                [*prefix, python, "-m", f"distributed.cli.{tool}", *options],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": paths},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._all.append(process)
        return process


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[Any] | None = None
) -> None:
    """Look again and again until `condition()` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, "the process has ended"
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(0.02)


def bare_python(folder: Path) -> str:
    """Make a Python that has every installed package but this one."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        # An editable install is a `.pth` file.
        if package.name != "pipeline" and package.suffix != ".pth":
            (packages / package.name).symlink_to(package)
    return str(python)


def listeners() -> set[tuple[str, int]]:
    """Return the addresses at which this process and those it has started listen."""
    here = psutil.Process()
    return {
        tuple(connection.laddr)
        for process in (here, *here.children(recursive=True))
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }


def free_port() -> int:
    """Return a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
