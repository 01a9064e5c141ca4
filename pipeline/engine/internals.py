"""All uses of private Dask features, each with the reason why it is worth it.

If a change of Dask breaks any of them, `tests/engine/test_internals.py` fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from distributed import Client, Scheduler
from distributed.diskutils import WorkSpace
from distributed.shuffle._exceptions import P2PConsistencyError
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler


async def worker_states(client: Client) -> list[dict[str, Any]]:
    """Return the scheduler's state of every worker; raises OSError if it does not answer.

    `Client.scheduler_info` asks the same, but may return what the client's own timer has asked for
    meanwhile: a state without workers.
    """
    return list((await client.scheduler.identity(n_workers=-1))["workers"].values())


def works(worker: dict[str, Any]) -> bool:
    """Tell whether a worker takes tasks or, if short of memory, still executes one."""
    counts = worker["metrics"].get("task_counts", {})
    return worker["status"] == "running" or counts.get("executing", 0) > 0


def is_shuffle_fault(error: RuntimeError) -> bool:
    """Tell whether Dask's shuffle failed, rather than a step of the job; it has no class for it."""
    return isinstance(error, P2PConsistencyError) or str(error).startswith("P2P ")


@contextmanager
def spill_folder(client: Client) -> Iterator[Path]:
    """Yield a new folder beside those that the workers of a local cluster spill to; then delete it.

    If this process is killed before, the next cluster on this machine deletes it, as Dask does with
    those of its workers.
    """
    workers = client.sync(worker_states, client)
    # Workers may be away for a moment, if the cluster is adaptive.
    folders = [Path(worker["local_directory"]).parent for worker in workers]
    space = WorkSpace(str(next(iter(folders), Path(gettempdir(), "dask-scratch-space"))))
    folder = space.new_work_dir(prefix="pieces-")
    try:
        yield Path(folder.dir_path)
    finally:
        folder.release()


def serve_dashboard_on_demand(scheduler: Scheduler) -> None:
    """Add a dashboard to a scheduler started without one, when its first page is opened.

    Importing Bokeh at the start makes a run on the sample take 28 % longer.
    """
    # Reached only by pages that the scheduler's HTTP server lacks, so not by /metrics.
    first = Application([(r"/[\w-]*", _FirstVisit, {"scheduler": scheduler})])
    scheduler.http_application.add_application(first)


class _FirstVisit(RequestHandler):
    """Connects the dashboard and redirects the visitor to the same page."""

    def initialize(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def get(self) -> None:
        # In a thread: the whole cluster shares the event loop.
        dashboard = await IOLoop.current().run_in_executor(
            None, import_module, "distributed.dashboard.scheduler"
        )
        served = self._scheduler.http_application
        if self.application in served.applications:  # no other visitor came during the import
            served.applications.remove(self.application)
            dashboard.connect(served, self._scheduler.http_server, self._scheduler, prefix="/")
        self.redirect(self.request.uri)
