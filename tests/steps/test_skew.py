"""The ids that would make one partition much larger than the others are found in a sample."""

from __future__ import annotations

import gzip
from pathlib import Path

import dask.dataframe as dd
import pytest
from distributed import Client

from pipeline.csv_text.headers import open_source
from pipeline.csv_text.ranges import cut_into_ranges
from pipeline.csv_text.sources import Source
from pipeline.settings import Columns, Dialect
from pipeline.steps.read import read, wanted_of_purchases
from pipeline.steps.skew import find_hot

COLUMNS = Columns()


def source(path: Path, ids: list[str], block_size: int = 1024) -> Source:
    """Write purchases with these ids, and cut them into blocks."""
    text = "customer_id,price\n" + "".join(f"{id},1.25\n" for id in ids)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    table = open_source("purchases", [str(path)], COLUMNS.of_purchases, Dialect())
    return cut_into_ranges(table, block_size)


def hot_ids(client: Client, table: Source, partitions: int) -> tuple[str, ...]:
    def purchases(some: Source) -> dd.DataFrame:
        return read(some, wanted_of_purchases(COLUMNS, escape=False))

    return find_hot(client, table, 8192, purchases, partitions)


@pytest.mark.parametrize(
    ("name", "block_size"), [("a.csv", 1024), ("a.csv", 1 << 20), ("a.csv.gz", 1024)]
)
def test_an_id_with_many_purchases_is_hot(
    client: Client, tmp_path: Path, name: str, block_size: int
) -> None:
    # 30%, 10%, 2%, 1% of the purchases; a blank id, a third of the rest; and one of each.
    frequent = {"hot": 300, " warm ": 100, "mild": 20, "cool": 10, " ": 190}
    rare = [f"id-{number}" for number in range(380)]
    ids = [*rare, *(id for id, count in frequent.items() for _ in range(count))]
    spread_out = [ids[place * 331 % len(ids)] for place in range(len(ids))]

    table = source(tmp_path / name, spread_out, block_size)

    assert hot_ids(client, table, 17) == ("hot", "mild", "warm")
    assert hot_ids(client, table, 5) == ("hot", "warm")


@pytest.mark.parametrize("ids", [[], ["1"], ["1", "2", "3"], [" "]])
def test_few_purchases(client: Client, tmp_path: Path, ids: list[str]) -> None:
    table = source(tmp_path / "purchases.csv", ids)

    found = hot_ids(client, table, 2)

    assert set(found) <= {id.strip() for id in ids} - {""}


def test_one_partition_needs_no_sample(client: Client, tmp_path: Path) -> None:
    table = source(tmp_path / "purchases.csv", ["1"])
    (tmp_path / "purchases.csv").unlink()

    assert hot_ids(client, table, 1) == ()
