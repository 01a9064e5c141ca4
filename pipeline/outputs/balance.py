"""The lines of the books: what is counted twice, on which sides, and what came of it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from pathlib import Path

from pipeline.columns.totals import EXACT, Checksum, modulo
from pipeline.csv_text.sources import Source
from pipeline.outputs.books import (
    Books,
    Entry,
    Ledger,
    Line,
    TableBooks,
    parted,
    sum_of,
    table_books,
)
from pipeline.outputs.read_back import added_up
from pipeline.outputs.staging import COMBINED, SPENDING
from pipeline.steps.render import Layout
from pipeline.steps.spending import Spending

# Seals that a step takes of a block, and that the next one takes again (see `totals.seal`).
_CUSTOMERS = (
    ("customers, between reading and transforming", "text_read", "text_transformed"),
    ("ages, between reading and transforming", "numbers_read", "numbers_transformed"),
    ("customers, between transforming and rendering", "transformed", "arrived"),
)
_PURCHASES = (
    ("text of purchases, between reading and writing", "text_read", "text_written"),
    ("amounts, between reading and summing", "numbers_read", "numbers_summed"),
    ("customers, between joining and writing", "customers_joined", "customers_written"),
)
_SENT = (
    ("text of purchases, before the shuffle", "text_read", "text_sent"),
    ("amounts, before the shuffle", "numbers_read", "numbers_sent"),
    ("rendered customers, before the shuffle", "rendered", "rendered_sent"),
)


def run_books(
    ledger: Ledger,
    customers: Source,
    purchases: Source,
    layout: Layout,
    outputs: Path,
    combined_bytes: int,
) -> Books:
    """Make the books of a run.

    `outputs` is the folder of its outputs; the totals of the age groups are read back from there.
    `combined_bytes` is the size of the combined table where it was written.
    """
    of_customers, of_purchases = (ledger.of_table(table) for table in (customers, purchases))
    books = table_books(customers, of_customers), table_books(purchases, of_purchases)
    written = ledger.having("written_bytes")
    matched = sum_of("matched", ledger.having("matched"))
    records = sum_of("written_records", written)
    alone = books[0].records - matched
    checksum = _added([Checksum.of(layout.header_line), *(entry["checksum"] for entry in written)])
    lines = [
        *_read(books, of_customers, of_purchases),
        *_unpacked(customers, of_customers),
        *_unpacked(purchases, of_purchases),
        *_unchanged(_CUSTOMERS, of_customers),
        *_joined_with(of_customers, ledger),
        *_shuffled([*of_customers, *of_purchases], written),
        *_paired(of_purchases, written),
        *_marked(matched, ledger),
        Line(
            "records",
            ("written", "purchases and customers without purchases"),
            (records, books[1].records + alone),
        ),
        *_summed(books, written, outputs / SPENDING),
        *_unchanged(_PURCHASES, written),
        *_complete(written, ledger, layout, combined_bytes),
        *_in_file(written, ledger, layout, outputs / COMBINED, checksum),
        *_recounted(ledger, books[1], written, records, outputs / SPENDING),
    ]
    return Books(
        customers=books[0],
        purchases=books[1],
        customers_with_purchases=matched,
        purchases_unmatched=sum(ledger.totals("unmatched")),
        purchases_without_id=sum(ledger.totals("without_id")),
        records_written=records,
        bytes_written=checksum.size,
        checksum=str(checksum),
        lines=tuple(lines),
    )


def _read(books: Iterable[TableBooks], *tables: Sequence[Entry]) -> Iterator[Line]:
    for name, table, blocks in zip(("customers", "purchases"), books, tables, strict=True):
        figures = table.bytes_in_files, table.bytes
        yield Line(f"bytes of {name}", ("in the files", "read"), figures)
        figures = table.hash_total, sum_of("hash_total_kept", blocks)
        yield Line(f"sum of all bytes of text of {name}", ("in the records", "in columns"), figures)


def _unpacked(source: Source, blocks: Sequence[Entry]) -> Iterator[Line]:
    """Compare where the last blocks of files that were unpacked end with the text of all blocks."""
    _, packed = parted(source, blocks)
    if packed:
        headers = sum(file.start for file in source.files if not file.is_plain)
        figures = sum_of("unpacked_bytes", packed), headers + sum_of("bytes", packed)
        yield Line(f"unpacked bytes of {source.name}", ("unpacked", "read"), figures)


def _unchanged(seals: Sequence[tuple[str, str, str]], entries: Sequence[Entry]) -> Iterator[Line]:
    """Yield a line for each seal that any entry has: how many blocks have it, and unbroken."""
    for what, before, after in seals:
        sealed = [entry for entry in entries if after in entry]
        if sealed:
            whole = sum(entry[before] == entry[after] for entry in sealed)
            yield Line(f"blocks of {what}", ("sealed", "unbroken"), (len(sealed), whole))


def _joined_with(customers: Sequence[Entry], ledger: Ledger) -> Iterator[Line]:
    """Compare the customers of a broadcast join with those in every worker's lookup."""
    used = [entry["lookup"] for entry in ledger.having("lookup")]
    if not used:
        return
    rendered = _columns([entry["rendered"] for entry in customers])
    kept = _columns([entry["kept"] for entry in ledger.having("kept")])
    what = "checksums of the customers' ids, texts and groups"
    other = next((lookup for lookup in used if _words(lookup) != _words(rendered)), rendered)
    sides = "rendered", "in the lookup that purchases were joined with"
    yield Line(what, sides, (_words(rendered), _words(other)))
    sides = "rendered", "in the lookup, once all purchases are joined"
    yield Line(f"{what}, at the end", sides, (_words(rendered), _words(kept)))


def _shuffled(read: Sequence[Entry], written: Sequence[Entry]) -> Iterator[Line]:
    """Compare what went into a shuffle with what came out."""
    yield from _unchanged(_SENT, read)
    for name in ("purchases", "customers"):
        sent, received = f"{name}_sent", f"{name}_received"
        if any(received in entry for entry in written):
            figures = _modulo(sent, read), _modulo(received, written)
            yield Line(f"total of the pieces of {name}", ("sent", "received"), figures)
    joined = [entry for entry in written if "received" in entry]
    if not joined:
        return
    yield Line(
        "records split for the shuffle",
        ("read", "found again in the pieces"),
        (sum_of("records", read), sum(entry.get("split", 0) for entry in read)),
    )
    yield Line(
        "records of a shuffle",
        ("in the pieces", "joined as they were in the pieces"),
        (sum_of("received", joined), sum_of("unchanged", joined)),
    )
    yield Line(
        "shuffled records in a partition that is not theirs",
        ("allowed", "found"),
        (0, sum_of("misplaced", joined)),
    )


def _paired(purchases: Sequence[Entry], written: Sequence[Entry]) -> Iterator[Line]:
    yield Line(
        "total of purchases paired with customers",
        ("by the ids that were read", "by the customers that were joined"),
        (_modulo("pairs", purchases), _modulo("pairs_joined", written)),
    )
    for total, what in (
        ("overlooked", "purchases without the customer that they have"),
        ("not_first", "purchases with a customer who is not the first of that id"),
    ):
        found = sum(entry.get(total, 0) for entry in written)
        yield Line(what, ("allowed", "found"), (0, found))
    yield Line(
        "total of the ids of customers without purchases",
        ("written", "kept by the customers"),
        (_modulo("ids_alone", written), _modulo("keys_alone", written)),
    )


def _marked(matched: int, ledger: Ledger) -> Iterator[Line]:
    """Compare the customers found with purchases, slice by slice, with all that were marked."""
    for in_all in sorted(set(ledger.totals("matched_in_all"))):
        sides = "marked by purchases", "found, slice by slice"
        yield Line("customers with purchases", sides, (in_all, matched))


def _summed(books: Sequence[TableBooks], written: Sequence[Entry], path: Path) -> Iterator[Line]:
    customers, purchases = books
    groups = _groups(path)
    whole = sum(int(group["purchases"]) for group in groups)
    yield Line("purchases", ("in the age groups", "read"), (whole, purchases.records))
    whole = sum(int(group["customers"]) for group in groups)
    yield Line("customers", ("in the age groups", "read"), (whole, customers.records))
    with localcontext(EXACT):
        total = sum((Decimal(group["total_spending"]) for group in groups), Decimal(0))
    yield Line("sum of the amounts", ("in the age groups", "read"), (total, purchases.total))
    table = {
        group["age_group"]: (Decimal(group["total_spending"]), int(group["purchases"]))
        for group in groups
    }
    yield Line(
        "amounts and number of purchases of each age group",
        ("in the table of results", "by the groups of the customers joined"),
        (_spelled(table), _spelled(_merged(entry.get("groups", {}) for entry in written))),
    )


def _complete(
    written: Sequence[Entry], ledger: Ledger, layout: Layout, combined_bytes: int
) -> Iterator[Line]:
    figures = combined_bytes, _end_of(written, len(layout.header_line))
    yield Line("bytes of the combined table", ("in the file", "written"), figures)
    figures = sum_of("copied", ledger.having("copied")), sum_of("part_bytes", written)
    yield Line("bytes of part files", ("copied", "written"), figures)


def _in_file(
    written: Sequence[Entry], ledger: Ledger, layout: Layout, path: Path, checksum: Checksum
) -> Iterator[Line]:
    """Compare the table with what was written, if it is a file that can be read already."""
    if not path.exists():
        return
    found = {block: one for part in ledger.totals("found") for block, one in part.items()}
    with path.open("rb") as file:
        parts = [Checksum.of(file.read(len(layout.header_line)))]
    parts += [found.get(entry["block"], Checksum()) for entry in written]
    sides = "written, block by block", "in the file"
    yield Line("checksum of the combined table", sides, (str(checksum), str(_added(parts))))
    same = sum(entry["checksum"] == found.get(entry["block"]) for entry in written)
    yield Line("blocks of the combined table", ("written", "in their place"), (len(written), same))


def _recounted(
    ledger: Ledger, purchases: TableBooks, written: Sequence[Entry], records: int, path: Path
) -> Iterator[Line]:
    """Compare the run's results with those recounted from the file, if they were."""
    blocks = [block for part in ledger.totals("recounted") for block in part]
    if not blocks:
        return
    recounted = added_up(blocks)
    sides = "of the run", "recounted from the file"
    yield Line("records", sides, (records, recounted["records"]))
    ids = modulo(purchases.ids + sum(entry.get("ids_alone", 0) for entry in written))
    yield Line("total of the ids", sides, (f"{ids:016x}", f"{recounted['ids']:016x}"))
    table = {group["age_group"]: Decimal(group["total_spending"]) for group in _groups(path)}
    yield Line("sum of each age group", sides, (_sums(table), _sums(recounted["sums"])))


def _groups(path: Path) -> list[dict[str, str]]:
    """Return the rows of the table of results."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def _merged(parts: Iterable[Spending]) -> Spending:
    merged: Spending = {}
    with localcontext(EXACT):
        for part in parts:
            for label, (amount, count) in part.items():
                before = merged.get(label, (Decimal(0), 0))
                merged[label] = before[0] + amount, before[1] + count
    return merged


def _spelled(groups: Mapping[str, tuple[Decimal, int]]) -> str:
    found = sorted((label, amount, count) for label, (amount, count) in groups.items() if count)
    return ", ".join(f"{label} {_plain(amount)} in {count}" for label, amount, count in found)


def _sums(groups: Mapping[str, Decimal]) -> str:
    found = sorted((label, amount) for label, amount in groups.items() if amount)
    return ", ".join(f"{label} {_plain(amount)}" for label, amount in found)


def _plain(amount: Decimal) -> str:
    with localcontext(EXACT):
        return f"{amount.normalize():f}"


def _modulo(total: str, entries: Sequence[Entry]) -> str:
    """Return a sum of hash totals as 16 hexadecimal digits."""
    return f"{modulo(sum(entry.get(total, 0) for entry in entries)):016x}"


def _added(parts: Iterable[Checksum]) -> Checksum:
    return sum(parts, Checksum())


def _columns(parts: Sequence[tuple[Checksum, ...]]) -> tuple[Checksum, ...]:
    return tuple(map(_added, zip(*parts, strict=True)))


def _words(columns: Iterable[Checksum]) -> str:
    return " ".join(map(str, columns))


def _end_of(written: Sequence[Entry], header_bytes: int) -> int:
    """Return the offset up to which the blocks of a file are contiguous."""
    end = header_bytes
    for entry in written:
        if entry["place"] != end:
            break
        end += entry["written_bytes"]
    return end
