"""The whole job with its outputs in a real object store, held against a run into a folder."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from distributed import Client
from support.paths import REPOSITORY
from support.store import Prefix

from pipeline import Settings, run
from pipeline.errors import DataError, UsageError
from pipeline.outputs.names import CHART, COMBINED, FAILED, OUTPUTS, REJECTED, REPORT, SPENDING
from pipeline.settings.limits import Limits

SAMPLE = REPOSITORY / "outputs"
COMPLETE = {COMBINED, SPENDING, CHART, REPORT}


def sample(url: str, block_size: int | None = None) -> Settings:
    """Return the settings of a run on the committed sample."""
    data = REPOSITORY / "data"
    files = (str(data / "customers.csv"),), (str(data / "purchases.csv"),)
    return Settings(*files, url, block_size=block_size)


def is_the_sample(prefix: Prefix) -> bool:
    """Tell whether the outputs are those in `outputs/`, and nothing else is left."""
    assert prefix.names() == COMPLETE
    assert prefix.uploads() == 0
    return all(prefix.read(name) == (SAMPLE / name).read_bytes() for name in (COMBINED, SPENDING))


@pytest.mark.parametrize(
    "block_size", [None, pytest.param(2048, marks=pytest.mark.slow("many partitions"))]
)
def test_objects_have_the_bytes_of_files(
    client: Client, prefix: Prefix, block_size: int | None
) -> None:
    report = run(sample(prefix.url, block_size), client)

    assert is_the_sample(prefix)
    assert set(report.outputs) == {f"{prefix.url}/{name}" for name in COMPLETE}
    told = json.loads(prefix.read(REPORT))
    assert told["status"] == "complete"
    assert told["outputs"] == {
        name: {"etag": prefix.etag(name), "bytes": len(prefix.read(name))}
        for name in (COMBINED, SPENDING, CHART)
    }


def large(folder: Path, records: int) -> Settings:
    """Return settings of a run on purchases of about 215 bytes each."""
    folder.mkdir()
    shutil.copy(REPOSITORY / "data" / "customers.csv", folder)
    with (folder / "purchases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "product", "price"])
        writer.writerows((number % 3000, "Lamp " * 40, number % 977) for number in range(records))
    files = (str(folder / "customers.csv"),), (str(folder / "purchases.csv"),)
    return Settings(*files, str(folder / "outputs"), fsync=False)


@pytest.mark.parametrize(
    "join", ["broadcast", pytest.param("shuffle", marks=pytest.mark.slow("large blocks"))]
)
def test_blocks_that_are_large_have_the_bytes_of_files(
    client: Client, prefix: Prefix, tmp_path: Path, join: Literal["broadcast", "shuffle"]
) -> None:
    settings = replace(large(tmp_path / "in", 150_000), join=join, block_size=8 << 20)
    run(settings, client)

    run(replace(settings, output_dir=prefix.url), client)

    local = (tmp_path / "in" / "outputs" / COMBINED).read_bytes()
    if join == "broadcast":
        assert prefix.read(COMBINED) == local
    else:
        assert sorted(prefix.read(COMBINED).splitlines()) == sorted(local.splitlines())
    assert prefix.read(SPENDING) == (tmp_path / "in" / "outputs" / SPENDING).read_bytes()
    assert prefix.names() == COMPLETE
    if join == "broadcast":
        assert int(prefix.etag(COMBINED).partition("-")[2]) > 3  # parts


def test_a_block_of_rejects_between_large_ones_shares_a_part(
    client: Client, prefix: Prefix, tmp_path: Path
) -> None:
    settings = replace(large(tmp_path / "in", 150_000), block_size=8 << 20)
    purchases = Path(settings.purchases[0])
    lines = purchases.read_bytes().splitlines(keepends=True)
    bad = [b"1,2,3,4" + b"x" * 20_000 + b"\n"] * 500
    purchases.write_bytes(b"".join([*lines[:60_000], *bad, *lines[60_000:]]))
    run(settings, client)

    run(replace(settings, output_dir=prefix.url), client)

    for name in (COMBINED, SPENDING, REJECTED):
        assert prefix.read(name) == (tmp_path / "in" / "outputs" / name).read_bytes()
    assert prefix.names() == set(OUTPUTS)
    assert prefix.uploads() == 0


def test_a_run_that_fails_leaves_the_objects_of_the_one_before(
    client: Client, prefix: Prefix, tmp_path: Path
) -> None:
    run(sample(prefix.url), client)
    before = prefix.contents()
    settings = replace(large(tmp_path / "in", 1000), output_dir=prefix.url)
    with Path(settings.purchases[0]).open("a") as file:
        file.write("1,2,3,4\n")

    with pytest.raises(DataError):
        run(replace(settings, limits=Limits.parse(rejected=["0"])), client)

    after = prefix.contents()
    assert json.loads(after.pop(FAILED))["status"] == "failed"
    assert after == before
    assert prefix.uploads() == 0

    run(sample(prefix.url), client)
    assert is_the_sample(prefix)


@pytest.mark.parametrize(
    "pack", [bytes, pytest.param(gzip.compress, marks=pytest.mark.slow("compressed objects"))]
)
def test_inputs_are_read_from_the_store(
    client: Client, prefix: Prefix, pack: Callable[[bytes], bytes]
) -> None:
    """A file, a folder and a glob, which together are the purchases of the sample."""
    data = REPOSITORY / "data"
    prefix.write("in/customers.csv", (data / "customers.csv").read_bytes())
    header, *lines = (data / "purchases.csv").read_bytes().splitlines(keepends=True)
    ending = "csv" if pack is bytes else "csv.gz"
    for number, name in enumerate(("file", "folder/1", "folder/2", "glob/1", "glob/2")):
        part = lines[2000 * number : 2000 * (number + 1)]
        prefix.write(f"in/{name}.{ending}", pack(header + b"".join(part)))
    purchases = tuple(f"{prefix.url}/in/{one}" for one in (f"file.{ending}", "folder", "glob/*"))
    out = f"{prefix.url}/out"

    run(Settings((f"{prefix.url}/in/customers.csv",), purchases, out, block_size=16_384), client)

    assert prefix.read(f"out/{COMBINED}") == (SAMPLE / COMBINED).read_bytes()


def test_an_object_that_does_not_exist_is_one_line(client: Client, prefix: Prefix) -> None:
    settings = Settings((f"{prefix.url}/no.csv",), (f"{prefix.url}/no.csv",), f"{prefix.url}/out")
    with pytest.raises(UsageError, match=f"customers: no file at '{prefix.url}/no.csv'"):
        run(settings, client)
    assert prefix.names() == set()
