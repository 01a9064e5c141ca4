"""The job as Dask's own documentation writes it: read_csv, merge, to_csv, on a LocalCluster."""

import sys

import dask
import dask.dataframe as dd
import pandas as pd
from distributed import Client


def add_columns(customers: pd.DataFrame) -> pd.DataFrame:
    """Add the full name and the age group."""
    age = pd.to_numeric(customers["age"], errors="coerce")
    labels = ["Under 18", "Young", "Middle-aged", "Senior"]
    return customers.assign(
        full_name=customers["first_name"] + " " + customers["last_name"],
        age_group=pd.cut(age, [-1, 18, 30, 45, 131], right=False, labels=labels).astype(str),
    )


if __name__ == "__main__":
    source, target = sys.argv[1:]
    with Client(dashboard_address="127.0.0.1:0"):
        customers, purchases = (
            dd.read_csv(f"{source}/{name}.csv", dtype=str, keep_default_na=False)
            for name in ("customers", "purchases")
        )
        customers = customers.map_partitions(add_columns)
        combined = purchases.merge(customers, on="customer_id", how="outer")
        names = [*customers.columns, *purchases.columns.drop("customer_id")]
        spending = (
            combined.assign(price=dd.to_numeric(combined["price"], errors="coerce"))
            .groupby("age_group")["price"]
            .sum()
        )
        written = combined[names].to_csv(
            f"{target}/combined_data.csv", index=False, single_file=True, compute=False
        )
        _, spending = dask.compute(written, spending)
        spending.round(2).rename("total_spending").to_csv(f"{target}/age_group_spending.csv")
