"""Whole runs over compressed files: all of them is read, little is held, and nothing stays open."""

from __future__ import annotations

import bz2
import gc
import gzip
import json
import lzma
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from distributed import Client
from support.case import zstd
from support.processes import two_workers, wait_until
from support.runs import run
from support.warm import run_command

from pipeline import Settings, job
from pipeline.csv_text.compression import UnpackedStream
from pipeline.engine.progress import Progress
from pipeline.errors import DataError
from pipeline.outputs.names import COMBINED, REPORT

Join = Literal["broadcast", "shuffle"]
SKIPPABLE = b"\x5a\x2a\x4d\x18\x05\0\0\0notes"
CUSTOMERS = b"customer_id,first_name,last_name,age\n" + b"".join(
    b"%d,First%d,Last,%d\n" % (number, number, number % 90) for number in range(1_500)
)
PURCHASES = [
    b"customer_id,product,price\n",
    b"".join(b"%d,Lamp %d,%d.25\n" % (n % 2_000, n, n % 977) for n in range(1_000)),
    b"".join(b"%d,Lamp %d,%d.25\n" % (n % 2_000, n, n % 977) for n in range(1_000, 3_000)),
]
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}
# The padding that each format allows: before, between, behind its units.
PADDING = {
    "gz": (b"", b"", bytes(512)),
    "bz2": (b"", b"", b""),
    "xz": (b"", bytes(8), bytes(4)),
    "zst": (SKIPPABLE, SKIPPABLE, SKIPPABLE),
}


def settings(folder: Path, *purchases: Path, **others: Any) -> Settings:
    (customers,) = folder.glob("customers.csv*")
    paths = (str(customers),), tuple(map(str, purchases)), str(folder / "outputs")
    return Settings(*paths, fsync=False, **{"block_size": 4096, **others})


@pytest.mark.parametrize(
    "join", ["broadcast", pytest.param("shuffle", marks=pytest.mark.slow("compressed inputs"))]
)
def test_files_of_several_units_give_what_the_plain_file_gives(
    client: Client, tmp_path: Path, join: Join
) -> None:
    (tmp_path / "customers.csv.xz").write_bytes(lzma.compress(CUSTOMERS))
    plain = tmp_path / "purchases.csv"
    plain.write_bytes(b"".join(PURCHASES))
    run(settings(tmp_path, plain, join=join, block_size=16_384), client)
    whole = sorted((tmp_path / "outputs" / COMBINED).read_bytes().splitlines())
    assert len(whole) > 3_000

    for ending, pack in PACK.items():
        path = tmp_path / f"purchases.csv.{ending}"
        first, between, last = PADDING[ending]
        path.write_bytes(first + between.join(map(pack, PURCHASES)) + last)
        run(settings(tmp_path, path, join=join, block_size=16_384), client)

        assert sorted((tmp_path / "outputs" / COMBINED).read_bytes().splitlines()) == whole
        totals = json.loads((tmp_path / "outputs" / REPORT).read_text())["totals"]
        size = path.stat().st_size
        of_purchases = totals["purchases"]
        assert (of_purchases["bytes"], of_purchases["bytes_in_files"]) == (size, size)


@pytest.mark.parametrize("ending", PACK)
def test_a_file_that_is_cut_or_goes_on_ends_the_run_with_its_place(
    ending: str, tmp_path: Path
) -> None:
    (tmp_path / "customers.csv").write_bytes(CUSTOMERS)
    path = tmp_path / f"purchases.csv.{ending}"
    units = [PACK[ending](part) for part in PURCHASES]
    start = len(units[0]) + len(units[1])

    for data in (b"".join(units)[:-100], b"".join(units[:2]) + b"more, and more of it"):
        path.write_bytes(data)
        ended = run_command(
            tmp_path,
            *("--customers", "customers.csv", "--purchases", path.name, "--block-size", "8KiB"),
            *("--output-dir", "outputs", "--dashboard-address", "127.0.0.1:0"),
        )
        assert ended.returncode == 2
        (error,) = [line for line in ended.stderr.splitlines() if "cannot be read" in line]
        assert error.startswith(f"error: {path.name}: cannot be read: ")
        assert f" byte {start:,} " in error
        assert not (tmp_path / "outputs" / COMBINED).exists()


def test_a_reader_that_ends_early_is_caught(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python's own does where the header of a second stream is damaged."""
    (tmp_path / "customers.csv").write_bytes(CUSTOMERS)
    path = tmp_path / "purchases.csv.gz"
    path.write_bytes(b"".join(map(gzip.compress, PURCHASES)))
    begin = UnpackedStream._begin_unit

    def begin_two(stream: UnpackedStream) -> bool:
        return stream.position < len(gzip.compress(PURCHASES[0])) + 10 and begin(stream)

    monkeypatch.setattr(UnpackedStream, "_begin_unit", begin_two)
    with pytest.raises(
        DataError, match=r"bytes of purchases, in files and read: expected \d+, actual \d+"
    ):
        run(settings(tmp_path, path), client)


class Watching(Progress):
    """Counts the unpacked blocks in the memory of workers whenever a block is done."""

    def __init__(self, client: Client) -> None:
        self.most = self.times = 0
        self._client = client

    def advance(self, table: str, size: int, records: int) -> None:
        """Count."""
        self.times += 1
        self.most = max(self.most, len(unpacked(self._client)))


def unpacked(client: Client) -> set[str]:
    """Return the keys of unpacked blocks in the memory of workers."""
    held = client.run(lambda dask_worker: list(dask_worker.data))
    every = {str(key) for keys in held.values() for key in keys}
    return {key for key in every if key.startswith(("unpack-", "first_block-"))}


@pytest.mark.parametrize(
    ("join", "is_on_one_machine"),
    [
        ("broadcast", True),
        pytest.param("shuffle", True, marks=pytest.mark.slow("compressed inputs")),
        pytest.param("shuffle", False, marks=pytest.mark.slow("compressed inputs")),
    ],
    ids=["broadcast", "shuffle by files", "shuffle by the network"],
)
@pytest.mark.usefixtures("small_partitions")
def test_few_unpacked_blocks_wait_whatever_the_size_of_the_file(
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    join: Join,
    is_on_one_machine: bool,
) -> None:
    monkeypatch.setattr(job, "is_on_one_machine", lambda _: is_on_one_machine)
    for name, data in (("customers", CUSTOMERS), ("purchases", b"".join(PURCHASES))):
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(data))
    watching = Watching(client)
    threads = sum(client.nthreads().values())

    run(settings(tmp_path, tmp_path / "purchases.csv.gz", join=join), client, watching)

    assert watching.times > 20
    assert watching.most <= 2 * threads + 2  # those that are about to be released
    wait_until(lambda: not unpacked(client))


@pytest.mark.usefixtures("small_partitions")
def test_a_shuffle_by_the_network_leaves_nothing_on_the_cluster(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if its dataframes, which refer to each other, are not collected as garbage."""
    monkeypatch.setattr(job, "is_on_one_machine", lambda _: False)
    for name, data in (("customers", CUSTOMERS), ("purchases", b"".join(PURCHASES))):
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(data))

    others = set(client.futures)  # such as those in the error of a test before this one
    gc.disable()
    try:
        run(settings(tmp_path, tmp_path / "purchases.csv.gz", join="shuffle"), client)
        wait_until(lambda: set(client.futures) <= others)
    finally:
        gc.enable()


def opened(folder: Path) -> list[str]:
    """Return the files in a folder that this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            path = os.readlink(link)
        except FileNotFoundError:  # of listing the folder
            continue
        if path.startswith(str(folder)):
            found.append(path)
    return found


@pytest.fixture(scope="module")
def processes() -> Iterator[Client]:
    """Two worker processes, beside that of the client."""
    with two_workers() as client:
        yield client


class Failing(Progress):
    """Ends a run once some blocks are done."""

    def __init__(self, client: Client, folder: Path, blocks: int) -> None:
        self._client, self._folder, self._left = client, folder, blocks
        self.opened: list[str] = []

    def advance(self, table: str, size: int, records: int) -> None:
        """Fail, if it is time to, and note the files that are open then."""
        self._left -= 1
        if not self._left:
            self.opened = [file for of_one in files(self._client, self._folder) for file in of_one]
            raise DataError("enough")


def files(client: Client, folder: Path) -> list[list[str]]:
    return list(client.run(opened, folder).values())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists open files")
@pytest.mark.parametrize(
    "cluster", ["client", pytest.param("processes", marks=pytest.mark.slow("more workers"))]
)
@pytest.mark.parametrize("join", ["broadcast", "shuffle"])
@pytest.mark.usefixtures("small_partitions")
def test_a_run_that_fails_leaves_no_file_open(
    cluster: str, join: Join, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    client = request.getfixturevalue(cluster)
    (tmp_path / "customers.csv").write_bytes(CUSTOMERS)
    paths = [tmp_path / f"{number}.csv.gz" for number in range(3)]
    for path in paths:
        path.write_bytes(gzip.compress(b"".join(PURCHASES) * 4, 1))
    failing = Failing(client, tmp_path, 20)

    with pytest.raises(DataError, match="enough"):
        run(settings(tmp_path, *paths, join=join), client, failing)

    assert any(path.endswith(".csv.gz") for path in failing.opened)
    wait_until(lambda: not any(files(client, tmp_path)))
