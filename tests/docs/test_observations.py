"""The README's observations are those that pandas makes on the challenge's own data."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd
import pytest
from support.paths import REPOSITORY

FOLDER = os.environ.get("CHALLENGE_DATA", "")
LABELS = ["Young", "Middle-aged", "Senior"]

pytestmark = pytest.mark.skipif(not FOLDER, reason="CHALLENGE_DATA does not name the folder")


def table() -> dict[str, list[float]]:
    """Return the rows of the table of observations: its numbers, by their names."""
    text = (REPOSITORY / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (\d.*) \|$", text[text.index("## Observations") :], re.M)
    return {
        name: [float(number) for number in re.findall(r"\d[\d.]*", cells.replace(",", ""))]
        for name, cells in rows
    }


def groups(ages: pd.Series, closed: str) -> pd.Series:
    """Return the age group of each age."""
    bounds = [17, 30, 45, 130] if closed == "right" else [18, 30, 45, 131]
    return pd.cut(ages, bounds, right=closed == "right", labels=LABELS)


def test_the_observations_are_those_of_the_data() -> None:
    customers = pd.read_csv(Path(FOLDER, "customers.csv"))
    purchases = pd.read_csv(Path(FOLDER, "purchases.csv")).merge(customers, on="customer_id")
    customers["group"] = groups(customers["age"], "left")
    buys = customers["customer_id"].isin(purchases["customer_id"])
    prices = purchases.groupby(groups(purchases["age"], "left"), observed=True)["price"]
    closed_right = purchases.groupby(groups(purchases["age"], "right"), observed=True)["price"]
    heads = customers.groupby("group", observed=True).size()
    total, people = purchases["price"].sum(), len(customers)

    rows = table()

    assert rows["total spending"] == [*prices.sum(), total]
    assert rows["total spending, `--closed right`"] == [*closed_right.sum(), total]
    shares = zip(prices.sum() / total, heads / people, strict=True)
    assert rows["share of spending; of customers"] == [
        round(100 * share, 1) for pair in shares for share in pair
    ]
    per_head = [*(prices.sum() / heads), total / people]
    assert rows["spending per customer"] == [round(each, 2) for each in per_head]
    without = customers[~buys].groupby("group", observed=True).size()
    assert rows["customers without a purchase"] == [*without, (~buys).sum()]
