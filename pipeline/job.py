"""The whole job on one page: plan, join, assemble, read back, check, publish.

The steps are lazy Dask dataframes until their blocks are computed. The totals of each step travel
with its block (see `engine.ledger`), and the checks compare them at the end.
"""

from __future__ import annotations

from distributed import Client

from pipeline.csv_text.unchanged import unchanged_inputs
from pipeline.engine.cluster import is_on_one_machine, write_performance_report
from pipeline.engine.internals import spill_folder
from pipeline.engine.preflight import wait_for_worker
from pipeline.engine.progress import Progress
from pipeline.engine.team import form_team
from pipeline.outputs.checks import check_run, raise_on_failure
from pipeline.outputs.names import CHART, REJECTED, REPORT, SPENDING
from pipeline.outputs.quality import Quality
from pipeline.outputs.read_back import Recount, read_back
from pipeline.outputs.rejected import write_rejected
from pipeline.outputs.report import Report, RunLog
from pipeline.outputs.run_totals import total_run
from pipeline.outputs.separation import check_separate
from pipeline.outputs.staging import output_paths, stage_outputs
from pipeline.settings import Settings
from pipeline.steps.chart import Draw, draw_chart
from pipeline.steps.context import Job
from pipeline.steps.join import build_lookup
from pipeline.steps.locate import Lines
from pipeline.steps.plan import find_inputs, make_plan, prepare
from pipeline.steps.spending import spending_of, sum_purchases, write_spending


def run(
    settings: Settings, client: Client, progress: Progress | None = None, draw: Draw = draw_chart
) -> Report:
    """Join customers with purchases, sum the spending of each age group, publish the outputs.

    Runs on the cluster of `client`, whose workers must see the inputs and the output folder.
    `draw` draws the chart. Raises UsageError (a wrong path or column), DataError (too much bad
    data, or a failed check), ClusterError (workers lost) or StorageError (disk full, or an input
    that changed). An error before the commit leaves the outputs of an earlier run unchanged.
    """
    log = RunLog(settings, progress or Progress())
    files = find_inputs(settings)
    check_separate(settings, files)
    with (
        write_performance_report(client, settings.performance_report),
        stage_outputs(settings.output_dir, settings.fsync, log) as stage,
        unchanged_inputs(log.warn) as inputs,
        form_team(client, log.warn),
    ):
        with log.timed("plan"):
            wait_for_worker(client)
            plan = make_plan(settings, files, client)
            inputs.watch(plan.customers, plan.purchases)
            plan = prepare(plan, client, stage.place, settings.output_dir)
            log.note_plan(plan)
        with log.timed("read, join, sum, write"), log.progress.step("purchases", plan.bytes):
            lines = Lines(client, plan.purchases, plan.block_size)
            quality = Quality(settings, plan.tables, lines, log.progress)
            target = stage.combined(plan.layout.header_line, plan.purchases.plain_size)
            job = Job.start(client, settings, plan, quality, place=stage.place, target=target)
            join(job)
            quality.judge("customers", "purchases")
            for warning in quality.warnings():
                log.warn(warning)
        with log.timed("assemble"), log.progress.step("assemble", 0):
            job.compute(target.assemble(job.written))
        with log.timed("read back"), log.progress.step("read back", 0):
            job.compute(read_back(job.written, target, Recount.of(settings, *plan.tables)))
        with log.timed("check and publish"):
            spending = spending_of(job.ledger, settings.age_groups)
            write_spending(spending, stage / SPENDING)
            rejects = job.rejects, settings.escape_formulas
            write_rejected(stage / REJECTED, client, job.ledger, plan.tables, *rejects)
            totals = total_run(job.ledger, *plan.tables, target.header)
            checks = check_run(job.ledger, totals, plan.tables, target, stage.folder)
            raise_on_failure(checks)
            draw(spending, settings.age_groups, settings.columns.amount, stage / CHART)
            inputs.check()
            log.write_complete(stage / REPORT, plan, totals, checks, spending)
            paths = output_paths(stage, settings.output_dir)
    return Report(
        spending, totals, tuple(checks), tuple(log.warnings), outputs=paths, seconds=log.seconds
    )


def join(job: Job) -> None:
    """Join both tables, sum the purchases, and write the combined table."""
    if job.plan.join == "broadcast":
        broadcast_join(job)
    elif is_on_one_machine(job.client):
        shuffle_join(job)
    else:
        network_shuffle_join(job)


def broadcast_join(job: Job) -> None:
    """Send all customers to every worker; join each block of purchases where it was read."""
    plan = job.plan
    customers = job.keep(plan.customers, job.read_customers, job.transform, job.render)
    job.check_customers()
    lookup = job.broadcast(build_lookup(job.client, customers, plan.layout.no_customer))
    customers.clear()  # if the lookup is lost, Dask renders them again
    job.run(plan.purchases, job.read_purchases, lookup.join, sum_purchases, job.write)
    matched = lookup.find_matched(job.client, job.ledger)
    job.compute([job.write(lookup.without_purchases(matched, plan.purchases.end))])


def shuffle_join(job: Job) -> None:
    """Bring all records with the same id into one partition, through files; join each one."""
    plan, shuffle = job.plan, job.shuffle()
    with spill_folder(job.client) as folder:
        customers = shuffle.into(folder / "customers")
        purchases = shuffle.into(folder / "purchases")
        job.run(plan.customers, job.read_customers, job.transform, job.render, customers.split)
        job.run(plan.purchases, job.read_purchases, purchases.split)
        joined = shuffle.join_files(purchases, customers)
        job.compute([job.write(sum_purchases(joined))])


def network_shuffle_join(job: Job) -> None:
    """Do what `shuffle_join` does, but between machines, with Dask's own shuffle."""
    plan, shuffle = job.plan, job.shuffle()
    read_customers = job.read_customers, job.transform, job.render
    with (
        job.collect(plan.purchases, job.read_purchases, shuffle.split) as purchases,
        job.collect(plan.customers, *read_customers, shuffle.split) as customers,
    ):
        joined = shuffle.join(purchases.frame, customers.frame)
        job.compute_shuffled(job.write(sum_purchases(joined)), purchases, customers)
