"""A process that draws the chart, and imports matplotlib for it while the job begins.

The import takes as long as all the work on a small input. On a thread it would take that time from
the job, as Python runs one at a time; here it takes a core that has nothing else to do yet.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.chart import Draw, draw_chart, preload
from pipeline.settings import AgeGroups

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def painter() -> Iterator[Draw]:
    """Start the process; give a `chart.draw_chart` that has it draw. With the block it ends."""
    process = subprocess.Popen(
        # It imports what this process would, wherever it was started, and nothing from elsewhere.
        [sys.executable, "-P", "-m", __name__],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # an interrupt from the keyboard is for this process to handle
    )

    def draw(spending: pd.DataFrame, groups: AgeGroups, amount: str, path: Path) -> None:
        # Without pandas, which is all that the process would need it for.
        chart = spending.to_dict("list"), groups, amount, path.absolute()
        process.communicate(pickle.dumps(chart))
        if process.returncode:
            draw_chart(*chart)  # it fails as it did there, or there was no memory for both

    with process:
        try:
            yield draw
        finally:
            process.kill()


def _paint() -> int:
    """Draw the chart that comes on standard input; return the process's exit code."""
    gc.disable()
    preload()
    chart = sys.stdin.buffer.read()
    if chart:  # else the other process has ended before it came to that
        try:
            draw_chart(*pickle.loads(chart))
        except Exception:
            return 1  # the other one meets the same, and tells of it
    return 0


if __name__ == "__main__":
    os._exit(_paint())  # nothing is left to be put away, which takes a while
