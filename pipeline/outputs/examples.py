"""The first case of each kind of fault in the data, as messages show it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from shlex import quote
from typing import TypeAlias

from pipeline.columns.decimals import is_too_long, suggest_signs
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.engine.ledger import Ledger
from pipeline.outputs.run_totals import blocks_of, locate_blocks
from pipeline.outputs.trials import suggest_dialect, suggest_ids
from pipeline.settings import Columns
from pipeline.steps.join import Paired
from pipeline.steps.read import BlockRead, Example, place_of

# Tells the line of a purchase, from 0 at its block's start: the block's number, what was read of
# it, and the purchase's row there.
LineOf: TypeAlias = Callable[[int, BlockRead, int], int]

_YEAR = re.compile(r"(18|19|20)\d\d")
SUCH_AS = "such as: "  # begins a case that may not be the first
_MISSING = {"null", r"\n", "na", "n/a", "nan", "none", "nil", "#n/a"}  # as exports write it
_SHOWN = 80  # characters of a bad record
_Examples: TypeAlias = Callable[[BlockRead], Sequence[Example]]
_EXAMPLES, _RANGE_EXAMPLES = attrgetter("examples"), attrgetter("range_examples")
_TOO_LONG = "; a number has at most 20 digits before the decimal point and 18 behind it"


@dataclass(frozen=True)
class Examples:
    """The entries so far of both tables, to look for first cases in."""

    sources: tuple[Source, Source]
    columns: Columns
    ledger: Ledger
    line_of: LineOf

    def of(self, kind: str, table: str) -> str:
        """Return the first case of a fault in parentheses, with a blank before; "" if unknown."""
        (source,) = (source for source in self.sources if source.name == table)
        if kind == "rejected":
            found = self._rejected(source)
        elif kind == "unusable":
            first = self._value(source, _EXAMPLES)
            found = first + self._hint(source) if first else self._out_of_range(source)
        elif kind == "out_of_range":
            found = self._out_of_range(source)
        else:
            found = self._purchase(source, kind)
        return f" ({found})" if found else ""

    def _rejected(self, source: Source) -> str:
        for file, line, _, block in self._blocks(source):
            if block.rejected:
                reject = block.rejected[0]
                offset = block.start + reject.offset
                where = _where(file, line and line + reject.line, f"byte {offset:,}")
                detail = f" ({reject.detail})" if reject.detail else ""
                raw = reject.raw[: 4 * _SHOWN].decode(file.encoding, "backslashreplace")
                text = raw.rstrip("\r\n")[:_SHOWN]
                none_left = not any(block.records for block in blocks_of(self.ledger, source))
                hint = suggest_dialect(source.name, file, block.rejected, none_left)
                return f"{where}: {reject.reason}{detail}: {text!r}{hint}"
        return ""

    def _value(self, source: Source, examples: _Examples) -> str:
        for file, line, _, block in self._blocks(source):
            if found := examples(block):
                first = found[0]
                where = _where(file, line and line + first.line, lead=f"{first.value!r}, ")
                return where + (_TOO_LONG if is_too_long(first.value, file.dialect) else "")
        return ""

    def _out_of_range(self, source: Source) -> str:
        first = self._value(source, _RANGE_EXAMPLES)
        blocks = blocks_of(self.ledger, source)
        values = [example.value.strip() for block in blocks for example in block.range_examples]
        years = sum(_YEAR.fullmatch(value) is not None for value in values)
        tried = f"{years:,} of {len(values):,} that were looked at"
        return f"{first}; {tried} look like years of birth, not ages" if years else first

    def _hint(self, source: Source) -> str:
        """Return what would make some of the values usable, or missing; "" if nothing does."""
        blocks = blocks_of(self.ledger, source)
        values = [example.value for block in blocks for example in block.examples]
        usable = [value for block in blocks for value in block.usable_examples]
        unusable = sum(block.unusable for block in blocks)
        present = sum(block.records - block.missing for block in blocks)
        # Another decimal point would spoil the numbers that can be read as they are.
        signs = suggest_signs(
            source.name, values, usable, source.files[0].dialect, 2 * unusable > present
        )
        if signs or source.files[0].dialect.null:
            return f"; {signs}" if signs else ""
        word, count = Counter(values).most_common(1)[0]
        if word.casefold() not in _MISSING:
            return ""
        null = quote(f"{source.name}={word}")
        return f"; {count:,} of {len(values):,} that were tried count as missing with --null {null}"

    def _purchase(self, source: Source, kind: str) -> str:
        """Return the first purchase that is `unmatched`, or `without_id`."""
        parts = self.ledger.all(Paired)
        if kind == "unmatched":
            found = {part.first_unmatched: part.unmatched_id for part in parts}
        else:
            found = {part.first_without_id: None for part in parts}
        orders = [order for order in found if order is not None]
        if not orders:
            return ""
        number, row = place_of(min(orders))
        lead = f"{found[min(orders)]!r}, " if kind == "unmatched" else ""
        for file, line, block_number, block in self._blocks(source):
            if block_number == number:
                if line is not None:
                    line += self.line_of(number, block, row)
                return _where(file, line, lead=lead) + (self._other_ids() if lead else "")
        return ""

    def _other_ids(self) -> str:
        """Return an id that customers have, for comparison."""
        for block in blocks_of(self.ledger, self.sources[0]):
            if block.first_id is not None:
                tried = suggest_ids(*self.sources, self.columns)
                return f"; customers have ids such as {block.first_id!r}{tried}"
        return "; no customer has an id"

    def _blocks(self, source: Source) -> Iterator[tuple[SourceFile, int | None, int, BlockRead]]:
        """Yield the blocks that have records: file, first line, number and what was read.

        The line is None if it is unknown: lines are counted from the front of the file, so no block
        before may be missing.
        """
        ends = {file.path: file.start for file in source.files}
        for number, file, line, block in locate_blocks(self.ledger, source):
            if block.bytes:
                is_known = block.start == ends[file.path]
                ends[file.path] = block.start + block.bytes if is_known else -1
                yield file, line if is_known else None, number, block


def _where(file: SourceFile, line: int | None, otherwise: str = "", lead: str = "") -> str:
    """Return where a case is; it is the first only if its line is known."""
    if line is not None:
        return f"first: {lead}{file.name} line {line:,}"
    return f"{SUCH_AS}{lead}{file.name} {otherwise}".rstrip()
