"""The command line: options become settings, errors become one line and an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

from pipeline._version import __version__
from pipeline.errors import PipelineError
from pipeline.settings import AgeGroups, ClusterSettings, Columns, Settings, parse_size

if TYPE_CHECKING:
    from pipeline.job import Report

INTERRUPTED = 130

_GROUPS = ",".join(
    f"{label}={age}" for label, age in zip(AgeGroups().labels, AgeGroups().bounds, strict=True)
)


class _Size(click.ParamType):
    """A number of bytes, written as 8MiB or 500MB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return value if isinstance(value, int) else parse_size(value, str(param and param.opts[0]))


def _column_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each column that the job works with."""
    columns = Columns()
    for name, default, meaning in (
        ("last-name", columns.last_name, "a customer's last name"),
        ("first-name", columns.first_name, "a customer's first name"),
        ("age", columns.age, "a customer's age in years"),
        ("amount", columns.amount, "the amount of a purchase"),
        ("id", columns.id, "the customer's id, in both tables"),
    ):
        command = click.option(
            f"--{name}-column", default=default, metavar="NAME", help=f"The column of {meaning}."
        )(command)
    return command


@click.command(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 100,
    }
)
@click.option(
    "--customers",
    multiple=True,
    default=["data/customers.csv"],
    metavar="PATH",
    help="Customers: a CSV file, a glob, a folder or a URL. Repeatable.",
)
@click.option(
    "--purchases",
    multiple=True,
    default=["data/purchases.csv"],
    metavar="PATH",
    help="Purchases: the same.",
)
@click.option(
    "--output-dir", default="outputs", metavar="FOLDER", help="The folder of the outputs."
)
@click.option(
    "--scheduler",
    default="local",
    metavar="local|ADDRESS|FILE",
    envvar="DASK_SCHEDULER_ADDRESS",
    show_envvar=True,
    help="Start a cluster here, or run on the one of a scheduler: its address or its file.",
)
@click.option(
    "--wait-for-workers",
    type=float,
    default=60.0,
    metavar="SECONDS",
    help="Fail after this time without any worker, at the start or later.",
)
@click.option("--tls-ca-file", metavar="FILE", help="For tls://: the authority's certificate, PEM.")
@click.option("--tls-cert", metavar="FILE", help="The certificate of this client, PEM.")
@click.option("--tls-key", metavar="FILE", help="Its key, PEM.")
@click.option(
    "--workers",
    default=1,
    metavar="N",
    help="Local workers: one in this process, several in processes of their own.",
)
@click.option(
    "--threads-per-worker",
    type=int,
    metavar="N",
    help="Threads of each local worker.  [default: the cores, shared out]",
)
@click.option("--memory-limit", default="auto", metavar="SIZE", help="Of each local worker.")
@click.option(
    "--block-size",
    type=_Size(),
    default="8MiB",
    metavar="SIZE",
    help="How much of a file one task reads.",
)
@click.option(
    "--join",
    type=click.Choice(["auto", "broadcast", "shuffle"]),
    default="auto",
    help="Give all customers to every worker, or shuffle both tables; auto: by their size.",
)
@click.option(
    "--age-groups",
    default=_GROUPS,
    metavar="LABEL=AGE,...",
    help="The age groups and where each begins, youngest first.",
)
@click.option(
    "--closed",
    type=click.Choice(["left", "right"]),
    default="left",
    help="A boundary age belongs to the group it opens (left) or ends (right).",
)
@_column_options
@click.option(
    "--dashboard-address",
    default="127.0.0.1:8787",
    metavar="HOST:PORT",
    help="Where a local cluster shows its dashboard.",
)
@click.option("--no-fsync", is_flag=True, help="Do not wait until the outputs are on the disk.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--debug", is_flag=True, help="Print Dask's warnings, and tracebacks.")
@click.version_option(__version__, prog_name="age-group-spending")
def command(quiet: bool, debug: bool, **options: Any) -> None:
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
    settings, cluster = _settings(**options)
    # Only now, so that --help and a wrong option need not wait for Dask.
    from pipeline.cluster import connect, dashboard_link
    from pipeline.job import run
    from pipeline.progress import ConsoleProgress, Progress

    progress = Progress() if quiet else ConsoleProgress(sys.stderr)
    with connect(cluster, debug) as client:
        progress.say(f"dashboard: {dashboard_link(client, cluster)}")
        report = run(settings, client, progress)
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
    sys.exit(code)


def _settings(
    *,
    scheduler: str,
    workers: int,
    threads_per_worker: int | None,
    memory_limit: str,
    dashboard_address: str,
    wait_for_workers: float,
    tls_ca_file: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    age_groups: str,
    closed: Literal["left", "right"],
    no_fsync: bool,
    **options: Any,
) -> tuple[Settings, ClusterSettings]:
    columns = {name: options.pop(f"{name}_column") for name in Columns.__dataclass_fields__}
    settings = Settings(
        columns=Columns(**columns),
        age_groups=AgeGroups.parse(age_groups, closed),
        fsync=not no_fsync,
        **options,
    )
    cluster = ClusterSettings(
        scheduler,
        workers,
        threads_per_worker,
        memory_limit,
        dashboard_address,
        wait_for_workers,
        tls_ca_file,
        tls_cert,
        tls_key,
    )
    return settings, cluster


def _table(report: Report) -> str:
    """Lay the table of results out for a terminal."""
    table = report.spending.astype(object)
    rows = [
        [name.replace("_", " ") for name in table.columns],
        *(
            [f"{value:,}" if not isinstance(value, str) else value for value in row]
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


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    click.echo(f"error: {message}", err=True)
    return code
