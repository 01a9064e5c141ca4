"""The grouped sum, in exact decimal arithmetic."""

from __future__ import annotations

from decimal import Decimal, localcontext
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from pipeline.columns import EXACT, summable, to_arrow
from pipeline.counting import count
from pipeline.settings import AgeGroups
from pipeline.transform import AGE_GROUP

SPENT = "spending"


def sum_purchases(combined: dd.DataFrame) -> dd.DataFrame:
    """Count the spending of each age group in `combined`, the result of `join.join`.

    `spending` is counted, one row for each group that has records: `age_group` (str), `total`
    (Decimal: of all amounts that are numbers), `purchases` (int: with or without an amount),
    `customers` (int: records of the customers' table).
    """
    return count(SPENT, _sum_purchases, combined, merge=_merge)


def count_customers(customers: dd.DataFrame) -> dd.DataFrame:
    """Count the customers of each age group, in rows of the same kind."""
    return count(SPENT, _count_customers, customers, merge=_merge)


def summarize(spending: pd.DataFrame, groups: AgeGroups) -> pd.DataFrame:
    """Return the table of results, from the counted `spending` (see `sum_purchases`).

    One row for each age group, youngest first; those below the first group and `Unknown` only
    where they have records. Columns: `age_group`, `total_spending` (Decimal), `purchases`,
    `customers` (int64), `spending_per_customer` (Decimal, to the cent; None without customers)
    and `share_of_total` (Decimal, four places; None where the total is 0).
    """
    sums = spending.set_index(AGE_GROUP)
    labels = [name for name in groups.all_labels if name in groups.labels or name in sums.index]
    sums = sums.reindex(labels)
    purchases, customers = (
        sums[name].fillna(0).astype("int64").tolist() for name in ("purchases", "customers")
    )
    with localcontext(EXACT):
        totals = _same_places([total if total == total else Decimal(0) for total in sums["total"]])
        whole = sum(totals, Decimal(0))
        return pd.DataFrame(
            {
                AGE_GROUP: labels,
                "total_spending": totals,
                "purchases": purchases,
                "customers": customers,
                "spending_per_customer": [
                    (total / count).quantize(Decimal("0.01")) if count else None
                    for total, count in zip(totals, customers, strict=True)
                ],
                "share_of_total": [
                    (total / whole).quantize(Decimal("0.0001")) if whole else None
                    for total in totals
                ],
            }
        )


def write_spending(summary: pd.DataFrame, path: Path) -> None:
    """Write the table of results (see `summarize`) as CSV, decimals in plain notation."""
    plain = summary.map(lambda value: f"{value:f}" if isinstance(value, Decimal) else value)
    plain.to_csv(path, index=False, lineterminator="\n")


def _sum_purchases(combined: pd.DataFrame) -> pd.DataFrame:
    """Sum and count the purchases of one partition by age group."""
    age_group = combined[AGE_GROUP].cat
    table = pa.table(
        {
            "group": pa.array(age_group.codes.to_numpy()),
            "amount": summable(to_arrow(combined["amount"])),
            "purchase": to_arrow(combined["purchase"]),
        }
    )
    sums = table.group_by("group", use_threads=False).aggregate(
        [("amount", "sum"), ("purchase", "count")]
    )
    groups = [age_group.categories[code] for code in sums["group"].to_pylist()]
    totals = [total or Decimal(0) for total in sums["amount_sum"].to_pylist()]
    return _frame(groups, totals, sums["purchase_count"].to_pylist(), [0] * len(groups))


def _count_customers(customers: pd.DataFrame) -> pd.DataFrame:
    counts = customers[AGE_GROUP].value_counts()
    counts = counts[counts > 0]
    groups = counts.index.astype("str").tolist()
    return _frame(groups, [Decimal(0)] * len(groups), [0] * len(groups), counts.tolist())


def _merge(parts: pd.DataFrame) -> pd.DataFrame:
    """Add up the sums of several partitions."""
    merged = parts.groupby(AGE_GROUP, sort=False)
    with localcontext(EXACT):
        totals = {group: sum(rows["total"], Decimal(0)) for group, rows in merged}
    counts = merged[["purchases", "customers"]].sum()
    return _frame(
        list(totals),
        list(totals.values()),
        counts["purchases"].tolist(),
        counts["customers"].tolist(),
    )


def _frame(
    groups: list[str], totals: list[Decimal], purchases: list[int], customers: list[int]
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            AGE_GROUP: pd.Series(groups, dtype="str"),
            "total": pd.Series(totals, dtype=object),
            "purchases": pd.Series(purchases, dtype="int64"),
            "customers": pd.Series(customers, dtype="int64"),
        }
    )


def _same_places(totals: list[Decimal]) -> list[Decimal]:
    """Write totals with the decimal places that the finest of them needs: none, or at least 2."""
    exponent = min(int(total.normalize().as_tuple().exponent) for total in totals)
    places = max(-exponent, 2) if exponent < 0 else 0
    return [total.quantize(Decimal(1).scaleb(-places)) for total in totals]
