"""Runs on an object store that are killed, cut off or refused: old outputs or new ones, whole.

A process that has everything imported forks once for each run, so that many kills are cheap.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.paths import REPOSITORY
from support.processes import INTERRUPTIBLE, wait_until
from support.store import Bucket, Prefix, proxy

from pipeline.outputs import object_lock
from pipeline.outputs.object_staging import staged_objects
from pipeline.outputs.staging import CHART, COMBINED, REPORT, SPENDING

pytestmark = pytest.mark.slow("faults of a store")

COMPLETE = {COMBINED, SPENDING, CHART, REPORT}

# Publishes a few bytes in a fork for each line, which is a number of requests to the store: before
# the next one, counted from the commit on, it dies. Prints how it ended.
DRIVER = """
import os, signal, sys
import botocore.session
from pipeline.engine import objects
from job.test_store_faults import publish

for line in sys.stdin:
    left = []

    def count(**_):
        if left:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

    child = os.fork()
    if child == 0:
        objects._client().meta.events.register("before-call.s3", count)
        publish(sys.argv[1], "new", lambda: left.append(int(line)))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def publish(url: str, word: str, before_commit: Callable[[], object]) -> None:
    with staged_objects(url) as stage:
        stage.combined(b"", ())
        assert stage.upload
        stage.upload.put(1, f"{word} {COMBINED}".encode())
        for name in (SPENDING, CHART):
            (stage / name).write_text(f"{word} {name}")
        (stage / REPORT).write_text(json.dumps({"word": word}))
        before_commit()


@pytest.fixture
def publish_and_die(prefix: Prefix) -> Iterator[Callable[[int], int]]:
    """Publish in another process, which dies before so many requests; return how it ended."""
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, prefix.url],
        env={**os.environ, "PYTHONPATH": paths},
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


def test_a_kill_before_any_request_of_the_commit(
    prefix: Prefix, publish_and_die: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_lock, "_DEAD", 0)
    left: list[str] = []
    next_left: list[str] = []
    ended = -signal.SIGKILL
    while ended == -signal.SIGKILL:
        publish(prefix.url, "old", lambda: None)
        ended = publish_and_die(len(left))
        left.append(state(prefix))

        # The next run completes what was committed, and clears what was not, before its work.
        with pytest.raises(RuntimeError), staged_objects(prefix.url):
            raise RuntimeError
        next_left.append(state(prefix))
        assert prefix.names() == COMPLETE
        assert prefix.uploads() == 0

    assert ended == 0
    # The old outputs, none while objects are put in place, then the new ones.
    assert left == sorted(left, key=["old", "none", "new"].index)
    assert set(left) == {"old", "none", "new"}
    assert next_left == sorted(next_left, key=["old", "new"].index)
    # The old report is there for two requests after the commit.
    assert next_left.count("old") == left.count("old") - 2


def job(prefix: Prefix, *options: str, **environment: str) -> subprocess.Popen[str]:
    """Start the job on the sample as a user would."""
    data = REPOSITORY / "data"
    words = [
        *("--customers", str(data / "customers.csv"), "--purchases", str(data / "purchases.csv")),
        *("--output-dir", prefix.url, "--dashboard-address", "127.0.0.1:0", "--quiet", *options),
    ]
    return subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, "-m", "pipeline", *words],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a job; return its exit code and its one line."""
    _, messages = process.communicate(timeout=200)
    lines = [line for line in messages.splitlines(keepends=True) if line.strip()]
    assert len(lines) <= 1, messages
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in messages
    return process.returncode, "".join(lines)


def test_a_second_run_is_refused_while_the_first_one_lives(prefix: Prefix) -> None:
    first = job(prefix, "--block-size", "1KiB")
    wait_until(lambda: any("/block-" in name for name in prefix.names()), first)

    code, message = end(job(prefix))

    assert code == 2
    assert message == (
        f"error: {prefix.url}: another run writes its outputs here; wait for it, or name another "
        "prefix with --output-dir\n"
    )
    assert end(first) == (0, "")


@pytest.mark.slow("waits for the death of a lock")
def test_the_next_run_takes_over_from_one_that_was_killed(prefix: Prefix) -> None:
    first = job(prefix, "--block-size", "1KiB")
    wait_until(lambda: any("/block-" in name for name in prefix.names()), first)
    first.kill()
    first.communicate()
    assert prefix.uploads() == 1

    assert end(job(prefix)) == (0, "")

    assert prefix.names() == COMPLETE
    assert prefix.uploads() == 0
    expected = (REPOSITORY / "outputs" / COMBINED).read_bytes()
    assert prefix.read(COMBINED) == expected


def test_an_interrupted_run_leaves_nothing(prefix: Prefix) -> None:
    process = job(prefix, "--block-size", "1KiB")
    wait_until(lambda: any("/block-" in name for name in prefix.names()), process)
    process.send_signal(signal.SIGINT)

    code, message = end(process)

    assert (code, message) == (130, "error: interrupted; the outputs are as they were\n")
    assert prefix.uploads() == 0
    assert {name for name in prefix.names() if not name.startswith(".unfinished-")} == set()


def test_a_store_that_hangs_for_a_while_is_waited_for(prefix: Prefix) -> None:
    with proxy() as server:
        process = job(prefix, "--block-size", "1KiB", AWS_ENDPOINT_URL=server.url)
        wait_until(lambda: any("/block-" in name for name in prefix.names()), process)
        server.hang()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        server.cut()
        server.go_on()
        assert end(process) == (0, "")
    assert prefix.names() == COMPLETE


@pytest.mark.slow("a store that is lost")
def test_a_store_that_is_lost_ends_the_run_in_one_line(prefix: Prefix) -> None:
    with proxy() as server:
        process = job(prefix, "--block-size", "1KiB", AWS_ENDPOINT_URL=server.url)
        wait_until(lambda: any("/block-" in name for name in prefix.names()), process)
        server.lose()
        code, message = end(process)
    assert code == 4
    assert "the store does not answer; is AWS_ENDPOINT_URL right?" in message
    assert not COMPLETE & prefix.names()

    assert end(job(prefix)) == (0, "")
    assert prefix.names() == COMPLETE
    assert prefix.uploads() == 0


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "the secret key is wrong"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "the store does not know this access key"),
        ({"AWS_ENDPOINT_URL": "nothing"}, "AWS_ENDPOINT_URL is no address"),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "the store does not answer; is AWS_ENDPOINT_URL right?",
        ),
        (
            {
                "AWS_ACCESS_KEY_ID": "",
                "AWS_SECRET_ACCESS_KEY": "",
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_SHARED_CREDENTIALS_FILE": "none",
            },
            "no credentials; set AWS_ACCESS_KEY_ID",
        ),
        ({"AWS_PROFILE": "nobody"}, "AWS_PROFILE names no profile"),
    ],
)
def test_what_is_set_wrong_is_told_in_one_line(
    prefix: Prefix, environment: dict[str, str], message: str
) -> None:
    code, line = end(job(prefix, **environment))

    assert code == (4 if "does not answer" in message else 2)
    assert line.startswith(f"error: {prefix.url}")
    assert message in line
    assert "wrong-secret" not in line


def test_a_bucket_that_does_not_exist_is_told_in_one_line(prefix: Prefix) -> None:
    code, line = end(job(prefix, "--output-dir", "s3://no-such-bucket/out"))
    assert (code, line) == (
        2,
        "error: s3://no-such-bucket/out/.lock: outputs cannot be written here: "
        "there is no such bucket\n",
    )


@pytest.fixture
def denying(bucket: Bucket) -> Iterator[Any]:
    """Make the bucket deny some actions below a prefix, until the test ends."""

    def deny(prefix: Prefix, *actions: str) -> None:
        place = prefix.url.removeprefix("s3://")
        if not actions:
            bucket.client.delete_bucket_policy(Bucket=bucket.name)
            return
        statement = {
            "Effect": "Deny",
            "Principal": {"AWS": ["*"]},
            "Action": [f"s3:{action}" for action in actions],
            "Resource": f"arn:aws:s3:::{place}/*",
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))

    yield deny
    bucket.client.delete_bucket_policy(Bucket=bucket.name)


@pytest.mark.parametrize("action", ["PutObject", "GetObject", "ListMultipartUploadParts"])
def test_a_right_that_lacks_is_named(prefix: Prefix, denying: Any, action: str) -> None:
    assert end(job(prefix)) == (0, "")
    before = prefix.contents()
    denying(prefix, action)

    code, line = end(job(prefix))

    assert code == 2
    assert "access is denied to these credentials; allow " in line
    denying(prefix)
    after = {name: data for name, data in prefix.contents().items() if name in COMPLETE}
    assert after == before


def test_inputs_that_may_not_be_read_are_named(
    prefix: Prefix, denying: Any, tmp_path: Path
) -> None:
    prefix.write("purchases.csv", (REPOSITORY / "data" / "purchases.csv").read_bytes())
    denying(prefix, "GetObject")

    options = "--purchases", f"{prefix.url}/purchases.csv", "--output-dir", str(tmp_path)
    code, line = end(job(prefix, *options))

    assert code == 2
    assert f"{prefix.url}/purchases.csv" in line
    assert "access is denied to these credentials" in line
