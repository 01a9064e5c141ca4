"""The books balance or the job fails, naming what is off; the report holds every figure."""

from __future__ import annotations

import csv
import json
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ledgers import ledger, reject, source

from pipeline.audit import (
    Books,
    TableBooks,
    check_rejected,
    joined_books,
    table_books,
    write_rejected,
    write_report,
)
from pipeline.errors import DataError
from pipeline.publish import COMBINED, SPENDING
from pipeline.read import MAX_EXAMPLES, Example
from pipeline.settings import AgeGroups, Settings, Tolerance
from pipeline.spending import summarize

CUSTOMERS = TableBooks(
    bytes=500,
    bytes_in_files=500,
    records=10,
    rejected=1,
    values_missing=2,
    values_unusable=1,
    value_examples=[{"file": "customers.csv", "line": 3, "value": "abc"}],
    total=Decimal(400),
    weight=7_000,
)
PURCHASES = TableBooks(
    bytes=900,
    bytes_in_files=900,
    records=30,
    rejected=0,
    values_missing=0,
    values_unusable=0,
    value_examples=[],
    total=Decimal("99999999999999999999.000000000000000001"),
    weight=9_000,
)
BOOKS = Books(
    customers=CUSTOMERS,
    purchases=PURCHASES,
    customers_with_purchases=6,
    records_written=34,
    bytes_written=2_000,
    bytes_in_file=2_000,
    purchases_in_groups=30,
    customers_in_groups=10,
    total_of_groups=Decimal("99999999999999999999.000000000000000001"),
    weight_written=16_000,
    weight_joined=16_000,
)
FILES = "bytes of {} in the files, bytes read"
RECORDS = "records written, purchases + customers without purchases"
GROUPS = "{0} in the age groups, {0} read"
SUMS = "sum over the age groups, sum over the purchases"
WEIGHT = "weight of the text written, weight of the text read and joined"
BYTES = "bytes in the combined table, bytes written"


def test_balanced_books_pass() -> None:
    BOOKS.check()

    assert BOOKS.customers_without_purchases == 4


@pytest.mark.parametrize(
    ("planted", "line", "figures"),
    [
        ({"records_written": 33}, RECORDS, "33 and 34"),
        ({"records_written": 35}, RECORDS, "35 and 34"),
        ({"customers_with_purchases": 7}, RECORDS, "34 and 33"),
        ({"purchases_in_groups": 29}, GROUPS.format("purchases"), "29 and 30"),
        ({"customers_in_groups": 11}, GROUPS.format("customers"), "11 and 10"),
        (
            {"total_of_groups": Decimal("99999999999999999999.000000000000000002")},
            SUMS,
            "99999999999999999999.000000000000000002 and 99999999999999999999.000000000000000001",
        ),
        ({"weight_written": 15_999}, WEIGHT, "15999 and 16000"),
        ({"weight_joined": 16_001}, WEIGHT, "16000 and 16001"),
        ({"bytes_in_file": 1_999}, BYTES, "1999 and 2000"),
        ({"bytes_written": 2_001}, BYTES, "2000 and 2001"),
        ({"customers": replace(CUSTOMERS, bytes=499)}, FILES.format("customers"), "500 and 499"),
        (
            {"purchases": replace(PURCHASES, bytes_in_files=901)},
            FILES.format("purchases"),
            "901 and 900",
        ),
        (
            {"purchases": replace(PURCHASES, total=Decimal(0))},
            SUMS,
            "99999999999999999999.000000000000000001 and 0",
        ),
    ],
)
def test_each_imbalance_is_named_and_no_other(
    planted: dict[str, Any], line: str, figures: str
) -> None:
    books = replace(BOOKS, **planted)

    with pytest.raises(DataError) as caught:
        books.check()

    assert str(caught.value) == (
        f"the books do not balance ({line}: {figures}); nothing was published; "
        "this is a fault of the program or of the cluster: run it again, and report it"
    )
    assert caught.value.exit_code == 1


def test_a_lost_purchase_and_a_lost_customer_show_in_every_line_they_touch() -> None:
    books = replace(
        BOOKS,
        purchases=replace(PURCHASES, records=31),
        customers=replace(CUSTOMERS, records=11),
    )

    with pytest.raises(DataError) as caught:
        books.check()

    for line in (RECORDS, GROUPS.format("purchases"), GROUPS.format("customers")):
        assert line in str(caught.value)
    assert SUMS not in str(caught.value)


def test_a_table_is_added_up_over_its_blocks() -> None:
    largest = "99999999999999999999.999999999999999999"
    blocks = ledger(
        {"path": "/data/a.csv", "start": 20, "bytes": 300, "lines": 5, "records": 4,
         "missing": 1, "unusable": 1, "total": Decimal(largest), "weight": 2**70,
         "examples": [Example(2, "abc")], "rejected": [reject(4, 250, b"x\n")]},
        {"path": "/data/a.csv", "start": 320, "bytes": 180, "lines": 3, "records": 3,
         "missing": 0, "unusable": 2, "total": Decimal(largest), "weight": 1,
         "examples": [Example(0, "1,5"), Example(2, "€5")]},
        {"path": "/data/b.csv", "start": 20, "bytes": 480, "lines": 2, "records": 2,
         "total": Decimal("-0.5"), "unusable": 1, "examples": [Example(1, "nan")]},
    )  # fmt: skip

    books = table_books(source("purchases", a=1, b=3), blocks)

    assert books == TableBooks(
        bytes=1_000,
        bytes_in_files=1_000,
        records=9,
        rejected=1,
        values_missing=1,
        values_unusable=4,
        value_examples=[
            {"file": "a.csv", "line": 4, "value": "abc"},
            {"file": "a.csv", "line": 7, "value": "1,5"},
            {"file": "a.csv", "line": 9, "value": "€5"},
            {"file": "b.csv", "line": 5, "value": "nan"},
        ],
        total=Decimal("199999999999999999999.499999999999999998"),
        weight=2**70 + 1,
    )


def test_not_more_than_twenty_examples_are_kept() -> None:
    examples = [Example(line, "abc") for line in range(MAX_EXAMPLES)]
    blocks = ledger(*({"path": "/data/a.csv", "lines": 20, "examples": examples} for _ in range(2)))

    books = table_books(source("purchases", a=1), blocks)

    assert [example["line"] for example in books.value_examples] == list(range(2, 22))


def test_what_was_counted_behind_the_join_is_added_up(tmp_path: Path) -> None:
    (tmp_path / COMBINED).write_bytes(b"x" * 130)
    (tmp_path / SPENDING).write_text(
        "age_group,total_spending,purchases,customers,spending_per_customer,share_of_total\n"
        "Young,99999999999999999999.999999999999999999,4,6,,\n"
        '"Old, or so",99999999999999999999.999999999999999999,5,7,,\n'
    )
    counts = {
        "purchases": PURCHASES,
        "matched": pd.DataFrame(
            {"customers": [3, 2], "weight": pd.Series([2**70, 5], dtype=object)}
        ),
        "written": pd.DataFrame(
            {"start": [30, 90], "bytes": [60, 40], "rows": [8, 9], "weight": [100, 200]}
        ),
    }

    found = joined_books(**counts, no_purchase=",", outputs=tmp_path)

    assert found == {
        "customers_with_purchases": 5,
        "records_written": 17,
        "bytes_written": 130,
        "bytes_in_file": 130,
        "purchases_in_groups": 9,
        "customers_in_groups": 13,
        "total_of_groups": Decimal("199999999999999999999.999999999999999998"),
        "weight_written": 300,
        "weight_joined": 9_000 + 2**70 + 5 + 17 * sum(b",,,\n"),
    }


@pytest.mark.parametrize("start", [89, 91])
def test_parts_that_overlap_or_leave_a_gap_are_not_what_is_in_the_file(
    tmp_path: Path, start: int
) -> None:
    (tmp_path / COMBINED).write_bytes(b"x" * 160)
    (tmp_path / SPENDING).write_text("age_group,total_spending,purchases,customers\n")
    nothing = pd.DataFrame({"customers": [0], "weight": [0]})
    parts = {"start": [30, start, 130], "bytes": [60, 40, 30], "rows": [8, 9, 1], "weight": 0}

    found = joined_books(PURCHASES, nothing, pd.DataFrame(parts), ",", tmp_path)

    assert (found["bytes_in_file"], found["bytes_written"]) == (160, 90)


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
        path, {source("customers", c=2): customers, source("purchases", a=1, b=1): purchases}
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
        tmp_path / "rejected.csv", {source("customers", a=1): ledger({"path": "/data/a.csv"})}
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


def test_without_a_limit_everything_may_be_rejected() -> None:
    blocks = ledger({"path": "/data/a.csv", "rejected": [reject(0, 0, b"1\n")] * 3})

    check_rejected(Tolerance(), {source("purchases", a=1): blocks})

    assert table_books(source("purchases", a=1), blocks).rejected == 3


def test_the_report(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    groups = AgeGroups(("Zoë's", "Old"), (Decimal("6.5"), Decimal(60)), "right")
    rows = [("Old", Decimal("0.0000001"), 3, 2)]
    columns = ["age_group", "total", "purchases", "customers"]
    summary = summarize(pd.DataFrame(rows, columns=columns), groups)

    write_report(
        path,
        Settings(customers=("a.csv",), age_groups=groups),
        [source("customers", a=1, b=1), source("purchases", c=1)],
        "broadcast",
        BOOKS,
        summary,
        12.34567,
    )

    text = path.read_text(encoding="utf-8")
    report = json.loads(text)
    assert text.endswith("}\n")
    assert "Zoë's" in text
    assert report["status"] == "complete"
    assert report["settings"]["customers"] == ["a.csv"]
    assert report["settings"]["age_groups"] == {
        "labels": ["Zoë's", "Old"],
        "bounds": ["6.5", "60"],
        "closed": "right",
    }
    assert report["inputs"] == {
        "customers": [{"file": "a.csv", "bytes": 500}, {"file": "b.csv", "bytes": 500}],
        "purchases": [{"file": "c.csv", "bytes": 500}],
    }
    assert (report["join"], report["seconds"]) == ("broadcast", 12.346)
    assert report["books"]["total_of_groups"] == "99999999999999999999.000000000000000001"
    assert report["books"]["customers_without_purchases"] == 4
    assert report["books"]["customers"]["value_examples"] == CUSTOMERS.value_examples
    assert report["age_groups"] == [
        {
            "age_group": "Zoë's",
            "total_spending": "0.0000000",
            "purchases": 0,
            "customers": 0,
            "spending_per_customer": None,
            "share_of_total": "0.0000",
        },
        {
            "age_group": "Old",
            "total_spending": "0.0000001",
            "purchases": 3,
            "customers": 2,
            "spending_per_customer": "0.00",
            "share_of_total": "1.0000",
        },
    ]
    assert set(report["versions"]) >= {
        *("age-group-spending", "python", "dask", "distributed", "pandas", "pyarrow", "matplotlib")
    }
    assert all(report["versions"].values())
