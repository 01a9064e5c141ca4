"""The containers of docker-compose.yml for tests: a copy of the project, run as it is."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
import zlib
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.outputs.names import CHART, COMBINED, SPENDING
from support.paths import REPOSITORY
from support.servers import no_server

SAME_BYTES = (COMBINED, SPENDING, CHART)
# A tag of its own for each clone: another one's tests may run at the same time.
IMAGE = f"age-group-spending:test-{zlib.crc32(str(REPOSITORY).encode()):08x}"

# Where the tests run as root, another user starts the containers.
UID = os.getuid() or 1000
GID = os.getgid() or 1000


def need_docker() -> None:
    """Leave the test where no Docker engine with Compose answers."""
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            no_server(f"no Docker engine with Compose: {' '.join(command)}: {error}")


class Stack:
    """A copy of the project with containers of its own, which end with the `with` block.

    `folder` has `data/` and an empty `outputs/`, which belong to the user of the containers.
    """

    def __init__(self, folder: Path, *files: str, **environment: str) -> None:
        self.folder = folder
        self.name = f"test-{uuid.uuid4().hex[:8]}"
        self.outputs = folder / "outputs"
        self.dashboard_port, self.scheduler_port = _free_ports()
        self._jobs: list[subprocess.Popen[str]] = []
        self._files = [word for file in files for word in ("-f", file)]
        self._environment = {
            **os.environ,
            "IMAGE": IMAGE,
            "UID": str(UID),
            "GID": str(GID),
            "DASHBOARD_PORT": str(self.dashboard_port),
            "SCHEDULER_PORT": str(self.scheduler_port),
            **environment,
        }
        for tracked in ("docker-compose.yml", ".dockerignore", "setup.cfg", "pyproject.toml"):
            shutil.copy(REPOSITORY / tracked, folder / tracked)
        shutil.copy(REPOSITORY / "LICENSE", folder)
        for tree in ("pipeline", "scripts", "data"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / tree, folder / tree, ignore=ignore)
        self.outputs.mkdir()
        self.own(folder)

    def __enter__(self) -> Stack:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_jobs()  # of a test that failed
        if error is not None:
            print(self.compose("logs", "--no-color", "--tail=50", check=False).stdout)
        self.compose("down", "--volumes", "--remove-orphans", "--timeout=1")

    @staticmethod
    def own(path: Path) -> None:
        """Give a folder and all in it to the user of the containers."""
        if os.getuid() == 0:
            for place in (path, *path.rglob("*")):
                os.chown(place, UID, GID)

    def compose(
        self, *words: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker compose`, and wait for it."""
        done = subprocess.run(
            self._command(*words),
            cwd=self.folder,
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def build(self) -> None:
        """Build the image; it is built once where several processes run tests."""
        with Path(tempfile.gettempdir(), IMAGE.replace(":", "-")).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.compose("build")

    def job(self, *options: str, run: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a job in a container of its own, and wait for it."""
        return self.compose(*self._job(*options, run=run), check=False)

    def start_job(self, *options: str) -> subprocess.Popen[str]:
        """Start a job in a container of its own."""
        job = subprocess.Popen(
            self._command(*self._job(*options)),
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._jobs.append(job)
        return job

    def end_jobs(self) -> str:
        """End the jobs that still run; return the messages of the last one that was started."""
        messages = ""
        for job in self._jobs:
            job.kill()
            _, messages = job.communicate()
        return messages

    def ids(self, service: str) -> list[str]:
        """Return the containers of a service that run."""
        return self.compose("ps", "--quiet", service).stdout.split()

    def wait_for_job(self) -> int:
        """Wait for the job that `up` started; return its exit code."""
        (job,) = self.compose("ps", "--all", "--quiet", "job").stdout.split()
        return int(docker("wait", job))

    def bytes(self) -> dict[str, bytes]:
        """Return the outputs that are the same in each run."""
        return {name: (self.outputs / name).read_bytes() for name in SAME_BYTES}

    def clear(self) -> None:
        """Remove all outputs."""
        for file in self.outputs.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()

    @staticmethod
    def _job(*options: str, run: tuple[str, ...] = ()) -> list[str]:
        return ["run", "--rm", "--no-TTY", "--no-deps", *run, "job", *options]

    def _command(self, *words: str) -> list[str]:
        return ["docker", "compose", "--project-name", self.name, *self._files, *words]


def docker(*words: str, stdin: str | None = None) -> str:
    """Run `docker`; return what it prints."""
    done = subprocess.run(
        ["docker", *words], input=stdin, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def logs(container: str) -> str:
    """Return all that a container has printed."""
    done = subprocess.run(
        ["docker", "logs", container],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def inspect(container: str) -> dict[str, Any]:
    """Return what Docker knows of a container."""
    facts: list[dict[str, Any]] = json.loads(docker("inspect", container))
    return facts[0]


def is_healthy(container: str) -> bool:
    """Tell whether the health check of a container found it well."""
    return bool(inspect(container)["State"]["Health"]["Status"] == "healthy")


def address(container: str) -> str:
    """Return a container's address in its network."""
    (network,) = inspect(container)["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def host_address(network: str) -> str:
    """Return the address of this machine in a network of containers."""
    facts = json.loads(docker("network", "inspect", network))[0]["IPAM"]["Config"][0]
    # An engine that was just installed tells no gateway: it is the first address.
    return facts.get("Gateway") or str(ip_network(facts["Subnet"])[1])


def local_bytes(folder: Path, data: Path = REPOSITORY / "data") -> dict[str, bytes]:
    """Return the outputs of a run on this machine, which reads `data` and writes into `folder`."""
    from pipeline import Settings, run
    from pipeline.engine.cluster import connect
    from pipeline.settings import ClusterSettings

    settings = Settings(
        (str(data / "customers.csv"),),
        (str(data / "purchases.csv"),),
        str(folder),
        fsync=False,
    )
    with connect(ClusterSettings(dashboard_address="127.0.0.1:0")) as client:
        run(settings, client)
    return {name: (folder / name).read_bytes() for name in SAME_BYTES}


def _free_ports() -> tuple[int, int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    first, second = (server.getsockname()[1] for server in servers)
    for server in servers:
        server.close()
    return first, second
