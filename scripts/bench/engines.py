"""What can be run, and how: this job, its peers, and dd for the speed of the disk alone."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

PEERS = ("polars", "duckdb", "pandas", "dask")
ENGINES = ("ours", *PEERS)
DISK = "dd"
# Of the limit of memory, what an engine is told to stay within: all hold more than they count.
_TOLD = 0.8


@dataclass(frozen=True)
class Setup:
    """Where the files of all runs are, and what holds for each run alike."""

    source: Path
    folder: Path
    fsync: bool = False
    cores: int | None = None
    memory: int | None = None
    time_limit: float | None = None
    extra: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[Path, Path]:
        """The files of customers and of purchases."""
        return self.source / "customers.csv", self.source / "purchases.csv"

    @property
    def target(self) -> Path:
        """The folder of a run's outputs."""
        return self.folder / "out"

    @property
    def scratch(self) -> Path:
        """The folder in which a run may spill."""
        return self.folder / "scratch"

    @property
    def written(self) -> Path:
        """A combined_data.csv of an earlier run, for dd to copy."""
        return self.folder / "combined_data.csv"

    @property
    def pinned(self) -> list[int]:
        """The cores of a run."""
        return sorted(os.sched_getaffinity(0))[: self.cores]

    def command(self, engine: str) -> list[str]:
        """Return the words that run an engine."""
        told = [] if self.memory is None else [str(int(self.memory * _TOLD))]
        if engine == DISK:
            copy = [f"if={self.written}", f"of={self.target / self.written.name}"]
            return ["dd", *copy, "bs=16M", "conv=fsync", "status=none"]
        if engine in PEERS:
            script = Path(__file__).parents[1] / "peers" / f"{engine}_job.py"
            return [sys.executable, str(script), str(self.source), str(self.target), *told]
        customers, purchases = self.inputs
        return [
            *(sys.executable, "-m", "pipeline", "--quiet"),
            *(f"--customers={customers}", f"--purchases={purchases}"),
            f"--output-dir={self.target}",
            *(f"--memory-limit={size}B" for size in told),
            *([] if self.fsync else ["--no-fsync"]),
            *self.extra,
        ]
