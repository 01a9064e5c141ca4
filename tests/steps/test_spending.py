"""The grouped sum is exact, whatever the partitions, and is laid out for people and programs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from decimal import Decimal, getcontext
from pathlib import Path

import pandas as pd
import pytest
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frames import group_column, in_partitions, number_column, text_column

from pipeline.columns.totals import EXACT
from pipeline.engine.ledger import as_entry, entries_in
from pipeline.engine.partitions import on_partitions
from pipeline.settings import AgeGroups
from pipeline.steps.spending import Summed, sum_purchases, summarize, write_spending

LABELS = AgeGroups().all_labels
LARGEST = "99999999999999999999.999999999999999999"
Purchase = tuple[str, str | Decimal | None]
Sums = dict[str, tuple[Decimal, int]]


def combined(purchases: Sequence[Purchase], alone: Sequence[str] = ()) -> pd.DataFrame:
    """Return joined records: purchases as (group, amount), and customers without purchases."""
    groups = [*(group for group, _ in purchases), *alone]
    return pd.DataFrame(
        {
            "customer_id": text_column("1" for _ in groups),
            "customer": text_column("Ada" for _ in groups),
            "age_group": group_column(groups),
            "purchase": text_column([*("Lamp" for _ in purchases), *(None for _ in alone)]),
            "amount": number_column([*(amount for _, amount in purchases), *(None for _ in alone)]),
            "order": range(len(groups)),
        }
    )


def sums(records: pd.DataFrame, partitions: int) -> Sums:
    """Compute the spending of each partition, and add it up: {group: (total, purchases)}."""
    lazy = sum_purchases(in_partitions(records, partitions))
    rows = on_partitions(as_entry, lazy, step="ledger").compute()
    parts = [entry[Summed].spending for entry in entries_in(rows)]
    summary = summarize(parts, [dict.fromkeys(LABELS, 1)], AgeGroups())
    found = {row.age_group: (row.total_spending, row.purchases) for row in summary.itertuples()}
    assert set(found) == set(LABELS)
    return {label: found[label] for label in set[str]().union(*parts)}


def summary_of(
    *rows: tuple[str, str, int, int], groups: AgeGroups | None = None, **known: int
) -> pd.DataFrame:
    """Return the table of results for (group, total, purchases, customers)."""
    spending = [{label: (Decimal(total), purchases)} for label, total, purchases, _ in rows]
    customers = [{label: count} for label, _, _, count in rows]
    return summarize(spending, customers, groups or AgeGroups(), **known)


@pytest.mark.parametrize("partitions", [1, 2, 5, 20])
def test_amounts_and_purchases_are_summed_by_group(client: Client, partitions: int) -> None:
    records = combined(
        [
            ("Young", "19.90"),
            ("Senior", "-3"),
            ("Young", "0.10"),
            ("Unknown", "1000"),
            ("Young", None),
            ("Unknown", None),
        ],
        alone=["Middle-aged", "Senior"],
    )

    assert sums(records, partitions) == {
        "Young": (Decimal(20), 3),
        "Senior": (Decimal(-3), 1),
        "Unknown": (Decimal(1000), 2),
    }


def test_no_records_give_no_groups(client: Client) -> None:
    assert sums(combined([]), 2) == {}


@pytest.mark.parametrize("partitions", [1, 2, 7])
@pytest.mark.parametrize(
    ("amounts", "total"),
    [
        ([LARGEST] * 7, "699999999999999999999.999999999999999993"),
        ([f"-{LARGEST}"] * 7, "-699999999999999999999.999999999999999993"),
        # 38 digits are more than the 28 to which Python's decimals round if not told otherwise.
        (
            ["12345678901234567890.123456789012345678"] * 4 + ["0.000000000000000001"],
            "49382715604938271560.493827156049382713",
        ),
        (["0.1"] * 10, "1.0"),
        (["9007199254740993"] * 2, "18014398509481986"),
    ],
)
def test_sums_are_right_to_the_last_digit(
    client: Client, amounts: list[str], total: str, partitions: int
) -> None:
    records = combined([("Young", amount) for amount in amounts])

    assert sums(records, partitions) == {"Young": (Decimal(total), len(amounts))}


@settings(max_examples=10)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(LABELS),
            st.none()
            | st.integers(1 - 10**38, 10**38 - 1).map(lambda n: Decimal(n).scaleb(-18, EXACT)),
        ),
        max_size=20,
    ),
    st.integers(1, 4),
)
def test_sums_are_those_of_python(
    client: Client, purchases: list[Purchase], partitions: int
) -> None:
    expected: Sums = {}
    for group, amount in purchases:
        total, count = expected.get(group, (Decimal(0), 0))
        expected[group] = EXACT.add(total, Decimal(amount or 0)), count + 1

    assert sums(combined(purchases), partitions) == expected


def test_the_groups_of_the_challenge_are_always_reported() -> None:
    summary = summary_of(("Senior", "10", 2, 3))

    assert summary["age_group"].tolist() == ["Young", "Middle-aged", "Senior"]
    assert summary["total_spending"].tolist() == [0, 0, 10]
    assert summary["purchases"].tolist() == [0, 0, 2]
    assert summary["customers"].tolist() == [0, 0, 3]
    assert summary["spending_per_customer"].tolist() == [None, None, Decimal("3.33")]
    assert summary["share_of_total"].tolist() == [0, 0, 1]


def test_the_youngest_comes_first_and_unknown_last() -> None:
    in_any_order = ("Unknown", "Senior", "Under 18", "Young")

    summary = summary_of(*((group, "1", 1, 1) for group in in_any_order))

    assert tuple(summary["age_group"]) == LABELS


def test_nothing_at_all_is_three_groups_of_zero() -> None:
    summary = summary_of()

    assert summary["total_spending"].tolist() == [0, 0, 0]
    assert summary["share_of_total"].tolist() == [None, None, None]


@pytest.mark.parametrize(
    ("totals", "written"),
    [
        (("1", "20", "300"), ("1", "20", "300")),
        (("1.000", "1E+3", "0"), ("1", "1000", "0")),
        (("1.5", "20", "0"), ("1.50", "20.00", "0.00")),
        (("0.001", "20.10", "0"), ("0.001", "20.100", "0.000")),
        (("1E-18", "-2", "0"),
         ("0.000000000000000001", "-2.000000000000000000", "0.000000000000000000")),
        ((f"7{LARGEST}", "1", "0"),
         (f"7{LARGEST}", "1.000000000000000000", "0.000000000000000000")),
    ],
)  # fmt: skip
def test_totals_are_written_out_with_the_places_that_one_of_them_needs(
    tmp_path: Path, totals: tuple[str, ...], written: tuple[str, ...]
) -> None:
    groups = ("Young", "Middle-aged", "Senior")
    rows = ((group, total, 1, 1) for group, total in zip(groups, totals, strict=True))

    write_spending(summary_of(*rows), tmp_path / "spending.csv")

    with (tmp_path / "spending.csv").open(newline="") as file:
        assert tuple(row["total_spending"] for row in csv.DictReader(file)) == written


@pytest.mark.parametrize(
    ("total", "places", "written"),
    [("30", 0, "30"), ("30", 2, "30.00"), ("30", 3, "30.000"), ("30.5", 1, "30.50"),
     ("0.125", 2, "0.125")],
)  # fmt: skip
def test_a_total_has_the_places_of_the_amounts(total: str, places: int, written: str) -> None:
    summary = summary_of(("Young", total, 1, 1), places=places)

    assert str(summary["total_spending"][0]) == written


@pytest.mark.parametrize(("without_customer", "per_customer"), [(0, Decimal(20)), (1, None)])
def test_purchases_of_nobody_are_not_spending_per_customer(
    without_customer: int, per_customer: Decimal | None
) -> None:
    rows = ("Young", "10", 1, 2), ("Unknown", "40", 2, 2)

    summary = summary_of(*rows, without_customer=without_customer)

    assert summary["spending_per_customer"].tolist() == [5, None, None, per_customer]


def test_the_file(tmp_path: Path) -> None:
    groups = AgeGroups(('"A", B', "Zoë"), (Decimal(0), Decimal(65)))
    rows = ('"A", B', "19.90", 3, 2), ("Unknown", "0.10", 1, 0)

    write_spending(summary_of(*rows, groups=groups), tmp_path / "spending.csv")

    assert (tmp_path / "spending.csv").read_bytes().decode() == (
        "age_group,total_spending,purchases,customers,spending_per_customer,share_of_total\n"
        '"""A"", B",19.90,3,2,9.95,0.9950\n'
        "Zoë,0.00,0,0,,0.0000\n"
        "Unknown,0.10,1,0,,0.0050\n"
    )


def test_the_callers_decimal_context_stays_as_it_was() -> None:
    before = getcontext().prec

    summary_of(("Young", LARGEST, 1, 1))

    assert getcontext().prec == before
