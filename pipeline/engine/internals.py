"""All uses of private Dask features, each with the reason for it.

If a change in Dask breaks one, `tests/engine/test_internals.py` fails. One more is in
`engine.imports`, because it must run before Dask itself is imported.
"""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from tempfile import gettempdir
from typing import Any

import cloudpickle
from dask._task_spec import Dict, List, Task, TaskRef
from distributed import Client, Future, Nanny, Scheduler, Worker
from distributed.diskutils import WorkSpace
from distributed.shuffle._exceptions import P2PConsistencyError
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler

from pipeline.engine.fitness import Fitness
from pipeline.engine.package import source_digest
from pipeline.engine.portable import OPEN_TASK

_PACKAGE = b"pipeline"
_ATTEMPTS = 10  # to delete a folder
_CLOSES_WITHIN = 1.0  # seconds
_OPEN = Task(None, pickle.loads, OPEN_TASK)
_source = cache(source_digest)


async def worker_states(client: Client) -> list[dict[str, Any]]:
    """Return the state of every worker; raise OSError if the scheduler does not respond.

    `Client.scheduler_info` asks the same, but may return what the client's own timer asked for
    meanwhile: a state without workers.
    """
    workers = (await client.scheduler.identity(n_workers=-1))["workers"]
    return [{**state, "address": address} for address, state in workers.items()]


def is_working(worker: dict[str, Any]) -> bool:
    """Return whether a worker takes tasks or, if paused, still executes one."""
    counts = worker["metrics"].get("task_counts", {})
    return worker["status"] == "running" or counts.get("executing", 0) > 0


def pack_tasks(graph: dict[Any, Any], fitness: Fitness | None) -> dict[Any, Any]:
    """Return a graph whose tasks name this package only in bytes that the task itself unpickles.

    Any other task would stop a worker that lacks the package: Dask unpickles tasks in the stream
    between worker and scheduler. This way, the worker gives the task back, as does a worker that is
    not fit (see `engine.fitness`).
    """
    required = pickle.dumps(fitness)
    return {
        key: _pack(node, required) if type(node) is Task else node for key, node in graph.items()
    }


def make_task(key: str, function: Callable[..., Any], *args: Any) -> Task:
    """Return a task that calls a function with the results of futures in `args`, even in lists."""
    return Task(key, function, *(List(*arg) if isinstance(arg, list) else arg for arg in args))


def _pack(task: Task, fitness: bytes) -> Task:
    data = BytesIO()
    _Pickler(data, protocol=5).dump(task)
    if _PACKAGE not in data.getvalue():
        return task
    opened = Task(None, operator.call, _OPEN, data.getvalue(), fitness, _source())
    results = Dict({key: TaskRef(key) for key in task.dependencies})
    return Task(task.key, operator.call, opened, results, _data_producer=task.data_producer)


class _Pickler(cloudpickle.Pickler):
    """Pickles a future as a reference to its result, as tasks hold it."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how to pickle an object."""
        if isinstance(obj, Future):
            return TaskRef, (obj.key,)
        return super().reducer_override(obj)


def prefer_workers(keys: list[Any], workers: list[str], dask_scheduler: Scheduler) -> None:
    """Prefer some workers, as long as one is alive, for tasks and for what these tasks wait for.

    Dask accepts a preference only when a task is submitted. Tasks that Dask's shuffle bound to
    their workers stay there. Runs on the scheduler.
    """
    found, stack = set(), [dask_scheduler.tasks[key] for key in keys if key in dask_scheduler.tasks]
    while stack:
        task = stack.pop()
        if task not in found and task.state != "memory":
            found.add(task)
            stack.extend(task.dependencies)
            if task.loose_restrictions or not task.worker_restrictions:
                task.worker_restrictions, task.loose_restrictions = set(workers), True


def is_shuffle_fault(error: RuntimeError) -> bool:
    """Return whether Dask's shuffle failed, not a step of the job.

    Dask has no common class for its errors.
    """
    return isinstance(error, P2PConsistencyError) or str(error).startswith("P2P ")


@contextmanager
def spill_folder(client: Client) -> Iterator[Path]:
    """Yield a new folder beside those to which a local cluster's workers spill; then delete it.

    If this process is killed first, the next cluster on this machine deletes the folder, as Dask
    does with those of its workers.
    """
    workers = client.sync(worker_states, client)
    # An adaptive cluster may have no worker at the moment.
    folders = [Path(worker["local_directory"]).parent for worker in workers]
    space = WorkSpace(str(next(iter(folders), Path(gettempdir(), "dask-scratch-space"))))
    folder = space.new_work_dir(prefix="pieces-")
    path = Path(folder.dir_path)
    try:
        yield path
    finally:
        # Until the folder is gone, tasks of a run that failed may still write into it.
        for _ in range(_ATTEMPTS):
            rmtree(path, ignore_errors=True)
            if not path.exists():
                break
        path.mkdir(exist_ok=True)  # Dask prints an error if the folder it releases is gone
        folder.release()


class LocalWorker(Worker):
    """A worker in this process, whose HTTP server can be reached only from this machine.

    LocalCluster's option for that makes the worker import Bokeh, and it has no option for how long
    a worker may take to close.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "dashboard_address": "127.0.0.1:0"})

    async def close(self, timeout: float = _CLOSES_WITHIN, *args: Any, **options: Any) -> Any:
        """Close, without waiting long for tasks that an interrupt or an error made useless."""
        return await super().close(timeout, *args, **options)


class LocalNanny(Nanny):
    """Keeps a worker in a process of its own, and kills it if it is slow to close."""

    async def close(self, timeout: float = _CLOSES_WITHIN, *args: Any, **options: Any) -> Any:
        """Close the process in the same way."""
        return await super().close(timeout, *args, **options)


def serve_dashboard_on_demand(scheduler: Scheduler) -> None:
    """Add a dashboard to a scheduler that has none, when the first of its pages is opened.

    Importing Bokeh at the start would make a run on the sample take 28% longer.
    """
    # Reached only by pages that the scheduler's HTTP server lacks, so not by /metrics.
    first = Application([(r"/[\w-]*", _FirstVisit, {"scheduler": scheduler})])
    scheduler.http_application.add_application(first)


class _FirstVisit(RequestHandler):
    """Connects the dashboard, and redirects the visitor to the same page."""

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
