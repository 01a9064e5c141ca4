"""The whole job on one page: read, transform, join, sum, write, publish."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
from distributed import Client

from pipeline.audit import (
    Books,
    check_rejected,
    joined_books,
    table_books,
    write_rejected,
    write_report,
)
from pipeline.chart import Draw, draw_chart
from pipeline.cluster import worker_memory
from pipeline.compute import compute
from pipeline.counting import apply, counts, merged
from pipeline.join import MATCHED, choose_join, join
from pipeline.preflight import check_cluster
from pipeline.progress import Progress
from pipeline.publish import (
    CHART,
    COMBINED,
    OUTPUTS,
    REJECTED,
    REPORT,
    SPENDING,
    staged_outputs,
)
from pipeline.read import NumberColumn, Wanted, read
from pipeline.render import Layout, layout, render_customers
from pipeline.settings import MAX_AGE, Settings
from pipeline.sources import Source, cut, open_source
from pipeline.spending import (
    SPENT,
    count_customers,
    sum_purchases,
    summarize,
    write_spending,
)
from pipeline.transform import FIRST_NAME, LAST_NAME, add_age_group, add_full_name
from pipeline.write import WRITTEN, write_combined


@dataclass(frozen=True)
class Plan:
    """What a run would do: the tables it found, how it writes a record, and how it joins."""

    customers: Source
    purchases: Source
    layout: Layout
    join: str

    def __str__(self) -> str:
        """Say it in three lines."""
        return f"{self.customers}\n{self.purchases}\njoin: {self.join}"

    def describe(self, settings: Settings) -> str:
        """Say it in full: the files, how many blocks they make, the columns, the outputs."""
        files = [
            f"  {file.name}: {file.size:,} bytes, about {-(-file.size // settings.block_size)} "
            f"block(s){'' if file.is_plain else ', to be unpacked'}"
            for source in (self.customers, self.purchases)
            for file in source.files
        ]
        outputs = f"outputs in {settings.output_dir}: {', '.join(OUTPUTS)}"
        return "\n".join((str(self), *files, f"columns: {self.layout.header}", outputs))


@dataclass(frozen=True)
class Report:
    """What a run has done: the table of results, the books, the files it wrote, its seconds."""

    spending: pd.DataFrame
    books: Books
    outputs: tuple[Path, ...]
    seconds: float


def plan(settings: Settings, client: Client) -> Plan:
    """Find the inputs and check their headers; write nothing.

    Raises UsageError (a path, a column).
    """
    columns, dialect = settings.columns, settings.dialect
    customers = open_source("customers", settings.customers, columns.of_customers, dialect)
    purchases = open_source("purchases", settings.purchases, columns.of_purchases, dialect)
    how = choose_join(settings.join, customers.size, worker_memory(client))
    return Plan(customers, purchases, layout(customers.columns, purchases.columns, columns), how)


def run(
    settings: Settings,
    client: Client,
    progress: Progress | None = None,
    draw: Draw = draw_chart,
) -> Report:
    """Join customers with purchases, sum the spending of each age group, publish the outputs.

    Runs on the cluster of `client`, whose workers must see the inputs and the output folder;
    `draw` draws the chart.
    Raises UsageError (a path, a column), DataError (too many bad records, or books that do not
    balance) or ClusterError (workers lost); the outputs of an earlier run then stay as they were.
    """
    begin = time.perf_counter()
    progress = progress or Progress()
    columns, groups, dialect = settings.columns, settings.age_groups, settings.dialect
    escape = settings.escape_formulas
    todo = plan(settings, client)
    progress.say(str(todo))
    with staged_outputs(settings.output_dir, settings.fsync) as stage:
        customers_csv = cut(todo.customers, dialect, settings.block_size, stage)
        purchases_csv = cut(todo.purchases, dialect, settings.block_size, stage)
        check_cluster(client, [customers_csv, purchases_csv], stage)
        # Compressed customers have become larger than they were when this was planned.
        how = choose_join(settings.join, customers_csv.size, worker_memory(client))

        age = NumberColumn(columns.age, lowest=0, highest=MAX_AGE)
        names = {FIRST_NAME: columns.first_name, LAST_NAME: columns.last_name}
        amount = NumberColumn(columns.amount)
        customers = read(customers_csv, Wanted(columns.id, age, names, escape), dialect)
        customers = apply(add_full_name, customers)
        customers = apply(add_age_group, customers, groups)
        customers = count_customers(apply(render_customers, customers, escape))
        purchases = read(purchases_csv, Wanted(columns.id, amount, escape=escape), dialect)

        joined = join(purchases, customers, todo.layout.no_customer, how)
        joined = joined._replace(combined=sum_purchases(joined.combined))
        written = write_combined(joined, stage / COMBINED, todo.layout, escape)
        # One pass over the data: what the result and the books need is counted on the way.
        found = [counts(customers), *joined.counts, *map(counts, written)]
        counted = merged([compute(client, dd.concat(found), progress)])
        ledgers = {table: counted[table.name] for table in (customers_csv, purchases_csv)}
        check_rejected(settings.tolerance, ledgers)
        of_customers, of_purchases = (table_books(*table) for table in ledgers.items())
        summary = summarize(counted[SPENT], groups)
        write_spending(summary, stage / SPENDING)
        behind = joined_books(
            of_purchases, counted[MATCHED], counted[WRITTEN], todo.layout.no_purchase, stage
        )
        books = Books(of_customers, of_purchases, **behind)
        books.check()

        draw(summary, groups, columns.amount, stage / CHART)
        write_rejected(stage / REJECTED, ledgers)
        seconds = time.perf_counter() - begin
        write_report(stage / REPORT, settings, list(ledgers), how, books, summary, seconds)
        outputs = [name for name in OUTPUTS if (stage / name).exists()]
    paths = tuple(Path(settings.output_dir, name) for name in outputs)
    return Report(summary, books, paths, seconds)
