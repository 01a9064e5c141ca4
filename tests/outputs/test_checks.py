"""The checks compare what was counted on two sides; the run fails if any does not agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.ledgers import CHECKS, block_read, source

from pipeline.columns.totals import Checksum
from pipeline.engine.ledger import Entry, Ledger, Number
from pipeline.errors import DataError
from pipeline.outputs.checks import Check, check_run, raise_on_failure
from pipeline.outputs.names import COMBINED, SPENDING
from pipeline.outputs.read_back import Counts, ReadBack
from pipeline.outputs.run_totals import total_run
from pipeline.steps.combined_file import CombinedFile
from pipeline.steps.join import Alone, Broadcasted, Kept, Matched, Paired
from pipeline.steps.matched import Marks
from pipeline.steps.read import BlockRead
from pipeline.steps.render import CustomerTotals, Rendered
from pipeline.steps.shuffle import Received, Sent
from pipeline.steps.write import Written

HEADER = b"customer_id,product,price\n"
DATA = [b"1,x,Lamp,2\n", b"", b"2,y,Cup,3\n3,z,,\n"]
SIZES = np.cumsum([len(HEADER), *map(len, DATA)]).tolist()
TABLES = source("customers", c=1), source("purchases", p=1)
LOOKUP = CustomerTotals((Checksum.of(b"customers"),) * 6, text=60)
OTHER = CustomerTotals((Checksum.of(b"of another run"),) * 6, text=60)
FOUND = {block: Checksum.of(data) for block, data in enumerate(DATA)}

Changes = Mapping[type, Mapping[str, Any]]
NOTHING: Changes = {}


def paired(**totals: Any) -> Paired:
    """Return the totals of a purchase that has its customer."""
    nothing = dict.fromkeys(("overlooked", "not_first", "unmatched", "without_id"), 0)
    first: dict[str, Any] = dict.fromkeys(("first_unmatched", "first_without_id"))
    first["unmatched_ids"] = ()
    return Paired(**{"records": 1, "pairs": 0, "groups": {}, **nothing, **first, **totals})


def written(block: int, text: int) -> Written:
    data = DATA[block]
    return Written(block, SIZES[block], len(data), data.count(b"\n"), Checksum.of(data), text)


def entries() -> list[Entry]:
    """Return the entries of a broadcast join of two purchases and three customers."""
    of_customers: dict[str, Any] = {"records": 3, "bytes": 480, "text": 50}
    of_purchases: dict[str, Any] = {"records": 2, "bytes": 480, "text": 20}
    marks = Marks(0, Checksum())
    young, old = {"Young": (Decimal(2), 1)}, {"Old, or so": (Decimal("3.000"), 1)}
    return [
        Entry(
            Number(0, 1),
            block_read("/data/c.csv", "customers", **of_customers),
            Rendered(LOOKUP, added=10),
        ),
        Entry(
            Number(0, 1),
            block_read("/data/p.csv", total=Decimal(5), pairs=2**63 + 9, ids=5, **of_purchases),
            paired(pairs=2**63, groups=young),
            Broadcasted(marks, LOOKUP),
            written(0, 14),
        ),
        Entry(Number(1, 2), paired(pairs=9, groups=old), Broadcasted(marks, LOOKUP), written(1, 0)),
        Entry(Number(2, 3), Alone(2, 2, 4), Matched(2, 2), Kept(LOOKUP), written(2, 10)),
        Entry(ReadBack(FOUND, ())),
    ]


def checks_of(folder: Path, changes: Changes = NOTHING, *more: Entry) -> list[Check]:
    """Return the checks of that run, with changes to the totals of some type, or more entries."""
    (folder / COMBINED).write_bytes(b"".join([HEADER, *DATA]))
    (folder / SPENDING).write_text(
        "age_group,total_spending,purchases,customers,spending_per_customer,share_of_total\n"
        'Young,2.00,1,1,,\n"Old, or so",3.00,1,2,,\n'
    )
    ledger = Ledger()
    for entry in reversed([*entries(), *more]):  # they come in any order
        ledger.add(Entry(*(replace(one, **changes.get(type(one), {})) for one in entry)))
    totals = total_run(ledger, *TABLES, HEADER)
    target = CombinedFile(str(folder / COMBINED), HEADER)
    return check_run(ledger, totals, TABLES, target, folder)


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


def test_all_agree(tmp_path: Path) -> None:
    checks = checks_of(tmp_path)

    raise_on_failure(checks)
    assert len({check.name for check in checks}) == len(checks)
    assert Check("records, joined and written", 3, 3) in checks


def test_each_check_that_fails_is_named_and_no_other() -> None:
    wrong = Check("purchases, read and in the age groups", 30, 29)
    other = Check("bytes of the combined table", 2_000, 1_999)

    with pytest.raises(DataError) as caught:
        raise_on_failure([CHECKS[0], wrong, *CHECKS, other])

    assert str(caught.value) == (
        "checks failed (purchases, read and in the age groups: expected 30, actual 29; "
        "bytes of the combined table: expected 2000, actual 1999); nothing was published; "
        "this is a bug, or a fault in the cluster: run the job again, and report it"
    )
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({Written: {"records": 2}}, ["records, joined and written"]),
        ({Written: {"text": 1}}, ["text of purchases, in and out"]),
        ({Alone: {"text": 5}}, ["text of purchases, in and out"]),
        (
            {BlockRead: {"text": 7}},
            ["text of customers, in and out", "text of purchases, in and out"],
        ),
        ({Rendered: {"added": 9}}, ["text of customers, in and out"]),
        (
            {BlockRead: {"pairs": 3}},
            ["pairs of purchases and customers, by ids read and by customers joined"],
        ),
        (
            {Paired: {"overlooked": 1}},
            ["purchases joined with no customer although one has their id"],
        ),
        (
            {Paired: {"not_first": 1}},
            ["purchases joined with a customer who is not the first with that id"],
        ),
        ({Alone: {"keys": 8}}, ["ids of customers without purchases, kept and written"]),
        ({Kept: {"lookup": OTHER}}, ["customers, rendered and in the lookup at the end"]),
        ({Broadcasted: {"lookup": OTHER}}, ["customers, rendered and in a lookup"]),
        (
            {Paired: {"groups": {}}},
            ["sums by joined customers' groups, and in the result"],
        ),
        ({Matched: {"in_all": 3}}, ["customers with purchases, marked and found"]),
        (
            {BlockRead: {"total": Decimal(6)}},
            ["sum of the amounts, read and in the age groups"],
        ),
        (
            {ReadBack: {"checksums": {0: FOUND[0]}}},
            ["blocks, written and in their place in the file"],
        ),
        (
            {Written: {"offset": SIZES[0]}},
            ["blocks, written and in their place in the file"],
        ),
        ({Written: {"offset": None}}, []),
    ],
)
def test_each_total_is_compared(tmp_path: Path, changes: Changes, names: list[str]) -> None:
    assert failed(checks_of(tmp_path, changes)) == names


@pytest.mark.parametrize(("table", "file"), [("customers", "c"), ("purchases", "p")])
def test_bytes_read_are_those_of_the_files(tmp_path: Path, table: str, file: str) -> None:
    more = Entry(Number(3, 4), block_read(f"/data/{file}.csv", table, start=500, bytes=1))

    assert failed(checks_of(tmp_path, NOTHING, more)) == [f"bytes of {table}, in files and read"]


def test_records_read_are_those_in_the_age_groups(tmp_path: Path) -> None:
    names = [f"{name}, read and in the age groups" for name in ("purchases", "customers")]

    found = failed(checks_of(tmp_path, {BlockRead: {"records": 4}}))

    assert [name for name in found if name in names] == names


def test_a_table_that_is_too_short_or_too_long_is_noticed(tmp_path: Path) -> None:
    block = replace(written(2, 0), block=3)

    assert "bytes of the combined table" in failed(checks_of(tmp_path, NOTHING, Entry(block)))


def test_every_slice_of_the_lookup_is_part_of_it_at_the_end(tmp_path: Path) -> None:
    slices = [Entry(Kept(CustomerTotals())), Entry(Kept(LOOKUP))]

    assert failed(checks_of(tmp_path, NOTHING, slices[0])) == []
    assert "customers, rendered and in the lookup at the end" in failed(
        checks_of(tmp_path, NOTHING, slices[1])
    )


def test_what_a_shuffle_sends_is_what_it_receives(tmp_path: Path) -> None:
    sent = [Entry(Number(0, 1), Sent(2**63, 1)), Entry(Number(1, 2), Sent(2**63 + 5, 2))]
    received = Received(purchases=5, customers=3, text=0, misplaced=0)

    assert failed(checks_of(tmp_path, NOTHING, *sent, Entry(received))) == []
    for wrong, name in (
        ({"purchases": 4}, "pieces of purchases, sent and received"),
        ({"customers": 4}, "pieces of customers, sent and received"),
        ({"misplaced": 1}, "records in the wrong partition"),
        ({"text": 1}, "text of customers, in and out"),
    ):
        changed = Entry(replace(received, **wrong))
        assert failed(checks_of(tmp_path, NOTHING, *sent, changed)) == [name]


def test_what_was_recounted_is_compared(tmp_path: Path) -> None:
    sums = {"Young": Decimal("2.0"), "Old, or so": Decimal(3), "Unknown": Decimal(0)}
    counts = Counts(records=3, ids=7, sums=sums)

    assert failed(checks_of(tmp_path, {ReadBack: {"counts": [counts]}})) == []
    for wrong, name in (
        ({"records": 4}, "records, in the run and in the recount"),
        ({"ids": 8}, "ids, in the run and in the recount"),
        ({"sums": {"Young": Decimal(5)}}, "sum of each age group, in the run and in the recount"),
    ):
        recounted = [replace(counts, **wrong)]
        assert failed(checks_of(tmp_path, {ReadBack: {"counts": recounted}})) == [name]
