"""Records that could not be read are written with their place, and too many of them end the run."""

from __future__ import annotations

import csv
import pickle
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client
from support.ledgers import ledger, reject, source

from pipeline import Settings, run
from pipeline.engine.places import Folder
from pipeline.errors import DataError
from pipeline.outputs.books import Entry, Ledger
from pipeline.outputs.rejected import RejectLimit, check_rejected, write_rejected
from pipeline.outputs.staging import OUTPUTS, REJECTED
from pipeline.settings import Tolerance
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


@pytest.mark.parametrize(
    ("allowed", "rejected", "records", "passes"),
    [
        ("0", 0, 10, True),
        ("0", 1, 10, False),
        ("2", 2, 10, True),
        ("2", 3, 10, False),
        ("10%", 1, 9, True),
        ("10%", 1, 8, False),
        ("0%", 0, 0, True),
        ("0%", 1, 0, False),
        ("0.5%", 1, 199, True),
        ("0.5%", 1, 198, False),
        ("100%", 5, 0, True),
    ],
)
def test_so_many_rejected_records_are_allowed(
    allowed: str, rejected: int, records: int, passes: bool
) -> None:
    bad = [reject(line, 0, b"1\n") for line in range(rejected)]
    block = {"path": "/data/a.csv", "records": records, "rejected": bad}
    table = {source("customers", a=1): ledger(block)}

    with nullcontext() if passes else pytest.raises(DataError):
        check_rejected(Tolerance.parse(allowed), table)


def test_too_many_rejected_records_name_the_first() -> None:
    good = source("customers", c=1), ledger({"path": "/data/c.csv", "records": 1_000})
    bad = [reject(1, 8, b"1,Lamp\n", "2 where the header has 3"), reject(2, 15, b"2\n")]
    blocks = ledger(
        {"path": "/data/a.csv", "records": 1_200, "lines": 1_200},
        {"path": "/data/a.csv", "records": 98, "rejected": bad},
    )

    with pytest.raises(DataError) as caught:
        check_rejected(Tolerance(records=1), dict([good, (source("purchases", a=1), blocks)]))

    assert str(caught.value) == (
        "2 of 1,300 purchases cannot be read, the first at a.csv, line 1203: too few fields "
        "(2 where the header has 3): '1,Lamp'; mend the file, or allow more with --max-rejected"
    )


def test_a_run_ends_as_soon_as_too_many_are_certain() -> None:
    table = replace(source("purchases", a=1), blocks=(None,) * 3)
    bad = {"table": "purchases", "path": "/data/a.csv", "start": 100}
    bad["rejected"] = [reject(1, 8, b"1,Lamp\n")]
    found = Ledger()
    limit = RejectLimit(Tolerance(records=1), [source("customers", c=1), table], found)

    for block in (2, 0):
        (entry,) = ledger({**bad, "block": block})
        found.add(entry)
        if block == 2:
            limit(entry)
    with pytest.raises(DataError) as caught:
        limit(entry)

    assert str(caught.value) == (
        "at least 2 purchases cannot be read, one of them at a.csv, byte 108: too few fields: "
        "b'1,Lamp\\n'; mend the file, or allow more with --max-rejected"
    )


def test_a_table_that_is_complete_ends_the_run_with_the_whole_count() -> None:
    table = replace(source("purchases", a=1), blocks=(None,))
    (entry,) = ledger(
        {"table": "purchases", "path": "/data/a.csv", "block": 0, "records": 9, "start": 20,
         "rejected": [reject(1, 8, b"1,Lamp\n")]}
    )  # fmt: skip
    found = Ledger([entry])

    with pytest.raises(DataError, match=r"1 of 10 purchases cannot be read, .* line 3: "):
        RejectLimit(Tolerance(records=0), [table], found)(entry)


@pytest.mark.parametrize("tolerance", [Tolerance(), Tolerance.parse("0%")])
def test_a_share_is_not_certain_before_the_end(tolerance: Tolerance) -> None:
    (entry,) = ledger({"table": "purchases", "rejected": [reject(1, 8, b"1\n")]})

    RejectLimit(tolerance, [source("purchases", a=1)], Ledger([entry]))(entry)


def test_without_a_limit_everything_may_be_rejected() -> None:
    blocks = ledger({"path": "/data/a.csv", "rejected": [reject(0, 0, b"1\n")] * 3})

    check_rejected(Tolerance(), {source("purchases", a=1): blocks})


def test_of_many_rejects_the_client_holds_a_few(client: Client, tmp_path: Path) -> None:
    """Workers keep the others, and write their lines."""
    bad = [f"{number},{number}\n" if number % 3 else f'{number},"é\n' for number in range(3000)]
    (tmp_path / "customers.csv").write_text("customer_id,first_name,last_name,age\n")
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
