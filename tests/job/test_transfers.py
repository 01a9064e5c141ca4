"""What workers send to each other, and hold: the lookup once each, and nearly nothing besides."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Scheduler, Worker
from support.clusters import LOOKUP, Acting, holders, local_cluster
from support.data import make_data
from support.processes import wait_until

from pipeline import Settings, run
from pipeline.outputs.names import COMBINED

pytestmark = [pytest.mark.cluster, pytest.mark.slow("what workers send")]

CUSTOMERS, PURCHASES = 200_000, 2_000_000
LIMIT = 600_000_000  # bytes of memory


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


def sent(client: Client) -> int:
    """Return the bytes of results that workers have sent to each other."""

    def of_worker(dask_worker: Worker) -> int:
        return dask_worker.transfer_outgoing_bytes_total

    return sum(client.run(of_worker).values())


def size_of_lookup(client: Client) -> int:
    def size(dask_scheduler: Scheduler) -> int:
        tasks = dask_scheduler.tasks.items()
        return max(task.nbytes for key, task in tasks if str(key).startswith(LOOKUP))

    return int(client.run_on_scheduler(size))


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("kind", ["plain", "second pass", "gz"])
def test_workers_send_the_lookup_and_nearly_nothing_else(
    tmp_path: Path, tables: Path, expected: Callable[[str], bytes], kind: str, workers: int
) -> None:
    settings = settings_of(tables, kind, tmp_path)
    sizes: list[int] = []
    with local_cluster(workers) as client:
        progress = Acting(1, lambda: sizes.append(size_of_lookup(client)))
        run(settings, client, progress)
        found = sent(client)
    paths = (*settings.customers, *settings.purchases)
    inputs = sum(Path(path).stat().st_size for path in paths)
    most = int(1.1 * workers * sizes[0] + 0.02 * inputs)
    print(f"{found:,} bytes sent, of at most {most:,}; lookup {sizes[0]:,}, inputs {inputs:,}")

    assert found <= most
    assert (tmp_path / COMBINED).read_bytes() == expected(kind)


def test_a_lookup_of_half_of_the_memory_limit_is_not_spilled(tmp_path: Path) -> None:
    make_data(tmp_path, customers=1_000_000, purchases=1_000_000)
    settings = settings_of(tmp_path, "plain", tmp_path / "out")
    spilled: list[int] = []
    sizes: list[int] = []

    def of_worker(dask_worker: Worker) -> int:
        data: Any = dask_worker.data
        return int(data.spilled_total.disk) if hasattr(data, "spilled_total") else 0

    with local_cluster(1, memory_limit=LIMIT) as client:

        def look() -> None:
            sizes.append(size_of_lookup(client))
            spilled.extend(client.run(of_worker).values())

        run(settings, client, Acting(10, look))
        spilled.extend(client.run(of_worker).values())
    print(sizes, LIMIT, spilled)

    assert sizes[0] >= LIMIT * 0.4
    assert spilled == [0, 0]


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
