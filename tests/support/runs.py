"""The job for tests that do not look at its chart: drawing takes as long as all of a small run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

import pipeline
from pipeline import AgeGroups


def blank_chart(spending: pd.DataFrame, groups: AgeGroups, amount: str, path: Path) -> None:
    """Write a file in the place of a chart, as `draw_chart` does."""
    path.write_bytes(b"blank")


run = partial(pipeline.run, draw=blank_chart)
