"""Workers that hold what others need may be killed at any time."""

from __future__ import annotations

import gzip
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support.clusters import Acting, holders, local_cluster
from support.data import make_data
from support.processes import wait_until

from pipeline import Settings, run
from pipeline.outputs.names import COMBINED

pytestmark = [pytest.mark.cluster, pytest.mark.slow("workers that hold results")]

CUSTOMERS, PURCHASES = 100_000, 1_000_000


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tables, plain and in gzip files."""
    folder = tmp_path_factory.mktemp("tables")
    make_data(folder, CUSTOMERS, PURCHASES)
    for name in ("customers", "purchases"):
        (folder / f"{name}.csv.gz").write_bytes(
            gzip.compress((folder / f"{name}.csv").read_bytes(), 1)
        )
    return folder


def settings_of(tables: Path, kind: str, folder: Path) -> Settings:
    end = {"plain": ".csv", "gz": ".csv.gz"}[kind]
    inputs = (str(tables / f"customers{end}"),), (str(tables / f"purchases{end}"),)
    return Settings(*inputs, str(folder), block_size=1 << 20, join="broadcast", fsync=False)


@pytest.fixture(scope="module")
def expected(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The combined table of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("quiet")
    with local_cluster(1) as client:
        run(settings_of(tables, "plain", folder), client)
    return (folder / COMBINED).read_bytes()


def test_a_worker_killed_with_unpacked_blocks_changes_no_byte(
    tmp_path: Path, tables: Path, expected: bytes
) -> None:
    settings = settings_of(tables, "gz", tmp_path)
    with local_cluster(2) as client:

        def kill() -> None:
            victims = holders(client, "unpack-")[:1]
            assert victims
            client.run(os._exit, 1, workers=victims, on_error="ignore")

        run(settings, client, Acting(10, kill))

    assert (tmp_path / COMBINED).read_bytes() == expected


def test_a_worker_killed_while_the_rest_is_written_changes_no_byte(
    tmp_path: Path, tables: Path, expected: bytes
) -> None:
    settings = settings_of(tables, "plain", tmp_path)
    settings = replace(settings, block_size=200_000)  # so that the rest has several slices
    with local_cluster(2) as client:

        def kill() -> None:
            wait_until(lambda: bool(holders(client, "matched")))
            client.run(os._exit, 1, workers=holders(client)[:1], on_error="ignore")

        with ThreadPoolExecutor(1) as pool:
            killed = pool.submit(kill)
            run(settings, client)
            killed.result()

    assert (tmp_path / COMBINED).read_bytes() == expected
