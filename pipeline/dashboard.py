"""Dask's dashboard, imported when somebody first opens it: that takes longer than a small job."""

from __future__ import annotations

from importlib import import_module

from distributed import Scheduler
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler


def serve_on_demand(scheduler: Scheduler) -> None:
    """Give a scheduler that was started without a dashboard one, when its first page is opened."""
    # Asked only for what the scheduler's HTTP server does not serve itself, such as /metrics.
    first = Application([(r"/[\w-]*", _FirstVisit, {"scheduler": scheduler})])
    scheduler.http_application.add_application(first)


class _FirstVisit(RequestHandler):
    """Connects the dashboard, and sends the visitor to the same page again."""

    def initialize(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def get(self) -> None:
        # In a thread, as the loop is the whole cluster's.
        dashboard = await IOLoop.current().run_in_executor(
            None, import_module, "distributed.dashboard.scheduler"
        )
        served = self._scheduler.http_application
        if self.application in served.applications:  # no other visitor came while it waited
            served.applications.remove(self.application)
            dashboard.connect(served, self._scheduler.http_server, self._scheduler, prefix="/")
        self.redirect(self.request.uri)
