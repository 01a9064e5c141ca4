"""The books balance or the job fails, naming what is off."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from pipeline.outputs.books import Line, TableBooks, table_books
from support.ledgers import BOOKS, ledger, reject, source

from pipeline.errors import DataError
from pipeline.steps.read import MAX_EXAMPLES, Example


def test_balanced_books_pass() -> None:
    BOOKS.check()

    assert BOOKS.customers_without_purchases == 4


def test_each_line_that_does_not_agree_is_named_and_no_other() -> None:
    wrong = Line("purchases", ("in the age groups", "read"), (29, 30))
    other = Line("checksum", ("written", "in the file"), ("0123abcd", "0123abce"))

    with pytest.raises(DataError) as caught:
        replace(BOOKS, lines=(*BOOKS.lines, wrong, other)).check()

    assert str(caught.value) == (
        "the books do not balance (purchases: in the age groups 29, read 30; checksum: written "
        "0123abcd, in the file 0123abce); nothing was published; "
        "this is a fault of the program or of the cluster: run it again, and report it"
    )
    assert caught.value.exit_code == 1


def test_a_table_is_added_up_over_its_blocks() -> None:
    largest = "99999999999999999999.999999999999999999"
    blocks = ledger(
        {"path": "/data/a.csv", "start": 20, "bytes": 300, "lines": 5, "records": 4,
         "missing": 1, "unusable": 1, "total": Decimal(largest), "hash_total": 2**70, "ids": 2**63,
         "examples": [Example(2, "abc")], "rejected": [reject(4, 250, b"x\n")]},
        {"path": "/data/a.csv", "start": 320, "bytes": 180, "lines": 3, "records": 3,
         "missing": 0, "unusable": 2, "total": Decimal(largest), "hash_total": 1, "ids": 2**63 + 5,
         "examples": [Example(0, "1,5"), Example(2, "€5")]},
        {"path": "/data/b.csv", "start": 20, "bytes": 480, "lines": 2, "records": 2,
         "total": Decimal("-0.5"), "unusable": 1, "examples": [Example(1, "nan")],
         "out_of_range": 1, "range_examples": [Example(0, "-1")]},
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
        values_out_of_range=1,
        range_examples=[{"file": "b.csv", "line": 4, "value": "-1"}],
        total=Decimal("199999999999999999999.499999999999999998"),
        hash_total=2**70 + 1,
        ids=5,
    )


def test_not_more_than_twenty_examples_are_kept() -> None:
    examples = [Example(line, "abc") for line in range(MAX_EXAMPLES)]
    blocks = ledger(*({"path": "/data/a.csv", "lines": 20, "examples": examples} for _ in range(2)))

    books = table_books(source("purchases", a=1), blocks)

    assert [example["line"] for example in books.value_examples] == list(range(2, 22))
