"""Runs on an object store that are killed, cut off or refused: old outputs or new ones, whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.paths import REPOSITORY
from support.processes import INTERRUPTIBLE, wait_until
from support.store import Bucket, Prefix, proxy
from support.warm import run_command

from pipeline.outputs.names import CHART, COMBINED, FAILED, REPORT, SPENDING

pytestmark = pytest.mark.slow("faults of a store")

COMPLETE = {COMBINED, SPENDING, CHART, REPORT}
# The command, but it does not wait long before it asks a store again.
IMPATIENT = """
from pipeline.storage import remote
remote._WAITS = (0, 1)
from pipeline.cli.command import main
main(prog_name="python -m pipeline")
"""


def words(prefix: Prefix, *options: str) -> list[str]:
    """Return the options of a job on the sample."""
    data = REPOSITORY / "data"
    return [
        *("--customers", str(data / "customers.csv"), "--purchases", str(data / "purchases.csv")),
        *("--output-dir", prefix.url, "--dashboard-address", "127.0.0.1:0", "--quiet", *options),
    ]


def job(
    prefix: Prefix, *options: str, python: Sequence[str] = ("-m", "pipeline"), **environment: str
) -> subprocess.Popen[str]:
    """Start the job as a user would."""
    return subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, *python, *words(prefix, *options)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a job; return its exit code and its one line."""
    _, messages = process.communicate(timeout=200)
    return process.returncode, one_line(messages)


def run(prefix: Prefix, *options: str, **environment: str) -> tuple[int, str]:
    """Run the job; return its exit code and its one line."""
    ended = run_command(REPOSITORY, *words(prefix, *options), environment=environment)
    return ended.returncode, one_line(ended.stderr)


def one_line(messages: str) -> str:
    """Return the one line of the messages, if there is any; it has no secret."""
    lines = [line for line in messages.splitlines(keepends=True) if line.strip()]
    assert len(lines) <= 1, messages
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in messages
    return "".join(lines)


def test_a_second_run_is_refused_while_the_first_one_lives(prefix: Prefix) -> None:
    first = job(prefix, "--block-size", "1KiB")
    wait_until(lambda: any("/block-" in name for name in prefix.names()), first)

    code, message = run(prefix)

    assert code == 2
    assert message == (
        f"error: {prefix.url}: another run is writing its outputs here; wait for it, or choose "
        "another prefix with --output-dir\n"
    )
    assert end(first) == (0, "")


@pytest.mark.slow("waits for the death of a lock")
def test_the_next_run_takes_over_from_one_that_was_killed(prefix: Prefix) -> None:
    first = job(prefix, "--block-size", "4KiB")
    wait_until(lambda: any("/block-" in name for name in prefix.names()), first)
    first.kill()
    first.communicate()
    assert prefix.uploads() == 1

    assert run(prefix) == (0, "")

    assert prefix.names() == COMPLETE
    assert prefix.uploads() == 0
    expected = (REPOSITORY / "outputs" / COMBINED).read_bytes()
    assert prefix.read(COMBINED) == expected


def test_an_interrupted_run_leaves_nothing(prefix: Prefix) -> None:
    process = job(prefix, "--block-size", "4KiB")
    wait_until(lambda: any("/block-" in name for name in prefix.names()), process)
    process.send_signal(signal.SIGINT)

    code, message = end(process)

    assert (code, message) == (130, "error: interrupted; the outputs are unchanged\n")
    assert prefix.uploads() == 0
    assert {name for name in prefix.names() if not name.startswith(".unfinished-")} == {FAILED}


def test_a_store_that_hangs_for_a_while_is_waited_for(prefix: Prefix) -> None:
    with proxy() as server:
        process = job(prefix, "--block-size", "4KiB", AWS_ENDPOINT_URL=server.url)
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
        python = "-c", IMPATIENT
        process = job(prefix, "--block-size", "4KiB", python=python, AWS_ENDPOINT_URL=server.url)
        wait_until(lambda: any("/block-" in name for name in prefix.names()), process)
        server.lose()
        code, message = end(process)
    assert code == 4
    assert "the store does not respond; is AWS_ENDPOINT_URL right?" in message
    assert not COMPLETE & prefix.names()

    assert run(prefix) == (0, "")
    assert prefix.names() == COMPLETE
    assert prefix.uploads() == 0


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "the secret key is wrong"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "the store does not know this access key"),
        ({"AWS_ENDPOINT_URL": "nothing"}, "AWS_ENDPOINT_URL is not a URL"),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "the store does not respond; is AWS_ENDPOINT_URL right?",
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
        ({"AWS_PROFILE": "nobody"}, "AWS_PROFILE names an unknown profile"),
    ],
)
def test_what_is_set_wrong_is_told_in_one_line(
    prefix: Prefix, environment: dict[str, str], message: str
) -> None:
    code, line = run(prefix, **environment)

    assert code == (4 if "does not respond" in message else 2)
    assert line.startswith(f"error: {prefix.url}")
    assert message in line
    assert "wrong-secret" not in line


def test_a_bucket_that_does_not_exist_is_told_in_one_line(prefix: Prefix) -> None:
    code, line = run(prefix, "--output-dir", "s3://no-such-bucket/out")
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


@pytest.mark.parametrize(
    ("action", "expected"),
    [("PutObject", 2), ("ListMultipartUploadParts", 2), ("GetObject", 4)],  # asked for by a task
)
def test_a_right_that_lacks_is_named(
    prefix: Prefix, denying: Any, action: str, expected: int
) -> None:
    assert run(prefix) == (0, "")
    before = prefix.contents()
    denying(prefix, action)

    code, line = run(prefix)

    assert code == expected
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
    code, line = run(prefix, *options)

    assert code == 2
    assert f"{prefix.url}/purchases.csv" in line
    assert "access is denied to these credentials" in line
