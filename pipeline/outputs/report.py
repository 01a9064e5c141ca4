"""`run_report.json`: the settings, results, times, host and package versions of a run."""

from __future__ import annotations

import json
import platform
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd

from pipeline import __version__
from pipeline.csv_text.files import shown
from pipeline.csv_text.messages import printable
from pipeline.engine.progress import Progress
from pipeline.outputs.checks import Check
from pipeline.outputs.run_totals import RunTotals
from pipeline.settings import Settings
from pipeline.steps.plan import Plan
from pipeline.storage.remote import is_remote

# Increase this when a key of the report is renamed or removed, or changes its meaning.
FORMAT = 3
_BYTE = re.compile("[\udc80-\udcff]")  # an invalid byte in a name
_PACKAGES = ("dask", "distributed", "pandas", "pyarrow", "matplotlib", "isal")


@dataclass(frozen=True)
class Report:
    """What a run returns: the table of results, totals, checks, warnings, outputs, seconds."""

    spending: pd.DataFrame
    totals: RunTotals
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    outputs: tuple[str, ...]
    seconds: float


@dataclass
class RunLog:
    """Collects the notes, warnings and stage times of a run, and writes its report."""

    settings: Settings
    progress: Progress = field(default_factory=Progress)
    run_id: str = field(default_factory=lambda: uuid4().hex)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    _begin: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._begin

    def warn(self, message: str) -> None:
        """Show a warning as part of the progress, and keep it for the report."""
        self.warnings.append(message)
        self.progress.say(f"warning: {printable(message)}")

    def note_published(self) -> None:
        """Note that the outputs are in place: later failures do not change them."""
        self.progress.published = True

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time a part of the run."""
        begin = time.perf_counter()
        yield
        self.stages[name] = round(time.perf_counter() - begin, 3)

    def note_plan(self, plan: Plan) -> None:
        """Show the plan as part of the progress; note the join and the input files."""
        self.progress.say(str(plan))
        self.notes["join"] = plan.join
        self.notes["inputs"] = {
            source.name: [
                {"file": file.name, "bytes": file.size, "modified": file.version.modified}
                for file in source.files
            ]
            for source in plan.tables
        }

    def write_complete(
        self,
        path: Path,
        plan: Plan,
        totals: RunTotals,
        checks: Sequence[Check],
        spending: pd.DataFrame,
    ) -> None:
        """Write the report of a run that succeeded."""
        found = {
            "bytes_per_second": round(plan.bytes / self.seconds),
            "records_per_second": round(totals.records_written / self.seconds),
            "totals": asdict(totals),
            "checks": [asdict(check) for check in checks],
            "age_groups": spending.to_dict("records"),
        }
        self._write(path, "complete", found)

    def write_failed(self, path: Path, error: BaseException) -> None:
        """Write the report of a run that failed."""
        self._write(path, "failed", {"error": f"{error}" or type(error).__name__})

    def _write(self, path: Path, status: str, found: dict[str, Any]) -> None:
        report = {
            "format": FORMAT,
            "status": status,
            "run_id": self.run_id,
            "started": self.started.isoformat(timespec="milliseconds"),
            "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "seconds": round(self.seconds, 3),
            "stages": self.stages,
            "host": socket.gethostname(),
            "settings": _spell_settings(self.settings),
            **self.notes,
            **found,
            "warnings": self.warnings,
            "versions": {
                "age-group-spending": __version__,
                "python": platform.python_version(),
                **{package: version(package) for package in _PACKAGES},
            },
        }
        text = json.dumps(report, indent=2, ensure_ascii=False, default=_plain)
        # In JSON, the backslash of the printable form has to be escaped.
        text = _BYTE.sub(lambda byte: f"\\{printable(byte[0])}", text)
        path.write_text(f"{text}\n", encoding="utf-8")


def _spell_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings, without the passwords and signatures in URLs."""
    spelled = asdict(settings)
    for name in ("customers", "purchases"):
        spelled[name] = [shown(path) if is_remote(path) else path for path in spelled[name]]
    return spelled


def _plain(value: object) -> str:
    # Decimals become text: JSON readers parse numbers as floats.
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
