"""The totals of a run are those of its blocks, added up."""

from __future__ import annotations

from decimal import Decimal

from support.ledgers import block_read, ledger, reject, source

from pipeline.outputs.run_totals import TableTotals, total_table
from pipeline.steps.read import MAX_EXAMPLES, Example


def test_a_table_is_added_up_over_its_blocks() -> None:
    largest = Decimal("99999999999999999999.999999999999999999")
    blocks = [
        block_read(
            "/data/a.csv", start=20, bytes=300, lines=5, records=4, missing=1, unusable=1,
            total=largest, text=2**70, ids=2**63,
            examples=[Example(2, "abc")], rejected=[reject(4, 250, b"x\n")],
        ),
        block_read(
            "/data/a.csv", start=320, bytes=180, lines=3, records=3, missing=0, unusable=2,
            total=largest, text=1, ids=2**63 + 5, examples=[Example(0, "1,5"), Example(2, "€5")],
        ),
        block_read(
            "/data/b.csv", start=20, bytes=480, lines=2, records=2, unusable=1, out_of_range=1,
            total=Decimal("-0.5"), examples=[Example(1, "nan")], range_examples=[Example(0, "-1")],
        ),
    ]  # fmt: skip

    totals = total_table(ledger(*blocks), source("purchases", a=1, b=3))

    assert totals == TableTotals(
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
        text=2**70 + 1,
        ids=5,
    )


def test_not_more_than_twenty_examples_are_kept() -> None:
    examples = [Example(line, "abc") for line in range(MAX_EXAMPLES)]
    blocks = [block_read("/data/a.csv", lines=20, examples=examples) for _ in range(2)]

    totals = total_table(ledger(*blocks), source("purchases", a=1))

    assert [example["line"] for example in totals.value_examples] == list(range(2, 22))
