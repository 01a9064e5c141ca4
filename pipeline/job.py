"""The whole job on one page: read, transform, join, sum, write, publish."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from distributed import Client

from pipeline.audit import Books, joined_books, table_books, write_rejected, write_report
from pipeline.chart import draw_chart
from pipeline.cluster import compute, worker_memory
from pipeline.join import choose_join, join
from pipeline.partitions import on_partitions
from pipeline.preflight import check_cluster
from pipeline.progress import Progress
from pipeline.publish import CHART, COMBINED, REJECTED, REPORT, SPENDING, staged_outputs
from pipeline.read import NumberColumn, read
from pipeline.render import layout, render_customers, render_purchases
from pipeline.settings import MAX_AGE, Settings
from pipeline.sources import open_source
from pipeline.spending import summarize, total_spending, write_spending
from pipeline.transform import add_age_group, add_full_name
from pipeline.write import write_combined


@dataclass(frozen=True)
class Report:
    """What a run has done: the table of results, the books, the files it wrote, its seconds."""

    spending: pd.DataFrame
    books: Books
    outputs: tuple[Path, ...]
    seconds: float


def run(settings: Settings, client: Client, progress: Progress | None = None) -> Report:
    """Join customers with purchases, sum the spending of each age group, publish the outputs.

    Runs on the cluster of `client`, whose workers must see the inputs and the output folder.
    Raises UsageError (a path, a column), DataError (the books do not balance) or ClusterError
    (workers lost); the outputs of an earlier run then stay as they were.
    """
    begin = time.perf_counter()
    progress = progress or Progress()
    columns, groups = settings.columns, settings.age_groups
    with staged_outputs(settings.output_dir, settings.fsync) as stage:
        customers_csv = open_source(
            "customers", settings.customers, columns.of_customers, settings.block_size
        )
        purchases_csv = open_source(
            "purchases", settings.purchases, columns.of_purchases, settings.block_size
        )
        check_cluster(client, [customers_csv, purchases_csv], stage)
        text = layout(customers_csv.columns, purchases_csv.columns, columns)
        how = choose_join(settings.join, customers_csv.size, worker_memory(client))
        progress.say(f"{customers_csv}\n{purchases_csv}\njoin: {how}")

        customers, customers_ledger = read(customers_csv, NumberColumn(columns.age, 0, MAX_AGE))
        customers = on_partitions(add_full_name, customers, columns)
        customers = on_partitions(add_age_group, customers, groups)
        customers = on_partitions(render_customers, customers, columns)
        purchases, purchases_ledger = read(purchases_csv, NumberColumn(columns.amount))
        purchases = on_partitions(render_purchases, purchases, columns)

        combined, matched = join(purchases, customers, text.no_customer, how)
        spending = total_spending(combined, customers)
        written = write_combined(combined, stage / COMBINED, text.header, text.no_purchase)

        # One pass over the data: what the books need is counted on the way.
        spending, written, matched, customers_ledger, purchases_ledger = compute(
            client, [spending, written, matched, customers_ledger, purchases_ledger], progress
        )
        books = Books(
            customers=table_books(customers_csv, customers_ledger),
            purchases=table_books(purchases_csv, purchases_ledger),
            **joined_books(matched, spending, written, stage / COMBINED),
        )
        books.check()

        summary = summarize(spending, groups)
        write_spending(summary, stage / SPENDING)
        draw_chart(summary, groups, columns.amount, stage / CHART)
        ledgers = {customers_csv: customers_ledger, purchases_csv: purchases_ledger}
        write_rejected(ledgers, stage / REJECTED)
        seconds = time.perf_counter() - begin
        write_report(stage / REPORT, settings, list(ledgers), how, books, summary, seconds)
        outputs = tuple(Path(settings.output_dir, file.name) for file in sorted(stage.iterdir()))
    return Report(summary, books, outputs, seconds)
