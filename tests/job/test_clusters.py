"""Workers come, leave, restart, or are not there yet; runs share them: the bytes are the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from distributed import Client, Scheduler, get_task_stream
from support.clusters import Acting, holders, local_cluster
from support.data import make_data
from support.paths import REPOSITORY
from support.processes import Processes, bare_python, wait_until

from pipeline import Settings, run
from pipeline.engine.cluster import connect
from pipeline.engine.progress import Progress
from pipeline.errors import ClusterError, DataError
from pipeline.outputs.names import COMBINED
from pipeline.settings import ClusterSettings

pytestmark = pytest.mark.cluster

EXPECTED = (REPOSITORY / "outputs" / COMBINED).read_bytes()
# Before a command, in a namespace of its own: nothing is at a path, as on another machine.
HIDE = 'mount -t tmpfs none "$1" && shift && exec "$@"'


def sample(folder: Path) -> Settings:
    data = REPOSITORY / "data"
    return Settings(
        (str(data / "customers.csv"),),
        (str(data / "purchases.csv"),),
        str(folder),
        block_size=5_000,  # some forty blocks
        join="broadcast",
        fsync=False,
    )


def kill(client: Client, workers: list[str]) -> None:
    for worker in workers:
        client.run(os._exit, 1, workers=[worker], on_error="ignore")


@pytest.mark.slow("odd clusters")
def test_a_run_starts_the_first_worker_of_an_adaptive_cluster(tmp_path: Path) -> None:
    with local_cluster(0) as client:
        client.cluster.adapt(minimum=0, maximum=2)

        run(sample(tmp_path), client)

    assert (tmp_path / COMBINED).read_bytes() == EXPECTED


@pytest.mark.parametrize("blocks", [1, pytest.param(20, marks=pytest.mark.slow("odd clusters"))])
def test_the_only_worker_may_restart(tmp_path: Path, blocks: int) -> None:
    with local_cluster(1) as client:
        run(sample(tmp_path), client, Acting(blocks, lambda: kill(client, holders(client))))

    assert (tmp_path / COMBINED).read_bytes() == EXPECTED


@pytest.mark.slow("odd clusters")
def test_workers_may_come_and_those_before_them_leave(tmp_path: Path) -> None:
    with local_cluster(2) as client:

        def exchange() -> None:
            first = holders(client)
            client.cluster.scale(3)
            client.wait_for_workers(3)
            client.retire_workers(first)

        run(sample(tmp_path), client, Acting(5, exchange))

    assert (tmp_path / COMBINED).read_bytes() == EXPECTED


def refusals(told: Acting) -> list[str]:
    """Return what is said of workers that are not used."""
    return [message for message in told.said if "a worker is not used" in message]


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """How to start workers that cannot do the job: each lacks one thing."""
    folder = tmp_path_factory.mktemp("others")
    bare = bare_python(folder / "bare")
    shutil.copytree(REPOSITORY / "pipeline", folder / "source" / "pipeline")
    with (folder / "source" / "pipeline" / "job.py").open("a") as file:
        file.write("# changed\n")
    return {
        "lacks this package": {"python": bare},
        "has different source code (": {"python": bare, "pythonpath": str(folder / "source")},
    }


@pytest.mark.parametrize(
    "fault",
    [
        "lacks this package",
        *(
            pytest.param(fault, marks=pytest.mark.slow("odd clusters"))
            for fault in ("has different source code (", "does not see this fold")
        ),
    ],
)
def test_a_late_worker_that_cannot_do_the_job_gives_its_tasks_back(
    tmp_path: Path, others: dict[str, dict[str, str]], fault: str
) -> None:
    """It is named once, and does not end."""
    settings = sample(tmp_path / "out")
    (tmp_path / "machines").mkdir()
    with Processes(tmp_path / "machines") as processes:
        processes.start_scheduler()
        processes.start_worker()
        started: list[subprocess.Popen[bytes]] = []

        def start() -> None:
            if fault.startswith("does not see"):
                prefix = ("unshare", "--mount", "sh", "-c", HIDE, "sh", str(tmp_path / "out"))
                started.append(processes.start_worker(prefix=prefix))
            else:
                started.append(processes.start_worker(**others[fault]))

        with connect(ClusterSettings(processes.address)) as client:
            told = Acting(5, start)
            run(settings, client, told)

            (refusal,) = refusals(told)
            assert fault in refusal
            assert "\n" not in refusal
            assert started[0].poll() is None
            assert client.submit(abs, -1, workers=Processes.workers(client)[1:]).result() == 1

    assert (tmp_path / "out" / COMBINED).read_bytes() == EXPECTED


@pytest.mark.slow("odd clusters")
@pytest.mark.parametrize("fault", ["lacks this package", "has different source code ("])
def test_the_only_fit_worker_may_be_lost_where_another_one_cannot_do_the_job(
    tmp_path: Path, others: dict[str, dict[str, str]], fault: str
) -> None:
    (tmp_path / "machines").mkdir()
    with Processes(tmp_path / "machines") as processes:
        processes.start_scheduler()
        fit = processes.start_worker()

        with connect(ClusterSettings(processes.address)) as client:

            def replace_worker() -> None:
                processes.start_worker(**others[fault])
                fit.kill()
                wait_until(lambda: len(Processes.workers(client)) == 1)
                processes.start_worker()

            run(sample(tmp_path / "out"), client, Acting(5, replace_worker))

    assert (tmp_path / "out" / COMBINED).read_bytes() == EXPECTED


@pytest.mark.slow("odd clusters")
def test_where_only_workers_are_left_that_cannot_do_the_job_it_ends(
    tmp_path: Path, others: dict[str, dict[str, str]]
) -> None:
    (tmp_path / "machines").mkdir()
    with Processes(tmp_path / "machines") as processes:
        processes.start_scheduler()
        fit = processes.start_worker()

        def replace_worker() -> None:
            processes.start_worker(**others["lacks this package"])
            fit.kill()

        cluster = ClusterSettings(processes.address, wait_for_workers=2)
        with (
            connect(cluster) as client,
            pytest.raises(ClusterError, match=r"^for 2 s, no worker could do the job: .* lacks"),
        ):
            run(sample(tmp_path / "out"), client, Acting(5, replace_worker))


@pytest.mark.slow("others that wait")
def test_tasks_of_others_wait_for_no_more_than_two_blocks(tmp_path: Path) -> None:
    """Of each thread, from when the scheduler knows them until half of them have run."""
    make_data(tmp_path, customers=50_000, purchases=2_000_000)
    inputs = (str(tmp_path / "customers.csv"),), (str(tmp_path / "purchases.csv"),)
    settings = Settings(*inputs, str(tmp_path / "out"), block_size=1 << 20, fsync=False)
    threads = 2

    def known_since(key: str, dask_scheduler: Scheduler) -> float:
        return min(transition[-1] for transition in dask_scheduler.story(key))

    with (
        local_cluster(threads) as client,
        Client(client.scheduler.address, set_as_default=False) as other,
        get_task_stream(client) as stream,
    ):
        others: list[Any] = []

        def submit() -> None:
            others.extend(other.map(lambda _: time.time(), range(100), pure=False))

        run(settings, client, Acting(5, submit))
        half = sorted(other.gather(others))[50]
        begin = client.run_on_scheduler(known_since, others[0].key)
    blocks = [
        one["start"]
        for task in stream.data
        if "read-join-sum-write" in str(task["key"])
        for one in task["startstops"]
        if one["action"] == "compute"
    ]

    assert len(blocks) > 20
    assert sum(begin < start < half for start in blocks) <= 2 * threads


def marks_of(folder: Path) -> list[Path]:
    """Return the files that blocks leave in the place of a run for what they matched."""
    return [path for path in folder.rglob("matched/*") if path.is_file()]


@pytest.mark.parametrize(
    "how",
    [
        "lost",
        *(pytest.param(how, marks=pytest.mark.slow("odd clusters")) for how in ("stale", "torn")),
    ],
)
def test_marks_that_are_not_those_of_their_block_end_the_run(
    tmp_path: Path, client: Client, how: str
) -> None:
    old: list[bytes] = []

    def change() -> None:
        path = sorted(marks_of(tmp_path))[0]
        data = path.read_bytes()
        old.append(data)
        path.unlink() if how == "lost" else path.write_bytes(
            data[:-1] if how == "torn" else data[:1] + bytes(len(data) - 1)
        )

    with pytest.raises(DataError, match="the matches of block"):
        run(sample(tmp_path), client, Acting(20, change))

    assert old[0]
    assert not (tmp_path / COMBINED).exists()


def test_marks_take_little_beside_the_output(tmp_path: Path, client: Client) -> None:
    sizes: list[int] = []

    class Counting(Progress):
        """Takes the sizes of all marks once the customers without purchases are written."""

        @contextmanager
        def step(self, name: str, total: int) -> Iterator[None]:
            if name == "assemble":
                sizes.extend(path.stat().st_size for path in marks_of(tmp_path))
            yield

    run(sample(tmp_path), client, Counting())

    assert len(sizes) > 30  # blocks
    assert sum(sizes) <= 0.05 * (tmp_path / COMBINED).stat().st_size


def test_runs_in_threads_share_one_worker(tmp_path: Path) -> None:
    with local_cluster(1) as client, ThreadPoolExecutor(3) as pool:
        folders = [tmp_path / str(number) for number in range(3)]
        list(pool.map(lambda folder: run(sample(folder), client), folders))
        wait_until(lambda: not holders(client))

    assert all((folder / COMBINED).read_bytes() == EXPECTED for folder in folders)


@pytest.mark.parametrize(
    "join", [pytest.param("broadcast", marks=pytest.mark.slow("odd clusters")), "shuffle"]
)
def test_a_client_need_not_be_the_default(
    tmp_path: Path, join: Literal["broadcast", "shuffle"]
) -> None:
    (tmp_path / "machines").mkdir()
    with Processes(tmp_path / "machines") as processes:
        processes.start_scheduler()
        processes.start_worker()
        with Client(processes.address, set_as_default=False) as client:
            run(replace(sample(tmp_path / "out"), join=join), client)

    written = (tmp_path / "out" / COMBINED).read_bytes()
    assert sorted(written.splitlines()) == sorted(EXPECTED.splitlines())
