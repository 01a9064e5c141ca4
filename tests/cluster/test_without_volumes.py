"""Containers that share no folder: inputs and outputs lie in a real object store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.containers import (
    SAME_BYTES,
    Stack,
    docker,
    host_address,
    inspect,
    is_healthy,
    local_bytes,
    logs,
    need_docker,
)
from support.data import make_data
from support.paths import REPOSITORY
from support.processes import wait_until
from support.store import Bucket, Prefix, proxy
from support.watch import Watch

from pipeline.outputs.names import FAILED, REPORT

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return local_bytes(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def inputs(bucket: Bucket) -> Prefix:
    prefix = bucket.new_prefix()
    prefix.write_inputs(REPOSITORY / "data")
    return prefix


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, bucket: Bucket) -> Iterator[Stack]:
    """A cluster whose containers reach the store, and nothing of this machine's disk."""
    need_docker()
    files = "docker-compose.yml", "scripts/cluster/object-store.yml"
    with (
        proxy(host_address("bridge")) as server,
        Stack(tmp_path_factory.mktemp("clone"), *files, AWS_ENDPOINT_URL=server.url) as stack,
    ):
        stack.build()
        stack.compose("up", "--detach", "worker")
        yield stack


def options(inputs: Prefix, out: str, block_size: str = "16KiB") -> list[str]:
    return [
        *("--customers", f"{inputs.url}/customers.csv"),
        *("--purchases", f"{inputs.url}/purch*.csv"),
        *("--output-dir", out, "--block-size", block_size),
    ]


def test_workers_and_job_have_no_volume(stack: Stack) -> None:
    for container in stack.ids("worker"):
        assert {mount["Type"] for mount in inspect(container)["Mounts"]} <= {"tmpfs"}


def test_four_workers_write_the_bytes_of_a_local_run(
    stack: Stack, inputs: Prefix, prefix: Prefix, expected: dict[str, bytes]
) -> None:
    stack.compose("up", "--detach", "--scale", "worker=4", "worker")

    done = stack.job(*options(inputs, prefix.url))

    assert done.returncode == 0, done.stderr
    assert {name: prefix.read(name) for name in SAME_BYTES} == expected
    assert prefix.names() == {*SAME_BYTES, REPORT}
    assert prefix.uploads() == 0
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    said = [done.stdout, done.stderr, prefix.read(REPORT).decode()]
    said += [logs(one) for one in stack.ids("worker") + stack.ids("scheduler")]
    assert all(secret not in text for text in said)


def test_the_challenge_from_store_to_store(
    stack: Stack, bucket: Bucket, prefix: Prefix, challenge: Path, tmp_path: Path
) -> None:
    inputs = bucket.new_prefix()
    inputs.write_inputs(challenge)
    expected = local_bytes(tmp_path, challenge)
    two_workers(stack)

    done = stack.job(*options(inputs, prefix.url))

    assert done.returncode == 0, done.stderr
    assert {name: prefix.read(name) for name in SAME_BYTES} == expected


def two_workers(stack: Stack) -> list[str]:
    """Return the containers of two workers, all well."""
    stack.compose("up", "--detach", "--scale", "worker=2", "worker")
    wait_until(lambda: all(map(is_healthy, stack.ids("worker"))))
    return stack.ids("worker")


def test_a_worker_that_is_lost_while_it_reads_changes_nothing(
    stack: Stack, inputs: Prefix, prefix: Prefix, expected: dict[str, bytes]
) -> None:
    two_workers(stack)
    with Watch(stack, "purchases", share=0.2) as watch:
        job = stack.start_job(*options(inputs, prefix.url, block_size="2KiB"))
        victim = watch.wait_for_phase()[0]
        docker("kill", victim)
        watch.wait_for_loss(victim)

    _, messages = job.communicate(timeout=300)
    assert job.returncode == 0, messages
    assert {name: prefix.read(name) for name in SAME_BYTES} == expected
    assert prefix.names() == {*SAME_BYTES, REPORT}


def test_a_worker_that_is_lost_while_it_uploads_blocks_changes_nothing(
    stack: Stack, bucket: Bucket, prefix: Prefix, tmp_path: Path
) -> None:
    make_data(tmp_path / "data", customers=600_000, purchases=4_000_000)
    inputs = bucket.new_prefix()
    inputs.write_inputs(tmp_path / "data")
    expected = local_bytes(tmp_path / "out", tmp_path / "data")
    workers = two_workers(stack)
    job = stack.start_job(*options(inputs, prefix.url, block_size="8MiB"))
    wait_until(lambda: any("/block-" in name for name in prefix.names()))
    docker("kill", workers[0])

    _, messages = job.communicate(timeout=300)
    assert job.returncode == 0, messages
    assert {name: prefix.read(name) for name in SAME_BYTES} == expected
    assert prefix.names() == {*SAME_BYTES, REPORT}
    assert prefix.uploads() == 0


def test_a_worker_without_credentials_is_named(
    stack: Stack, inputs: Prefix, prefix: Prefix
) -> None:
    network = f"{stack.name}_cluster"
    image = inspect(stack.ids("worker")[0])["Config"]["Image"]
    endpoint = stack._environment["AWS_ENDPOINT_URL"]
    stack.compose("up", "--detach", "--scale", "worker=1", "worker")
    other = docker(
        *("run", "--detach", "--rm", "--network", network, "--env", f"AWS_ENDPOINT_URL={endpoint}"),
        *("--env", "AWS_EC2_METADATA_DISABLED=true", image),
        *("dask", "worker", "tcp://scheduler:8786", "--nworkers=1", "--nthreads=1"),
    )
    try:
        wait_until(lambda: "Registered to" in logs(other))
        done = stack.job("--quiet", *options(inputs, prefix.url))
    finally:
        docker("rm", "--force", other)

    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 3
    assert "worker tcp://" in error
    assert "no credentials" in error
    assert prefix.names() == {FAILED}
