"""Commits to an object store that are killed or cut off: old outputs or new ones, whole.

A process that has everything imported forks once for each commit, so that many kills are cheap.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from support.paths import TESTS_PATH
from support.store import Prefix, proxy

from pipeline.errors import StorageError
from pipeline.outputs import object_lock
from pipeline.outputs.names import CHART, COMBINED, FAILED, REPORT, SPENDING
from pipeline.outputs.object_stage import ObjectStage
from pipeline.outputs.report import RunLog
from pipeline.outputs.staging import stage_outputs
from pipeline.settings import Settings
from pipeline.storage import objects, remote

pytestmark = pytest.mark.slow("faults of a store")

# A commit makes some thirty requests: so many are passed over between two that fail.
KILL_EACH, FAULT_EACH = 3, 5
COMPLETED = "was interrupted while publishing its outputs; this run has completed them"
COMPLETE = {COMBINED, SPENDING, CHART, REPORT}

# Publishes a few bytes in a fork for each line, which is a number of requests to the store: before
# the next one, counted from the commit on, it dies. Prints how it ended.
DRIVER = """
import os, signal, sys
import botocore.session
from outputs.test_store_commit import before_request, publish

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        die = lambda: os.kill(os.getpid(), signal.SIGKILL)
        publish(sys.argv[1], "new", lambda: before_request(int(line), die))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def before_request(number: int, act: Callable[[], object]) -> Callable[[], int]:
    """Call `act` before a request to the store, which are counted from 0 from now on.

    Return a function that ends this, and returns how many requests there were.
    """
    requests: list[int] = []

    def count(**_: object) -> None:
        if len(requests) == number:
            act()
        requests.append(1)

    events = objects._client().meta.events
    events.register("before-call.s3", count)

    def end() -> int:
        events.unregister("before-call.s3", count)
        return len(requests)

    return end


def publish(
    url: str, word: str, before_commit: Callable[[], object], log: RunLog | None = None
) -> None:
    with stage_outputs(url, fsync=True, log=log or RunLog(Settings())) as stage:
        assert isinstance(stage, ObjectStage)
        stage.combined(b"", 0)
        stage.upload.put(1, f"{word} {COMBINED}".encode())
        for name in (SPENDING, CHART):
            (stage / name).write_text(f"{word} {name}")
        (stage / REPORT).write_text(json.dumps({"word": word}))
        before_commit()


def next_run(prefix: Prefix) -> tuple[str, str]:
    """Let the next run fail; return whose outputs there are then, and its warning, or none.

    Nothing but outputs is left then.
    """
    log = RunLog(Settings())
    with pytest.raises(RuntimeError), stage_outputs(prefix.url, fsync=True, log=log):
        raise RuntimeError
    assert prefix.names() == {*COMPLETE, FAILED}
    assert prefix.uploads() == 0
    assert json.loads(prefix.read(FAILED))["error"] == "RuntimeError"
    return state(prefix), ", ".join(log.warnings)


@pytest.fixture
def publish_and_die(prefix: Prefix) -> Iterator[Callable[[int], int]]:
    """Publish in another process, which dies before so many requests; return how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, prefix.url],
        env={**os.environ, "PYTHONPATH": TESTS_PATH},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdin
    assert process.stdout
    with process, process.stdin as asked, process.stdout as told:

        def publish_and_die(steps: int) -> int:
            asked.write(f"{steps}\n")
            return int(told.readline())

        yield publish_and_die


def state(prefix: Prefix) -> str:
    """Return whose outputs there are: `old`, `new`, or `none` without a report."""
    if REPORT not in prefix.names():
        return "none"
    report = json.loads(prefix.read(REPORT))
    word = str(report["word"])
    for name in (COMBINED, SPENDING, CHART):
        assert prefix.read(name) == f"{word} {name}".encode()
        assert report["outputs"][name]["etag"] == prefix.etag(name)
    return word


def test_a_kill_before_a_request_of_the_commit(
    prefix: Prefix, publish_and_die: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_lock, "_DEAD", 0)
    left: list[str] = []
    later: list[str] = []
    ended = -signal.SIGKILL
    while ended == -signal.SIGKILL:
        publish(prefix.url, "old", lambda: None)
        ended = publish_and_die(KILL_EACH * len(left))
        left.append(state(prefix))

        # The next run completes what was committed, and clears what was not, before its work.
        word, warning = next_run(prefix)
        later.append(word)
        assert (COMPLETED in warning) == (word != left[-1]) or left[-1] == word == "new"

    assert ended == 0
    # The old outputs, none while objects are put in place, then the new ones.
    assert left == sorted(left, key=["old", "none", "new"].index)
    assert later == sorted(later, key=["old", "new"].index)
    assert {*zip(left, later, strict=True)} == {
        ("old", "old"),
        ("old", "new"),
        ("none", "new"),
        ("new", "new"),
    }


def test_a_store_that_is_lost_in_the_commit_leaves_it_to_the_next_run(
    prefix: Prefix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_lock, "_DEAD", 0)
    monkeypatch.setattr(remote, "_WAITS", (0, 0))
    seen = []
    for number in itertools.count(step=FAULT_EACH):
        publish(prefix.url, "old", lambda: None)
        log, requests = RunLog(Settings()), 0
        message = ""
        with proxy() as server, endpoint(server.url, monkeypatch):
            ends: list[Callable[[], int]] = []

            def start(ends: list[Callable[[], int]] = ends, number: int = number) -> None:
                ends.append(before_request(number, server.lose))

            try:
                publish(prefix.url, "new", start, log)
            except StorageError as error:
                message = str(error)
            requests = ends[0]()
        left = state(prefix)
        word, warning = next_run(prefix)
        if requests <= number:
            break
        if "the outputs cannot be put in place: the store does not respond" in message:
            assert (
                f"; if '.finished' reached the store, the next run into {prefix.url} completes this"
                in message
            )
            # A store that was lost before the commit reached it has none.
            assert (word, COMPLETED in warning) in [("old", False), ("new", True)]
            seen.append(word)
        elif message:
            assert "outputs cannot be written here: the store does not respond" in message
            assert (left, word, warning) == ("old", "old", "")
            assert not seen
        else:
            assert (left, word) == ("new", "new")
        assert log.progress.published == (not message)
    assert message == ""
    assert seen == sorted(seen, key=["old", "new"].index)
    assert "new" in seen


def test_a_store_that_breaks_off_in_the_commit_is_asked_again(
    prefix: Prefix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_WAITS", (0, 0))
    for number in itertools.count(step=FAULT_EACH):
        with proxy() as server, endpoint(server.url, monkeypatch):
            ends: list[Callable[[], int]] = []

            def start(ends: list[Callable[[], int]] = ends, number: int = number) -> None:
                ends.append(before_request(number, server.cut))

            log = RunLog(Settings())
            publish(prefix.url, "new", start, log)
            requests = ends[0]()
        assert state(prefix) == "new"
        assert (prefix.names(), log.warnings) == (COMPLETE, [])
        if requests <= number:
            break


@contextmanager
def endpoint(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have this process reach the store by another address."""
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        objects._client.cache_clear()
        yield
    objects._client.cache_clear()


def test_a_commit_that_the_store_has_dropped_changes_nothing(prefix: Prefix) -> None:
    """As a lifecycle rule does, if the next run comes after days."""
    publish(prefix.url, "old", lambda: None)
    plan = {"place": "gone/", "upload": "gone", "parts": 1, "bytes": 1, "small": []}
    prefix.write(".finished", json.dumps(plan).encode())

    word, warning = next_run(prefix)

    assert word == "old"
    assert "no longer has them; run that job again" in warning


def test_an_interrupt_in_the_commit_waits_for_its_end(prefix: Prefix) -> None:
    for number in itertools.count():
        publish(prefix.url, "old", lambda: None)
        log = RunLog(Settings())
        ends: list[Callable[[], int]] = []

        def start(ends: list[Callable[[], int]] = ends, number: int = number) -> None:
            ends.append(before_request(number, lambda: signal.raise_signal(signal.SIGINT)))

        with suppress(KeyboardInterrupt):
            publish(prefix.url, "new", start, log)
        if ends[0]() <= number:
            break
        assert state(prefix) == ("new" if log.progress.published else "old")
        assert (FAILED in prefix.names()) != log.progress.published
