"""`full_name` and `age_group`, held against plain Python and `pandas.cut`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import in_blocks, number_column, text, text_column

from pipeline.columns.arrow import to_arrow
from pipeline.columns.keys import key_hashes
from pipeline.engine.compute import ledger_of
from pipeline.engine.ledger import entries_in
from pipeline.settings import AgeGroups
from pipeline.steps.read import ID, KEY, ORDER, PARSED, REST
from pipeline.steps.transform import (
    Transformed,
    add_age_group,
    add_full_name,
    age_group_dtype,
    transform,
)

# Quarters of a year: floats hold them exactly, so pandas.cut is an exact oracle.
QUARTERS = st.integers(0, 130 * 4)


def groups_of(ages: Sequence[str | None], groups: AgeGroups) -> list[str]:
    customers = pd.DataFrame({PARSED: number_column(ages)})
    return add_age_group(customers, groups)["age_group"].tolist()


@pytest.mark.parametrize(
    ("first", "last", "full"),
    [
        ("Ada", "Byron", "Ada Byron"),
        ("Ada", None, "Ada"),
        (None, "Byron", "Byron"),
        (None, None, None),
        (" Ana", "de la Cruz", " Ana de la Cruz"),
        ("Null", "nan", "Null nan"),
        ("Zoë", "Novák", "Zoë Novák"),
        ('"Bo"', "Line\nBreak", '"Bo" Line\nBreak'),
    ],
)
@pytest.mark.parametrize("neighbours", [[], ["Bo"], [None]])
def test_full_name(
    first: str | None, last: str | None, full: str | None, neighbours: Sequence[str | None]
) -> None:
    customers = pd.DataFrame(
        {
            "first_name": text_column([first, *neighbours]),
            "last_name": text_column([last, *neighbours]),
        }
    )

    named = add_full_name(customers)

    assert named.columns.tolist() == ["first_name", "last_name", "full_name"]
    assert to_arrow(named["full_name"]).to_pylist() == [
        full,
        *(f"{one} {one}" if one else None for one in neighbours),
    ]


@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.parametrize(
    ("age", "left", "right"),
    [
        ("0", "Under 18", "Under 18"),
        ("17", "Under 18", "Under 18"),
        ("17.999999999999999999", "Under 18", "Under 18"),
        ("18", "Young", "Young"),
        ("29.5", "Young", "Young"),
        ("29.999999999999999999", "Young", "Young"),
        ("30", "Middle-aged", "Young"),
        ("30.000000000000000001", "Middle-aged", "Middle-aged"),
        ("45", "Senior", "Middle-aged"),
        ("45.5", "Senior", "Senior"),
        ("130", "Senior", "Senior"),
        (None, "Unknown", "Unknown"),
    ],
)
def test_age_group_of_the_challenge(
    age: str | None, left: str, right: str, closed: Literal["left", "right"]
) -> None:
    assert groups_of([age], AgeGroups(closed=closed)) == [left if closed == "left" else right]


@given(
    ages=st.lists(st.none() | QUARTERS, max_size=30),
    bounds=st.lists(QUARTERS, min_size=1, max_size=6, unique=True).map(sorted),
    closed=st.sampled_from(["left", "right"]),
)
def test_age_groups_are_those_of_pandas_cut(
    ages: list[int | None], bounds: list[int], closed: Literal["left", "right"]
) -> None:
    labels = tuple(f"group {number}" for number in range(len(bounds)))
    groups = AgeGroups(labels, tuple(Decimal(bound) / 4 for bound in bounds), closed)
    years = pd.Series([np.nan if age is None else age / 4 for age in ages], dtype=float)
    edges = [*(bound / 4 for bound in bounds), np.inf]
    cut = pd.cut(years, edges, right=closed == "right", include_lowest=True, labels=list(labels))
    expected = cut.astype(object).where(cut.notna(), groups.under).where(years.notna(), "Unknown")

    found = groups_of([None if age is None else str(Decimal(age) / 4) for age in ages], groups)

    assert found == expected.tolist()


@pytest.mark.parametrize("closed", ["left", "right"])
def test_there_may_be_a_group_for_each_year(closed: Literal["left", "right"]) -> None:
    years = range(131)
    groups = AgeGroups(
        tuple(f"{year}" for year in years), tuple(Decimal(year) for year in years), closed
    )

    found = groups_of([*(f"{year}" for year in years), None], groups)

    ends = ["0", *(f"{year}" for year in years[:-1])]  # closed right, 1 ends the group from 0
    begins = [f"{year}" for year in years]
    assert found == [*(begins if closed == "left" else ends), "Unknown"]


def test_age_group_is_ordered_youngest_first_and_keeps_the_other_columns() -> None:
    customers = pd.DataFrame(
        {"age": text_column(["50", "x", "20"]), PARSED: number_column(["50", None, "20"])}
    ).set_axis([7, 7, 9])

    grouped = add_age_group(customers, AgeGroups())

    assert grouped.columns.tolist() == ["age", PARSED, "age_group"]
    assert grouped.index.tolist() == [7, 7, 9]
    assert grouped["age_group"].dtype == age_group_dtype(AgeGroups())
    assert grouped["age_group"].sort_values().tolist() == ["Young", "Senior", "Unknown"]


def test_empty_partitions() -> None:
    customers = pd.DataFrame(
        {"first_name": text_column([]), "last_name": text_column([]), PARSED: number_column([])}
    )

    transformed = add_age_group(add_full_name(customers), AgeGroups())

    assert len(transformed) == 0
    assert transformed["age_group"].dtype == age_group_dtype(AgeGroups())
    assert transformed["full_name"].dtype == customers["first_name"].dtype


NAMES = st.sampled_from([None, "Ada", "Zoë", 'say "x"', " ", "a,b"])


@given(st.lists(st.tuples(NAMES, NAMES, st.none() | st.integers(0, 130)), max_size=20))
def test_every_customer_keeps_its_own_and_gets_its_name_and_group(
    rows: list[tuple[str | None, str | None, int | None]],
) -> None:
    groups, ids = AgeGroups(), [f"id {row}" for row in range(len(rows))]
    customers = pd.DataFrame(
        {
            ID: text_column(ids),
            "first_name": text_column(first for first, _, _ in rows),
            "last_name": text_column(last for _, last, _ in rows),
            PARSED: number_column(age for _, _, age in rows),
            REST: text_column(f"rest {row}\n" for row in range(len(rows))),
            ORDER: np.arange(len(rows)),
            KEY: key_hashes(text(*ids)),
        }
    )

    found = add_age_group(add_full_name(customers), groups)

    labels = [groups.under, *groups.labels]
    wanted = [
        "Unknown" if age is None else labels[sum(age >= bound for bound in groups.bounds)]
        for _, _, age in rows
    ]
    names = [" ".join(name for name in row[:2] if name is not None) or None for row in rows]
    assert found[customers.columns].equals(customers)
    assert to_arrow(found["full_name"]).to_pylist() == names
    assert found["age_group"].tolist() == wanted


def test_the_customers_of_each_group_are_counted() -> None:
    customers = pd.DataFrame(
        {
            "first_name": text_column(["Ada"] * 5),
            "last_name": text_column(["Byron"] * 5),
            PARSED: number_column([20, 50, None, 51, 20]),
        }
    )

    lazy = ledger_of(transform(in_blocks(customers, 2), AgeGroups()))

    entries = entries_in(lazy.compute(scheduler="synchronous"))
    assert [entry[Transformed].groups for entry in entries] == [
        {"Young": 1, "Senior": 1},
        {"Young": 1, "Senior": 1, "Unknown": 1},
    ]
