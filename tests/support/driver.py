"""Runs the job many times in forks of a process that has everything imported, and kills them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.paths import REPOSITORY

# Reads [FOLDER, INPUTS, HOW] lines; does the work in a fork, and answers with its number, then with
# how it ended. HOW: `run`, the job; or a number of steps, of a publishing that is killed then.
DRIVER = """
import json, os, shutil, signal, sys
from pathlib import Path
from tempfile import TemporaryDirectory
from pipeline import AgeGroups, Settings
from pipeline.outputs import staging as publish
from pipeline.steps.chart import draw_chart
from pipeline.engine.cluster import connect
from pipeline.job import run
from pipeline.settings import ClusterSettings
from pipeline.steps.spending import summarize

with TemporaryDirectory() as folder:  # the first chart takes a second
    nothing = summarize([], [], AgeGroups())
    draw_chart(nothing, AgeGroups(), "", Path(folder, "chart.png"))

def job(folder, inputs):
    settings = Settings(
        customers=(f"{inputs}/customers.csv",),
        purchases=(f"{inputs}/purchases.csv",),
        output_dir=folder,
        block_size=4096,
    )
    cluster = ClusterSettings(threads_per_worker=2, dashboard_address="127.0.0.1:0")
    with connect(cluster) as client:
        run(settings, client)

def publish_until(folder, outputs, steps):
    left = [steps]
    def counted(function):
        def call(*args, **kwargs):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*args, **kwargs)
        return call
    with publish.staged_outputs(folder, fsync=True) as stage:
        for file in Path(outputs).iterdir():
            shutil.copy(file, stage)
        os.replace = counted(os.replace)
        for name in ("rename", "unlink", "rmdir", "touch"):
            setattr(Path, name, counted(getattr(Path, name)))

for line in sys.stdin:
    folder, inputs, how = json.loads(line)
    child = os.fork()
    if child == 0:
        try:
            job(folder, inputs) if how == "run" else publish_until(folder, inputs, int(how))
        except BaseException as error:
            print("failed:", repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Driver:
    """A warm process that runs the job in forks of itself."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            text=True,
            bufsize=1,
        )

    def run(self, folder: Path, inputs: Path, how: str = "run", delay: float | None = None) -> int:
        """Run the job; kill it after so many seconds, if it still runs; return how it ended."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([str(folder), str(inputs), how]) + "\n")
        number = int(process.stdout.readline())
        if delay is not None:
            # The moment in the life of the run is what is drawn: there is no event to wait for.
            time.sleep(delay)
            os.kill(number, signal.SIGKILL)
        # Only now does the driver wait for its child: until then nobody else has that number.
        process.stdin.write("\n")
        return int(process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
