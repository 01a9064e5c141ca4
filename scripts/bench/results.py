"""The measurements: saved as JSON, shown as a Markdown table."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.timing import Run


@dataclass(frozen=True)
class Results:
    """The runs of each engine, with the data and the limits they ran with."""

    customers: int
    purchases: int
    bytes_in: int
    cores: int
    memory: int | None = None
    fsync: bool = False
    bytes_out: int = 0
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def title(self) -> str:
        """Return the numbers of records, such as `1 million customers, 10 million purchases`."""
        return f"{_count(self.customers)} customers, {_count(self.purchases)} purchases"

    def sizes(self) -> str:
        """Return the sizes of the inputs and of the combined table."""
        return f"{_size(self.bytes_in)} in, {_size(self.bytes_out)} out"

    def limits(self) -> str:
        """Return the cores and memory of the runs, and whether they waited for the disk."""
        memory = "" if self.memory is None else f", {self.memory / 2**30:.3g} GiB of memory"
        disk = ", on disk" if self.fsync else ""
        return f"{self.cores} core{'s' * (self.cores > 1)}{memory}{disk}"

    def table(self) -> str:
        """Return a Markdown table: medians over the rounds, and the ratio to the first engine."""
        lines = [
            f"{self.title()}, {self.sizes()}; {self.limits()}",
            "",
            "| engine | wall, median | min to max | CPU | peak memory | wall, ratio |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        first = next(iter(self.runs.values()))
        for engine, runs in self.runs.items():
            summary = Summary.of(runs)
            memory = f"{summary.memory / 1e9:.2f} GB"
            if summary.failure:
                lines.append(f"| {engine} | {summary.failure} | | | {memory} | |")
                continue
            failed = Summary.of(first).failure
            ratio = "" if failed else f"{summary.wall / Summary.of(first).wall:.2f}"
            lines.append(
                f"| {engine} | {summary.wall:.2f} s | {summary.least:.2f} to {summary.most:.2f} s "
                f"| {summary.cpu:.1f} s | {memory} | {ratio} |"
            )
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Save the results as JSON."""
        path.write_text(f"{json.dumps(asdict(self), indent=1)}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Load results saved by `save`."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        runs = {engine: [Run(**run) for run in runs] for engine, runs in kept.pop("runs").items()}
        return cls(**kept, runs=runs)


@dataclass(frozen=True)
class Summary:
    """Medians over the runs of one engine, its fastest and slowest run, and why it failed."""

    wall: float
    least: float
    most: float
    cpu: float
    memory: float
    failure: str

    @classmethod
    def of(cls, runs: list[Run]) -> Summary:
        """Summarize runs; if any run failed, so did the engine."""
        walls = [run.wall for run in runs]
        return cls(
            statistics.median(walls),
            min(walls),
            max(walls),
            statistics.median(run.cpu for run in runs),
            statistics.median(run.memory for run in runs),
            next((run.failure for run in runs if run.failure), ""),
        )


def _count(number: int) -> str:
    return f"{number / 1e6:g} million" if number >= 10**6 else f"{number:,}"


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 10**9 else f"{number / 1e6:.0f} MB"
