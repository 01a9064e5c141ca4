"""The books catch errors that are planted in the code under test: a test of the check itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from distributed import Client
from support.planting import (
    Change,
    amounts_exchanged,
    before,
    behind,
    block_over_another,
    blocks_exchanged,
    byte_flipped,
    cent_in_amount,
    cent_in_entry,
    cent_in_slices,
    cent_in_text,
    cent_in_total,
    changed,
    customers_exchanged,
    doubled,
    dropped,
    group_dropped,
    group_shifted,
    in_lookup,
    last_doubled,
    last_dropped,
    later_wins,
    line_doubled,
    line_dropped,
    mark_added,
    mark_lost,
    moved,
    of_another_run,
    on_file,
    overlooked,
    swapped,
    texts_exchanged,
    two_exchanged,
    unchanged,
)

from pipeline import Settings, run
from pipeline import job as job_module
from pipeline.csv_text import fields
from pipeline.engine import prefix_sum
from pipeline.errors import DataError
from pipeline.outputs.names import FAILED, REPORT
from pipeline.steps import join, matched, render, spending, transform, write
from pipeline.steps import lookup as lookup_module
from pipeline.steps.lookup import Lookup

Join = Literal["broadcast", "shuffle"]
pytestmark = pytest.mark.usefixtures("small_partitions")

WRITTEN = "records: written "
IN_GROUPS = "purchases: in the age groups "
CUSTOMERS = "customers: in the age groups "
SUM = "sum of the amounts: in the age groups "
GROUPS = "amounts and number of purchases of each age group: "
READ = "sum of all bytes of text of purchases: "
PAIRS = "total of purchases paired with customers: "
OVERLOOKED = "purchases without the customer that they have: "
FIRST = "purchases with a customer who is not the first of that id: "
MARKED = "customers with purchases: "
TEXT = "blocks of text of purchases, between reading and writing: "
AMOUNTS = "blocks of amounts, between reading and summing: "
JOINED = "blocks of customers, between joining and writing: "
TRANSFORMED = "blocks of customers, between reading and transforming: "
AGES = "blocks of ages, between reading and transforming: "
RENDERED = "blocks of customers, between transforming and rendering: "
BYTES = "bytes of the combined table: in the file "
IN_FILE = "blocks of the combined table: written "
CHECKSUM = "checksum of the combined table: written"
# In a broadcast join, and in a shuffle.
LOOKUP = "checksums of the customers' ids, texts and groups: |records of a shuffle: "
SHUFFLED = "records of a shuffle: "
TEXT_JOINED = f"{TEXT}|{SHUFFLED}"


PLANTED = [
    ("read", behind, fields.Fields, "lines", cent_in_slices, READ),
    (
        "transform",
        before,
        transform,
        "_transform",
        swapped("first_name", "t12", "t21"),
        TRANSFORMED,
    ),
    ("transform", before, transform, "_transform", swapped("customer_id", "12", "21"), TRANSFORMED),
    ("transform", before, transform, "_transform", amounts_exchanged("parsed"), AGES),
    ("transform", before, transform, "_transform", last_dropped, CUSTOMERS),
    ("transform", before, transform, "_transform", last_doubled, CUSTOMERS),
    ("render", before, render, "_render", swapped("full_name", "t12", "t21"), RENDERED),
    ("render", before, render, "_render", group_shifted, RENDERED),
    ("lookup", behind, lookup_module, "join_texts", texts_exchanged, LOOKUP),
    ("lookup", later_wins, Lookup, "rows", unchanged, FIRST),
    ("join", overlooked, Lookup, "rows", unchanged, OVERLOOKED),
    ("join", behind, Lookup, "rows", two_exchanged, PAIRS),
    ("join", in_lookup, join, "paired", of_another_run, PAIRS),
    ("join", before, join, "paired", swapped("customer_id", "12", "21"), PAIRS),
    ("join", before, join, "paired", swapped("rest", "171.25", "117.25"), TEXT_JOINED),
    ("join", before, join, "paired", amounts_exchanged("parsed"), f"{AMOUNTS}|{SHUFFLED}"),
    ("join", behind, join, "paired", customers_exchanged, JOINED),
    ("join", behind, join, "paired", dropped, WRITTEN),
    ("join", behind, join, "paired", doubled, WRITTEN),
    ("join", behind, join, "paired", cent_in_amount, SUM),
    ("join", behind, join, "paired", cent_in_text, TEXT_JOINED),
    ("join", behind, join, "paired", group_shifted, GROUPS),
    ("join", behind, join, "alone", last_dropped, WRITTEN),
    ("join", behind, join, "alone", last_doubled, WRITTEN),
    ("sum", before, spending, "_sum_purchases", dropped, IN_GROUPS),
    ("sum", before, spending, "_sum_purchases", doubled, IN_GROUPS),
    ("sum", before, spending, "_sum_purchases", cent_in_amount, SUM),
    ("sum", before, spending, "_sum_purchases", group_shifted, GROUPS),
    ("sum", before, spending, "_sum_purchases", amounts_exchanged("amount"), AMOUNTS),
    ("sum", behind, spending, "_sum_purchases", cent_in_entry, SUM),
    ("sum", behind, job_module, "summarize", cent_in_total, SUM),
    ("sum", behind, job_module, "summarize", group_dropped, IN_GROUPS),
    ("sum", before, job_module, "write_spending", cent_in_total, SUM),
    ("write", before, write, "_write", dropped, WRITTEN),
    ("write", before, write, "_write", doubled, WRITTEN),
    ("write", before, write, "_write", cent_in_text, TEXT),
    ("write", before, write, "_write", customers_exchanged, JOINED),
    ("write", before, write, "_write", swapped("customer_id", "12", "21"), TEXT),
    ("write", before, write, "_write", swapped("purchase", "171.25", "117.25"), TEXT),
    ("write", changed, write.Lines, "texts", line_dropped, WRITTEN),
    ("write", changed, write.Lines, "texts", line_doubled, WRITTEN),
    ("write", changed, prefix_sum.PrefixSum, "place", moved, BYTES),
    ("file", on_file, job_module, "read_back", byte_flipped, CHECKSUM),
    ("file", on_file, job_module, "read_back", blocks_exchanged, IN_FILE),
    ("file", on_file, job_module, "read_back", block_over_another, IN_FILE),
]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Tables of several blocks; one purchase is marked."""
    (tmp_path / "customers.csv").write_text(
        "customer_id,first_name,last_name,age\n"
        + "".join(f"{number},First{number},Last,{number % 90}\n" for number in range(120))
        + "7,Another,Seven,50\n"
    )
    # Some customers have no purchases, and some purchases no customer.
    ids = [number % 100 if number % 10 else number + 1000 for number in range(300)]
    rows = [f"{customer},thing,{number}.25\n" for number, customer in enumerate(ids)]
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
def test_without_an_error_the_books_balance(inputs: Path, client: Client, how: Join) -> None:
    run_on(inputs, client, how)

    assert (inputs / "outputs" / REPORT).exists()


@pytest.mark.parametrize(
    "how", ["broadcast", pytest.param("shuffle", marks=pytest.mark.slow("planted errors"))]
)
@pytest.mark.parametrize(
    ("place", "module", "name", "change", "line"),
    [planted[1:] for planted in PLANTED],
    ids=[f"{step}-{name}-{change.__name__}" for step, _, _, name, change, _ in PLANTED],
)
def test_a_planted_error_is_caught(
    inputs: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    place: Callable[..., Any],
    module: Any,
    name: str,
    change: Change,
    line: str,
    how: Join,
) -> None:
    monkeypatch.setattr(module, name, place(getattr(module, name), change))

    with pytest.raises(DataError) as caught:
        run_on(inputs, client, how)

    assert "the books do not balance" in str(caught.value)
    assert any(one in str(caught.value) for one in line.split("|"))
    assert [path.name for path in (inputs / "outputs").iterdir()] == [FAILED]


@pytest.mark.parametrize("change", [mark_lost, mark_added])
def test_a_wrong_mark_is_caught(
    inputs: Path, client: Client, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    monkeypatch.setattr(join, "in_slice", behind(matched.in_slice, change))

    with pytest.raises(DataError, match=MARKED):
        run_on(inputs, client, "broadcast")
