"""How many bad records a run accepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches

from pipeline.errors import UsageError

TABLES = "customers", "purchases"


@dataclass(frozen=True)
class Limit:
    """How many records may be bad: a number, or a share of them.

    Without either, any number except all: a useless result is accepted only with a limit of 100%.
    """

    count: int | None = None
    share: Decimal | None = None

    @classmethod
    def parse(cls, text: str, option: str) -> Limit:
        """Parse `100` or `0.5%`; raise a UsageError that names the option for anything else."""
        number, percent = text.removesuffix("%").strip(), text.endswith("%")
        try:
            value = Decimal(number)
        except InvalidOperation:
            value = Decimal(-1)
        if not value.is_finite() or value < 0 or (value > 100 if percent else value % 1):
            raise UsageError(
                f"{option}: '{text}' is neither a count nor a percentage; write it as 100 or 0.5%"
            )
        return cls(share=value / 100) if percent else cls(count=int(value))

    @property
    def allows_all(self) -> bool:
        """Whether even a useless result is accepted."""
        return self.share == 1

    def allows(self, bad: int, among: int) -> bool:
        """Return whether `bad` of `among` records are within the limit."""
        if self.count is not None:
            return bad <= self.count
        return self.share is None or bad <= self.share * among

    def __str__(self) -> str:
        """Return the limit as text that `parse` accepts; empty if there is none."""
        if self.share is not None:
            return f"{(self.share * 100).normalize():f}%"
        return "" if self.count is None else str(self.count)


@dataclass(frozen=True)
class TableLimits:
    """How many records of one table may be bad.

    `rejected` records cannot be read. `unusable` ages and amounts are neither empty nor numbers.
    `unmatched` purchases have an id that no customer has.
    """

    rejected: Limit = field(default_factory=Limit)
    unusable: Limit = field(default_factory=Limit)
    unmatched: Limit = field(default_factory=Limit)


@dataclass(frozen=True)
class Limits:
    """How many records of each table may be bad. Customers are never `unmatched`."""

    customers: TableLimits = field(default_factory=TableLimits)
    purchases: TableLimits = field(default_factory=TableLimits)

    @classmethod
    def parse(
        cls,
        rejected: Sequence[str] = (),
        unusable: Sequence[str] = (),
        unmatched: Sequence[str] = (),
    ) -> Limits:
        """Parse limits, each `N` or `P%` for both tables, or `purchases=P%` for one.

        A limit for one table overrides a limit for both. Raises UsageError if one is invalid.
        """
        found: dict[str, dict[str, Limit]] = {table: {} for table in TABLES}
        given = {"rejected": rejected, "unusable": unusable, "unmatched": unmatched}
        for kind, texts in given.items():
            option = f"--max-{kind}"
            for table, text in by_table(texts, option).items():
                if kind != "unmatched" or table == "purchases":
                    found[table][kind] = Limit.parse(text, option)
                elif any(text.startswith("customers=") for text in texts):
                    raise UsageError(
                        f"{option} limits only purchases; write the limit without 'customers='"
                    )
        return cls(*(TableLimits(**found[table]) for table in TABLES))


def by_table(texts: Sequence[str], option: str) -> dict[str, str]:
    """Return the value of an option for each table that has one.

    Each text is a value for both tables, or `purchases=VALUE` for one, which takes precedence.
    Raises UsageError if either kind is given twice for a table, if a text is empty, or if one seems
    to misspell the name of a table.
    """
    found: dict[str, str] = {}
    own: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        is_own = bool(equals) and name in TABLES
        if equals and not is_own and get_close_matches(name.casefold(), TABLES, cutoff=0.85):
            raise UsageError(f"{option}: there is no table '{name}', only {' and '.join(TABLES)}")
        if not (value if is_own else text):
            raise UsageError(
                f"{option}: '{text}' has no value; quote shell metacharacters, as in {option} "
                "'purchases=;'"
            )
        target = own if is_own else found
        for table in (name,) if is_own else TABLES:
            if table in target:
                raise UsageError(f"{option} is given twice; use it once, or once per table")
            target[table] = value if is_own else text
    return {**found, **own}
