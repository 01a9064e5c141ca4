"""The options of the command line, and the settings they make."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from pipeline.errors import UsageError
from pipeline.settings import (
    AgeGroups,
    ClusterSettings,
    Columns,
    Dialect,
    Settings,
    Tolerance,
    parse_size,
)


class _Size(click.ParamType):
    """A number of bytes, written as 8MiB or 500MB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return value if isinstance(value, int) else parse_size(value, str(param and param.opts[0]))


_GROUPS = ",".join(
    f"{label}={age}" for label, age in zip(AgeGroups().labels, AgeGroups().bounds, strict=True)
)
_file = partial(click.option, metavar="FILE")
_name = partial(click.option, metavar="NAME")
_path = partial(click.option, metavar="PATH")
_sign = partial(click.option, metavar="CHAR")
_size = partial(click.option, metavar="SIZE")

_OPTIONS = (
    _path(
        "--customers",
        multiple=True,
        default=Settings().customers,
        help="Customers: a CSV file (compressed or not), a glob, a folder or a URL. Repeatable.",
    ),
    _path("--purchases", multiple=True, default=Settings().purchases, help="Purchases: the same."),
    _path("--output-dir", default=Settings().output_dir, help="The folder of the outputs."),
    click.option(
        "--age-groups",
        default=_GROUPS,
        metavar="LABEL=AGE,...",
        help="The age groups and where each begins, youngest first.",
    ),
    click.option(
        "--closed",
        type=click.Choice(["left", "right"]),
        default=AgeGroups().closed,
        help="A boundary age belongs to the group it opens (left) or ends (right).",
    ),
    _name("--id-column", default=Columns().id, help="The customer's id, in both tables."),
    _name("--amount-column", default=Columns().amount, help="The amount of a purchase."),
    _name("--age-column", default=Columns().age, help="A customer's age in years."),
    _name("--first-name-column", default=Columns().first_name, help="A customer's first name."),
    _name("--last-name-column", default=Columns().last_name, help="A customer's last name."),
    _sign("--delimiter", default=Dialect().delimiter, help="Between fields; 'tab' for a tab."),
    _name("--encoding", default=Dialect().encoding, help="Of files without a byte order mark."),
    _sign("--decimal", default=Dialect().decimal, help="The decimal point of ages and amounts."),
    _sign("--thousands", default=Dialect().thousands, help="The sign between their thousands."),
    _size(
        "--max-record-size",
        type=_Size(),
        default="1MiB",
        help="A record longer than this is rejected, and a quote open for longer is broken.",
    ),
    click.option("--strict", is_flag=True, help="Fail where any record cannot be read."),
    click.option(
        "--max-rejected",
        metavar="N|P%",
        help="Fail where more records of a table than this cannot be read.",
    ),
    click.option(
        "--escape-formulas",
        is_flag=True,
        help="Put an apostrophe before text that a spreadsheet would run as a formula.",
    ),
    click.option("--no-fsync", is_flag=True, help="Do not wait until the outputs are on the disk."),
    click.option(
        "--join",
        type=click.Choice(["auto", "broadcast", "shuffle"]),
        default=Settings().join,
        help="Give all customers to every worker, or shuffle both tables; auto: by their size.",
    ),
    _size("--block-size", type=_Size(), default="8MiB", help="How much of a file one task reads."),
    click.option(
        "--scheduler",
        default=ClusterSettings().scheduler,
        metavar="local|ADDRESS|FILE",
        envvar="DASK_SCHEDULER_ADDRESS",
        show_envvar=True,
        help="Start a cluster here, or run on the one of a scheduler: its address or its file.",
    ),
    click.option(
        "--wait-for-workers",
        type=float,
        default=ClusterSettings().wait_for_workers,
        metavar="SECONDS",
        help="Fail after this time without any worker, at the start or later.",
    ),
    _file("--tls-ca-file", help="For tls://: the authority's certificate, PEM."),
    _file("--tls-cert", help="The certificate of this client, PEM."),
    _file("--tls-key", help="Its key, PEM."),
    click.option(
        "--workers",
        default=ClusterSettings().workers,
        metavar="N",
        help="Local workers: one in this process, several in processes of their own.",
    ),
    click.option(
        "--threads-per-worker",
        type=int,
        metavar="N",
        help="Threads of each local worker.  [default: the cores, shared out]",
    ),
    _size("--memory-limit", default=ClusterSettings().memory_limit, help="Of each local worker."),
    click.option(
        "--dashboard-address",
        default=ClusterSettings().dashboard_address,
        metavar="HOST:PORT",
        help="Where a local cluster shows its dashboard.",
    ),
    click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing."),
    click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--debug", is_flag=True, help="Print Dask's warnings, and tracebacks."),
)


def all_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every option of this module, in the order in which they stand here."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settings_of(options: dict[str, Any]) -> tuple[Settings, ClusterSettings]:
    """Return the settings that the options make; raise UsageError where one cannot be meant.

    `options` holds all of `all_options` but `--dry-run`, `--quiet` and `--debug`.
    """
    left = dict(options)

    def take(*names: str) -> dict[str, Any]:
        return {name: left.pop(name) for name in names}

    columns = {name: left.pop(f"{name}_column") for name in Columns.__dataclass_fields__}
    cluster = ClusterSettings(**take(*ClusterSettings.__dataclass_fields__))
    dialect = take(*Dialect.__dataclass_fields__)
    if dialect["delimiter"] in ("tab", r"\t"):
        dialect["delimiter"] = "\t"
    settings = Settings(
        columns=Columns(**columns),
        age_groups=AgeGroups.parse(left.pop("age_groups"), left.pop("closed")),
        dialect=Dialect(**dialect),
        tolerance=_tolerance(**take("strict", "max_rejected")),
        fsync=not left.pop("no_fsync"),
        **left,
    )
    return settings, cluster


def _tolerance(strict: bool, max_rejected: str | None) -> Tolerance:
    if strict and max_rejected is not None:
        raise UsageError("--strict means --max-rejected 0: give only one of them")
    if strict:
        return Tolerance(records=0)
    return Tolerance() if max_rejected is None else Tolerance.parse(max_rejected)
