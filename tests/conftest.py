"""Fixtures that several test modules use, the option --all, and the summary of what is left out."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from support import scale
from support.paths import REPOSITORY
from support.store import Bucket, Prefix, need_store

from pipeline.engine.cluster import connect
from pipeline.settings import ClusterSettings
from pipeline.steps import sizes

# Files whose tests take longest, in this order: they start first, so that no process of
# pytest-xdist is left alone with one of them at the end. Between two on containers are some that
# keep the other process busy, for they would take the cores from each other.
LONGEST = (
    "cluster/test_faults.py",
    "job/test_job.py",
    "job/test_store_faults.py",
    "outputs/test_store_commit.py",
    "job/test_clusters.py",
    "cluster/test_containers.py",
    "job/test_changed_inputs.py",
    "job/test_planted_errors.py",
    "cluster/test_without_volumes.py",
    "job/test_single_faults.py",
    "job/test_object_store.py",
    "job/test_killed.py",
    "engine/test_cluster.py",
    "engine/test_preflight.py",
    "steps/test_join.py",
    "cli/test_surroundings.py",
    "cli/test_command.py",
)
LEFT_OUT = pytest.StashKey[list[str]]()
NUMBERS = pytest.StashKey[dict[str, tuple[float, float]]]()


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A real local cluster: one worker with two threads, in this process."""
    settings = ClusterSettings(threads_per_worker=2, dashboard_address="127.0.0.1:0")
    with connect(settings) as client:
        yield client


@pytest.fixture(scope="session")
def challenge() -> Path:
    """The folder of the challenge's own data."""
    folder = os.environ.get("CHALLENGE_DATA")
    if not folder:
        pytest.skip("CHALLENGE_DATA does not name the folder")
    return Path(folder)


@pytest.fixture(scope="session")
def bucket() -> Iterator[Bucket]:
    """A bucket of a real S3 server."""
    with Bucket(need_store()) as bucket:
        yield bucket


@pytest.fixture
def prefix(bucket: Bucket) -> Prefix:
    """A prefix of that bucket, below which there is nothing."""
    return bucket.new_prefix()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have SIGINT interrupt this process, also where the tests were started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have several partitions in a shuffle of small tables."""
    monkeypatch.setattr(sizes, "_LEAST_PARTITION", 2048)
    monkeypatch.setattr(sizes, "_LARGEST_PARTITION", 2048)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --all."""
    parser.addoption("--all", action="store_true", help="run every test, at its full size")


def pytest_configure(config: pytest.Config) -> None:
    """Set the scale before test modules are imported, and where processes find the package."""
    # From this clone, wherever they start and whatever is installed.
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    scale.set_scale(config.getoption("all"))
    config.stash[LEFT_OUT] = []
    config.stash[NUMBERS] = scale.numbers


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only --all runs, and start with the longest."""
    items.sort(key=_place)
    if config.getoption("all"):
        return
    left_out = {item: reason for item in items if (reason := _reason(item))}
    config.stash[LEFT_OUT].extend(left_out.values())
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a process of pytest-xdist left out to the one that prints the summary."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = config.stash[LEFT_OUT]
        config.workeroutput["numbers"] = config.stash[NUMBERS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a process left out; each has collected the same tests."""
    found = getattr(node, "workeroutput", {})
    if "left_out" in found:
        node.config.stash[LEFT_OUT] = found["left_out"]
        node.config.stash[NUMBERS] = found["numbers"]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what was left out, and why."""
    lines = []
    left = config.stash[LEFT_OUT]
    if left_out := Counter(left):
        reasons = ", ".join(f"{reason} {count}" for reason, count in left_out.most_common())
        lines.append(f"only with --all: {left_out.total()} tests ({reasons})")
    fewer = [
        f"{number:g} of {everything:g} {what}"
        for what, (number, everything) in config.stash[NUMBERS].items()
        if number < everything
    ]
    if fewer:
        lines.append(f"fewer than with --all: {', '.join(fewer)}")
    skipped = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
    )
    lines += [f"skipped: {count} tests: {reason}" for reason, count in skipped.most_common()]
    terminalreporter.section("left out")
    for line in lines or ["nothing"]:
        terminalreporter.line(line)


def _place(item: pytest.Item) -> int:
    path = item.path.as_posix()
    return next((at for at, file in enumerate(LONGEST) if path.endswith(file)), len(LONGEST))


def _reason(item: pytest.Item) -> str:
    """Return why a test is only run with --all; empty for any other."""
    if item.get_closest_marker("container"):
        return "containers"
    marker = item.get_closest_marker("slow")
    return str(marker.args[0]) if marker else ""
