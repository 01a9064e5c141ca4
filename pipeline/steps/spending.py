"""Sum the spending of each age group, in exact decimal arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from pathlib import Path

import dask.dataframe as dd
import pandas as pd

from pipeline.columns.arrow import to_arrow
from pipeline.columns.totals import EXACT, count_by_group, sum_by_group
from pipeline.engine.ledger import Ledger, with_totals
from pipeline.engine.partitions import on_partitions, schema
from pipeline.settings import UNKNOWN, AgeGroups
from pipeline.steps.join import AMOUNT, PURCHASE, Paired, Spending
from pipeline.steps.read import BlockRead
from pipeline.steps.transform import AGE_GROUP, Transformed


@dataclass(frozen=True)
class Summed:
    """What each age group with purchases spends in a partition, by its label.

    This is the sum of all usable amounts, and the number of purchases, with or without an amount.
    """

    spending: Spending


def sum_purchases(combined: dd.DataFrame) -> dd.DataFrame:
    """Sum the purchases in `combined`, the lazy result of a join, by age group.

    Totals: `Summed`.
    """
    return on_partitions(_sum_purchases, combined, step="sum", meta=schema(combined))


def spending_of(ledger: Ledger, groups: AgeGroups) -> pd.DataFrame:
    """Return the table of results of a run (see `summarize`)."""
    paired = ledger.all(Paired)
    purchases = [block for block in ledger.all(BlockRead) if block.table == "purchases"]
    return summarize(
        [part.spending for part in ledger.all(Summed)],
        [block.groups for block in ledger.all(Transformed)],
        groups,
        places=max((block.places for block in purchases), default=0),
        without_customer=sum(part.unmatched + part.without_id for part in paired),
    )


def summarize(
    spending: Iterable[Spending],
    customers: Iterable[Mapping[str, int]],
    groups: AgeGroups,
    *,
    places: int = 0,
    without_customer: int = 0,
) -> pd.DataFrame:
    """Return the table of results, from the totals of all partitions.

    `spending` comes from `sum_purchases`, `customers` from `transform.transform`. `places` is the
    largest number of decimal places in any amount as written, `without_customer` the number of
    purchases that have no customer.

    One row per age group, youngest first; `Under …` and `Unknown` only if they have records.
    Columns: `age_group`, `total_spending` (Decimal), `purchases`, `customers` (int64),
    `spending_per_customer` (Decimal, to the cent; None without customers, and for `Unknown` if some
    of its purchases have no customer) and `share_of_total` (Decimal, four places; None if the total
    is 0).
    """
    sums, purchases, counts = Counter[str](), Counter[str](), Counter[str]()
    with localcontext(EXACT):
        for part in spending:
            sums.update({label: amount for label, (amount, _) in part.items()})
            purchases.update({label: number for label, (_, number) in part.items()})
        for part_counts in customers:
            counts.update(part_counts)
        labels = [
            label
            for label in groups.all_labels
            if label in groups.labels or purchases[label] or counts[label]
        ]
        totals = _same_places([Decimal(sums[label]) for label in labels], places)
        whole = sum(totals, Decimal(0))
        has_rate = {
            label: bool(counts[label]) and not (label == UNKNOWN and without_customer)
            for label in labels
        }
        return pd.DataFrame(
            {
                AGE_GROUP: labels,
                "total_spending": totals,
                "purchases": [purchases[label] for label in labels],
                "customers": [counts[label] for label in labels],
                "spending_per_customer": [
                    (total / counts[label]).quantize(Decimal("0.01")) if has_rate[label] else None
                    for label, total in zip(labels, totals, strict=True)
                ],
                "share_of_total": [
                    (total / whole).quantize(Decimal("0.0001")) + 0 if whole else None  # not -0
                    for total in totals
                ],
            }
        )


def write_spending(summary: pd.DataFrame, path: Path) -> None:
    """Write the table of results (see `summarize`) as CSV, decimals in plain notation."""
    plain = summary.map(lambda value: f"{value:f}" if isinstance(value, Decimal) else value)
    plain.to_csv(path, index=False, lineterminator="\n")


def _sum_purchases(combined: pd.DataFrame) -> pd.DataFrame:
    age_group = combined[AGE_GROUP].cat
    groups = age_group.codes.to_numpy(), len(age_group.categories)
    sums = sum_by_group(to_arrow(combined[AMOUNT]), *groups)
    counts = count_by_group(to_arrow(combined[PURCHASE]), *groups)
    found = zip(age_group.categories, sums, counts, strict=True)
    spending = {label: (amount, count) for label, amount, count in found if count}
    return with_totals(combined, Summed(spending), before=combined)


def _same_places(totals: Sequence[Decimal], places: int) -> list[Decimal]:
    """Write all totals with the decimal places that one of them or an amount needs; 2, not 1."""
    exponent = min(int(total.normalize().as_tuple().exponent) for total in totals)
    places = max(places, -exponent)
    return [total.quantize(Decimal(1).scaleb(-max(places, 2) if places else 0)) for total in totals]
