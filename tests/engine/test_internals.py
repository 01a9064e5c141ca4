"""What is used of Dask's insides is still there, and does what is asked of it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import dask
import numpy as np
import pytest
from bokeh.client import pull_session
from distributed import Client
from support.paths import REPOSITORY

from pipeline.engine.cluster import connect, dashboard_link
from pipeline.engine.internals import (
    is_working,
    make_task,
    pack_tasks,
    spill_folder,
    worker_states,
)
from pipeline.settings import ClusterSettings
from pipeline.steps.matched import united

SETTINGS = ClusterSettings(threads_per_worker=1, dashboard_address="127.0.0.1:0")


@pytest.fixture
def fresh() -> Iterator[Client]:
    """A cluster whose dashboard nobody has opened yet."""
    with connect(SETTINGS) as client:
        yield client


def test_a_packed_task_does_what_it_did(client: Client) -> None:
    """With results of other tasks; it names the package within bytes only."""
    first, second = client.map(np.array, [[1, 2], [4, 1]], pure=False)
    graph = pack_tasks({"union": make_task("union", united, [first, second])}, None)

    assert b"pipeline" in graph["union"].args[0].args[1]
    assert graph["union"].dependencies == {first.key, second.key}
    (found,) = client.get(graph, ["union"], sync=False)
    assert found.result().tolist() == [5, 3]


def test_what_names_nothing_of_the_package_is_not_packed() -> None:
    task = make_task("negative", abs, -1)

    assert pack_tasks({"negative": task}, None) == {"negative": task}


def test_workers_are_known_to_work(client: Client) -> None:
    assert [is_working(worker) for worker in client.sync(worker_states, client)] == [True]


def test_a_worker_that_has_paused_works_only_while_it_executes() -> None:
    paused = {"status": "paused", "metrics": {"task_counts": {"executing": 0}}}

    assert not is_working(paused)
    assert is_working({**paused, "metrics": {"task_counts": {"executing": 1}}})
    assert not is_working({**paused, "metrics": {}})
    assert is_working({**paused, "status": "running"})


def test_a_folder_to_spill_to_is_there_only_while_it_is_used(fresh: Client) -> None:
    with spill_folder(fresh) as folder:
        (folder / "file").write_text("text")
    assert not folder.exists()


def test_dask_prints_no_error_about_a_folder_to_spill_to(
    fresh: Client, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("distributed.diskutils")
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.ERROR, logger.name), spill_folder(fresh) as folder:
            (folder / "file").write_text("text")
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.messages


def test_the_clients_own_timer_does_not_hide_the_folder_of_the_workers(
    fresh: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for no workers, and may do so just before the answer for one is returned."""
    monkeypatch.setattr(fresh, "scheduler_info", lambda **_: {"workers": {}})

    with spill_folder(fresh) as folder:
        assert folder.exists()


def test_a_folder_to_spill_to_that_was_left_behind_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_TEMPORARY_DIRECTORY", str(tmp_path))
    script = """
import os
from pipeline.engine.cluster import connect
from pipeline.engine.internals import spill_folder
from pipeline.settings import ClusterSettings
from pipeline.steps.matched import united
with connect(ClusterSettings(dashboard_address="127.0.0.1:0")) as client:
    with spill_folder(client) as folder:
        (folder / "file").write_text("text")
        print(folder, flush=True)
        os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(tmp_path)
    assert (folder / "file").exists()
    with dask.config.set({"temporary-directory": str(tmp_path)}), connect(SETTINGS):
        assert not folder.exists()


def is_connected(client: Client) -> bool:
    """Whether Dask's dashboard serves the pages."""
    served = client.cluster.scheduler.http_application.applications
    return any("Bokeh" in type(application).__name__ for application in served)


def get(client: Client, page: str) -> str:
    """Open a page of the dashboard."""
    with urlopen(dashboard_link(client, SETTINGS).removesuffix("/status") + page) as answer:
        text: str = answer.read().decode()
    return text


@pytest.mark.parametrize(
    "workers",
    [1, pytest.param(2, marks=[pytest.mark.cluster, pytest.mark.slow("more workers")])],
    ids=["threads", "processes"],
)
def test_a_run_that_nobody_watches_does_not_import_it(workers: int, tmp_path: Path) -> None:
    script = f"""
import sys
from pipeline import Settings, run
from pipeline.engine.cluster import connect
from pipeline.engine.internals import is_working, worker_states
from pipeline.settings import ClusterSettings
from pipeline.steps.matched import united

if __name__ == "__main__":
    data = ("data/customers.csv",), ("data/purchases.csv",)
    cluster = ClusterSettings(
        workers={workers}, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    )
    with connect(cluster) as client:
        run(Settings(*data, {str(tmp_path)!r}, fsync=False), client)
        print("bokeh" in sys.modules, *client.run(lambda: "bokeh" in sys.modules).values())
"""
    (tmp_path / "script.py").write_text(script)

    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"False"}


@pytest.mark.parametrize("page", ["/", "/status", "/workers", "/individual-cpu?theme=dark"])
def test_the_first_page_that_is_opened_is_the_real_one(page: str, fresh: Client) -> None:
    assert not is_connected(fresh)

    text = get(fresh, page)

    assert is_connected(fresh)
    assert "Bokeh.safely" in text
    assert "Bokeh" in get(fresh, "/static/js/bokeh.min.js")


def test_a_page_shows_what_the_scheduler_does(fresh: Client) -> None:
    get(fresh, "/status")

    with pull_session(url=dashboard_link(fresh, SETTINGS)) as session:  # over its websocket
        names = {root.name for root in session.document.roots}

    assert {"task_stream", "cluster_memory"} <= names


def test_several_first_visitors_are_shown_one_dashboard(fresh: Client) -> None:
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(get, [fresh] * 4, ["/status"] * 4))

    assert all("Bokeh.safely" in text for text in texts)
    assert len(fresh.cluster.scheduler.http_application.applications) == 1


@pytest.mark.parametrize("page", ["/favicon.ico", "//example.org/status", "/status/ws", "/a/b"])
def test_what_is_no_page_is_no_visit(page: str, fresh: Client) -> None:
    with pytest.raises(HTTPError, match="404"):
        get(fresh, page)

    assert "/metrics" in get(fresh, "/sitemap.json")
    assert not is_connected(fresh)
