"""Runs the job many times in forks of a process that has everything imported, and kills them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.paths import TESTS_PATH

# Reads [FOLDER, INPUTS, HOW] lines; does the work in a fork, and answers with its number, then with
# how it ended. HOW: `run`, the job; or [FAIL, KILL]: publishes the files in INPUTS, fails at some
# steps, and is killed at one (see `support.steps`).
DRIVER = """
import json, os, shutil, sys
from pathlib import Path
from tempfile import TemporaryDirectory
from pipeline import AgeGroups, Settings
from pipeline.errors import StorageError
from pipeline.steps.chart import draw_chart
from pipeline.engine.cluster import connect
from pipeline.job import run
from pipeline.settings import ClusterSettings
from pipeline.steps.spending import summarize
from support.staging import staged
from support.steps import acting_at_steps, dying, failing

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

def publish(folder, outputs, fail, kill):
    def act(step):
        dying(kill)(step)
        failing(fail)(step)

    acting = acting_at_steps(act)
    with staged(Path(folder), fsync=True) as stage:
        for file in Path(outputs).iterdir():
            shutil.copy(file, stage)
        acting.__enter__()  # to the end of the process: the commit comes after this block

for line in sys.stdin:
    folder, inputs, how = json.loads(line)
    child = os.fork()
    if child == 0:
        try:
            job(folder, inputs) if how == "run" else publish(folder, inputs, *how)
        except StorageError:
            os._exit(StorageError.exit_code)
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
            env={**os.environ, "PYTHONPATH": TESTS_PATH},
            text=True,
            bufsize=1,
        )

    def publish(self, folder: Path, outputs: Path, fail: Sequence[int], kill: int = -1) -> int:
        """Publish outputs; fail at some steps, and be killed at one; return how it ended."""
        return self.run(folder, outputs, [list(fail), kill])

    def run(self, folder: Path, inputs: Path, how: Any = "run", delay: float | None = None) -> int:
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
