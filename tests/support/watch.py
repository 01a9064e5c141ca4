"""Follows a job on containers from phase to phase, and cuts workers off their network."""

from __future__ import annotations

import json
import subprocess

from support.containers import IMAGE, Stack, address, docker

# What the tasks of a phase are called in the scheduler's list.
PHASES = {
    "customers": "read-transform-render",
    "purchases": "read-join-sum-write",
    "unpack": "unpack",
    "cut": "cut",
    "split": "read-split",
    "send": "shuffle-transfer",
    "receive": "p2pshuffle",
    "join": "partition-join-sum-write",
}

# Runs beside the scheduler: tells which workers are busy once `share` of the phase's tasks are
# done, and then which workers there are, each time that changes.
WATCH = """
import json, sys, time
from distributed import Client

word, share = sys.argv[1], float(sys.argv[2])
client = Client("tcp://127.0.0.1:8786")
most = 0
deadline = time.monotonic() + 60
while True:
    states = client.sync(client.scheduler.get_task_prefix_states)
    # What is done may be forgotten at once.
    left = sum(
        sum(counts.get(state, 0) for state in ("waiting", "queued", "processing"))
        for prefix, counts in states.items()
        if prefix == word
    )
    most = max(most, left)
    busy = sorted(worker for worker, tasks in client.processing().items() if tasks)
    if 0 < left <= (1 - share) * most and busy:
        break
    if time.monotonic() > deadline:
        sys.exit("it has not come to this phase")
    time.sleep(0.005)
print(json.dumps(busy), flush=True)
before = None
while True:
    workers = sorted(client.sync(client.scheduler.identity, n_workers=-1)["workers"])
    if workers != before:
        print(json.dumps(workers), flush=True)
        before = workers
    time.sleep(0.02)
"""

# Runs in a worker's network: a cable pulled out and put in again.
LINK = """
import fcntl, socket, struct, sys
SIOCGIFFLAGS, SIOCSIFFLAGS, UP = 0x8913, 0x8914, 1
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    request = struct.pack("16sh14x", b"eth0", 0)
    flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
    flags = flags | UP if sys.argv[1] == "up" else flags & ~UP
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"eth0", flags))
"""


class Watch:
    """Follows a job at the scheduler until it is in a phase, and the cluster's workers then."""

    def __init__(self, stack: Stack, phase: str, share: float) -> None:
        (scheduler,) = stack.ids("scheduler")
        script = ["python", "-c", WATCH, PHASES[phase], str(share)]
        self._containers = {address(worker): worker for worker in stack.ids("worker")}
        self._busy: dict[str, str] = {}
        self._workers: list[str] = []
        self._process = subprocess.Popen(
            ["docker", "exec", scheduler, *script], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_for_phase(self) -> list[str]:
        """Return the containers of the workers that are busy then."""
        for worker in self._line():
            self._busy[self._containers[worker.split("//")[1].split(":")[0]]] = worker
        self._workers = self._line()
        return list(self._busy)

    def wait_for_loss(self, container: str) -> None:
        """Return when the scheduler has given up the worker that was busy in a container.

        The container may be started again, with a new worker, before or after that.
        """
        while self._busy[container] in self._workers:
            self._workers = self._line()

    def wait_for_workers(self, count: int) -> None:
        """Return when the scheduler knows of so many workers."""
        while len(self._workers) != count:
            self._workers = self._line()

    def _line(self) -> list[str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the scheduler has ended, or the phase was missed"
        workers: list[str] = json.loads(line)
        return workers


def set_link(container: str, state: str) -> None:
    """Pull the cable of a container out (`down`), or put it in again (`up`)."""
    network = ["--network", f"container:{container}", "--cap-add", "NET_ADMIN", "--user", "0"]
    docker("run", "--rm", *network, "--entrypoint", "python", IMAGE, "-c", LINK, state)
