"""The job on Polars' streaming engine: lazy scans, sinks, one collect for both outputs."""

import sys

import polars as pl

source, target = sys.argv[1:]
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
        combined.select(names).sink_csv(f"{target}/combined_data.csv", lazy=True),
        spending.sink_csv(f"{target}/age_group_spending.csv", lazy=True),
    ],
    engine="streaming",
)
