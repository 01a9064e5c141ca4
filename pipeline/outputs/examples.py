"""The first case of each kind of fault in the data, as messages show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.columns.decimals import is_too_long, suggest_signs
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.outputs.books import Entry, Ledger, by_file
from pipeline.settings import Dialect
from pipeline.steps.read import place_of

# Tells the line of a purchase, from 0 at its block's start: its block's entry, and its row there.
LineOf: TypeAlias = Callable[[Entry, int], int]

SUCH_AS = "such as: "  # begins a case that may not be the first
_SHOWN = 80  # characters of a bad record
_TOO_LONG = "; a number has at most 20 digits before the decimal point and 18 behind it"


@dataclass(frozen=True)
class Examples:
    """The entries so far of both tables, to look for first cases in."""

    sources: Sequence[Source]
    ledger: Ledger
    dialect: Dialect
    line_of: LineOf

    def of(self, kind: str, table: str) -> str:
        """Return the first case of a fault in parentheses, with a blank before; "" if unknown."""
        (source,) = (source for source in self.sources if source.name == table)
        if kind == "rejected":
            found = self._rejected(source)
        elif kind == "unusable":
            found = self._value(source, "examples") + self._hint(source)
        elif kind == "out_of_range":
            found = self._value(source, "range_examples")
        else:
            found = self._purchase(source, f"first_{kind}")
        return f" ({found})" if found else ""

    def _rejected(self, source: Source) -> str:
        for file, line, entry in self._blocks(source):
            if entry["rejected"]:
                reject = entry["rejected"][0]
                offset = entry["start"] + reject.offset
                where = _where(file, line and line + reject.line, f"byte {offset:,}")
                detail = f" ({reject.detail})" if reject.detail else ""
                raw = reject.raw[: 4 * _SHOWN].decode(file.encoding, "backslashreplace")
                text = raw.rstrip("\r\n")[:_SHOWN]
                return f"{where}: {reject.reason}{detail}: {text!r}"
        return ""

    def _value(self, source: Source, name: str) -> str:
        for file, line, entry in self._blocks(source):
            if entry[name]:
                example = entry[name][0]
                where = _where(file, line and line + example.line, lead=f"{example.value!r}, ")
                return where + (_TOO_LONG if is_too_long(example.value, self.dialect) else "")
        return ""

    def _hint(self, source: Source) -> str:
        """Return the signs within numbers that would make some of the values usable."""
        blocks = self.ledger.of_table(source)
        values = [example.value for block in blocks for example in block["examples"]]
        usable = [value for block in blocks for value in block["usable_examples"]]
        unusable, records, missing = (
            sum(block[name] for block in blocks) for name in ("unusable", "records", "missing")
        )
        # Another decimal point would spoil the numbers that can be read as they are.
        any_point = 2 * unusable > records - missing
        signs = suggest_signs(values, usable, self.dialect, any_point)
        return f"; {signs}" if signs else ""

    def _purchase(self, source: Source, name: str) -> str:
        """Return the first purchase whose `order` a control total of joins names."""
        joined = [entry for entry in self.ledger.having(name) if entry[name] is not None]
        if not joined:
            return ""
        first = min(joined, key=lambda entry: int(entry[name]))
        lead = f"{first['unmatched_id']!r}, " if name == "first_unmatched" else ""
        block, row = place_of(first[name])
        for file, line, entry in self._blocks(source):
            if entry["block"] == block:
                if line is not None:
                    line += self.line_of(entry, row)
                return _where(file, line, lead=lead) + (self._other_ids() if lead else "")
        return ""

    def _other_ids(self) -> str:
        """Return an id that customers have, for comparison."""
        for entry in self.ledger.of_table(self.sources[0]):
            if entry["first_id"] is not None:
                return f"; customers have ids such as {entry['first_id']!r}"
        return "; no customer has an id"

    def _blocks(self, source: Source) -> Iterator[tuple[SourceFile, int | None, Entry]]:
        """Yield the blocks that have records, as `by_file` does; the line is None if unknown."""
        ends = {file.path: file.start for file in source.files}
        blocks = [block for block in self.ledger.of_table(source) if block["bytes"]]
        for file, line, block in by_file(source, blocks):
            # Lines are counted from the front of the file, so no block before may be missing.
            is_known = block["start"] == ends[file.path]
            ends[file.path] = block["start"] + block["bytes"] if is_known else -1
            yield file, line if is_known else None, block


def _where(file: SourceFile, line: int | None, otherwise: str = "", lead: str = "") -> str:
    """Return where a case is; it is the first only if its line is known."""
    if line is not None:
        return f"first: {lead}{file.name} line {line:,}"
    return f"{SUCH_AS}{lead}{file.name} {otherwise}".rstrip()
