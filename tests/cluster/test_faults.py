"""Machines of a cluster are lost while a job runs: containers on a real engine.

The job ends well and its outputs are the same bytes, or it says what was lost, with exit code 3,
and the outputs of the run before it stay.
"""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.containers import (
    SAME_BYTES,
    Stack,
    docker,
    inspect,
    is_healthy,
    local_bytes,
    need_docker,
)
from support.data import make_data
from support.processes import wait_until
from support.watch import Watch, set_link

pytestmark = pytest.mark.container

MANY_BLOCKS = ("--block-size", "2KiB")
TO_SHUFFLE = (
    *("--join", "shuffle", "--block-size", "1MiB"),
    *("--customers", "data/large/customers.csv", "--purchases", "data/large/purchases.csv"),
)

# A connection that answers nothing is given up sooner than after Dask's 30 s.
IMPATIENT = """
services:
  scheduler: &impatient
    environment: {DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP: 15s}
  worker: *impatient
"""

# The pieces of a shuffle need several times as much.
SMALL_DISK = """
services:
  worker:
    environment: {DASK_TEMPORARY_DIRECTORY: /tmp}
    tmpfs: !override ["/tmp:mode=1777,size=8m"]
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return local_bytes(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    need_docker()
    files = "docker-compose.yml", "impatient.yml"
    with Stack(
        tmp_path_factory.mktemp("clone"), *files, WORKER_THREADS="4", WORKER_MEMORY="4g"
    ) as stack:
        (stack.folder / "impatient.yml").write_text(IMPATIENT)
        stack.build()
        yield stack


@pytest.fixture(scope="module")
def large(cluster: Stack) -> None:
    """Tables of several partitions, in `data/large`."""
    target = cluster.folder / "data" / "large"
    make_data(target, customers=300_000, purchases=2_000_000, odd=0.001)
    Stack.own(target)


@pytest.fixture
def shuffled(stack: Stack, large: None) -> dict[str, bytes]:
    """Return the outputs of a shuffle that nothing disturbs: the same in each run."""
    if not _SHUFFLED:
        done = stack.job(*TO_SHUFFLE)
        assert done.returncode == 0, done.stderr
        _SHUFFLED.update(stack.bytes())
        stack.clear()
    return _SHUFFLED


_SHUFFLED: dict[str, bytes] = {}


@pytest.fixture
def stack(cluster: Stack) -> Stack:
    """A cluster with two workers, all well, and no outputs."""
    cluster.compose("up", "--detach", "worker")
    # Not `--wait`, which gives up where a worker that lost its scheduler ends and is started again.
    wait_until(
        lambda: len(cluster.ids("worker")) == 2 and all(map(is_healthy, cluster.ids("worker")))
    )
    cluster.clear()
    return cluster


@pytest.mark.parametrize("phase", ["customers", "purchases"])
def test_a_worker_killed_in_any_phase_changes_no_byte(
    phase: str, stack: Stack, expected: dict[str, bytes]
) -> None:
    chance = random.Random(phase)
    with Watch(stack, phase, share=chance.uniform(0.05, 0.6)) as watch:
        job = stack.start_job(*MANY_BLOCKS)
        victim = chance.choice(watch.wait_for_phase())
        docker("kill", "--signal", "KILL", victim)
        assert job.poll() is None
        watch.wait_for_loss(victim)
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert stack.bytes() == expected
    assert "Traceback" not in errors


def test_a_worker_killed_while_a_file_is_unpacked_changes_no_byte(
    stack: Stack, expected: dict[str, bytes]
) -> None:
    """Another worker reads the file from its front again."""
    plain = stack.folder / "data" / "purchases.csv"
    packed = plain.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    with Watch(stack, "unpack", share=0) as watch:
        files = ("--customers", "data/customers.csv", "--purchases", "data/purchases.csv.gz")
        job = stack.start_job(*MANY_BLOCKS, *files)
        victim = watch.wait_for_phase()[0]
        docker("kill", "--signal", "KILL", victim)
        watch.wait_for_loss(victim)
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert stack.bytes() == expected
    assert "Traceback" not in errors


def test_workers_may_come_and_go(stack: Stack, large: None, tmp_path: Path) -> None:
    """As `docker compose up --scale` has it: two, four, one."""
    files = ("--customers", "data/large/customers.csv", "--purchases", "data/large/purchases.csv")
    options = (*files, "--join", "broadcast", "--block-size", "128KiB")
    expected = local_bytes(tmp_path, stack.folder / "data" / "large")
    scale = ("up", "--detach", "--no-recreate", "--scale")
    with Watch(stack, "purchases", share=0.05) as watch:
        job = stack.start_job(*options)
        watch.wait_for_phase()
        stack.compose(*scale, "worker=4", "worker")
        watch.wait_for_workers(4)
        stack.compose(*scale, "worker=1", "worker")
        watch.wait_for_workers(1)
        assert job.poll() is None
    _, errors = job.communicate(timeout=180)
    assert job.returncode == 0, errors
    assert stack.bytes() == expected
    assert "Traceback" not in errors


@pytest.mark.parametrize("phase", ["send", "join"])
def test_a_worker_killed_during_a_shuffle_loses_no_record(
    phase: str, stack: Stack, shuffled: dict[str, bytes]
) -> None:
    """Dask starts a shuffle over on the worker that is left, if its memory is enough."""
    before = earlier_outputs(stack)
    with Watch(stack, phase, share=0.2) as watch:
        job = stack.start_job(*TO_SHUFFLE, "--wait-for-workers", "20")
        victim = watch.wait_for_phase()[0]
        docker("kill", "--signal", "KILL", victim)
        watch.wait_for_loss(victim)
    _, errors = job.communicate(timeout=180)
    check_whole_or_refused(stack, job, errors, before, shuffled)


def test_a_worker_cut_off_during_a_shuffle(stack: Stack, shuffled: dict[str, bytes]) -> None:
    before = earlier_outputs(stack)
    with Watch(stack, "send", share=0.2) as watch:
        job = stack.start_job(*TO_SHUFFLE, "--wait-for-workers", "20")
        victim = watch.wait_for_phase()[0]
        set_link(victim, "down")
        watch.wait_for_loss(victim)
        _, errors = job.communicate(timeout=180)
        check_whole_or_refused(stack, job, errors, before, shuffled)
        wait_until(lambda: comes_back(victim))
        watch.wait_for_workers(2)


def test_a_full_disk_ends_a_shuffle(cluster: Stack, large: None) -> None:
    """Workers shuffle on a disk that is too small."""
    (cluster.folder / "small.yml").write_text(SMALL_DISK)
    cluster.compose("-f", "small.yml", "up", "--detach", "--wait", "worker")
    before = earlier_outputs(cluster)
    done = cluster.job(*TO_SHUFFLE)
    error = one_error(done.stderr)
    # Dask tells of the disk, or of an error that follows: whichever comes first.
    if done.returncode == 4:
        assert "the shuffle's temporary folder: No space left on device (on a worker); " in error
    else:
        assert done.returncode == 3
        assert "or because their disk is full: " in error
    assert cluster.bytes() == before


def test_all_workers_lost_ends_the_job_in_the_time_that_was_set(stack: Stack) -> None:
    before = earlier_outputs(stack)
    with Watch(stack, "purchases", share=0.1) as watch:
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
    with Watch(stack, "purchases", share=0.1) as watch:
        job = stack.start_job("--block-size", "1KiB")  # so many that it still runs when it is lost
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
    with Watch(stack, "purchases", share=0.3) as watch:
        job = stack.start_job(*MANY_BLOCKS)
        victim = watch.wait_for_phase()[0]
        set_link(victim, "down")
        watch.wait_for_loss(victim)
        _, errors = job.communicate(timeout=120)
        assert job.returncode == 0, errors
        assert stack.bytes() == expected
        wait_until(lambda: comes_back(victim))
        watch.wait_for_workers(2)
    stack.clear()
    done = stack.job(*MANY_BLOCKS)
    assert done.returncode == 0, done.stderr
    assert stack.bytes() == expected


def test_a_short_cut_goes_unnoticed(stack: Stack, expected: dict[str, bytes]) -> None:
    with Watch(stack, "purchases", share=0.1) as watch:
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
        "up", "--detach", "--wait", "--scale", "worker=1", "worker", WORKER_MEMORY="640m"
    )
    before = earlier_outputs(cluster)
    (worker,) = cluster.ids("worker")
    files = ("--customers", "data/customers.csv", "--purchases", "data/big.csv")
    options = (*files, "--block-size")
    done = cluster.job(*options, "256MiB")
    assert done.returncode == 3
    assert one_error(done.stderr).startswith(
        "error: 4 workers were lost while they ran the same task, most likely out of memory; raise "
        "the memory "
        "limit of the workers, or lower --block-size"
    )
    assert cluster.bytes() == before
    assert cluster.ids("worker") == [worker]
    wait_until(lambda: is_healthy(worker))
    done = cluster.job(*options, "1MiB")
    assert done.returncode == 0, done.stderr
    report = json.loads((cluster.outputs / "run_report.json").read_text())
    assert report["totals"]["purchases"]["records"] == rows


def earlier_outputs(stack: Stack) -> dict[str, bytes]:
    """Lay down the outputs of an earlier run."""
    stack.clear()
    for name in SAME_BYTES:
        (stack.outputs / name).write_text(f"{name} of an earlier run")
    Stack.own(stack.outputs)
    return stack.bytes()


def check_whole_or_refused(
    stack: Stack,
    job: subprocess.Popen[str],
    errors: str,
    before: dict[str, bytes],
    expected: dict[str, bytes],
) -> None:
    """Check that a job wrote all outputs, or none and said in one line which machines it lacked."""
    assert "Traceback" not in errors
    if job.returncode == 0:
        assert stack.bytes() == expected
        return
    assert job.returncode == 3, errors
    assert one_error(errors).startswith(
        ("error: all workers were paused for 20 s", "error: Dask's shuffle failed")
    )
    assert stack.bytes() == before


def one_error(errors: str) -> str:
    """Return the one line that tells of the failure."""
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    return line


def comes_back(container: str) -> bool:
    """Set the link of a container up; it may end just now, to be started again with another one."""
    state = inspect(container)["State"]
    with suppress(AssertionError):
        set_link(container, "up")
    now = inspect(container)["State"]
    return bool(now["Running"]) and not now["Restarting"] and now["Pid"] == state["Pid"]
