"""Workers that hold what others need may be killed at any time."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support.clusters import LOOKUP, Acting, holders, local_cluster
from support.data import make_data
from support.processes import wait_until

from pipeline import Settings, run
from pipeline.outputs.names import COMBINED

pytestmark = [pytest.mark.cluster, pytest.mark.slow("workers that hold results")]

CUSTOMERS, PURCHASES = 200_000, 2_000_000


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tables, plain; with quoted line ends, for a second pass; and in two gzip files."""
    folder = tmp_path_factory.mktemp("tables")
    make_data(folder, CUSTOMERS, PURCHASES)
    with (folder / "purchases.csv").open() as source, (folder / "quoted.csv").open("w") as target:
        target.write(next(source))
        for line in source:
            customer, _, rest = line.partition(",")
            product, _, price = rest.partition(",")
            target.write(f'{customer},"{product}\n""a"",b",{price}')
    for name in ("customers", "purchases"):
        (folder / f"{name}.csv.gz").write_bytes(
            gzip.compress((folder / f"{name}.csv").read_bytes(), 1)
        )
    return folder


def settings_of(tables: Path, kind: str, folder: Path) -> Settings:
    files = {
        "plain": ("customers.csv", "purchases.csv"),
        "second pass": ("customers.csv", "quoted.csv"),
        "gz": ("customers.csv.gz", "purchases.csv.gz"),
    }[kind]
    customers, purchases = (str(tables / name) for name in files)
    inputs = (customers,), (purchases,)
    return Settings(*inputs, str(folder), block_size=1 << 20, join="broadcast", fsync=False)


@pytest.fixture(scope="module")
def expected(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """The combined table of a run that nothing disturbs."""
    found: dict[str, bytes] = {}

    def quiet(kind: str) -> bytes:
        if kind not in found:
            folder = tmp_path_factory.mktemp("quiet")
            with local_cluster(1) as client:
                run(settings_of(tables, kind, folder), client)
            found[kind] = (folder / COMBINED).read_bytes()
            shutil.rmtree(folder)
        return found[kind]

    return quiet


@pytest.mark.parametrize(
    ("kind", "holds"),
    [("plain", LOOKUP), ("gz", "unpack-")],
    ids=["with the lookup", "with unpacked blocks"],
)
def test_a_worker_killed_changes_no_byte(
    tmp_path: Path,
    tables: Path,
    expected: Callable[[str], bytes],
    kind: str,
    holds: str,
) -> None:
    settings = settings_of(tables, kind, tmp_path)
    with local_cluster(2) as client:

        def kill() -> None:
            victims = holders(client, holds)[:1]
            assert victims
            client.run(os._exit, 1, workers=victims, on_error="ignore")

        run(settings, client, Acting(10, kill))

    assert (tmp_path / COMBINED).read_bytes() == expected(kind)


def test_a_worker_killed_while_the_rest_is_written_changes_no_byte(
    tmp_path: Path, tables: Path, expected: Callable[[str], bytes]
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

    assert (tmp_path / COMBINED).read_bytes() == expected("plain")
