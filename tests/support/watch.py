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
    "join": "partition-fused-write",
}

# Runs beside the scheduler, until its input ends. Tells which workers there are, then and each time
# that changes, and once which are busy, when `share` of the phase's tasks are done. The scheduler
# tells it of every task, so no phase is too short to be seen.
WATCH = """
import json, sys, threading
from distributed import Client
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.utils import key_split

class Phase(SchedulerPlugin):
    name = "phase"

    def __init__(self, prefix, share):
        self.prefix, self.share = prefix, share
        self.left, self.done, self.is_reached = set(), set(), False

    async def start(self, scheduler):
        self.scheduler = scheduler
        self.tell_workers(scheduler)

    def tell_workers(self, scheduler, worker=None, **kwargs):
        scheduler.log_event("phase", ["workers", sorted(scheduler.workers)])

    add_worker = remove_worker = tell_workers

    def transition(self, key, start, finish, *args, **kwargs):
        if self.is_reached or key_split(key) != self.prefix:
            return
        if finish in ("waiting", "queued", "processing"):
            self.left.add(key)
        else:  # what is done may be forgotten at once
            self.left.discard(key)
            self.done.add(key)
        busy = sorted(at for at, worker in self.scheduler.workers.items() if worker.processing)
        enough = len(self.done) >= self.share * len(self.left | self.done)
        if enough and self.left and busy:
            self.is_reached = True
            self.scheduler.log_event("phase", ["busy", busy])

listens, is_reached = threading.Event(), threading.Event()

def hear(event):
    if event[1] == "listens":
        listens.set()
        return
    print(json.dumps(event[1]), flush=True)
    if event[1][0] == "busy":
        is_reached.set()

client = Client("tcp://127.0.0.1:8786")
client.subscribe_topic("phase", hear)
while not listens.wait(0.1):
    client.log_event("phase", "listens")
client.register_plugin(Phase(sys.argv[1], float(sys.argv[2])))
if not is_reached.wait(120):
    sys.exit("it has not come to this phase")
sys.stdin.read()
client.unregister_scheduler_plugin("phase")
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
    """Follows a job at the scheduler until it is in a phase, and the cluster's workers."""

    def __init__(self, stack: Stack, phase: str, share: float) -> None:
        (scheduler,) = stack.ids("scheduler")
        script = ["python", "-c", WATCH, PHASES[phase], str(share)]
        self._stack = stack
        self._workers: list[str] = []
        self._busy: dict[str, str] = {}
        self._process = subprocess.Popen(
            ["docker", "exec", "--interactive", scheduler, *script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Watch:
        """Return when the scheduler tells of its tasks, and has a worker of each container.

        A phase that began before would be missed, and a worker that has lost a scheduler before
        this one still has to end and to come back.
        """
        self.wait_for_workers(len(self._stack.ids("worker")))
        return self

    def __exit__(self, *_: object) -> None:
        """End the script in the container, too: it sees the end of its input."""
        self._process.communicate()

    def wait_for_phase(self) -> list[str]:
        """Return the containers of the workers that are busy then."""
        containers = {address(worker): worker for worker in self._stack.ids("worker")}
        while not (busy := self._next()):
            pass
        self._busy = {containers[at.split("//")[1].split(":")[0]]: at for at in busy}
        return list(self._busy)

    def wait_for_loss(self, container: str) -> None:
        """Return when the scheduler has given up the worker that was busy in a container.

        The container may be started again, with a new worker, before or after that.
        """
        while self._busy[container] in self._workers:
            self._next()

    def wait_for_workers(self, count: int) -> None:
        """Return when the scheduler knows of so many workers."""
        while len(self._workers) != count:
            self._next()

    def _next(self) -> list[str]:
        """Wait for what comes next; return the busy workers if it is the phase."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the scheduler has ended, or the phase was missed: " + self._stack.end_jobs()
        what, found = json.loads(line)
        if what == "workers":
            self._workers = found
        return found if what == "busy" else []


def set_link(container: str, state: str) -> None:
    """Pull the cable of a container out (`down`), or put it in again (`up`)."""
    network = ["--network", f"container:{container}", "--cap-add", "NET_ADMIN", "--user", "0"]
    docker("run", "--rm", *network, "--entrypoint", "python", IMAGE, "-c", LINK, state)
