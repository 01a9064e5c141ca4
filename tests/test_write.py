"""Every partition writes its own part of the one file, as often as it likes."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client
from frames import in_partitions, rendered_customers, text, text_column

from pipeline.columns import weight
from pipeline.counting import count, counted, counts, frames, merged
from pipeline.join import ROW, SEEN, Joined
from pipeline.lookup import Lookup
from pipeline.partitions import with_meta
from pipeline.render import Layout
from pipeline.write import WRITTEN, write_combined

LAYOUT = Layout("customer_id,name,product,price", "", ",")
CUSTOMERS = rendered_customers(["1", "2", "3"], ["Young"] * 3).assign(
    customer=text_column(["Ada", '"Bo, Jr."', "Zoë"])
)
# Row 3 of the customers is that of none.
RECORDS = pd.DataFrame(
    {
        "customer_id": text_column(["1", None, "a,b", " 007 ", 'say "x"', "Zoë"]),
        ROW: [0, 3, 1, 2, 0, 3],
        "purchase": text_column(["Lamp,19.90\n", "Cup,\n", '"24"" TV",1\n', None, None, "a,b\n"]),
    }
)
LINES = [
    "1,Ada,Lamp,19.90",
    ",nobody,Cup,",
    '"a,b","Bo, Jr.","24"" TV",1',
    " 007 ,Zoë,,",
    '"say ""x""",Ada,,',
    "Zoë,nobody,a,b",
]


def lazy_write(
    path: Path, records: pd.DataFrame, partitions: int, escape: bool = False
) -> dd.DataFrame:
    lookup = with_meta(Lookup.build, CUSTOMERS.iloc[:0], in_partitions(CUSTOMERS, 1), "nobody")
    joined = Joined(counted(in_partitions(records, partitions)), lookup, [], alone=0)
    (written,) = write_combined(joined, path, LAYOUT, escape)
    return frames(written)


def write(path: Path, records: pd.DataFrame, partitions: int) -> pd.DataFrame:
    return lazy_write(path, records, partitions).compute()


def expected_file() -> bytes:
    return "".join(f"{line}\n" for line in [LAYOUT.header, *LINES]).encode()


@pytest.mark.parametrize("partitions", [1, 2, 4, 6, 25])
def test_the_file_is_the_same_for_any_partitions(
    client: Client, tmp_path: Path, partitions: int
) -> None:
    path = tmp_path / "combined.csv"

    written = write(path, RECORDS, partitions)

    assert path.read_bytes() == expected_file()
    assert len(written) == partitions
    assert written.dtypes.astype(str).to_dict() == dict.fromkeys(
        ("start", "bytes", "rows", "weight"), "int64"
    )
    assert written["rows"].sum() == len(LINES)
    assert written["weight"].sum() == weight(text(*(f"{line}\n" for line in LINES)))


def test_the_parts_lie_one_behind_the_other(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"

    written = write(path, RECORDS, 4)

    starts, sizes = written["start"].tolist(), written["bytes"].tolist()
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    assert [len(f"{LAYOUT.header}\n"), *ends] == [*starts, path.stat().st_size]


def test_what_is_written_twice_is_there_once(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"
    lazy = lazy_write(path, RECORDS, 3)

    first, again = dask.compute(lazy)[0], lazy.partitions[1:].compute()

    assert path.read_bytes() == expected_file()
    assert again["start"].tolist() == first["start"].tolist()[1:]


def test_customers_without_purchases_are_written_behind_the_others(
    client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "combined.csv"
    lookup = with_meta(Lookup.build, CUSTOMERS.iloc[:0], in_partitions(CUSTOMERS, 1), "nobody")
    purchases = counted(in_partitions(RECORDS.iloc[:2], 2))
    combined = count(SEEN, first_row_seen, purchases)

    written = write_combined(Joined(combined, lookup, [], alone=2), path, LAYOUT)
    found = merged(dask.compute(*map(counts, written)))

    lines = [LAYOUT.header, *LINES[:2], '2,"Bo, Jr.",,', "3,Zoë,,"]
    assert path.read_bytes() == "".join(f"{line}\n" for line in lines).encode()
    assert found[WRITTEN]["rows"].sum() == 4


def first_row_seen(records: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"bitmap": [np.packbits([True, False, False, True])]})


def test_no_records_leave_the_header_alone(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"

    written = write(path, RECORDS.iloc[:0], 2)

    assert path.read_text() == f"{LAYOUT.header}\n"
    assert written["start"].tolist() == [len(LAYOUT.header) + 1] * 2
    assert written["rows"].sum() == written["bytes"].sum() == 0


def test_an_earlier_file_is_overwritten_whole(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"
    path.write_text("longer than what is written now\n" * 100)

    write(path, RECORDS, 2)

    assert path.read_bytes() == expected_file()


def test_a_late_worker_does_not_bring_the_file_back(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"
    lazy = lazy_write(path, RECORDS, 2)
    path.unlink()

    with pytest.raises(FileNotFoundError):
        lazy.compute()

    assert not path.exists()


def test_what_is_written_reads_back(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"
    odd = ["", "x", '"', ",", "\r", "\n", "a\r\nb", "Zoë", "\u2028", "''"]
    pairs = list(itertools.product(odd, repeat=2))
    records = pd.DataFrame(
        {
            "customer_id": text_column(first for first, _ in pairs),
            ROW: 0,
            "purchase": text_column("p\n" for _ in pairs),
        }
    )

    write(path, records, 3)

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, strict=True))
    assert rows[1:] == [[first, "Ada", "p"] for first, _ in pairs]


def test_an_id_that_a_spreadsheet_would_run_is_defused_on_demand(
    client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "combined.csv"
    records = RECORDS.iloc[:3].assign(customer_id=text_column(["=1+1", "-7", "@a,b"]))

    lazy_write(path, records, 1, escape=True).compute()

    with path.open(newline="", encoding="utf-8") as file:
        assert [row[0] for row in csv.reader(file)] == ["customer_id", "'=1+1", "-7", "'@a,b"]
