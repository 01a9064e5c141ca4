"""The engines and their commands: this job, its peers, and dd to measure the disk alone."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

PEERS = ("polars", "duckdb", "datafusion", "daft", "spark", "pandas", "dask")
ENGINES = ("ours", *PEERS)
# Runs only on request: it needs Java, and its package takes 500 MB.
_ON_REQUEST = "spark"
BY_DEFAULT = tuple(engine for engine in ENGINES if engine != _ON_REQUEST)
DISK = "dd"
# The share of the memory limit that engines are told: all use more than they account for.
_TOLD = 0.8


def find_missing(engine: str) -> str:
    """Return what an engine lacks and how to install it, on one line; empty if it lacks nothing."""
    package = {"ours": "pipeline", "spark": "pyspark"}.get(engine, engine)
    if importlib.util.find_spec(package) is None:
        extra = "spark" if engine == "spark" else "compare"
        return (
            f"{engine}: no package {package}: {sys.executable} -m pip install "
            f"-c scripts/constraints.txt -e '.[{extra}]'"
        )
    if engine == "spark" and not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        return "spark: no Java: apt install default-jre-headless, or set JAVA_HOME"
    return ""


@dataclass(frozen=True)
class Setup:
    """The folders and limits shared by all runs; memory in bytes.

    Before each run, `touched` bytes of memory are written and freed: a virtual machine may have
    returned free memory to its host, and whoever uses it first waits for it.
    """

    source: Path
    folder: Path
    fsync: bool = False
    cores: int | None = None
    memory: int | None = None
    extra: tuple[str, ...] = ()
    touched: int = 0

    @property
    def inputs(self) -> tuple[Path, Path]:
        """The files of customers and of purchases."""
        return self.source / "customers.csv", self.source / "purchases.csv"

    @property
    def target(self) -> Path:
        """The output folder of a run."""
        return self.folder / "out"

    @property
    def scratch(self) -> Path:
        """The folder a run may spill to."""
        return self.folder / "scratch"

    @property
    def written(self) -> Path:
        """The combined_data.csv of an earlier run, for dd to copy."""
        return self.folder / "combined_data.csv"

    @property
    def pinned(self) -> list[int]:
        """The cores to which a run is pinned."""
        return sorted(os.sched_getaffinity(0))[: self.cores]

    def command(self, engine: str) -> list[str]:
        """Return the command line that runs an engine."""
        told = [] if self.memory is None else [str(int(self.memory * _TOLD))]
        if engine == DISK:
            copy = [f"if={self.written}", f"of={self.target / self.written.name}"]
            return ["dd", *copy, "bs=16M", "conv=fsync", "status=none"]
        if engine in PEERS:
            script = Path(__file__).parents[1] / "peers" / f"{engine}_job.py"
            job = [str(script), str(self.source), str(self.target), *told]
            return [*(self._submit if engine == "spark" else [sys.executable]), *job]
        customers, purchases = self.inputs
        return [
            *(sys.executable, "-m", "pipeline", "--quiet"),
            *(f"--customers={customers}", f"--purchases={purchases}"),
            f"--output-dir={self.target}",
            *(f"--memory-limit={size}B" for size in told),
            *([] if self.fsync else ["--no-fsync"]),
            *self.extra,
        ]

    @property
    def _submit(self) -> list[str]:
        """The start of Spark's own command, which waits for Java, so that its CPU time counts."""
        command = Path(sys.executable).with_name("spark-submit")
        heap = 4 << 30 if self.memory is None else int(self.memory * _TOLD)
        return [
            *("env", f"PYSPARK_PYTHON={sys.executable}", f"SPARK_LOCAL_DIRS={self.scratch}"),
            *("SPARK_LOCAL_IP=127.0.0.1", str(command), f"--driver-memory={heap >> 20}m"),
            *("--conf", "spark.ui.enabled=false", "--conf", "spark.log.level=WARN"),
        ]
