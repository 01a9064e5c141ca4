"""The command-line options, and how they become settings."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import click

from pipeline.errors import UsageError
from pipeline.settings import (
    NO_SIGN,
    AgeGroups,
    ClusterSettings,
    Columns,
    Dialect,
    Settings,
    parse_size,
)
from pipeline.settings.limits import TABLES, Limits, by_table


def _option(*names: str, **how: Any) -> click.Option:
    return click.Option(names, **how)


_path = partial(_option, metavar="PATH")
_name = partial(_option, metavar="NAME")
_by_table = partial(_option, multiple=True)
_sign = partial(_by_table, metavar="[TABLE=]CHAR")
_name_by_table = partial(_by_table, metavar="[TABLE=]NAME")
_flag = partial(_option, is_flag=True)
_limit = partial(_option, multiple=True, metavar="[TABLE=]N|P%")
_OF_DIALECT = [name for name in Dialect.__dataclass_fields__ if name != "max_record_size"]
_CODE = re.compile(r"\\(t|x[0-9A-Fa-f]{2}|[0-7]{3})")  # an escape code of a character
_GROUPS = ",".join(
    f"{label}={age}" for label, age in zip(AgeGroups().labels, AgeGroups().bounds, strict=True)
)

# By theme, in the order in which the help lists them.
OPTIONS = {
    "Input": (
        _path(
            "--customers",
            multiple=True,
            default=None,
            show_default=False,
            help="Customers: a CSV file, plain or compressed, a glob, a folder or a URL. "
            "Repeatable.  [default: data/customers.csv if no purchases are given either]",
        ),
        _path(
            "--purchases",
            multiple=True,
            default=None,
            show_default=False,
            help="Purchases, likewise.  [default: data/purchases.csv]",
        ),
        _name_by_table("--id-column", default=[Columns().id], help="Column of ids."),
        _name("--amount-column", default=Columns().amount, help="Column of amounts."),
        _name("--age-column", default=Columns().age, help="Column of ages, in years."),
        _name("--first-name-column", default=Columns().first_name, help="Column of first names."),
        _name("--last-name-column", default=Columns().last_name, help="Column of last names."),
        _sign(
            "--delimiter",
            help="Field delimiter; 'tab' for a tab.  [default: detected; one of , ; tab |]",
        ),
        _sign(
            "--quote",
            default=[Dialect().quote],
            help="Quote character; 'none' for none.",
        ),
        _sign("--escape", help="Escape character: the one after it is text."),
        _sign("--null", help="Text of a missing field, such as '\\N'."),
        _name_by_table(
            "--encoding",
            default=[Dialect().encoding],
            help="Encoding of files without a byte order mark.",
        ),
        _sign("--decimal", default=[Dialect().decimal], help="Decimal point."),
        _sign("--thousands", help="Thousands separator."),
        _by_table("--skip-lines", metavar="[TABLE=]N", help="Number of lines before the header."),
        _by_table(
            "--column-names",
            metavar="[TABLE=]NAME,...",
            help="Names, for files without a header.",
        ),
    ),
    "Age groups": (
        _option(
            "--age-groups",
            default=_GROUPS,
            metavar="LABEL=AGE,...",
            help="Age groups and the age at which each begins, youngest first.",
        ),
        _option(
            "--closed",
            type=click.Choice(["left", "right"]),
            default=AgeGroups().closed,
            help="Whether a boundary age belongs to the group it opens (left) or ends (right).",
        ),
    ),
    "Bad records": (
        _flag("--strict", help="Allow no rejected records and no unusable ages or amounts."),
        _limit("--max-rejected", help="Fail if more records than this cannot be read."),
        _limit("--max-unusable", help="Fail if more ages or amounts than this are not numbers."),
        _limit(
            "--max-unmatched",
            help="Fail if more purchases than this have an id that no customer has.",
        ),
    ),
    "Output": (
        _path(
            "--output-dir",
            default=Settings.output_dir,
            help="Where to write: a folder, or s3://bucket/prefix.",
        ),
        _flag(
            "--escape-formulas",
            help="Put an apostrophe before text that a spreadsheet would run as a formula.",
        ),
        _flag(
            "--verify", help="Recount all results from combined_data.csv before it is published."
        ),
        _flag("--no-fsync", help="Do not wait until the outputs are on disk."),
    ),
    "Cluster": (
        _option(
            "--scheduler",
            default=ClusterSettings.scheduler,
            metavar="local|ADDRESS|FILE",
            envvar="DASK_SCHEDULER_ADDRESS",
            show_envvar=True,
            help="Start a local cluster, or use the one of a scheduler, given by address or file.",
        ),
        _option(
            "--wait-for-workers",
            type=float,
            default=ClusterSettings.wait_for_workers,
            metavar="SECONDS",
            help="Fail after this long without any worker, at the start or later.",
        ),
        _option(
            "--workers",
            type=int,
            default=ClusterSettings.workers,
            metavar="N",
            help="Local workers. One runs in this process, several in processes of their own.",
        ),
        _option(
            "--threads-per-worker",
            type=int,
            metavar="N",
            help="Threads of each local worker.  [default: its share of the cores; twice that if "
            "any input or the output is a URL]",
        ),
        _option(
            "--memory-limit",
            default=ClusterSettings.memory_limit,
            metavar="SIZE",
            help="Memory limit of each local worker.",
        ),
        _option(
            "--dashboard-address",
            default=ClusterSettings.dashboard_address,
            metavar="HOST:PORT",
            help="Where a local cluster serves its dashboard.",
        ),
        _option(
            "--performance-report",
            metavar="FILE",
            help="Write Dask's performance report, an HTML page with the tasks and a profile.",
        ),
        _option(
            "--join",
            type=click.Choice(["auto", "broadcast", "shuffle"]),
            default=Settings.join,
            help="Send all customers to every worker, or shuffle both tables; auto: by size.",
        ),
        _option(
            "--block-size",
            metavar="SIZE",
            help="How much of a file one task reads.  [default: 8MiB, more for large inputs]",
        ),
    ),
    "General": (
        _flag("--dry-run", help="Say what a run would do, and write nothing."),
        _flag("-q", "--quiet", help="Print nothing but errors."),
        _flag("--debug", help="Print tracebacks, and Dask's warnings."),
    ),
}


def settings_of(options: dict[str, Any]) -> tuple[Settings, ClusterSettings]:
    """Turn options into settings; raise UsageError for an invalid one.

    `options` holds all of `OPTIONS` except those that `command` names.
    """
    left = dict(options)

    def take(*names: str) -> dict[str, Any]:
        return {name: left.pop(name) for name in names}

    size = left.pop("block_size")
    cluster = ClusterSettings(**take(*ClusterSettings.__dataclass_fields__))
    dialect, of_purchases = _dialects(take(*_OF_DIALECT))
    settings = Settings(
        columns=_columns(**take(*(name for name in left if name.endswith("_column")))),
        age_groups=AgeGroups.parse(left.pop("age_groups"), left.pop("closed")),
        dialect=dialect,
        purchases_dialect=None if of_purchases == dialect else of_purchases,
        limits=_limits(**take("strict", "max_rejected", "max_unusable", "max_unmatched")),
        fsync=not left.pop("no_fsync"),
        block_size=None if size is None else parse_size(size, "--block-size"),
        **{name: value for name, value in left.items() if value != ()},  # (): not given
    )
    return settings, cluster


def _columns(id_column: Sequence[str], **others: str) -> Columns:
    ids = by_table(id_column, "--id-column")
    customers, purchases = (ids.get(table, Columns().id) for table in TABLES)
    names = {name.removesuffix("_column"): value for name, value in others.items()}
    return Columns(customers, purchase_id=None if purchases == customers else purchases, **names)


def _dialects(given: dict[str, Sequence[str]]) -> Iterator[Dialect]:
    """Yield the dialect of each table, given the texts of each option."""
    found = {name: by_table(texts, _named(name)) for name, texts in given.items()}
    for table in TABLES:
        yield Dialect(
            **{name: _convert(name, of[table]) for name, of in found.items() if table in of}
        )


def _named(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _convert(field: str, text: str) -> Any:
    """Convert the text of an option to the value of its field in a dialect."""
    if field in ("quote", "escape", "thousands") and text == NO_SIGN:
        return ""
    if field == "delimiter":
        code = r"\t" if text == "tab" else text
        return codecs.decode(code, "unicode_escape") if _CODE.fullmatch(code) else text
    if field == "column_names":
        return tuple(next(csv.reader([text])))
    if field == "skip_lines":
        if not (text.isascii() and text.isdigit()):
            raise UsageError(f"--skip-lines: '{text}' is not a number of lines, such as 3")
        return int(text)
    return text


def _limits(*, strict: bool, **given: Sequence[str]) -> Limits:
    """Return the limits, given the texts of each option."""
    for name in ("max_rejected", "max_unusable") if strict else ():
        if given[name]:
            raise UsageError(f"--strict means {_named(name)} 0: give only one of them")
        given[name] = ("0",)
    return Limits.parse(**{name.removeprefix("max_"): texts for name, texts in given.items()})
