"""What is checked on a cluster before a job starts there: on real processes."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, Scheduler, Worker
from support.processes import Processes, bare_python, wait_until

import pipeline
from pipeline import Settings, run
from pipeline.engine.cluster import connect
from pipeline.errors import ClusterError
from pipeline.outputs.names import COMBINED, FAILED
from pipeline.settings import ClusterSettings

pytestmark = pytest.mark.cluster
SLOW = pytest.mark.slow("odd clusters")

CUSTOMERS = "customer_id,first_name,last_name,age\n1,Ann,Lee,20\n2,Bo,Day,50\n"
PURCHASES = "customer_id,price\n1,1.50\n2,2\n3,4\n"
COMBINED_CSV = (
    "customer_id,first_name,last_name,age,full_name,age_group,price\n"
    "1,Ann,Lee,20,Ann Lee,Young,1.50\n"
    "2,Bo,Day,50,Bo Day,Senior,2\n"
    "3,,,,,Unknown,4\n"
)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    folder = tmp_path / "machines"
    folder.mkdir()
    with Processes(folder) as processes:
        yield processes


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "customers.csv").write_text(CUSTOMERS)
    (tmp_path / "purchases.csv").write_text(PURCHASES)
    return Settings(
        (str(tmp_path / "customers.csv"),),
        (str(tmp_path / "purchases.csv"),),
        str(tmp_path / "outputs"),
        fsync=False,
    )


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with all of Dask and without this package."""
    python = bare_python(tmp_path_factory.mktemp("bare"))
    has = subprocess.run([python, "-I", "-c", "import pipeline"], stderr=-1)
    assert b"No module named 'pipeline'" in has.stderr
    return python


def run_on(processes: Processes, settings: Settings, wait_for_workers: float = 30) -> str:
    """Run a job there; return its combined table."""
    cluster = ClusterSettings(processes.address, wait_for_workers=wait_for_workers)
    with connect(cluster) as client:
        run(settings, client)
    return Path(settings.output_dir, COMBINED).read_text()


def refusal(processes: Processes, settings: Settings, wait_for_workers: float = 30) -> str:
    """Run a job that is refused; return the message, one line, after a look at the outputs."""
    with pytest.raises(ClusterError) as caught:
        run_on(processes, settings, wait_for_workers)
    assert [path.name for path in Path(settings.output_dir).iterdir()] == [FAILED]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_worker_it_ends_in_the_time_that_was_set(
    processes: Processes, settings: Settings
) -> None:
    processes.start_scheduler()
    begin = time.monotonic()
    message = refusal(processes, settings, wait_for_workers=1)
    assert time.monotonic() - begin < 15
    assert f"the scheduler at '{processes.address}' still had no worker after 1 s" in message
    assert "--wait-for-workers" in message


@SLOW
def test_a_worker_that_is_short_of_memory_does_not_count(
    processes: Processes, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE", "0.001")
    processes.start_scheduler()
    processes.start_worker("--memory-limit", "1GiB")
    with processes.client() as client:
        wait_until(lambda: statuses(client) == ["paused"])
    message = refusal(processes, settings, wait_for_workers=1)
    assert (
        "still had no running worker after 1 s; its workers (1) are paused, because they use too "
        "much memory;" in message
    )
    assert "raise their memory limit" in message


def statuses(client: Client) -> list[str]:
    return [worker["status"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]


def test_a_worker_with_another_version_is_named(
    processes: Processes, settings: Settings, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (other / "pandas-2.0.0.dist-info").mkdir(parents=True)
    (other / "pandas-2.0.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: pandas\nVersion: 2.0.0\n"
    )
    processes.start_scheduler()
    processes.start_worker()
    processes.start_worker(pythonpath=str(other))
    message = refusal(processes, settings)
    assert message.startswith("versions differ from this client's: worker tcp://127.0.0.1:")
    assert f"has pandas 2.0.0 instead of {__import__('pandas').__version__};" in message
    assert "scripts/constraints.txt" in message


@pytest.mark.parametrize(
    "lacking", [pytest.param("the scheduler", marks=SLOW), "worker tcp://127.0.0.1:"]
)
def test_where_the_package_is_missing_is_named(
    processes: Processes, settings: Settings, bare: str, lacking: str
) -> None:
    scheduler, worker = (bare, None) if lacking == "the scheduler" else (None, bare)
    processes.start_scheduler(**({"python": scheduler} if scheduler else {}))
    processes.start_worker(**({"python": worker} if worker else {}))

    message = refusal(processes, settings)

    assert message.startswith("this package is not the same everywhere (source ")
    assert f"): {lacking}" in message
    assert " lacks this package; install the same versions everywhere" in message


def test_another_source_of_the_package_is_refused(
    processes: Processes, settings: Settings, bare: str, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "pipeline"
    shutil.copytree(Path(pipeline.__file__).parent, other)
    with (other / "job.py").open("a") as file:
        file.write("# changed\n")
    processes.start_scheduler()
    processes.start_worker(python=bare, pythonpath=str(other.parent))

    message = refusal(processes, settings)

    assert "): worker tcp://127.0.0.1:" in message
    assert " has different source code (" in message
    assert "docker compose build" in message


@SLOW
def test_the_same_package_installed_twice_is_the_same(
    processes: Processes, settings: Settings, bare: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy" / "pipeline"
    shutil.copytree(Path(pipeline.__file__).parent, copy)
    processes.start_scheduler(python=bare, pythonpath=str(copy.parent))
    processes.start_worker(python=bare, pythonpath=str(copy.parent))
    assert run_on(processes, settings) == COMBINED_CSV


def test_a_package_that_was_replaced_is_taken_at_the_next_start(
    processes: Processes, settings: Settings
) -> None:
    """Nothing of a run stays on the scheduler or its workers."""
    processes.start_scheduler()
    processes.start_worker()

    # Functions of a test are pickled by value, those of its module by name.
    def left(dask_scheduler: Scheduler) -> dict[str, list[str]]:
        plugins = [*dask_scheduler.worker_plugins, *dask_scheduler.nanny_plugins]
        return {"tasks": list(map(str, dask_scheduler.tasks)), "plugins": plugins}

    def uploaded(dask_worker: Worker) -> list[str]:
        import os

        return [name for name in os.listdir(dask_worker.local_directory) if "pipeline" in name]

    with processes.client() as client:
        before = client.run_on_scheduler(left)
        assert run_on(processes, settings) == COMBINED_CSV
        assert client.run_on_scheduler(left) == before
        assert list(client.run(uploaded).values()) == [[]]
