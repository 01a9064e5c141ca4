"""The command: turns options into settings, and errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from pipeline import __version__
from pipeline.cli.interrupts import accept_interrupts, ignore_interrupts, leave
from pipeline.cli.options import OPTIONS, ThemedCommand, settings_of
from pipeline.cli.streams import outlive_readers
from pipeline.csv_text.messages import printable
from pipeline.engine.imports import quick_imports
from pipeline.engine.progress import ConsoleProgress, Progress
from pipeline.errors import PipelineError, system_fault
from pipeline.steps.chart import draw_chart
from pipeline.steps.painter import painter

if TYPE_CHECKING:
    from pipeline.outputs.report import Report

FAULT = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130

_PUBLISHED = "the outputs are published"


@click.command(
    cls=ThemedCommand,
    params=[*chain(*OPTIONS.values())],
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 100,
    },
)
@click.version_option(__version__, prog_name="age-group-spending")
def command(dry_run: bool, quiet: bool, debug: bool, **options: Any) -> None:
    """Join customers with their purchases and sum what each age group spends.

    Writes combined_data.csv, age_group_spending.csv, total_spending_by_age_group.png and
    run_report.json into the output folder, all of them or none. Every record and every amount is
    accounted for, or the job fails.

    Where an option shows [TABLE=], its value is for both tables, or for customers or purchases
    alone: --delimiter 'purchases=;'.

    \b
    Examples:
      python -m pipeline --scheduler local
      python -m pipeline --age-groups "Minor=0,Adult=18,Retired=67" --closed right
      python -m pipeline --customers crm.csv --purchases 'sales/2024-*.csv' --amount-column total
      python -m pipeline --scheduler tcp://10.0.0.5:8786 --output-dir /shared/result \\
        --customers /shared/crm --purchases /shared/sales

    \b
    Exit codes:
      0  success                           4    storage or network failed, or an input changed
      1  bad data, or a failed check       70   a bug; please report it
      2  a wrong option, path or column    130  interrupted
      3  the cluster failed
    """
    settings, cluster = settings_of(options)
    # Without this, NumPy's BLAS starts threads that busy-wait. Dask sets the same for its workers.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    progress = Progress() if quiet else ConsoleProgress(sys.stderr)
    with _note_published(progress), nullcontext(draw_chart) if dry_run else painter() as draw:
        with quick_imports():  # late: --help and usage errors must not wait for Dask
            from pipeline.engine.cluster import connect, dashboard_link
            from pipeline.job import run
            from pipeline.kernels.cache import is_cache_empty
            from pipeline.outputs.names import OUTPUTS
            from pipeline.outputs.separation import check_separate
            from pipeline.steps.plan import find_inputs, make_plan
            from pipeline.storage.remote import is_remote

        paths = *settings.customers, *settings.purchases, settings.output_dir
        with connect(
            cluster,
            debug=debug,
            waits_for_network=any(map(is_remote, paths)),
            profiled=settings.performance_report is not None,
        ) as client:
            progress.say(f"dashboard: {dashboard_link(client, cluster)}")
            if dry_run:
                inputs = find_inputs(settings)
                check_separate(settings, inputs)
                click.echo(make_plan(settings, inputs, client).describe(settings, OUTPUTS))
                return
            if cluster.scheduler == "local" and is_cache_empty():
                progress.say("compiling the kernels for this processor, which takes a while")
            report = run(settings, client, progress, draw)
        if not quiet:
            click.echo(_table(report))
            outputs = printable(", ".join(report.outputs))
            progress.say(f"done in {report.seconds:.1f} s: {outputs}")


def main(prog_name: str | None = None) -> None:
    """Run the command and exit with its exit code."""
    accept_interrupts()
    outlive_readers()
    debug = "--debug" in sys.argv
    try:
        command.main(prog_name=prog_name, standalone_mode=False)
        ignore_interrupts()
    except (Exception, KeyboardInterrupt) as error:
        ignore_interrupts()
        # Exit while `error` is alive: it refers to objects that an interrupt left half initialized,
        # which would print errors when they are freed.
        leave(_tell(error, debug))
    leave(0)


def _tell(error: BaseException, debug: bool) -> int:
    """Print an error as one line; return its exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    message, code = _meaning(error)
    if debug and code != INTERRUPTED:
        traceback.print_exc()
    click.echo(f"error: {printable(message)}", err=True)
    return code


def _meaning(error: BaseException) -> tuple[str, int]:
    """Return the message for an error and the exit code."""
    if isinstance(error, click.ClickException):
        message = error.format_message()
        if "unexpected extra argument" in message:  # this command takes none
            message += "; if it comes from a glob, quote the glob: 'part-*.csv'"
        return message, 2
    # The note may be on the cause: for an interrupt, click raises an error of its own.
    errors = error, error.__cause__
    is_published = any(_PUBLISHED in getattr(one, "__notes__", ()) for one in errors)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        after = " after the outputs were published; they are complete"
        before = "; the outputs are unchanged"
        return f"interrupted{after if is_published else before}", INTERRUPTED
    published = f"; {_PUBLISHED}" if is_published else ""
    if fault := error if isinstance(error, PipelineError) else system_fault(error):
        return f"{fault}{published}", fault.exit_code
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    hint = "please report it with the output of --debug"
    return f"unexpected error: {what}{published}; {hint}", FAULT


@contextmanager
def _note_published(progress: Progress) -> Iterator[None]:
    """If the outputs are published, say so in a note on any error that the block raises."""
    try:
        yield
    except BaseException as error:
        if progress.published:
            error.add_note(_PUBLISHED)
        raise


def _table(report: Report) -> str:
    """Format the table of results for a terminal."""
    table = report.spending.rename(columns=lambda name: name.replace("_", " "))
    groups = table.columns[0]
    table = table.map(_cell, na_action="ignore").fillna("").set_index(groups)
    table = table.rename_axis(index=None, columns=groups)  # puts all headings on one line
    return table.to_string(col_space=[len(name) + 1 for name in table])


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"
