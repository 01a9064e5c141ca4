"""Every partition writes its own part of the one file, as often as it likes."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import dask
import pandas as pd
import pytest
from distributed import Client
from frames import in_partitions, text_column

from pipeline.write import write_combined

HEADER = "customer_id,name,product,price"
NO_PURCHASE = ","
RECORDS = pd.DataFrame(
    {
        "customer_id": text_column(["1", None, "a,b", " 007 ", 'say "x"', "Zoë"]),
        "customer": text_column(["Ada", "", '"Bo, Jr."', "Zoë", "x", "y"]),
        "purchase": text_column(["Lamp,19.90", "Cup,", '"24"" TV",1', None, None, "a,b"]),
    }
)
LINES = [
    "1,Ada,Lamp,19.90",
    ",,Cup,",
    '"a,b","Bo, Jr.","24"" TV",1',
    " 007 ,Zoë,,",
    '"say ""x""",x,,',
    "Zoë,y,a,b",
]


def expected_file() -> bytes:
    return "".join(f"{line}\n" for line in [HEADER, *LINES]).encode()


@pytest.mark.parametrize("partitions", [1, 2, 4, 6, 25])
def test_the_file_is_the_same_for_any_partitions(
    client: Client, tmp_path: Path, partitions: int
) -> None:
    path = tmp_path / "combined.csv"

    written = write_combined(
        in_partitions(RECORDS, partitions), str(path), HEADER, NO_PURCHASE
    ).compute()

    assert path.read_bytes() == expected_file()
    assert len(written) == partitions
    assert written.dtypes.astype(str).to_dict() == dict.fromkeys(
        ("start", "bytes", "rows"), "int64"
    )
    assert written["rows"].sum() == len(LINES)


def test_the_parts_lie_one_behind_the_other(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"

    written = write_combined(in_partitions(RECORDS, 4), str(path), HEADER, NO_PURCHASE).compute()

    starts, sizes = written["start"].tolist(), written["bytes"].tolist()
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    assert [len(f"{HEADER}\n"), *ends] == [*starts, path.stat().st_size]


def test_what_is_written_twice_is_there_once(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"
    lazy = write_combined(in_partitions(RECORDS, 3), str(path), HEADER, NO_PURCHASE)

    first, again = dask.compute(lazy)[0], lazy.partitions[1:].compute()

    assert path.read_bytes() == expected_file()
    assert again["start"].tolist() == first["start"].tolist()[1:]


def test_no_records_leave_the_header_alone(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"

    written = write_combined(
        in_partitions(RECORDS.iloc[:0], 2), str(path), HEADER, NO_PURCHASE
    ).compute()

    assert path.read_text() == f"{HEADER}\n"
    assert written["start"].tolist() == [len(HEADER) + 1] * 2
    assert written["rows"].sum() == written["bytes"].sum() == 0


def test_an_earlier_file_is_overwritten_whole(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"
    path.write_text("longer than what is written now\n" * 100)

    write_combined(in_partitions(RECORDS, 2), str(path), HEADER, NO_PURCHASE).compute()

    assert path.read_bytes() == expected_file()


def test_a_late_worker_does_not_bring_the_file_back(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"
    lazy = write_combined(in_partitions(RECORDS, 2), str(path), HEADER, NO_PURCHASE)
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
            "customer": text_column("c" for _ in pairs),
            "purchase": text_column("p" for _ in pairs),
        }
    )

    write_combined(in_partitions(records, 3), str(path), "id,c,p", NO_PURCHASE).compute()

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, strict=True))
    assert rows == [["id", "c", "p"], *([first, "c", "p"] for first, _ in pairs)]
