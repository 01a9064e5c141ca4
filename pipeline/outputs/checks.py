"""The checks of a run: what must agree before anything is published.

Each compares two figures that were found in different ways: before and after data was sent, stored
or joined, or by two calculations that share no code. What a function does within one task is left
to its tests.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

from pipeline.columns.totals import EXACT, Checksum, modulo
from pipeline.csv_text.sources import Source
from pipeline.engine.ledger import Ledger
from pipeline.errors import DataError
from pipeline.outputs.names import SPENDING
from pipeline.outputs.read_back import ReadBack, sum_counts
from pipeline.outputs.run_totals import RunTotals, blocks_of, separate_packed
from pipeline.steps.join import Alone, Broadcasted, Kept, Matched, Paired, Spending
from pipeline.steps.read import BlockRead
from pipeline.steps.render import CustomerTotals, Rendered
from pipeline.steps.shuffle import Received, Sent
from pipeline.steps.write import Target, Written, offsets


@dataclass(frozen=True)
class Check:
    """Two figures that must agree."""

    name: str
    expected: Any
    actual: Any

    @property
    def passed(self) -> bool:
        """Whether they agree."""
        return bool(self.expected == self.actual)

    def __str__(self) -> str:
        return f"{self.name}: expected {self.expected}, actual {self.actual}"


def raise_on_failure(checks: Iterable[Check]) -> None:
    """Raise a DataError that names each failed check, if there is any."""
    failed = "; ".join(str(check) for check in checks if not check.passed)
    if failed:
        raise DataError(
            f"checks failed ({failed}); nothing was published; this is a bug, or a fault "
            "in the cluster: run the job again, and report it"
        )


def check_run(
    ledger: Ledger, totals: RunTotals, tables: Sequence[Source], target: Target, outputs: Path
) -> list[Check]:
    """Return all checks of a run.

    `tables` are customers and purchases; `target` is where the combined table was written;
    `outputs` is the folder from which the results are read back.
    """
    groups = _read_groups(outputs / SPENDING)
    return [
        *_check_bytes(ledger, totals, tables),
        *_check_text(ledger, totals),
        *_check_records(ledger, totals, groups),
        *_check_sums(ledger, totals, groups),
        *_check_pairs(ledger),
        *_check_lookups(ledger),
        *_check_shuffle(ledger),
        *_check_file(ledger, target),
        *_check_recount(ledger, totals, groups),
    ]


def _check_bytes(ledger: Ledger, totals: RunTotals, tables: Sequence[Source]) -> Iterator[Check]:
    for source, table in zip(tables, (totals.customers, totals.purchases), strict=True):
        yield Check(f"bytes of {source.name}, in files and read", table.bytes_in_files, table.bytes)
        _, packed = separate_packed(source, blocks_of(ledger, source))
        if packed:
            headers = sum(file.start for file in source.files if not file.is_plain)
            yield Check(
                f"unpacked bytes of {source.name}, in files and in blocks",
                sum(block.unpacked for block in packed),
                headers + sum(block.bytes for block in packed),
            )


def _check_text(ledger: Ledger, totals: RunTotals) -> Iterator[Check]:
    added = sum(block.added for block in ledger.all(Rendered))
    kept = [part.lookup.text for part in ledger.all(Kept)]
    kept += [part.text for part in ledger.all(Received)]
    yield Check("text of customers, in and out", totals.customers.text + added, sum(kept))
    alone = sum(part.text for part in ledger.all(Alone))
    written = sum(block.text for block in ledger.all(Written))
    yield Check("text of purchases, in and out", totals.purchases.text + alone, written)


def _check_records(
    ledger: Ledger, totals: RunTotals, groups: Sequence[Mapping[str, str]]
) -> Iterator[Check]:
    expected = totals.purchases.records + totals.customers_without_purchases
    yield Check("records, joined and written", expected, totals.records_written)
    for name, table in (("purchases", totals.purchases), ("customers", totals.customers)):
        found = sum(int(group[name]) for group in groups)
        yield Check(f"{name}, read and in the age groups", table.records, found)
    for in_all in {part.in_all for part in ledger.all(Matched)} - {None}:
        yield Check(
            "customers with purchases, marked and found", in_all, totals.customers_with_purchases
        )


def _check_sums(
    ledger: Ledger, totals: RunTotals, groups: Sequence[Mapping[str, str]]
) -> Iterator[Check]:
    with localcontext(EXACT):
        found = sum((Decimal(group["total_spending"]) for group in groups), Decimal(0))
    yield Check("sum of the amounts, read and in the age groups", totals.purchases.total, found)
    table = {
        group["age_group"]: (Decimal(group["total_spending"]), int(group["purchases"]))
        for group in groups
    }
    yield Check(
        "sums by joined customers' groups, and in the result",
        _list_spending(_merge(part.groups for part in ledger.all(Paired))),
        _list_spending(table),
    )


def _check_pairs(ledger: Ledger) -> Iterator[Check]:
    read = [block for block in ledger.all(BlockRead) if block.table == "purchases"]
    paired, alone = ledger.all(Paired), ledger.all(Alone)
    yield Check(
        "pairs of purchases and customers, by ids read and by customers joined",
        _modulo(block.pairs for block in read),
        _modulo(part.pairs for part in paired),
    )
    overlooked = sum(part.overlooked for part in paired)
    yield Check("purchases joined with no customer although one has their id", 0, overlooked)
    not_first = sum(part.not_first for part in paired)
    yield Check("purchases joined with a customer who is not the first with that id", 0, not_first)
    yield Check(
        "ids of customers without purchases, kept and written",
        _modulo(part.keys for part in alone),
        _modulo(part.ids for part in alone),
    )


def _check_lookups(ledger: Ledger) -> Iterator[Check]:
    """Compare the customers that were rendered with those in every worker's lookup."""
    used = {str(part.lookup) for part in ledger.all(Broadcasted)}
    kept = ledger.all(Kept)
    if not kept:
        return
    rendered = [block.customers for block in ledger.all(Rendered)]
    expected = str(sum(rendered, CustomerTotals()))
    for lookup in used or {expected}:
        yield Check("customers, rendered and in a lookup", expected, lookup)
    found = str(sum((part.lookup for part in kept), CustomerTotals()))
    yield Check("customers, rendered and in the lookup at the end", expected, found)


def _check_shuffle(ledger: Ledger) -> Iterator[Check]:
    """Compare what went into a shuffle with what came out of it."""
    sent, received = ledger.all(Sent), ledger.all(Received)
    if not received:
        return
    yield Check(
        "pieces of purchases, sent and received",
        _modulo(part.purchases for part in sent),
        _modulo(part.purchases for part in received),
    )
    yield Check(
        "pieces of customers, sent and received",
        _modulo(part.customers for part in sent),
        _modulo(part.customers for part in received),
    )
    misplaced = sum(part.misplaced for part in received)
    yield Check("records in the wrong partition", 0, misplaced)


def _check_file(ledger: Ledger, target: Target) -> Iterator[Check]:
    """Compare each block in the table with what was written; for an object, only the size."""
    written, header = ledger.all(Written), target.header
    starts = offsets(written, len(header))
    yield Check("bytes of the combined table", starts[-1], target.size(ledger))
    if target.path is None:
        return
    with open(target.path, "rb") as file:
        yield Check(
            "header of the combined table, written and in the file",
            str(Checksum.of(header)),
            str(Checksum.of(file.read(len(header)))),
        )
    found = {block: one for part in ledger.all(ReadBack) for block, one in part.checksums.items()}
    same = sum(
        block.checksum == found.get(block.block) and block.offset in (None, start)
        for block, start in zip(written, starts, strict=False)
    )
    yield Check("blocks, written and in their place in the file", len(written), same)


def _check_recount(
    ledger: Ledger, totals: RunTotals, groups: Sequence[Mapping[str, str]]
) -> Iterator[Check]:
    """Compare the run's results with those recounted from the file, if there are any."""
    counts = [block for part in ledger.all(ReadBack) for block in part.counts]
    if not counts:
        return
    recounted = sum_counts(counts)
    yield Check("records, in the run and in the recount", totals.records_written, recounted.records)
    ids = modulo(totals.purchases.ids + sum(part.ids for part in ledger.all(Alone)))
    yield Check("ids, in the run and in the recount", f"{ids:016x}", f"{recounted.ids:016x}")
    table = {group["age_group"]: Decimal(group["total_spending"]) for group in groups}
    yield Check(
        "sum of each age group, in the run and in the recount",
        _list_sums(table),
        _list_sums(recounted.sums),
    )


def _read_groups(path: Path) -> list[dict[str, str]]:
    """Return the rows of the table of results."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def _merge(parts: Iterable[Spending]) -> Spending:
    merged: dict[str, tuple[Decimal, int]] = {}
    with localcontext(EXACT):
        for part in parts:
            for label, (amount, count) in part.items():
                before = merged.get(label, (Decimal(0), 0))
                merged[label] = before[0] + amount, before[1] + count
    return merged


def _list_spending(groups: Spending) -> str:
    found = sorted((label, amount, count) for label, (amount, count) in groups.items() if count)
    return ", ".join(f"{label} {_plain(amount)} in {count}" for label, amount, count in found)


def _list_sums(groups: Mapping[str, Decimal]) -> str:
    found = sorted((label, amount) for label, amount in groups.items() if amount)
    return ", ".join(f"{label} {_plain(amount)}" for label, amount in found)


def _plain(amount: Decimal) -> str:
    with localcontext(EXACT):
        return f"{amount.normalize():f}"


def _modulo(totals: Iterable[int]) -> str:
    """Return a sum of totals modulo 2**64, as 16 hexadecimal digits."""
    return f"{modulo(sum(totals)):016x}"
