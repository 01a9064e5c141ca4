"""The command line: options become settings, errors become one line and an exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from contextlib import nullcontext
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from pipeline._version import __version__
from pipeline.chart import draw_chart
from pipeline.errors import PipelineError
from pipeline.imports import quick_imports
from pipeline.options import all_options, settings_of
from pipeline.painter import painter

if TYPE_CHECKING:
    from pipeline.job import Report

INTERRUPTED = 130


@click.command(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 100,
    }
)
@all_options
@click.version_option(__version__, prog_name="age-group-spending")
def command(dry_run: bool, quiet: bool, debug: bool, **options: Any) -> None:
    """Join customers with their purchases and sum what each age group spends.

    Writes combined_data.csv, age_group_spending.csv, total_spending_by_age_group.png and
    run_report.json into the output folder, all of them or none. Every record and every amount is
    accounted for, or the job fails.

    \b
    Examples:
      python -m pipeline --scheduler local
      python -m pipeline --customers crm.csv --purchases 'sales/2024-*.csv' --output-dir result
      python -m pipeline --age-groups "Minor=0,Adult=18,Retired=67" --amount-column total
      python -m pipeline --scheduler tcp://10.0.0.5:8786 --customers /shared/customers

    \b
    Exit codes:
      0  done                              3    the cluster failed
      1  the data was refused              130  interrupted
      2  a wrong option, path or column
    """
    settings, cluster = settings_of(options)
    # Else NumPy starts threads for matrices, which wait busily; Dask tells its workers the same.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with nullcontext(draw_chart) if dry_run else painter() as draw:
        with quick_imports():  # only now: --help and a wrong option need not wait for Dask
            from pipeline.cluster import connect, dashboard_link
            from pipeline.job import plan, run
            from pipeline.progress import ConsoleProgress, Progress

        progress = Progress() if quiet else ConsoleProgress(sys.stderr)
        with connect(cluster, debug) as client:
            progress.say(f"dashboard: {dashboard_link(client, cluster)}")
            if dry_run:
                click.echo(plan(settings, client).describe(settings))
                return
            report = run(settings, client, progress, draw)
    if not quiet:
        click.echo(_table(report))
        progress.say(f"done in {report.seconds:.1f} s: {', '.join(map(str, report.outputs))}")


def main(prog_name: str | None = None) -> None:
    """Run the command and end the process with its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    debug = "--debug" in sys.argv
    try:
        command.main(prog_name=prog_name, standalone_mode=False)
        code = 0
    except click.exceptions.Exit as end:
        code = end.exit_code
    except click.ClickException as error:
        code = _fail(error.format_message(), 2, debug)
    except PipelineError as error:
        code = _fail(str(error), error.exit_code, debug)
    except (KeyboardInterrupt, click.Abort):
        code = _fail("interrupted; the outputs are as they were", INTERRUPTED, False)
    except Exception as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        code = _fail(f"unexpected: {what}; please report it, with what --debug prints", 1, debug)
    gc.freeze()  # the system takes the memory back: no need to look for garbage in it once more
    sys.exit(code)


def _table(report: Report) -> str:
    """Lay the table of results out for a terminal."""
    table = report.spending.astype(object)
    rows = [
        [name.replace("_", " ") for name in table.columns],
        *(
            [_cell(value) for value in row]
            for row in table.where(table.notna(), "").itertuples(index=False)
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    click.echo(f"error: {message}", err=True)
    return code
