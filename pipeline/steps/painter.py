"""Draw the chart in a separate process, which imports matplotlib while the job starts.

The import takes as long as all the work on a small input: without this process, a run on the
sample takes 23% longer (medians of nine interleaved runs). A thread would compete with the job
for the GIL; the process uses a core that is still idle.
"""

from __future__ import annotations

import atexit
import gc
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline.settings import AgeGroups
from pipeline.steps.chart import Draw, draw_chart, preload

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def painter() -> Iterator[Draw]:
    """Start the process; yield a `chart.draw_chart` that draws there. End it after the block."""

    def draw(spending: pd.DataFrame, groups: AgeGroups, amount: str, path: Path) -> None:
        # As plain lists: the process then does not have to import pandas.
        chart = spending.to_dict("list"), groups, amount, path.absolute()
        process.communicate(pickle.dumps(chart))
        if process.returncode:
            draw_chart(*chart)  # raises the same error, or succeeds if memory was short

    with (
        _environment() as environment,
        subprocess.Popen(
            # With the import path of this process, and nothing from the current directory.
            [sys.executable, "-P", "-m", __name__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must reach the parent only
        ) as process,
    ):
        try:
            yield draw
        finally:
            process.terminate()


@contextmanager
def _environment() -> Iterator[dict[str, str]]:
    """Yield the environment of the process.

    matplotlib keeps its settings in the home folder, and creates that folder if it is missing.
    Where it cannot or should not, they go into a temporary folder, which is deleted after the
    block.
    """
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if "MPLCONFIGDIR" in found or os.access(os.path.expanduser("~"), os.W_OK | os.X_OK):
        yield found
    else:
        with TemporaryDirectory(prefix="matplotlib-") as folder:
            yield {**found, "MPLCONFIGDIR": folder}


def _paint() -> int:
    """Draw the chart sent on standard input; return the exit code of the process."""
    gc.disable()
    preload()
    chart = sys.stdin.buffer.read()
    if chart:  # empty if the parent ended before it had a chart to draw
        try:
            draw_chart(*pickle.loads(chart))
        except Exception:
            return 1  # the parent draws again, and reports the error
    return 0


def _leave(code: int) -> None:
    """End this process without Python's slow shutdown."""
    # matplotlib deletes the temporary folder that it may have made.
    atexit._run_exitfuncs()
    os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: _leave(0))
    _leave(_paint())
