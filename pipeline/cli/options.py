"""The command-line options, by section of the help, and how they become settings."""

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

_OF_DIALECT = [name for name in Dialect.__dataclass_fields__ if name != "max_record_size"]
_CODE = re.compile(r"\\(t|x[0-9A-Fa-f]{2}|[0-7]{3})")  # an escape code for a character
_GROUPS = ",".join(
    f"{label}={age}" for label, age in zip(AgeGroups().labels, AgeGroups().bounds, strict=True)
)
_DEFAULTS = (
    vars(Dialect())
    | vars(ClusterSettings())
    | {f"{name}_column": column for name, column in vars(Columns()).items()}
    | {"age_groups": _GROUPS, "closed": AgeGroups().closed}
    | {"output_dir": Settings.output_dir, "join": Settings.join}
)


def _option(names: str, text: str, metavar: str | None = None, **how: Any) -> click.Option:
    """Return an option whose help is `text`, and whose default is that of its setting, if any."""
    setting = names.rpartition("--")[2].replace("-", "_")
    if default := _DEFAULTS.get(setting):
        how["default"] = [default] if how.get("multiple") else default
    return click.Option(names.split(), help=text, metavar=metavar, **how)


_flag = partial(_option, is_flag=True)
_by_table = partial(_option, multiple=True)
_sign = partial(_by_table, metavar="[TABLE=]CHAR")
_limit = partial(_by_table, metavar="[TABLE=]N|P%")
_paths = partial(_by_table, metavar="PATH", default=None, show_default=False)

# By section, in the order in which the help lists them.
OPTIONS = {
    "Input": (
        _paths(
            "--customers",
            "Customers: a CSV file, plain or compressed, a glob, a folder or a URL. "
            "Repeatable.  [default: the sample in data/]",
        ),
        _paths("--purchases", "Purchases, in the same forms.  [default: the sample in data/]"),
        _by_table("--id-column", "Column of ids.", "[TABLE=]NAME"),
        _option("--amount-column", "Column of amounts.", "NAME"),
        _option("--age-column", "Column of ages, in years.", "NAME"),
        _option("--first-name-column", "Column of first names.", "NAME"),
        _option("--last-name-column", "Column of last names.", "NAME"),
        _sign(
            "--delimiter",
            "Field delimiter; 'tab' for a tab.  [default: detected; one of , ; tab |]",
        ),
        _sign("--quote", "Quote character; 'none' turns quoting off."),
        _sign("--escape", "Escape character: the next character is literal."),
        _by_table("--null", "Text that means a missing field, such as '\\N'.", "[TABLE=]TEXT"),
        _by_table("--encoding", "Encoding of files without a byte order mark.", "[TABLE=]NAME"),
        _sign("--decimal", "Decimal point."),
        _sign("--thousands", "Thousands separator."),
        _by_table("--skip-lines", "Number of lines to skip before the header.", "[TABLE=]N"),
        _by_table("--column-names", "Column names of files without a header.", "[TABLE=]NAME,..."),
    ),
    "Age groups": (
        _option(
            "--age-groups",
            "Age groups and the age at which each starts, youngest first.",
            "LABEL=AGE,...",
        ),
        _option(
            "--closed",
            "Put a boundary age into the group above it (left) or below it (right).",
            type=click.Choice(["left", "right"]),
        ),
    ),
    "Bad records": (
        _flag("--strict", "Allow no rejected records and no unusable ages or amounts."),
        _limit("--max-rejected", "Fail if more records than this cannot be read."),
        _limit("--max-unusable", "Fail if more ages or amounts than this are not numbers."),
        _limit(
            "--max-unmatched", "Fail if more purchases than this have an id that no customer has."
        ),
    ),
    "Output": (
        _option("--output-dir", "Where to write: a folder, or s3://bucket/prefix.", "PATH"),
        _flag(
            "--escape-formulas",
            "Put an apostrophe before text that a spreadsheet would run as a formula.",
        ),
        _flag("--verify", "Recompute the totals from combined_data.csv before publishing it."),
        _flag("--no-fsync", "Do not wait for the outputs to reach the disk."),
    ),
    "Cluster": (
        _option(
            "--scheduler",
            "Start a local cluster, or connect to a scheduler by its address or scheduler file.",
            "local|ADDRESS|FILE",
            envvar="DASK_SCHEDULER_ADDRESS",
            show_envvar=True,
        ),
        _option(
            "--wait-for-workers",
            "Fail after this long without a worker, at the start or later.",
            "SECONDS",
            type=float,
        ),
        _option(
            "--workers",
            "Number of local workers. One runs in this process, several in separate processes.",
            "N",
        ),
        _option(
            "--threads-per-worker",
            "Threads of each local worker.  [default: its share of the cores, or twice that if "
            "any input or the output is a URL]",
            "N",
            type=int,
        ),
        _option("--memory-limit", "Memory limit of each local worker.", "SIZE"),
        _option("--dashboard-address", "Address of a local cluster's dashboard.", "HOST:PORT"),
        _option(
            "--performance-report",
            "Write Dask's performance report, an HTML page of tasks and a profile.",
            "FILE",
        ),
        _option(
            "--join",
            "Broadcast the customers to every worker, or shuffle both tables; auto: by size.",
            type=click.Choice(["auto", "broadcast", "shuffle"]),
        ),
        _option(
            "--block-size",
            "How much of a file one task reads.  [default: 8MiB, or more for large inputs]",
            "SIZE",
        ),
    ),
    "General": (
        _flag("--dry-run", "Print the plan, and write nothing."),
        _flag("-q --quiet", "Print only errors."),
        _flag("--debug", "Print tracebacks and Dask's warnings."),
    ),
}


class ThemedCommand(click.Command):
    """A command with `OPTIONS`, whose help shows them by section, and others at the end."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section."""
        lines = {param: param.get_help_record(ctx) for param in self.get_params(ctx)}
        sections = {theme: [lines.pop(one) for one in some] for theme, some in OPTIONS.items()}
        *_, last = sections.values()
        last += lines.values()
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(list(filter(None, records)))


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
            raise UsageError(f"--skip-lines: '{text}' is not a whole number, such as 3")
        return int(text)
    return text


def _limits(*, strict: bool, **given: Sequence[str]) -> Limits:
    """Return the limits, given the texts of each option."""
    for name in ("max_rejected", "max_unusable") if strict else ():
        if given[name]:
            raise UsageError(f"--strict means {_named(name)} 0: use only one of them")
        given[name] = ("0",)
    return Limits.parse(**{name.removeprefix("max_"): texts for name, texts in given.items()})
