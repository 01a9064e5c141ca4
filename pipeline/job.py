"""The whole job on one page: read, transform, join, sum, write; then check and publish.

The steps are lazy Dask dataframes until their entries are computed. The control totals of each
step travel with its partition (see `engine.ledger`); at the end, the books compare what was read
with what was written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import dask.dataframe as dd
import pandas as pd
from dask.delayed import Delayed
from distributed import Client, Future

from pipeline.csv_text.sources import Source
from pipeline.csv_text.unchanged import unchanged_inputs
from pipeline.engine.cluster import is_on_one_machine, observed, worker_memory
from pipeline.engine.compute import Entry, compute_entries, compute_result, ledger_of
from pipeline.engine.internals import spill_folder
from pipeline.engine.partitions import schema
from pipeline.engine.places import Place
from pipeline.engine.preflight import wait_for_worker
from pipeline.engine.progress import Progress
from pipeline.engine.team import team_of_run
from pipeline.outputs.balance import run_books
from pipeline.outputs.books import Books, Ledger
from pipeline.outputs.quality import Quality
from pipeline.outputs.read_back import Recount, read_back
from pipeline.outputs.rejected import format_rejects, write_rejected
from pipeline.outputs.report import RunLog
from pipeline.outputs.separation import check_separate
from pipeline.outputs.stage import Stage, staged
from pipeline.outputs.staging import CHART, COMBINED, OUTPUTS, REJECTED, REPORT, SPENDING
from pipeline.settings import Settings
from pipeline.steps.chart import Draw, draw_chart
from pipeline.steps.choice import check_fits
from pipeline.steps.cut import cut_exactly, in_passes
from pipeline.steps.join import Broadcast, build_lookup
from pipeline.steps.locate import Lines
from pipeline.steps.lookup import Lookup
from pipeline.steps.matched import find_matched
from pipeline.steps.plan import Plan, find_inputs, make_plan, prepare
from pipeline.steps.read import REJECTS, read, wanted_of_customers, wanted_of_purchases
from pipeline.steps.render import render
from pipeline.steps.shuffle import Shuffle
from pipeline.steps.skew import find_hot
from pipeline.steps.spending import sum_purchases, summarize, write_spending
from pipeline.steps.transform import transform
from pipeline.steps.write import Target, write_combined


@dataclass(frozen=True)
class Report:
    """The result of a run: the table of results, the books, warnings, files written, seconds."""

    spending: pd.DataFrame
    books: Books
    warnings: tuple[str, ...]
    outputs: tuple[str, ...]
    seconds: float


def run(
    settings: Settings,
    client: Client,
    progress: Progress | None = None,
    draw: Draw = draw_chart,
) -> Report:
    """Join customers with purchases, sum the spending of each age group, publish the outputs.

    Runs on the cluster of `client`, whose workers must see the inputs and the output folder.
    `draw` draws the chart. Raises UsageError (a path, a column), DataError (too much bad data,
    or books that do not balance), ClusterError (workers lost) or StorageError (disk full, or an
    input that changed). The outputs of an earlier run then stay unchanged.
    """
    progress = progress or Progress()
    log = RunLog(settings, progress)
    files = find_inputs(settings)
    check_separate(settings, files)
    with (
        observed(client, settings.performance_report),
        staged(settings, log) as stage,
        unchanged_inputs(log.warn) as inputs,
        team_of_run(client, log.warn),
    ):
        with log.stage("prepare"):
            wait_for_worker(client)
            plan = make_plan(settings, files, client)
            inputs.watch(plan.customers, plan.purchases)
            progress.say(str(plan))
            plan = prepare(plan, client, stage.place, settings.output_dir)
            log.note_inputs(plan.customers, plan.purchases, join=plan.join)
        with log.stage("read, join, sum, write"), progress.step("purchases", plan.bytes):
            ledger, quality, combined = _write(settings, client, plan, stage, progress)
        with log.stage("judge"):
            quality.check("customers", "purchases")
            for warning in quality.warnings():
                log.warn(warning)
        with log.stage("assemble"), progress.step("assemble", 0):
            written = ledger.having("written_bytes")
            compute_entries(client, combined.assemble(written), ledger.add)
        with log.stage("read back"), progress.step("read back", 0):
            recount = _recount(plan, settings) if settings.verify else None
            compute_entries(client, read_back(written, combined.path, recount), ledger.add)

        with log.stage("check and publish"):
            tables = {table: ledger.of_table(table) for table in (plan.customers, plan.purchases)}
            rejects = stage.place.below(REJECTS), settings.escape_formulas
            format_rejects(client, tables, *rejects)
            write_rejected(stage / REJECTED, tables, *rejects)
            spending = summarize(
                ledger.totals("spending"),
                ledger.totals("customers"),
                settings.age_groups,
                places=max(ledger.totals("places"), default=0),
                without_customer=sum(ledger.totals("unmatched") + ledger.totals("without_id")),
            )
            write_spending(spending, stage / SPENDING)
            size = combined.size(ledger.entries)
            books = run_books(
                ledger, plan.customers, plan.purchases, plan.layout, stage.folder, size
            )
            books.check()
            draw(spending, settings.age_groups, settings.columns.amount, stage / CHART)
            inputs.check()
        log.note_work(plan.bytes, books.records_written)
        log.write_complete(stage / REPORT, books, spending)
        names = [COMBINED, *(name for name in OUTPUTS[1:] if (stage / name).exists())]
    paths = tuple(f"{settings.output_dir.rstrip('/')}/{name}" for name in names)
    return Report(spending, books, tuple(log.warnings), paths, log.seconds)


def _recount(plan: Plan, settings: Settings) -> Recount:
    return Recount.of(plan.customers, plan.purchases, settings.columns, settings.dialect)


def _write(
    settings: Settings, client: Client, plan: Plan, stage: Stage, progress: Progress
) -> tuple[Ledger, Quality, Target]:
    """Read, join, sum and write all blocks.

    Returns their entries, how good the data is, and where they were written.
    """
    header = plan.layout.header_line
    line_of = Lines(client, plan.purchases, plan.block_size, settings.dialect)
    # The second time, no block is a part of an object by itself: then any sizes fit.
    for blocks in (plan.purchases.blocks, ()):
        ledger, combined = Ledger(), stage.combined(header, blocks)
        combined.start()
        tables = plan.customers, plan.purchases
        quality = Quality(settings, tables, ledger, line_of, progress.say)
        each = ledger.add, quality, progress.advance
        flow = _Flow(settings, client, plan, combined.for_tasks(client), stage.place, quality, each)
        flow.broadcast() if plan.join == "broadcast" else flow.shuffle()
        if combined.fits(ledger.having("written_bytes")):
            break
    return ledger, quality, combined


@dataclass(frozen=True)
class _Flow:
    """The data flow through the steps; every entry is passed to each function in `each`."""

    settings: Settings
    client: Client
    plan: Plan
    target: Target | Delayed
    place: Place
    quality: Quality
    each: tuple[Callable[[Entry], object], ...]

    def broadcast(self) -> None:
        """Broadcast hash join: all customers go to every worker, purchases stay where they are."""
        plan, no_customer = self.plan, self.plan.layout.no_customer
        entries: list[Entry] = []
        rendered: list[Future] = []
        self._in_passes(plan.customers, self._customers, entries.append, kept=rendered)
        self.quality.check("customers")
        check_fits(entries, worker_memory(self.client))
        lookup = compute_result(
            self.client, build_lookup, rendered, no_customer, name="build-lookup"
        )
        slices = -(-len(rendered) // 4)  # most customers have purchases, and these lines are short
        rendered.clear()  # Dask renders them again should the lookup be lost
        nobody = Lookup.build(schema(self._customers(plan.customers)), no_customer)
        customers = Broadcast(lookup, nobody, self.place.below("matched"))

        def joined(table: Source) -> dd.DataFrame:
            return self._write(sum_purchases(customers.join(self._purchases(table))))

        joined_blocks: list[Entry] = []
        self._in_passes(plan.purchases, joined, joined_blocks.append)
        marks = [entry["marks"] for entry in joined_blocks if "marks" in entry]
        count = sum(entry["records"] for entry in entries if "records" in entry)
        matched = find_matched(self.client, customers.marks, marks, count)
        rest = customers.without_purchases(matched, slices, first_block=plan.purchases.end)
        compute_entries(self.client, [self._write(rest)], *self.each)

    def shuffle(self) -> None:
        """Join by shuffle: the records of an id come together in one partition."""
        plan = self.plan
        shuffle = Shuffle(
            plan.partitions,
            find_hot(
                self.client,
                plan.purchases,
                plan.block_size,
                self.settings.dialect,
                self._purchases,
                plan.partitions,
            ),
            plan.layout.no_customer,
            schema(self._purchases(plan.purchases)),
            schema(self._customers(plan.customers)),
        )
        if is_on_one_machine(self.client):
            self._shuffle_by_files(shuffle)
        else:
            self._shuffle_by_network(shuffle)

    def _shuffle_by_files(self, shuffle: Shuffle) -> None:
        """Shuffle on one machine: each block is read once, and leaves a file of its pieces."""
        plan = self.plan
        with spill_folder(self.client) as folder:
            of_customers, of_purchases = folder / "customers", folder / "purchases"
            of_customers.mkdir()
            of_purchases.mkdir()
            self._in_passes(
                plan.customers, lambda some: shuffle.split(self._customers(some), of_customers)
            )
            self._in_passes(
                plan.purchases, lambda some: shuffle.split(self._purchases(some), of_purchases)
            )
            joined = shuffle.join_files(of_purchases, of_customers)
            compute_entries(self.client, [self._write(sum_purchases(joined))], *self.each)

    def _shuffle_by_network(self, shuffle: Shuffle) -> None:
        """Shuffle between machines, by Dask's own shuffle."""
        plan = self.plan
        purchases = self._in_whole(plan.purchases, lambda t: shuffle.split(self._purchases(t)))
        customers = self._in_whole(plan.customers, lambda t: shuffle.split(self._customers(t)))
        ledgers = [self._write(sum_purchases(shuffle.join(purchases, customers)))]
        ledgers += [
            ledger_of(pieces)
            for pieces, source in ((purchases, plan.purchases), (customers, plan.customers))
            if source.is_plain
        ]
        # One graph, because they share the blocks read.
        compute_entries(self.client, [dd.concat(ledgers)], *self.each)

    def _customers(self, table: Source) -> dd.DataFrame:
        settings, escape = self.settings, self.settings.escape_formulas
        wanted = wanted_of_customers(settings.columns, escape)
        customers = read(table, wanted, settings.dialect, self.place.below(REJECTS))
        return render(transform(customers, settings.age_groups), escape)

    def _purchases(self, table: Source) -> dd.DataFrame:
        settings, escape = self.settings, self.settings.escape_formulas
        wanted = wanted_of_purchases(settings.columns, escape)
        return read(table, wanted, settings.dialect, self.place.below(REJECTS))

    def _write(self, joined: dd.DataFrame) -> dd.DataFrame:
        escape = self.settings.escape_formulas
        return write_combined(joined, self.target, self.plan.layout, escape)

    def _in_whole(self, table: Source, steps: Callable[[Source], dd.DataFrame]) -> dd.DataFrame:
        """Return all records of a table, lazy, or computed where the table is unpacked."""
        if table.is_plain:
            return steps(cut_exactly(self.client, table, self.settings.dialect))
        pieces: list[Future] = []
        self._in_passes(table, steps, kept=pieces)
        return dd.from_delayed(pieces, meta=schema(steps(table)), verify_meta=False)

    def _in_passes(
        self,
        table: Source,
        steps: Callable[[Source], dd.DataFrame],
        *each: Callable[[Entry], object],
        kept: list[Future] | None = None,
    ) -> None:
        size, dialect = self.plan.block_size, self.settings.dialect
        in_passes(self.client, table, size, dialect, steps, *self.each, *each, kept=kept)
