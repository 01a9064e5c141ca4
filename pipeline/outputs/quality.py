"""The quality of the data: what could not be used, and whether that is too much.

Three kinds of fault have a limit; the first two have one for each table. A record is rejected if it
cannot be read. An age or amount is unusable if it is neither empty nor a number. A purchase is
unmatched if no customer has its id. A run also fails if nothing is left to compute with, unless a
limit of 100% accepts that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from shlex import quote

from pipeline.csv_text.messages import agreeing, counted
from pipeline.csv_text.sources import Source
from pipeline.engine.ledger import Entry, Ledger
from pipeline.engine.progress import Progress
from pipeline.errors import DataError
from pipeline.outputs.examples import SUCH_AS, Examples, LineOf
from pipeline.outputs.run_totals import Tally, blocks_of, totals_rows
from pipeline.settings import MAX_AGE, Settings
from pipeline.settings.limits import TABLES, Limit
from pipeline.steps.join import Paired, Repeated
from pipeline.steps.read import BlockRead

_MANY = 2_000  # records; above this number, a fault in most of them is worth a warning
_LEAST_RECORD = 2  # bytes: one, and a newline
_PATIENCE = 16  # blocks to wait for until the line of the first case is known
_LEAST_GROUPED = 10  # values with three decimal places, enough to doubt their point
_UNKNOWN_NUMBER = 1 << 62


@dataclass(frozen=True)
class Fault:
    """A kind of fault in a table: how many records have it, among how many, and what is `left`.

    In messages, `what` follows the two numbers, and `nothing` says that none is left.
    """

    kind: str
    table: str
    bad: int
    among: int
    left: int
    what: str
    nothing: str

    @property
    def option(self) -> str:
        """The option that limits it, for this table."""
        prefix = "" if self.kind == "unmatched" else f"{self.table}="
        return f"--max-{self.kind} {prefix}"


@dataclass
class Quality:
    """Notes what the steps count, and judges how much of the data is wrong.

    `sources` are customers and purchases; `line_of` finds the line of a purchase.
    """

    settings: Settings
    sources: tuple[Source, Source]
    line_of: LineOf
    progress: Progress
    ledger: Ledger = field(default_factory=Ledger)
    _tallies: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in TABLES})
    _warned: set[tuple[str, str]] = field(default_factory=set)
    _waited: int = 0

    def note(self, entry: Entry) -> None:
        """Add an entry to the ledger, and judge the data so far.

        Raises DataError once a limit is certainly exceeded; warns if most have a fault.
        """
        self.ledger.add(entry)
        if read := entry.get(BlockRead):
            self.progress.advance(read.table, read.stored, read.records)
            self._tallies[read.table].add_read(read)
            self._judge_so_far(read.table)
        if paired := entry.get(Paired):
            self._tallies["purchases"].add_joined(paired)
            self._judge_so_far("purchases")

    def _judge_so_far(self, table: str) -> None:
        most = self._most_records(table)
        for fault in self._faults(table):
            limit = self._limit(fault)
            if not limit.allows(fault.bad, most):
                self._waited += 1
                exceeded = self._exceeded(fault, limit)
                # No line number is known while an earlier block is still being read.
                if f"({SUCH_AS}" not in exceeded or self._waited > _PATIENCE:
                    raise DataError(f"so far, {exceeded}")
            if 2 * fault.bad > fault.among > _MANY and (table, fault.kind) not in self._warned:
                self._warned.add((table, fault.kind))
                self.progress.say(f"warning: so far, {fault.bad:,} of {fault.among:,} {fault.what}")

    def judge(self, *tables: str) -> None:
        """Raise DataError if too much of these tables is bad; all their records must be counted."""
        faults = [fault for table in tables for fault in self._faults(table)]
        for fault in faults:
            limit = self._limit(fault)
            if not limit.allows(fault.bad, fault.among):
                raise DataError(f"{self._exceeded(fault, limit)}{self._others(fault, faults)}")
            if fault.nothing and not fault.left and not limit.allows_all:
                raise DataError(
                    f"{fault.nothing}{self._first_case(fault)}; nothing was published; fix the "
                    f"files, or allow this with {fault.option}100%{self._others(fault, faults)}"
                )

    def warnings(self) -> Iterator[str]:
        """Yield what could not be used, and the first case of each kind."""
        for table in TABLES:
            tally = self._tallies[table]
            if not tally.records + tally.rejects:
                yield self._without_records(table)
            for fault in (*self._faults(table), *self._unlimited_faults(table)):
                if fault.bad:
                    yield self._describe(fault)
            yield from self._source(table).describe_copies()
        yield from self._joined_null_words()

    def _faults(self, table: str) -> Iterator[Fault]:
        """Yield the faults that have a limit."""
        tally, column = self._tallies[table], self._column(table)
        records = tally.records + tally.rejects
        yield Fault(
            "rejected",
            table,
            tally.rejects,
            records,
            tally.records,
            f"{table} could not be read",
            f"none of the {records:,} {table} could be read" if records else "",
        )
        present = tally.records - tally.missing
        yield Fault(
            "unusable",
            table,
            tally.unusable,
            present,
            tally.usable,
            f"values of {column} "
            + agreeing(
                tally.unusable,
                "is not a usable number and counts as missing",
                "are not usable numbers and count as missing",
            ),
            self._without_values(table) if tally.records else "",
        )
        if table == "purchases":
            with_id = tally.joined - tally.without_id
            yield Fault(
                "unmatched",
                table,
                tally.unmatched,
                with_id,
                with_id - tally.unmatched,
                f"purchases {agreeing(tally.unmatched, 'has', 'have')} an id that no customer has",
                self._without_matches(),
            )

    def _unlimited_faults(self, table: str) -> Iterator[Fault]:
        """Yield the faults without a limit."""
        tally, column = self._tallies[table], self._column(table)
        make = partial(Fault, table=table, left=1, nothing="")
        if table == "customers":
            yield make(
                "out_of_range",
                bad=tally.out_of_range,
                among=tally.records - tally.missing,
                what=f"values of {column} "
                + agreeing(
                    tally.out_of_range,
                    f"is not between 0 and {MAX_AGE} and counts as missing",
                    f"are not between 0 and {MAX_AGE} and count as missing",
                ),
            )
            repeated = sum(part.customers for part in self.ledger.all(Repeated))
            yield make(
                "repeated",
                bad=repeated,
                among=tally.records,
                what=f"customers {agreeing(repeated, 'has', 'have')} the id of an earlier one, "
                "who gets the purchases",
            )
        else:
            yield make(
                "without_id",
                bad=tally.without_id,
                among=tally.joined,
                what=f"purchases {agreeing(tally.without_id, 'has', 'have')} no id",
            )
            closing = len(totals_rows(self._source(table), self._blocks(table)))
            yield make(
                "totals",
                bad=closing,
                among=tally.records,
                what="purchases "
                + agreeing(
                    closing,
                    "is last in its file and the sum of the others, like a totals row, but "
                    "counts as a purchase",
                    "are last in their files and the sums of the others, like totals rows, but "
                    "count as purchases",
                ),
            )
            pointed = [block for block in self._blocks(table) if block.places]
            grouped = sum(block.grouped for block in pointed)
            if grouped >= _LEAST_GROUPED and all(block.grouped for block in pointed):
                yield make(
                    "grouped",
                    bad=grouped,
                    among=tally.records - tally.missing,
                    what=f"values of {column} have a period, always followed by three digits",
                )

    def _without_values(self, table: str) -> str:
        tally, column = self._tallies[table], self._column(table)
        unusable = agreeing(tally.unusable, "not a usable number", "not usable numbers")
        reasons = {
            "empty": tally.missing,
            unusable: tally.unusable,
            f"not between 0 and {MAX_AGE}": tally.out_of_range,
        }
        found = ", ".join(
            f"{count:,} {agreeing(count, 'is', 'are')} {reason}"
            for reason, count in reasons.items()
            if count
        )
        records = counted(tally.records, table.removesuffix("s"))
        return f"no value of {column} in {records} can be used: {found}"

    def _without_records(self, table: str) -> str:
        files = counted(len(self._source(table).files), "file")
        return f"there are no {table}: 0 records in {files}"

    def _without_matches(self) -> str:
        """Say why no purchase matches; "" if none could be read, which is a fault of its own."""
        tally = self._tallies["purchases"]
        if not tally.joined:
            return "" if tally.records + tally.rejects else self._without_records("purchases")
        have, have_none = (
            agreeing(count, "has", "have") for count in (tally.unmatched, tally.without_id)
        )
        missing = f", and {tally.without_id:,} {have_none} none" if tally.without_id else ""
        return (
            f"no purchase matches a customer: {tally.unmatched:,} of {tally.joined:,} {have} an id "
            f"that no customer has{missing}"
        )

    def _joined_null_words(self) -> Iterator[str]:
        """Warn of words for a missing id, such as NULL, that both a customer and purchases have."""
        counts = Counter[str]()
        for part in self.ledger.all(Paired):
            counts.update(part.by_null_words)
        for word, count in counts.items():
            joined = self._tallies["purchases"].joined
            have = agreeing(count, "has", "have")
            yield (
                f"{count:,} of {joined:,} purchases {have} the id '{word}', and so does a "
                f"customer; if it stands for a missing id, use --null {quote(word)}"
            )

    def _others(self, fault: Fault, faults: Sequence[Fault]) -> str:
        """Return the other faults, for the error about one: a user can fix all at once."""
        others = (other for other in faults if other is not fault and other.bad)
        return "".join(f"; also, {self._describe(other)}" for other in others)

    def _describe(self, fault: Fault) -> str:
        return f"{fault.bad:,} of {fault.among:,} {fault.what}{self._first_case(fault)}"

    def _exceeded(self, fault: Fault, limit: Limit) -> str:
        strict = " (or --strict)" if limit.count == 0 and fault.kind != "unmatched" else ""
        return (
            f"{self._describe(fault)}, more than {fault.option}{limit}{strict} allows; nothing was "
            "published; fix the files, or raise the limit"
        )

    def _most_records(self, table: str) -> int:
        """Return how many records a table has at most, given those seen so far."""
        source, tally = self._source(table), self._tallies[table]
        if not source.is_plain:
            return _UNKNOWN_NUMBER
        left = sum(file.size - file.start for file in source.files) - tally.bytes
        return tally.records + tally.rejects + left // _LEAST_RECORD + 1

    def _first_case(self, fault: Fault) -> str:
        examples = Examples(self.sources, self.settings.columns, self.ledger, self.line_of)
        return examples.first_case(fault.kind, fault.table)

    def _limit(self, fault: Fault) -> Limit:
        limit: Limit = getattr(getattr(self.settings.limits, fault.table), fault.kind)
        return limit

    def _blocks(self, table: str) -> list[BlockRead]:
        return blocks_of(self.ledger, self._source(table))

    def _column(self, table: str) -> str:
        columns = self.settings.columns
        return columns.age if table == "customers" else columns.amount

    def _source(self, table: str) -> Source:
        return self.sources[TABLES.index(table)]
