"""The job on Polars' streaming engine: lazy scans, sinks, one collect for both outputs.

Leaves out: the chart, the checks, bad records (they raise), input order (it is faster without
`maintain_order`), and all-or-nothing outputs. By default, Polars keeps the join in memory; with the
budget set in the environment, it spills.
"""

import os
import sys
import tempfile

source, target, *memory = sys.argv[1:]
if memory:
    os.environ["POLARS_OOC_MEMORY_BUDGET_MB"] = str(int(memory[0]) // 10**6)
    os.environ["POLARS_OOC_SPILL_DIR"] = tempfile.gettempdir()

import polars as pl  # noqa: E402 - Polars reads the variables on import

customers, purchases = (
    pl.scan_csv(f"{source}/{name}.csv", infer_schema=False) for name in ("customers", "purchases")
)
age = pl.col("age").cast(pl.Float64, strict=False)
customers = customers.with_columns(
    full_name=pl.concat_str("first_name", "last_name", separator=" ", ignore_nulls=True),
    age_group=pl.when(age >= 45)
    .then(pl.lit("Senior"))
    .when(age >= 30)
    .then(pl.lit("Middle-aged"))
    .when(age >= 18)
    .then(pl.lit("Young"))
    .when(age >= 0)
    .then(pl.lit("Under 18"))
    .otherwise(pl.lit("Unknown")),
)
combined = purchases.join(customers, on="customer_id", how="full", coalesce=True)
names = [*customers.collect_schema().names(), *purchases.collect_schema().names()[1:]]
spending = combined.group_by("age_group").agg(
    total_spending=pl.col("price").cast(pl.Decimal(38, 2), strict=False).sum()
)
pl.collect_all(
    [
        combined.select(names).sink_csv(
            f"{target}/combined_data.csv", maintain_order=False, lazy=True
        ),
        spending.sink_csv(f"{target}/age_group_spending.csv", lazy=True),
    ],
    engine="streaming",
)
