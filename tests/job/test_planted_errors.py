"""The checks catch errors that are planted in a run: a test of the checks themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from distributed import Client
from support import kept, planting
from support.planting import Plant, before, before_join, behind, replaced

from pipeline import Settings, job, run
from pipeline.errors import DataError
from pipeline.outputs.names import FAILED, REPORT
from pipeline.steps.context import Job

Join = Literal["broadcast", "shuffle"]
SLOW = pytest.mark.slow("planted errors")
pytestmark = pytest.mark.usefixtures("small_partitions")

CUSTOMER_TEXT = "text of customers, in and out"
PURCHASE_TEXT = "text of purchases, in and out"
RECORDS = "records, joined and written"
IN_GROUPS = "purchases, read and in the age groups"
CUSTOMERS = "customers, read and in the age groups"
AMOUNTS = "sum of the amounts, read and in the age groups"
GROUPS = "sums by joined customers' groups, and in the result"
PAIRS = "pairs of purchases and customers, by ids read and by customers joined"
OVERLOOKED = "purchases joined with no customer although one has their id"
NOT_FIRST = "purchases joined with a customer who is not the first with that id"
LOOKUP = "customers, rendered and in a lookup"
LOOKUP_AT_END = "customers, rendered and in the lookup at the end"
SENT = "pieces of {table}, sent and received"
BYTES = "bytes of the combined table"
HEADER = "header of the combined table, written and in the file"
IN_PLACE = "blocks, written and in their place in the file"


class Planted(NamedTuple):
    """An error, and the check that names it."""

    name: str
    plant: Plant
    check: str


ID, REST = replaced("customer_id", "1003", "1004"), replaced("rest", "marked,10.00", "marked,10.01")
CENT = replaced("purchase", "marked,10.00", "marked,10.01")
FIRST_NAME = replaced("customer", "First12", "First13")

BOTH = [
    Planted("a purchase lost before the join", before_join(planting.dropped), RECORDS),
    Planted("a purchase doubled before the join", before_join(planting.doubled), RECORDS),
    Planted("text of a purchase before the join", before_join(REST), PURCHASE_TEXT),
    Planted("an amount before the join", before_join(planting.cent_more("parsed")), AMOUNTS),
    Planted("an id before the join", before_join(ID), PAIRS),
    Planted(
        "two ids exchanged before the join",
        before_join(planting.first_two_exchanged("customer_id")),
        PAIRS,
    ),
    Planted("a customer lost", before(Job, "transform", planting.last_dropped), CUSTOMERS),
    Planted("a customer doubled", before(Job, "transform", planting.last_doubled), CUSTOMERS),
    Planted(
        "text of a customer",
        before(Job, "transform", replaced("rest", "First12", "First13")),
        CUSTOMER_TEXT,
    ),
    Planted("a customer lost later", before(Job, "render", planting.last_dropped), CUSTOMER_TEXT),
    Planted("text of a customer, rendered", behind(Job, "render", FIRST_NAME), CUSTOMER_TEXT),
    Planted("a customer lost, rendered", behind(Job, "render", planting.last_dropped), RECORDS),
    Planted("two customers exchanged", planting.in_rows(planting.customers_exchanged), PAIRS),
    Planted("a customer overlooked", planting.in_rows(planting.overlooked), OVERLOOKED),
    Planted("a duplicate wins", planting.in_rows(planting.later_wins), NOT_FIRST),
    Planted("a record lost", before(job, "sum_purchases", planting.dropped), IN_GROUPS),
    Planted("a record doubled", before(job, "sum_purchases", planting.doubled), IN_GROUPS),
    Planted("a label shifted", before(job, "sum_purchases", planting.group_shifted), GROUPS),
    Planted("an amount", before(job, "sum_purchases", planting.cent_more("amount")), AMOUNTS),
    Planted("a record not written", before(Job, "write", planting.dropped), RECORDS),
    Planted("a record written twice", before(Job, "write", planting.doubled), RECORDS),
    Planted("a last record not written", before(Job, "write", planting.last_dropped), RECORDS),
    Planted("a last record written twice", before(Job, "write", planting.last_doubled), RECORDS),
    Planted("text before writing", before(Job, "write", CENT), PURCHASE_TEXT),
    Planted("an id before writing", before(Job, "write", ID), PURCHASE_TEXT),
    Planted("a line lost", kept.in_text(kept.line_dropped), IN_PLACE),
    Planted("a line doubled", kept.in_text(kept.line_doubled), IN_PLACE),
    Planted("digits of a line", kept.in_text(kept.digits_exchanged), IN_PLACE),
    Planted("blocks one byte on", kept.in_places(kept.moved), BYTES),
    Planted("a byte of a part file", kept.in_part_files(kept.part_changed), IN_PLACE),
    Planted("another's part file", kept.in_part_files(kept.part_of_another), IN_PLACE),
    Planted("a byte of the file", kept.in_file(kept.byte_flipped), IN_PLACE),
    Planted("the header of the file", kept.in_file(kept.header_changed), HEADER),
    Planted("the end of the file", kept.in_file(kept.end_lost), BYTES),
    Planted("more in the file", kept.in_file(kept.more_behind), BYTES),
    Planted("blocks exchanged", kept.in_file(kept.blocks_exchanged), IN_PLACE),
    Planted("a block over another", kept.in_file(kept.block_over_another), IN_PLACE),
    Planted("a sum", planting.in_results("spending_of", planting.cent_in_total), AMOUNTS),
    Planted("a group lost", planting.in_results("spending_of", planting.group_dropped), IN_GROUPS),
    Planted(
        "a sum in its file", planting.in_results("write_spending", planting.cent_in_total), AMOUNTS
    ),
    Planted("an entry lost", planting.in_entries(0), "bytes of purchases|pieces of purchases"),
    Planted("an entry twice", planting.in_entries(2), "bytes of purchases|pieces of purchases"),
]
BROADCAST = [
    Planted(
        "two texts exchanged",
        behind(Job, "render", planting.first_two_exchanged("customer")),
        LOOKUP,
    ),
    Planted("a label, rendered", behind(Job, "render", planting.group_shifted), LOOKUP),
    Planted("another run's lookup", planting.in_lookup(planting.of_another_run), LOOKUP),
    Planted("in one block", planting.for_one_block(planting.of_another_run), LOOKUP),
    Planted("another order", planting.for_one_block(planting.in_other_order), LOOKUP),
    Planted("two rows exchanged", planting.in_lookup(planting.rows_exchanged), LOOKUP),
    Planted(
        "two texts exchanged in place", planting.in_lookup(planting.texts_exchanged), LOOKUP_AT_END
    ),
    Planted("a label shifted in place", planting.in_lookup(planting.label_shifted), LOOKUP_AT_END),
    *(
        Planted(change.__name__, kept.in_marks(change), "the matches of block 2 in ")
        for change in (kept.mark_lost, kept.mark_stale, kept.mark_cut)
    ),
]
CELLS = (kept.piece_lost, kept.piece_doubled, kept.piece_changed, kept.pieces_exchanged)
FILES = (kept.file_lost, kept.file_doubled, kept.file_exchanged)
TABLES = ("purchases", "customers")
PIECES = [
    Planted(f"{name} of {table}", plant, SENT.format(table=table))
    for table in TABLES
    for name, plant in (
        *((change.__name__, kept.in_pieces(table, change)) for change in CELLS),
        *((change.__name__, kept.in_piece_files(table, change)) for change in FILES),
    )
]
BY_NETWORK = [
    Planted(
        f"{name} by network", kept.in_frames("purchases", change), SENT.format(table="purchases")
    )
    for name, change in (
        *((change.__name__, kept.of_cells(change)) for change in CELLS),
        ("cell_lost", planting.last_dropped),
        ("cell_doubled", planting.last_doubled),
    )
]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Tables of several blocks; one purchase is marked."""
    (tmp_path / "customers.csv").write_text(
        "customer_id,first_name,last_name,age\n"
        + "".join(f"{number},First{number},Last,{number % 90}\n" for number in range(180))
        + "7,Another,Seven,50\n"
    )
    # Some customers have no purchases, and some purchases no customer.
    ids = [number % 100 if number % 10 else number + 1000 for number in range(300)]
    rows = [f"{customer},thing{row},{row}.25\n" for row, customer in enumerate(ids)]
    rows[3] = "1003,thing,3.25\n"
    rows[170] = "7,marked,10.00\n"
    (tmp_path / "purchases.csv").write_text("customer_id,product,price\n" + "".join(rows))
    return tmp_path


def run_on(inputs: Path, client: Client, how: Join) -> None:
    settings = Settings(
        customers=(str(inputs / "customers.csv"),),
        purchases=(str(inputs / "purchases.csv"),),
        output_dir=str(inputs / "outputs"),
        block_size=1024,
        join=how,
        fsync=False,
    )
    run(settings, client)


@pytest.mark.parametrize("how", ["broadcast", "shuffle"])
def test_without_an_error_the_checks_agree(inputs: Path, client: Client, how: Join) -> None:
    run_on(inputs, client, how)

    assert (inputs / "outputs" / REPORT).exists()


def cases(how: Join, planted: list[Planted], **more: object) -> list[object]:
    return [pytest.param(how, one, id=f"{how}, {one.name}", **more) for one in planted]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "planted"),
    [
        *cases("broadcast", BOTH + BROADCAST),
        *cases("shuffle", PIECES),
        *cases("shuffle", BY_NETWORK, marks=SLOW),
        *cases("shuffle", BOTH, marks=SLOW),
    ],
)
def test_a_planted_error_is_caught(
    inputs: Path, client: Client, monkeypatch: pytest.MonkeyPatch, how: Join, planted: Planted
) -> None:
    planted.plant(monkeypatch)

    with pytest.raises(DataError, match=re.compile(planted.check)) as caught:
        run_on(inputs, client, how)

    assert "nothing was published" in str(caught.value)
    assert [path.name for path in (inputs / "outputs").iterdir()] == [FAILED]
