"""The settings of a run, as frozen dataclasses that check themselves once.

Imports Dask only when it parses a size, so `--help` does not wait for it.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Literal, cast

from pipeline.errors import UsageError
from pipeline.settings.limits import Limits
from pipeline.settings.paths import clean_inputs, clean_output, clean_path, clean_report

UNKNOWN = "Unknown"
MAX_AGE = 130

# One of these is detected unless another is set.
DELIMITERS = ",;\t|"
NO_SIGN = "none"  # the value of an option that means no character at all
_NOT_IN_NUMBERS = '0123456789+-eE";|\t\r\n'

_GIB = 1 << 30
_ADDRESS = re.compile(r"\w+://|[^/]+:\d+$")
_DASHBOARD = re.compile(r"[^\s:/,\[\]]*:(\d{1,5})")
# A worker takes 180 MiB before it reads anything, and Dask pauses it at 80% of its limit.
_LEAST_MEMORY = 256 << 20
_MOST_THREADS = 1024
# If neither table is named, a run reads the sample.
_NOT_NAMED = cast("tuple[str, ...]", None)


@dataclass(frozen=True)
class AgeGroups:
    """The labels of the age groups, youngest first, and the age at which each group begins.

    `closed` says to which group a boundary age belongs, as in `pandas.Interval`:
    `left`: [18, 30), [30, 45), [45, …); `right`: [18, 30], (30, 45], (45, …).
    """

    labels: tuple[str, ...] = ("Young", "Middle-aged", "Senior")
    bounds: tuple[Decimal, ...] = (Decimal(18), Decimal(30), Decimal(45))
    closed: Literal["left", "right"] = "left"

    @classmethod
    def parse(cls, text: str, closed: Literal["left", "right"] = "left") -> AgeGroups:
        """Parse `Young=18,Middle-aged=30,Senior=45`; raise UsageError if it is invalid."""
        labels, bounds = [], []
        for part in text.split(","):
            label, equals, bound = (word.strip() for word in part.partition("="))
            if not label or not equals:
                raise _bad_groups(text, f"'{part.strip()}' is not LABEL=AGE")
            labels.append(label)
            bounds.append(_age(text, bound))
        return cls(tuple(labels), tuple(bounds), closed)

    def __post_init__(self) -> None:
        text = ",".join(
            f"{label}={bound}" for label, bound in zip(self.labels, self.bounds, strict=True)
        )
        if self.closed not in ("left", "right"):
            raise UsageError(f"closed must be 'left' or 'right', not '{self.closed}'")
        if not self.labels:
            raise _bad_groups(text, "no group is given")
        if any(low >= high for low, high in zip(self.bounds, self.bounds[1:], strict=False)):
            raise _bad_groups(text, "the ages do not increase from group to group")
        if not 0 <= self.bounds[0] <= self.bounds[-1] <= MAX_AGE:
            raise _bad_groups(text, f"an age is not between 0 and {MAX_AGE}")
        if any(bound != round(bound, 18) for bound in self.bounds):
            raise _bad_groups(text, "an age has more than 18 decimal places")
        taken = [*self.labels, UNKNOWN, self.under]
        if len(set(taken)) < len(taken):
            raise _bad_groups(
                text, f"a label is used twice ('{UNKNOWN}' and '{self.under}' are reserved)"
            )

    @property
    def under(self) -> str:
        """The label for customers younger than the first group."""
        return f"Under {self.bounds[0]:f}"

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Every label that `age_group` can have, in result order."""
        return (self.under, *self.labels, UNKNOWN)


@dataclass(frozen=True)
class Columns:
    """The names of the five columns that the job uses, in the headers of both tables.

    `id` is the customer's id in both tables, or only in customers if `purchase_id` names another
    column of purchases.
    """

    id: str = "customer_id"
    amount: str = "price"
    age: str = "age"
    first_name: str = "first_name"
    last_name: str = "last_name"
    purchase_id: str | None = None

    @property
    def id_of_purchases(self) -> str:
        """The column of customers' ids in purchases."""
        return self.id if self.purchase_id is None else self.purchase_id

    @property
    def of_customers(self) -> dict[str, str]:
        """The columns required in customers, each with the option that sets its name."""
        return {
            self.id: "--id-column",
            self.first_name: "--first-name-column",
            self.last_name: "--last-name-column",
            self.age: "--age-column",
        }

    @property
    def of_purchases(self) -> dict[str, str]:
        """The columns required in purchases, each with the option that sets its name."""
        return {self.id_of_purchases: "--id-column", self.amount: "--amount-column"}

    def __post_init__(self) -> None:
        if option := {**self.of_customers, **self.of_purchases}.get(""):
            raise UsageError(f"{option}: the column name is empty")
        if len(self.of_customers) < 4 or len(self.of_purchases) < 2:
            raise UsageError(
                "two columns have the same name; id, first name, last name and age must differ, "
                "and so must id and amount"
            )


@dataclass(frozen=True)
class Dialect:
    """The format of the input files.

    If `delimiter` is empty, a file has the one of `DELIMITERS` that its header suggests.
    The header follows `skip_lines` other lines; `column_names` take its place in files without one.
    `encoding` applies to files without a byte order mark. `decimal` is the decimal point of
    numbers, `thousands` their thousands separator. Records longer than `max_record_size` bytes are
    rejected. `quote` surrounds quoted fields, the character after `escape` is taken literally, and
    a field that equals `null` is missing.
    """

    delimiter: str = ""
    encoding: str = "utf-8"
    decimal: str = "."
    thousands: str = ""
    max_record_size: int = 1 << 20
    quote: str = '"'
    escape: str = ""
    null: str = ""
    skip_lines: int = 0
    column_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_marks()
        self._check_signs()
        try:
            encoding = codecs.lookup(self.encoding).name
            bytes(range(256)).decode(encoding, "replace")  # fails for base64, which is not text
        except (LookupError, UnicodeError) as error:
            raise UsageError(
                f"'{self.encoding}' is not a text encoding that Python knows; try utf-8, cp1252 or "
                "utf-16"
            ) from error
        # Byte order marks are detected with any encoding.
        object.__setattr__(self, "encoding", encoding.removesuffix("-sig"))
        if self.skip_lines < 0:
            raise UsageError(
                f"the number of lines to skip must be 0 or more, not {self.skip_lines}"
            )
        object.__setattr__(self, "column_names", tuple(self.column_names))
        if not 2 <= self.max_record_size <= _GIB // 4:
            raise UsageError("the maximum record size must be from 2 bytes to 256 MiB")

    def _check_marks(self) -> None:
        """Raise UsageError if a delimiter, quote, escape or null is invalid, or if two clash."""
        between = self.delimiter or ","
        marks = {"--delimiter": self.delimiter, "--quote": self.quote, "--escape": self.escape}
        for option, mark in marks.items():
            if mark and not re.fullmatch("[^\r\n\0\x80-\U0010ffff]", mark):
                raise UsageError(
                    f"{option}: '{mark}' must be one ASCII character, but not newline or NUL"
                )
            if mark and mark in between and option != "--delimiter":
                raise UsageError(
                    f"{option}: '{mark}' is also the delimiter; choose another delimiter with "
                    "--delimiter"
                )
        if self.quote and self.quote == self.escape:
            raise UsageError(
                f"--escape: '{self.escape}' is also the quote character; doubled quotes in a field "
                "need no --escape"
            )
        if not self.null.isascii() or set(self.null) & {*between, *self.quote, *"\r\n\0"}:
            raise UsageError(
                f"--null: '{self.null}' must be ASCII text without delimiters, quotes or "
                r"newlines; write NULL or '\N', for example"
            )

    def _check_signs(self) -> None:
        """Raise UsageError if the decimal point or the thousands separator cannot be used."""
        for option, sign in (("--decimal", self.decimal), ("--thousands", self.thousands)):
            if len(sign) > 1 or (option == "--decimal" and not sign):
                raise UsageError(f"{option}: '{sign}' is not a single character, such as ','")
            if sign and sign in _NOT_IN_NUMBERS:
                raise UsageError(
                    f"{option}: '{sign}' cannot be a separator in numbers; use one such as ','"
                )
        if self.decimal == self.thousands:
            raise UsageError(
                f"--thousands: '{self.thousands}' is also the decimal point; choose another with "
                "--decimal"
            )


@dataclass(frozen=True)
class Settings:
    """The settings of a run, except those of its cluster.

    Name both `customers` and `purchases`, or neither to read the sample in `data/`. A path may be
    any `os.PathLike`; one that begins with `~` is in a home folder.
    """

    customers: tuple[str, ...] = _NOT_NAMED
    purchases: tuple[str, ...] = _NOT_NAMED
    output_dir: str = "outputs"
    columns: Columns = field(default_factory=Columns)
    dialect: Dialect = field(default_factory=Dialect)
    purchases_dialect: Dialect | None = None  # None: that of customers
    age_groups: AgeGroups = field(default_factory=AgeGroups)
    join: Literal["auto", "broadcast", "shuffle"] = "auto"
    block_size: int | None = None  # bytes; None: depends on input size and memory
    limits: Limits = field(default_factory=Limits)
    escape_formulas: bool = False
    fsync: bool = True
    verify: bool = False
    performance_report: str | None = None  # a local file for Dask's report; None: no report

    def dialect_of(self, table: str) -> Dialect:
        """Return the dialect of `customers` or `purchases`."""
        own = self.purchases_dialect if table == "purchases" else None
        return own or self.dialect

    def __post_init__(self) -> None:
        customers, purchases = clean_inputs(self.customers, self.purchases)
        clean = {
            "customers": customers,
            "purchases": purchases,
            "output_dir": clean_output(self.output_dir),
            "performance_report": clean_report(self.performance_report),
        }
        for name, value in clean.items():
            object.__setattr__(self, name, value)
        if self.verify and "://" in self.output_dir:
            raise UsageError(
                "--verify reads the combined table before it is published, which an object store "
                "does not allow; choose a folder with --output-dir"
            )
        if self.verify and self.escape_formulas:
            raise UsageError(
                "--verify compares the combined table with the input, and --escape-formulas makes "
                "them differ; use only one of them"
            )
        if self.join not in ("auto", "broadcast", "shuffle"):
            raise UsageError(f"join must be 'auto', 'broadcast' or 'shuffle', not '{self.join}'")
        # The parser's 32-bit offsets must reach the end of a block (see `csv_text.parse`).
        if self.block_size is not None and not 1024 <= self.block_size <= _GIB:
            what = "least 1 KiB" if self.block_size < 1024 else "most 1 GiB"
            raise UsageError(f"the block size must be at {what}, not {self.block_size} bytes")


@dataclass(frozen=True)
class ClusterSettings:
    """The cluster of a run: a local one that it starts, or one that exists.

    `scheduler` is `local`, an address, or the path of a scheduler file. A run without a worker, at
    its start or later, waits up to `wait_for_workers` seconds for one.
    """

    scheduler: str = "local"
    workers: int = 1
    threads_per_worker: int | None = None
    memory_limit: str = "auto"
    dashboard_address: str = "127.0.0.1:8787"
    wait_for_workers: float = 60

    @property
    def is_address(self) -> bool:
        """Whether `scheduler` is an address, not a file."""
        return bool(_ADDRESS.match(self.scheduler))

    def __post_init__(self) -> None:
        if self.workers < 1 or (self.threads_per_worker or 1) < 1:
            raise UsageError("--workers and --threads-per-worker must be at least 1")
        if (threads := self.threads_per_worker or 1) > _MOST_THREADS:
            raise UsageError(
                f"--threads-per-worker: '{threads}' is more than the limit of {_MOST_THREADS:,}; "
                "omit it to use one thread per core"
            )
        if self.memory_limit not in ("auto", "0"):  # 0: no limit
            size = parse_size(self.memory_limit, "--memory-limit")
            if size < _LEAST_MEMORY:
                raise UsageError(
                    f"--memory-limit: '{self.memory_limit}' is less than the "
                    f"{_LEAST_MEMORY >> 20} MiB that a worker needs; write 2GiB, for example, "
                    "or 0 for no limit"
                )
        port = _DASHBOARD.fullmatch(self.dashboard_address)
        if not port or int(port[1]) > 65535:
            raise UsageError(
                f"--dashboard-address: '{self.dashboard_address}' is not HOST:PORT, with a name or "
                "an IPv4 address and a port up to 65535; write 127.0.0.1:8787, or 127.0.0.1:0 for "
                "any free port"
            )
        if self.scheduler != "local" and not self.is_address:
            object.__setattr__(self, "scheduler", clean_path(self.scheduler, "--scheduler"))
        if not 0 < self.wait_for_workers < float("inf"):
            raise UsageError("--wait-for-workers must be a number of seconds greater than 0")


def parse_size(text: str, option: str) -> int:
    """Parse `8MiB`, `64kB`, `2GB` or `4096` as a number of bytes; raise UsageError otherwise."""
    from dask.utils import parse_bytes  # late: --help must not wait for Dask

    try:
        if not text.strip()[:1].isdigit():  # Dask accepts MB (as 1MB) and -1MB
            raise ValueError(text)
        return int(parse_bytes(text))
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option}: '{text}' is not a size; write it as 8MiB, 500MB or 2GiB"
        ) from error


def _age(text: str, bound: str) -> Decimal:
    try:
        age = Decimal(bound)
    except InvalidOperation:
        age = Decimal("nan")
    if not age.is_finite():
        raise _bad_groups(text, f"'{bound}' is not an age")
    return age


def _bad_groups(text: str, why: str) -> UsageError:
    return UsageError(
        f"age groups '{text}': {why}; write them youngest first, such as Young=18,Middle-aged=30"
    )
