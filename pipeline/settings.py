"""Every choice of a run, in one frozen dataclass, checked once.

Imports nothing outside the standard library, so that `--help` need not wait for Dask.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Literal

from pipeline.errors import UsageError

UNKNOWN = "Unknown"
MAX_AGE = 130

_GIB = 1 << 30
_ADDRESS = re.compile(r"\w+://|[^/]+:\d+$")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)


@dataclass(frozen=True)
class AgeGroups:
    """The labels of the age groups, youngest first, and the age at which each begins.

    `closed` says to which group a boundary age belongs, in the words of `pandas.Interval`:
    `left`: [18, 30), [30, 45), [45, …); `right`: [18, 30], (30, 45], (45, …).
    """

    labels: tuple[str, ...] = ("Young", "Middle-aged", "Senior")
    bounds: tuple[Decimal, ...] = (Decimal(18), Decimal(30), Decimal(45))
    closed: Literal["left", "right"] = "left"

    @classmethod
    def parse(cls, text: str, closed: Literal["left", "right"] = "left") -> AgeGroups:
        """Read `Young=18,Middle-aged=30,Senior=45`; raise UsageError where it makes no sense."""
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
        """The label of those younger than the first group."""
        return f"Under {self.bounds[0]:f}"

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Every label that `age_group` can have, in the order of the result."""
        return (self.under, *self.labels, UNKNOWN)


@dataclass(frozen=True)
class Columns:
    """The names of the five columns that the job works with, in both tables' headers."""

    id: str = "customer_id"
    amount: str = "price"
    age: str = "age"
    first_name: str = "first_name"
    last_name: str = "last_name"

    @property
    def of_customers(self) -> dict[str, str]:
        """The columns that customers must have, each with the option that renames it."""
        return {
            self.id: "--id-column",
            self.first_name: "--first-name-column",
            self.last_name: "--last-name-column",
            self.age: "--age-column",
        }

    @property
    def of_purchases(self) -> dict[str, str]:
        """The columns that purchases must have, each with the option that renames it."""
        return {self.id: "--id-column", self.amount: "--amount-column"}

    def __post_init__(self) -> None:
        if len(self.of_customers) < 4 or len(self.of_purchases) < 2:
            raise UsageError(
                "two of the columns have the same name; "
                "id, first name, last name and age, and id and amount, must differ"
            )


@dataclass(frozen=True)
class Dialect:
    """How the input files are written.

    `encoding` holds for files without a byte order mark. `decimal` and `thousands` are the signs
    within numbers (`thousands` may be empty: none). A record longer than `max_record_size` bytes
    is rejected.
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
            bytes(range(256)).decode(encoding, "replace")  # base64, for one, encodes no text
        except (LookupError, UnicodeError) as error:
            raise UsageError(
                f"'{self.encoding}' is no encoding that Python knows; try utf-8, cp1252 or utf-16"
            ) from error
        # A byte order mark is looked for in any case.
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
        """Read `100` or `0.5%`; raise UsageError for anything else."""
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
        """Tell whether so many rejected records of so many in all are few enough."""
        if self.records is not None:
            return rejected <= self.records
        return self.share is None or rejected <= self.share * records


@dataclass(frozen=True)
class Settings:
    """Every choice of a run that does not concern the cluster it runs on."""

    customers: tuple[str, ...] = ("data/customers.csv",)
    purchases: tuple[str, ...] = ("data/purchases.csv",)
    output_dir: str = "outputs"
    columns: Columns = field(default_factory=Columns)
    dialect: Dialect = field(default_factory=Dialect)
    age_groups: AgeGroups = field(default_factory=AgeGroups)
    join: Literal["auto", "broadcast", "shuffle"] = "auto"
    block_size: int = 8 << 20
    tolerance: Tolerance = field(default_factory=Tolerance)
    escape_formulas: bool = False
    fsync: bool = True

    def __post_init__(self) -> None:
        for name in ("customers", "purchases"):
            paths = getattr(self, name)
            if isinstance(paths, str) or not paths:
                raise UsageError(f"{name} is a list of one or more paths, not {paths!r}")
            object.__setattr__(self, name, tuple(str(path) for path in paths))
        if self.join not in ("auto", "broadcast", "shuffle"):
            raise UsageError(f"join is 'auto', 'broadcast' or 'shuffle', not '{self.join}'")
        # Arrow counts the bytes of what it reads at once in 32 bits.
        if not 1024 <= self.block_size <= _GIB:
            what = "least 1 KiB" if self.block_size < 1024 else "most 1 GiB"
            raise UsageError(f"the block size is at {what}, not {self.block_size} bytes")


@dataclass(frozen=True)
class ClusterSettings:
    """The cluster a run uses: one that it starts itself, or one that a scheduler leads.

    `scheduler` is `local`, an address, or the path of a scheduler file. For how many seconds a
    run waits while there is no worker, at its start and later, `wait_for_workers` says. The
    files of `tls_…` are in PEM format; where they are None, Dask's configuration names them.
    """

    scheduler: str = "local"
    workers: int = 1
    threads_per_worker: int | None = None
    memory_limit: str = "auto"
    dashboard_address: str = "127.0.0.1:8787"
    wait_for_workers: float = 60
    tls_ca_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

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
        if self.tls_ca_file or self.tls_cert or self.tls_key:
            if self.scheduler == "local" or (
                self.is_address and not self.scheduler.startswith("tls://")
            ):
                raise UsageError(
                    f"certificates are for a scheduler at tls://…, not for '{self.scheduler}'"
                )
            if not (self.tls_ca_file and self.tls_cert):
                raise UsageError(
                    "TLS needs --tls-ca-file, --tls-cert and, where the certificate's file does "
                    "not hold the key too, --tls-key"
                )


def parse_size(text: str, option: str) -> int:
    """Return the bytes that `8MiB`, `64kB`, `2GB` or `4096` means; raise UsageError otherwise."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{option}: '{text}' is not a size; write it as 8MiB, 500MB or 2GiB")
    number, prefix, binary = found.groups()
    base = 1024 if binary else 1000
    return int(Fraction(number) * base ** ("kmgt".index(prefix.lower()) + 1 if prefix else 0))


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
