"""Machines of a cluster are lost while a job runs: containers on a real engine.

The job ends well and its outputs are the same bytes, or it says what was lost, with exit code 3,
and the outputs of the run before it stay.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Iterator

import pytest
from containers import IMAGE, SAME_BYTES, Stack, address, docker, inspect, local_bytes, need_docker
from processes import wait_until

pytestmark = pytest.mark.container

# A word in the names of the tasks that do it, as the scheduler lists them.
PHASES = {"reading": "fused-count", "joining": "fused-size", "writing": "write"}
MANY_BLOCKS = ("--block-size", "2KiB")

# Runs beside the scheduler: tells which workers are at the phase's tasks, once `share` of these
# are done, and then how many workers there are, each time that changes.
WATCH = """
import json, sys, time
from distributed import Client

word, share = sys.argv[1], float(sys.argv[2])
client = Client("tcp://127.0.0.1:8786")
while True:
    states = client.sync(client.scheduler.get_task_prefix_states)
    found = [counts for prefix, counts in states.items() if word in prefix]
    total = sum(sum(counts.values()) for counts in found)
    done = sum(counts["memory"] + counts["released"] for counts in found)
    busy = [worker for worker, tasks in client.processing().items() if tasks]
    if total and share * total <= done < total and busy:
        break
    time.sleep(0.005)
print(json.dumps(busy), flush=True)
before = None
while True:
    workers = client.sync(client.scheduler.identity, n_workers=0)["n_workers"]
    if workers != before:
        print(workers, flush=True)
        before = workers
    time.sleep(0.02)
"""

# A connection that answers nothing is given up sooner than after Dask's 30 s.
IMPATIENT = """
services:
  scheduler: &impatient
    environment: {DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP: 15s}
  worker: *impatient
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


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return local_bytes(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    need_docker()
    files = "docker-compose.yml", "impatient.yml"
    with Stack(tmp_path_factory.mktemp("clone"), *files) as stack:
        (stack.folder / "impatient.yml").write_text(IMPATIENT)
        stack.compose("build")
        yield stack


@pytest.fixture
def stack(cluster: Stack) -> Stack:
    """A cluster with two workers, all well, and no outputs."""
    cluster.compose("up", "--detach", "--wait", "worker")
    cluster.clear()
    return cluster


class Watch:
    """Follows a job at the scheduler until it is in a phase, and the number of workers then."""

    def __init__(self, stack: Stack, phase: str, share: float) -> None:
        (scheduler,) = stack.ids("scheduler")
        script = ["python", "-c", WATCH, PHASES[phase], str(share)]
        self._workers = {address(worker): worker for worker in stack.ids("worker")}
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
        busy = json.loads(self._line())
        return [self._workers[worker.split("//")[1].split(":")[0]] for worker in sorted(busy)]

    def wait_for_workers(self, count: int) -> None:
        """Return when the scheduler knows of so many workers."""
        while int(self._line()) != count:
            pass

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the scheduler has ended"
        return line


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("phase", PHASES)
def test_a_worker_killed_in_any_phase_changes_no_byte(
    phase: str, seed: int, stack: Stack, expected: dict[str, bytes]
) -> None:
    chance = random.Random(f"{phase} {seed}")
    with Watch(stack, phase, share=chance.uniform(0.05, 0.6)) as watch:
        job = stack.start_job(*MANY_BLOCKS)
        victim = chance.choice(watch.wait_for_phase())
        docker("kill", "--signal", "KILL", victim)
        assert job.poll() is None
        watch.wait_for_workers(1)
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert stack.bytes() == expected
    assert "Traceback" not in errors


@pytest.mark.parametrize("phase", ["reading", "writing"])
def test_all_workers_lost_ends_the_job_in_the_time_that_was_set(phase: str, stack: Stack) -> None:
    before = earlier_outputs(stack)
    with Watch(stack, phase, share=0.1) as watch:
        job = stack.start_job(*MANY_BLOCKS, "--wait-for-workers", "3")
        watch.wait_for_phase()
        docker("kill", *stack.ids("worker"))
        begin = time.monotonic()
        _, errors = job.communicate(timeout=120)
    assert time.monotonic() - begin < 3 + 12
    assert job.returncode == 3
    assert one_error(errors).startswith(
        "error: all workers were lost, and none came back within 3 s; "
    )
    assert stack.bytes() == before


def test_the_scheduler_lost_ends_the_job(stack: Stack) -> None:
    before = earlier_outputs(stack)
    with Watch(stack, "joining", share=0.1) as watch:
        job = stack.start_job(*MANY_BLOCKS)
        watch.wait_for_phase()
        docker("kill", *stack.ids("scheduler"))
        begin = time.monotonic()
        _, errors = job.communicate(timeout=120)
    assert time.monotonic() - begin < 15
    assert job.returncode == 3
    assert one_error(errors).startswith(
        "error: the scheduler at 'tcp://scheduler:8786' was lost while the job ran; "
    )
    assert stack.bytes() == before


def test_a_worker_cut_off_from_the_network_and_back(
    stack: Stack, expected: dict[str, bytes]
) -> None:
    """The scheduler gives it up after Dask's `comm.timeouts.tcp`; it comes back as a new one."""
    with Watch(stack, "joining", share=0.3) as watch:
        job = stack.start_job(*MANY_BLOCKS)
        victim = watch.wait_for_phase()[0]
        set_link(victim, "down")
        watch.wait_for_workers(1)
        _, errors = job.communicate(timeout=120)
        assert job.returncode == 0, errors
        assert stack.bytes() == expected
        wait_until(lambda: is_running(victim))  # it may have ended, and been started again
        set_link(victim, "up")
        watch.wait_for_workers(2)
    stack.clear()
    done = stack.job(*MANY_BLOCKS)
    assert done.returncode == 0, done.stderr
    assert stack.bytes() == expected


def test_a_short_cut_goes_unnoticed(stack: Stack, expected: dict[str, bytes]) -> None:
    with Watch(stack, "joining", share=0.1) as watch:
        job = stack.start_job(*MANY_BLOCKS)
        victim = watch.wait_for_phase()[0]
        set_link(victim, "down")
        set_link(victim, "up")
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert stack.bytes() == expected


def test_out_of_memory_says_which_limit_to_raise(cluster: Stack) -> None:
    """A block too large for the workers is given up; they are there again for a smaller one."""
    rows, product = 2_000_000, 80 * "x"
    big = cluster.folder / "data" / "big.csv"
    with big.open("w") as file:
        file.write("customer_id,product,price\n")
        file.writelines(f"{row % 2000},{product},{row % 977}.25\n" for row in range(rows))
    cluster.compose(
        "up", "--detach", "--wait", "--scale", "worker=1", "worker", WORKER_MEMORY="512m"
    )
    before = earlier_outputs(cluster)
    (worker,) = cluster.ids("worker")
    options = ("--purchases", "data/big.csv", "--block-size")
    done = cluster.job(*options, "256MiB")
    assert done.returncode == 3
    assert one_error(done.stderr).startswith(
        "error: 4 workers were lost over one task, most likely out of memory; raise the memory "
        "limit of the workers, or lower --block-size"
    )
    assert cluster.bytes() == before
    assert cluster.ids("worker") == [worker]
    wait_until(lambda: inspect(worker)["State"]["Health"]["Status"] == "healthy")
    done = cluster.job(*options, "1MiB")
    assert done.returncode == 0, done.stderr
    report = json.loads((cluster.outputs / "run_report.json").read_text())
    assert report["books"]["purchases"]["records"] == rows


def earlier_outputs(stack: Stack) -> dict[str, bytes]:
    """Lay down the outputs of an earlier run."""
    stack.clear()
    for name in SAME_BYTES:
        (stack.outputs / name).write_text(f"{name} of an earlier run")
    Stack.own(stack.outputs)
    return stack.bytes()


def one_error(errors: str) -> str:
    """Return the one line that tells of the failure."""
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    return line


def is_running(container: str) -> bool:
    state = inspect(container)["State"]
    return bool(state["Running"]) and not state["Restarting"]


def set_link(container: str, state: str) -> None:
    network = ["--network", f"container:{container}", "--cap-add", "NET_ADMIN", "--user", "0"]
    docker("run", "--rm", *network, "--entrypoint", "python", IMAGE, "-c", LINK, state)
