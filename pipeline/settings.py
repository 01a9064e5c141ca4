"""The settings of a run, as frozen dataclasses that check themselves once.

Imports only the standard library, so `--help` does not wait for Dask.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Literal

from pipeline.errors import UsageError

UNKNOWN = "Unknown"
MAX_AGE = 130

_GIB = 1 << 30
_ADDRESS = re.compile(r"\w+://|[^/]+:\d+$")


@dataclass(frozen=True)
class AgeGroups:
    """The labels of the age groups, youngest first, and the age at which each begins.

    `closed` says which group a boundary age belongs to, as in `pandas.Interval`:
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
            raise UsageError(f"closed is 'left' or 'right', not '{self.closed}'")
        if not self.labels:
            raise _bad_groups(text, "no group is named")
        if any(low >= high for low, high in zip(self.bounds, self.bounds[1:], strict=False)):
            raise _bad_groups(text, "the ages do not rise from group to group")
        if not 0 <= self.bounds[0] <= self.bounds[-1] <= MAX_AGE:
            raise _bad_groups(text, f"an age lies outside 0 to {MAX_AGE}")
        if any(bound != round(bound, 18) for bound in self.bounds):
            raise _bad_groups(text, "an age has more than 18 decimal places")
        taken = [*self.labels, UNKNOWN, self.under]
        if len(set(taken)) < len(taken):
            raise _bad_groups(
                text, f"a label is used twice ('{UNKNOWN}' and '{self.under}' are taken)"
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
    """The names, in the headers of both tables, of the five columns the job uses."""

    id: str = "customer_id"
    amount: str = "price"
    age: str = "age"
    first_name: str = "first_name"
    last_name: str = "last_name"

    @property
    def of_customers(self) -> dict[str, str]:
        """The columns required in customers, each with the option that renames it."""
        return {
            self.id: "--id-column",
            self.first_name: "--first-name-column",
            self.last_name: "--last-name-column",
            self.age: "--age-column",
        }

    @property
    def of_purchases(self) -> dict[str, str]:
        """The columns required in purchases, each with the option that renames it."""
        return {self.id: "--id-column", self.amount: "--amount-column"}

    def __post_init__(self) -> None:
        if len(self.of_customers) < 4 or len(self.of_purchases) < 2:
            raise UsageError(
                "two of the columns have the same name; "
                "id, first name, last name and age, and id and amount, must differ"
            )


@dataclass(frozen=True)
class Dialect:
    """The format of the input files.

    `encoding` applies to files without a byte order mark. `decimal` is the decimal point of
    numbers, `thousands` their thousands separator (empty: none). A record longer than
    `max_record_size` bytes is rejected.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    thousands: str = ""
    max_record_size: int = 1 << 20

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '"\r\n\0':
            raise UsageError(
                f"the delimiter is one ASCII character but no quote or line end, "
                f"not {self.delimiter!r}"
            )
        try:
            encoding = codecs.lookup(self.encoding).name
            bytes(range(256)).decode(encoding, "replace")  # fails for base64, which is not text
        except (LookupError, UnicodeError) as error:
            raise UsageError(
                f"'{self.encoding}' is no encoding that Python knows; try utf-8, cp1252 or utf-16"
            ) from error
        # Byte order marks are detected with any encoding.
        object.__setattr__(self, "encoding", encoding.removesuffix("-sig"))
        signs = (self.decimal, self.thousands)
        taken = '0123456789+-eE"\r\n'
        if len(self.decimal) != 1 or len(self.thousands) > 1 or self.decimal == self.thousands:
            raise UsageError(
                "the signs within numbers are one character each and differ, "
                f"not {self.decimal!r} and {self.thousands!r}"
            )
        if any(sign and sign in taken for sign in signs):
            raise UsageError(f"a sign within numbers cannot be one of {taken.strip()!r}")
        if not 2 <= self.max_record_size <= _GIB // 4:
            raise UsageError("the largest size of a record is at least 2 bytes, at most 256 MiB")


@dataclass(frozen=True)
class Tolerance:
    """How many records may be rejected: a number, or a share of all records read."""

    records: int | None = None
    share: Decimal | None = None

    @classmethod
    def parse(cls, text: str) -> Tolerance:
        """Parse `100` or `0.5%`; raise UsageError for anything else."""
        number, percent = text.removesuffix("%").strip(), text.endswith("%")
        try:
            value = Decimal(number)
        except InvalidOperation:
            value = Decimal(-1)
        if not value.is_finite() or value < 0 or (not percent and value % 1):
            raise UsageError(
                f"--max-rejected: '{text}' is neither a number of records nor a share; "
                "write it as 100 or 0.5%"
            )
        return cls(share=value / 100) if percent else cls(records=int(value))

    def allows(self, rejected: int, records: int) -> bool:
        """Return whether `rejected` of `records` in all is within the limit."""
        if self.records is not None:
            return rejected <= self.records
        return self.share is None or rejected <= self.share * records


@dataclass(frozen=True)
class Settings:
    """The settings of a run, except those of its cluster."""

    customers: tuple[str, ...] = ("data/customers.csv",)
    purchases: tuple[str, ...] = ("data/purchases.csv",)
    output_dir: str = "outputs"
    columns: Columns = field(default_factory=Columns)
    dialect: Dialect = field(default_factory=Dialect)
    age_groups: AgeGroups = field(default_factory=AgeGroups)
    join: Literal["auto", "broadcast", "shuffle"] = "auto"
    block_size: int | None = None  # bytes; None: chosen by input size
    tolerance: Tolerance = field(default_factory=Tolerance)
    escape_formulas: bool = False
    fsync: bool = True
    verify: bool = False

    def __post_init__(self) -> None:
        for name in ("customers", "purchases"):
            paths = getattr(self, name)
            if isinstance(paths, str) or not paths:
                raise UsageError(f"{name} is a list of one or more paths, not {paths!r}")
            object.__setattr__(self, name, tuple(str(path) for path in paths))
        if "://" in self.output_dir and not self.output_dir.startswith("s3://"):
            raise UsageError(
                f"--output-dir: '{self.output_dir}' is no place for outputs; name a folder, local "
                "or shared by all machines, or s3://bucket/prefix"
            )
        if self.verify and "://" in self.output_dir:
            raise UsageError(
                "--verify reads the combined table before it is published, which an object store "
                "does not allow: name a folder with --output-dir"
            )
        if self.verify and self.escape_formulas:
            raise UsageError(
                "--verify compares the combined table with the input, from which --escape-formulas "
                "makes it differ: give only one of them"
            )
        if self.join not in ("auto", "broadcast", "shuffle"):
            raise UsageError(f"join is 'auto', 'broadcast' or 'shuffle', not '{self.join}'")
        # Arrow uses 32-bit sizes for the bytes it parses at once.
        if self.block_size is not None and not 1024 <= self.block_size <= _GIB:
            what = "least 1 KiB" if self.block_size < 1024 else "most 1 GiB"
            raise UsageError(f"the block size is at {what}, not {self.block_size} bytes")


@dataclass(frozen=True)
class ClusterSettings:
    """The cluster of a run: a local one that it starts, or an existing one.

    `scheduler` is `local`, an address, or the path of a scheduler file. `wait_for_workers` is how
    many seconds a run waits without any worker, at its start or later.
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
            raise UsageError("workers and threads per worker are at least 1")
        if self.memory_limit != "auto":
            parse_size(self.memory_limit, "--memory-limit")
        if not 0 < self.wait_for_workers < float("inf"):
            raise UsageError("--wait-for-workers is a number of seconds above 0")


def parse_size(text: str, option: str) -> int:
    """Return the bytes in `8MiB`, `64kB`, `2GB` or `4096`; raise UsageError for anything else."""
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
        f"age groups '{text}': {why}; write them youngest first, as Young=18,Middle-aged=30"
    )
