"""A whole run that shuffles: by files and by the network, with quotes, and on a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster
from support.disks import mounted
from support.paths import REPOSITORY
from support.processes import wait_until
from support.runs import run

from pipeline import Settings
from pipeline.engine.cluster import connect
from pipeline.errors import StorageError
from pipeline.outputs.names import COMBINED, FAILED, SPENDING
from pipeline.settings import ClusterSettings
from pipeline.steps import sizes

SAME_BYTES = (COMBINED, SPENDING)
MIB = 1 << 20


@pytest.fixture(autouse=True, scope="module")
def small_partitions() -> Iterator[None]:
    """Have several partitions without a hundred megabytes for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "_LEAST_PARTITION", 4 * MIB)
        patch.setattr(sizes, "_LARGEST_PARTITION", 4 * MIB)
        yield


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of several partitions, with a hot id, missing ids, and quotes in some places."""
    folder = tmp_path_factory.mktemp("inputs")
    rows, product = 360_000, 40 * "x"
    with (folder / "purchases.csv").open("w") as file:
        file.write("customer_id,product,price\n")
        for row in range(rows):
            id = "77" if row % 3 == 0 else "" if row % 50 == 1 else row % 20_000
            thing = f'"{row}\n{product}"' if row % 10_000 == 9_999 else product
            file.write(f"{id},{thing},{row % 977}.25\n")
    with (folder / "customers.csv").open("w") as file:
        file.write("customer_id,first_name,last_name,age\n")
        file.writelines(f"{row % 29_000},A,B,{row % 90}\n" for row in range(30_000))
    return folder


def outputs(inputs: Path, folder: Path, client: Client, join: str) -> dict[str, bytes]:
    settings = Settings(
        customers=(str(inputs / "customers.csv"),),
        purchases=(str(inputs / "purchases.csv"),),
        output_dir=str(folder),
        join=join,  # type: ignore[arg-type]
        block_size=MIB,
        fsync=False,
    )
    run(settings, client)
    return {name: (folder / name).read_bytes() for name in SAME_BYTES}


@pytest.fixture(scope="module")
def shuffled(
    inputs: Path, client: Client, small_partitions: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    return outputs(inputs, tmp_path_factory.mktemp("shuffled"), client, "shuffle")


def test_the_rows_are_those_of_a_broadcast_join(
    inputs: Path, client: Client, tmp_path: Path, shuffled: dict[str, bytes]
) -> None:
    broadcast = outputs(inputs, tmp_path, client, "broadcast")

    assert sorted(shuffled[COMBINED].splitlines()) == sorted(broadcast[COMBINED].splitlines())
    assert shuffled[COMBINED] != broadcast[COMBINED]
    assert shuffled[SPENDING] == broadcast[SPENDING]


def test_the_bytes_are_the_same_in_each_run(
    inputs: Path, client: Client, tmp_path: Path, shuffled: dict[str, bytes]
) -> None:
    assert outputs(inputs, tmp_path, client, "shuffle") == shuffled


def test_the_bytes_are_the_same_by_the_network(
    inputs: Path, client: Client, tmp_path: Path, shuffled: dict[str, bytes]
) -> None:
    """A client that has not started the cluster cannot know that it is on one machine."""
    with Client(client.scheduler.address) as other:
        assert outputs(inputs, tmp_path, other, "shuffle") == shuffled


@pytest.mark.cluster
@pytest.mark.slow("more workers")
def test_the_bytes_are_the_same_in_several_processes(
    inputs: Path, tmp_path: Path, shuffled: dict[str, bytes]
) -> None:
    settings = ClusterSettings(workers=2, dashboard_address="127.0.0.1:0")
    with connect(settings) as client:
        found = outputs(inputs, tmp_path, client, "shuffle")

    assert found == shuffled


@pytest.mark.cluster
@pytest.mark.parametrize(
    "phase",
    [
        pytest.param(phase, marks=pytest.mark.slow("lost clusters"))
        for phase in ("customers", "purchases")
    ],
)
def test_a_process_that_is_killed_loses_no_piece(
    inputs: Path, tmp_path: Path, shuffled: dict[str, bytes], phase: str
) -> None:
    settings = ClusterSettings(workers=2, dashboard_address="127.0.0.1:0")
    with (
        dask.config.set({"temporary-directory": str(tmp_path)}),
        connect(settings) as client,
        ThreadPoolExecutor() as pool,
    ):
        victim = next(iter(client.run(os.getpid).values()))

        def kill() -> None:
            wait_until(lambda: any(tmp_path.rglob(f"pieces-*/{phase}/*[0-9]")))
            os.kill(victim, signal.SIGKILL)

        killed = pool.submit(kill)
        found = outputs(inputs, tmp_path / "outputs", client, "shuffle")
        killed.result()

    assert found == shuffled


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "4m") as folder:
        yield folder


def test_a_full_disk_to_spill_to_is_one_line_and_publishes_nothing(
    inputs: Path, tmp_path: Path, small_disk: Path
) -> None:
    folder = tmp_path / "outputs"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline", "--quiet", "--dashboard-address", "127.0.0.1:0"),
            *("--customers", str(inputs / "customers.csv")),
            *("--purchases", str(inputs / "purchases.csv")),
            *("--output-dir", str(folder), "--join", "shuffle", "--block-size", "1MiB"),
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "DASK_TEMPORARY_DIRECTORY": str(small_disk),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (4, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {small_disk}/dask-scratch-space/")
    assert "No space left on device" in line
    assert [path.name for path in folder.iterdir()] == [FAILED]
    assert not list(small_disk.rglob("pieces-*"))


def test_a_full_disk_that_dask_shuffles_on(inputs: Path, tmp_path: Path, small_disk: Path) -> None:
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            dashboard_address="127.0.0.1:0",
            local_directory=str(small_disk),
        ) as cluster,
        Client(cluster.scheduler_address) as client,
        pytest.raises(StorageError) as caught,
    ):
        outputs(inputs, tmp_path / "outputs", client, "shuffle")

    assert str(caught.value).startswith(
        "the shuffle's temporary folder: No space left on device (on a worker); "
    )
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == [FAILED]
