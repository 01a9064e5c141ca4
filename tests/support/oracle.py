"""The whole job in a few plain lines of pandas: what every run on small tables is held against."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from decimal import Decimal, localcontext

import pandas as pd

from pipeline import AgeGroups

# Of Unicode, and two characters that do not show.
WHITESPACE = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\ufeff"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass
class Expected:
    """What a run must give: the combined table, all text, and (total, purchases, customers).

    `useless` are the options that must be 100% because there is nothing to compute with.
    """

    combined: pd.DataFrame
    spending: dict[str, tuple[Decimal, int, int]]
    useless: tuple[str, ...]


def number(text: object) -> Decimal | None:
    if isinstance(text, str) and NUMBER.fullmatch(text.strip(WHITESPACE)):
        value = Decimal(text.strip(WHITESPACE))
        return value if abs(value) < 10**20 and value == round(value, 18) else None
    return None


def age_group(text: object, groups: AgeGroups) -> str:
    age = number(text)
    if age is None or not 0 <= age <= 130:
        return "Unknown"
    if age < groups.bounds[0]:
        return groups.under
    # Exact, which pandas.cut on floats is not.
    place = bisect_left if groups.closed == "right" else bisect_right
    return groups.labels[max(0, place(groups.bounds, age) - 1)]


def expected(customers: pd.DataFrame, purchases: pd.DataFrame, groups: AgeGroups) -> Expected:
    """Join and sum tables of text with the job's own column names, in input order."""
    ages = {age: age_group(age, groups) for age in customers["age"].unique()}
    customers = customers.assign(
        full_name=[
            " ".join(filter(None, names)) or None
            for names in zip(customers["first_name"], customers["last_name"], strict=True)
        ],
        age_group=[ages[age] for age in customers["age"]],
        key=key(customers),
        row=range(len(customers)),
    )
    purchases = purchases.assign(key=key(purchases))
    known = customers[customers["key"].notna()].drop_duplicates("key")

    # A missing key must match nothing: pandas would match it with a missing key.
    found = purchases.merge(
        known.drop(columns="customer_id"), on="key", how="left", suffixes=("_purchase", "")
    )
    found["age_group"] = found["age_group"].astype(object).fillna("Unknown")
    rest = customers[~customers["row"].isin(found["row"])]
    combined = pd.concat([found, rest], ignore_index=True)
    of_purchases = [c for c in found if c in purchases or c.removesuffix("_purchase") in purchases]
    of_purchases = [c for c in of_purchases if c not in customers and c != "customer_id"]
    names = [c for c in customers if c not in ("key", "row")] + of_purchases
    spending = {}
    with localcontext(prec=100):
        for label in groups.all_labels:
            amounts = [number(text) for text in found.loc[found["age_group"] == label, "price"]]
            counted = int((customers["age_group"] == label).sum())
            if label in groups.labels or amounts or counted:
                total = sum((amount for amount in amounts if amount is not None), Decimal(0))
                spending[label] = (total, len(amounts), counted)
    with localcontext(prec=100):
        nothing = {
            "--max-unusable customers=": len(customers)
            and all(age_group(age, groups) == "Unknown" for age in ages),
            "--max-unusable purchases=": len(purchases)
            and not purchases["price"].map(number).notna().any(),
            "--max-unmatched ": not found["row"].notna().any(),  # nor in an empty table
        }
    useless = [option for option, is_so in nothing.items() if is_so]
    return Expected(combined[names], spending, tuple(useless))


def key(table: pd.DataFrame) -> pd.Series:
    keys = table["customer_id"].str.strip(WHITESPACE)
    return keys.where(keys != "")
