"""The lines of the books compare what was counted on two sides."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pipeline.outputs.balance import run_books
from pipeline.outputs.books import Books, Ledger
from support.ledgers import ledger, source

from pipeline.columns.totals import Checksum
from pipeline.outputs.names import COMBINED, SPENDING
from pipeline.steps.render import Layout

LAYOUT = Layout("customer_id,product,price", ",,", ",")
HEADER = LAYOUT.header_line
DATA = [b"1,x,Lamp,2\n", b"", b"2,y,Cup,3\n3,z,,\n"]
RENDERED = (Checksum.of(b"customers"),)


def written(block: int, **totals: Any) -> dict[str, Any]:
    """Return the entry of a block that was written."""
    return {
        "block": block,
        "place": len(HEADER) + sum(map(len, DATA[:block])),
        "written_bytes": len(DATA[block]),
        "written_records": DATA[block].count(b"\n"),
        "checksum": Checksum.of(DATA[block]),
        "part_bytes": 0,
        **totals,
    }


def books_of(folder: Path, *more: dict[str, Any], **changed: Any) -> Books:
    """Make up the books of two purchases and three customers, with more entries or other totals."""
    (folder / COMBINED).write_bytes(b"".join([HEADER, *DATA]))
    (folder / SPENDING).write_text(
        "age_group,total_spending,purchases,customers,spending_per_customer,share_of_total\n"
        'Young,2.00,1,1,,\n"Old, or so",3.00,1,2,,\n'
    )
    rows: list[dict[str, Any]] = [
        {"table": "customers", "path": "/data/c.csv", "records": 3, "bytes": 480, "block": 0},
        {"table": "purchases", "path": "/data/p.csv", "records": 2, "bytes": 480, "block": 0},
    ]
    customers, purchases = ledger(*rows)
    groups = {"Young": (Decimal(2), 1), "Old, or so": (Decimal("3.000"), 1)}
    entries = [
        {**customers, "rendered": RENDERED},
        {**purchases, "total": Decimal(5), "pairs": 2**63 + 9},
        written(0, pairs_joined=2**63, lookup=RENDERED, groups=groups),
        written(1, pairs_joined=9, lookup=RENDERED),
        written(2, matched=2, matched_in_all=2, kept=RENDERED, ids_alone=7, keys_alone=7),
        {"found": {block: Checksum.of(data) for block, data in enumerate(DATA)}},
        *more,
    ]
    found = Ledger()
    for entry in reversed(entries):  # they come in any order
        found.add({name: changed.get(name, value) for name, value in entry.items()})
    tables = source("customers", c=1), source("purchases", p=1)
    size = (folder / COMBINED).stat().st_size
    return run_books(found, *tables, LAYOUT, folder, size)


def off(books: Books) -> list[str]:
    """Return the lines that do not agree."""
    return [line.what for line in books.lines if not line.agrees]


def test_books_that_balance(tmp_path: Path) -> None:
    books = books_of(tmp_path)

    assert off(books) == []
    assert (books.records_written, books.customers_with_purchases) == (3, 2)
    assert books.bytes_written == (tmp_path / COMBINED).stat().st_size
    assert books.checksum == str(Checksum.of((tmp_path / COMBINED).read_bytes()))
    assert {"records: written 3, purchases and customers without purchases 3"} <= {
        str(line) for line in books.lines
    }


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        ({"written_records": 2}, ["records"]),
        (
            {"hash_total_kept": 1},
            [f"sum of all bytes of text of {name}" for name in ("customers", "purchases")],
        ),
        ({"pairs": 3}, ["total of purchases paired with customers"]),
        ({"keys_alone": 8}, ["total of the ids of customers without purchases"]),
        (
            {"kept": (Checksum.of(b"other"),)},
            ["checksums of the customers' ids, texts and groups, at the end"],
        ),
        (
            {"lookup": (Checksum.of(b"other"),)},
            ["checksums of the customers' ids, texts and groups"],
        ),
        ({"groups": {}}, ["amounts and number of purchases of each age group"]),
        ({"matched_in_all": 3}, ["customers with purchases"]),
        ({"part_bytes": 1}, ["bytes of part files"]),
        ({"total": Decimal(6)}, ["sum of the amounts"]),
        (
            {"found": {0: Checksum.of(DATA[0])}},
            ["checksum of the combined table", "blocks of the combined table"],
        ),
    ],
)
def test_each_imbalance_is_named_and_no_other(
    tmp_path: Path, changed: dict[str, Any], lines: list[str]
) -> None:
    assert off(books_of(tmp_path, **changed)) == lines


@pytest.mark.parametrize("place", [len(HEADER) + 10, len(HEADER) + 12])
def test_blocks_that_overlap_or_leave_a_gap_are_not_what_is_in_the_file(
    tmp_path: Path, place: int
) -> None:
    moved = {**written(2), "block": 1, "place": place, "written_bytes": 1}

    assert "bytes of the combined table" in off(books_of(tmp_path, moved))


def test_seals_that_broke_are_counted(tmp_path: Path) -> None:
    sealed = [written(1, text_read=1, text_written=text) for text in (1, 2)]

    books = books_of(tmp_path, *sealed)

    assert "blocks of text of purchases, between reading and writing: sealed 2, unbroken 1" in map(
        str, books.lines
    )


def test_what_was_recounted_is_compared(tmp_path: Path) -> None:
    sums = {"Young": Decimal("2.0"), "Old, or so": Decimal(3), "Unknown": Decimal(0)}
    block = {"records": 3, "ids": 7, "sums": sums}

    assert off(books_of(tmp_path, {"recounted": [block]})) == []
    for wrong, line in (
        ({"records": 4}, "records"),
        ({"ids": 8}, "total of the ids"),
        ({"sums": {"Young": Decimal(5)}}, "sum of each age group"),
    ):
        assert off(books_of(tmp_path, {"recounted": [{**block, **wrong}]})) == [line]
