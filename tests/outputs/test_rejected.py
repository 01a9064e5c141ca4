"""Records that could not be read are written with their place, and too many of them end the run."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import pytest
from distributed import Client
from support.ledgers import ledger, reject, source

from pipeline import Settings, run
from pipeline.engine.places import Folder
from pipeline.outputs.books import Entry, Ledger
from pipeline.outputs.rejected import write_rejected
from pipeline.outputs.staging import OUTPUTS, REJECTED
from pipeline.steps import read


def test_rejected_records_are_written_with_their_place_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rejected.csv"
    customers = ledger(
        {"path": "/data/c.csv", "start": 20, "lines": 7,
         "rejected": [reject(0, 0, b"1\n"), reject(5, 90, b'"a\r\n', "1 where the header has 4")]},
        {"path": "/data/c.csv", "start": 320, "rejected": [reject(2, 10, b"Zo\xc3\xab,\xff\r\n")]},
    )  # fmt: skip
    purchases = ledger(
        {"path": "/data/a.csv", "start": 20, "lines": 4},
        {"path": "/data/b.csv", "start": 20, "rejected": [reject(1, 8, b"a,b\nc")]},
    )

    write_rejected(
        path,
        {source("customers", c=2): customers, source("purchases", a=1, b=1): purchases},
        Folder(str(tmp_path)),
    )

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, strict=True))
    assert rows == [
        ["file", "line", "byte_offset", "reason", "detail", "raw"],
        ["c.csv", "3", "20", "too few fields", "", "1"],
        ["c.csv", "8", "110", "too few fields", "1 where the header has 4", '"a'],
        ["c.csv", "12", "330", "too few fields", "", "Zoë,\\xff"],
        ["b.csv", "3", "28", "too few fields", "", "a,b\nc"],
    ]


def test_without_rejected_records_there_is_no_file(tmp_path: Path) -> None:
    write_rejected(
        tmp_path / "rejected.csv",
        {source("customers", a=1): ledger({"path": "/data/a.csv"})},
        Folder(str(tmp_path)),
    )

    assert list(tmp_path.iterdir()) == []


def test_of_many_rejects_the_client_holds_a_few(client: Client, tmp_path: Path) -> None:
    """Workers keep the others, and write their lines."""
    bad = [f"{number},{number}\n" if number % 3 else f'{number},"é\n' for number in range(3000)]
    header = "customer_id,first_name,last_name,age"
    (tmp_path / "customers.csv").write_text(f"{header}\n1,Ada,Byron,36\n")
    text = "customer_id,product,price\n" + "1,Lamp,2.50\n" * 1000 + "".join(bad)
    (tmp_path / "purchases.csv").write_text(text)
    held: list[int] = []

    def hold(ledger: Ledger, entry: Entry) -> None:
        held.append(len(pickle.dumps(entry)))
        ledger.entries.append(entry)

    results = []
    for few in (20, 5000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(read, "MAX_EXAMPLES", few)
            patch.setattr(Ledger, "add", hold)
            settings = Settings(
                (str(tmp_path / "customers.csv"),),
                (str(tmp_path / "purchases.csv"),),
                str(tmp_path / str(few)),
                block_size=8192,
                fsync=False,
            )
            run(settings, client)
        results.append(((tmp_path / str(few) / REJECTED).read_bytes(), max(held)))
        held.clear()

    (some, small), (whole, large) = results
    assert some == whole
    assert some.count(b"purchases.csv") >= 1000
    assert small < large / 3
    assert {path.name for path in (tmp_path / "20").iterdir()} == set(OUTPUTS)
