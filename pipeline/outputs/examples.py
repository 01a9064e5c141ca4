"""The first case of each kind of fault in the data, as messages show it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeAlias

from pipeline.columns.decimals import describe_numbers, is_too_long, suggest_signs
from pipeline.columns.keys import WHITESPACE
from pipeline.csv_text.messages import agreeing, quoted
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.engine.ledger import Ledger
from pipeline.outputs.run_totals import blocks_of, located_blocks, totals_rows
from pipeline.outputs.trials import (
    read_as_cp1252,
    suggest_dialect,
    suggest_ids,
    suggest_null,
    suggest_quote,
)
from pipeline.settings import Columns
from pipeline.steps.join import Paired, Repeated
from pipeline.steps.read import BlockRead, Example, place_of

# Finds a purchase, given its block's number, what was read from the block, and its row there.
# Returns the number of its file in the block, and its line in the block's part of that file, both
# from 0.
LineOf: TypeAlias = Callable[[int, BlockRead, int], tuple[int, int]]

_YEAR = re.compile(r"(18|19|20)\d\d")
SUCH_AS = "for example: "  # before a case that may not be the first
_TRIED = 1_000  # records
_RAW = 1 << 10  # bytes of a bad record, enough for the characters that are shown
_Examples: TypeAlias = Callable[[BlockRead], Sequence[Example]]
_Start: TypeAlias = tuple[SourceFile, int | None]
_EXAMPLES, _RANGE_EXAMPLES = attrgetter("examples"), attrgetter("range_examples")
_GROUPED_EXAMPLES = attrgetter("grouped_examples")
_TOO_LONG = "; a number has at most 20 digits before the decimal point and 18 after it"


@dataclass(frozen=True)
class Examples:
    """Finds the first case of each fault among the entries of both tables so far."""

    sources: tuple[Source, Source]
    columns: Columns
    ledger: Ledger
    line_of: LineOf

    def first_case(self, kind: str, table: str) -> str:
        """Return the first case of a fault in parentheses, after a space; "" if it is unknown."""
        (source,) = (source for source in self.sources if source.name == table)
        if kind == "rejected":
            found = self._rejected(source)
        elif kind == "unusable":
            first = self._value(source, _EXAMPLES)
            found = first + self._hint(source) if first else self._out_of_range(source)
        elif kind == "out_of_range":
            found = self._out_of_range(source)
        elif kind == "repeated":
            found = self._repeated()
        elif kind == "grouped":
            found = self._grouped(source)
        elif kind == "totals":
            amount, file, line = totals_rows(source, blocks_of(self.ledger, source))[0]
            found = f"first: {amount:f}, {file} line {line:,}; remove it if it is a totals row"
        else:
            found = self._purchase(source, kind)
        return f" ({found})" if found else ""

    def _rejected(self, source: Source) -> str:
        for _, block, starts in self._blocks(source):
            if block.rejected:
                reject = block.rejected[0]
                file, line = starts[reject.file]
                offset = block.files[reject.file].start + reject.offset
                where = _where(file, line and line + reject.line, f"byte {offset:,}")
                detail = f" ({reject.detail})" if reject.detail else ""
                raw = reject.raw[:_RAW].decode(file.encoding, "backslashreplace")
                none_left = not any(block.records for block in blocks_of(self.ledger, source))
                hint = suggest_dialect(source.name, file, block.rejected, none_left)
                return f"{where}: {reject.reason}{detail}: {quoted(raw)}{hint}"
        return ""

    def _value(self, source: Source, examples: _Examples) -> str:
        for _, block, starts in self._blocks(source):
            if found := examples(block):
                first = found[0]
                file, line = starts[first.file]
                where = _where(file, line and line + first.line, lead=f"{quoted(first.value)}, ")
                return where + (_TOO_LONG if is_too_long(first.value, file.dialect) else "")
        return ""

    def _out_of_range(self, source: Source) -> str:
        first = self._value(source, _RANGE_EXAMPLES)
        blocks = blocks_of(self.ledger, source)
        values = [
            example.value.strip(WHITESPACE) for block in blocks for example in block.range_examples
        ]
        years = sum(_YEAR.fullmatch(value) is not None for value in values)
        look = agreeing(
            years, "looks like a year of birth, not an age", "look like years of birth, not ages"
        )
        return f"{first}; {years:,} of {len(values):,} sampled values {look}" if years else first

    def _repeated(self) -> str:
        parts = [part for part in self.ledger.all(Repeated) if part.customers]
        others = sum(part.other_group for part in parts)
        are = agreeing(others, "is", "are")
        return f"{SUCH_AS}{quoted(parts[0].id or '')}; {others:,} {are} in another age group"

    def _grouped(self, source: Source) -> str:
        value = next(
            block.grouped_examples[0].value.strip(WHITESPACE)
            for block in blocks_of(self.ledger, source)
            if block.grouped
        )
        return (
            f"{self._value(source, _GROUPED_EXAMPLES)}; if that means {value.replace('.', '')}, "
            f"use --decimal {source.name}=, --thousands {source.name}=."
        )

    def _hint(self, source: Source) -> str:
        """Return the option that would make some values usable or missing; "" if none would."""
        blocks = blocks_of(self.ledger, source)
        file = source.files[0]
        column = self.columns.age if source is self.sources[0] else self.columns.amount
        values = [example.value for block in blocks for example in block.examples]
        of_file = (block for block in blocks if block.files[0].path == file.path)
        rejected = [reject for block in of_file for reject in block.rejected]
        values += read_as_cp1252(file, rejected[:_TRIED], column)
        usable = [value for block in blocks for value in block.usable_examples]
        unusable = sum(block.unusable for block in blocks)
        present = sum(block.records - block.missing for block in blocks)
        # Another decimal point would spoil the numbers that can be read as they are.
        signs = suggest_signs(source.name, values, usable, file.dialect, 2 * unusable > present)
        if signs:
            return f"; {signs}"
        null = "" if file.dialect.null else suggest_null(source.name, values)
        in_quotes = suggest_quote(source.name, file, values)
        return null or in_quotes or describe_numbers(values, file.dialect)

    def _purchase(self, source: Source, kind: str) -> str:
        """Return the first purchase that is `unmatched`, or `without_id`."""
        first = attrgetter(f"first_{kind}")
        parts = [part for part in self.ledger.all(Paired) if first(part) is not None]
        if not parts:
            return ""
        part = min(parts, key=first)
        number, row = place_of(first(part))
        lead = f"{quoted(part.unmatched_ids[0])}, " if kind == "unmatched" else ""
        for block_number, block, starts in self._blocks(source):
            if block_number == number:
                index, below = self.line_of(number, block, row)
                file, line = starts[index]
                where = _where(file, line and line + below, lead=lead)
                unmatched = [id for part in parts for id in part.unmatched_ids]
                return where + (self._other_ids(unmatched) if lead else "")
        return ""

    def _other_ids(self, unmatched: Sequence[str]) -> str:
        """Return an id of a customer, for comparison, and why unmatched ids may differ."""
        for block in blocks_of(self.ledger, self.sources[0]):
            if block.first_id is not None:
                tried = suggest_ids(self.sources[0], self.columns.id, unmatched)
                return f"; customers have ids such as {quoted(block.first_id)}{tried}"
        return "; no sampled customer has an id"

    def _blocks(self, source: Source) -> Iterator[tuple[int, BlockRead, list[_Start]]]:
        """Yield the blocks that have text: number, what was read, each file and its first line.

        Lines are counted from the start of a file, so the line is None if an earlier block is still
        missing.
        """
        ends = {file.path: file.start for file in source.files}
        for number, block, starts in located_blocks(self.ledger, source):
            if not block.bytes:
                continue
            known: list[_Start] = []
            for one, (file, line) in zip(block.files, starts, strict=True):
                is_known = one.start == ends[one.path]
                ends[one.path] = one.start + one.bytes if is_known else -1
                known.append((file, line if is_known else None))
            yield number, block, known


def _where(file: SourceFile, line: int | None, otherwise: str = "", lead: str = "") -> str:
    """Return where a case is, as the first one if its line is known."""
    if line is not None:
        return f"first: {lead}{file.name} line {line:,}"
    return f"{SUCH_AS}{lead}{file.name} {otherwise}".rstrip()
