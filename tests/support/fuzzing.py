"""Drawn and broken CSV texts, and what must hold for any: the totals of the reading.

scripts/fuzz draws texts for a minute.
"""

from __future__ import annotations

import csv
import io
import itertools
import time
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import click
import pandas as pd
from distributed import Client
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from pipeline.columns.arrow import text_bytes, to_arrow
from pipeline.columns.totals import text_total
from pipeline.csv_text.headers import open_source
from pipeline.csv_text.marks import next_record
from pipeline.csv_text.parse import parse
from pipeline.csv_text.rejects import Reject, list_rejects
from pipeline.csv_text.sources import Source
from pipeline.engine.cluster import connect
from pipeline.engine.ledger import Ledger, entry_of
from pipeline.outputs.rejected import write_rejected
from pipeline.outputs.run_totals import total_table
from pipeline.settings import ClusterSettings, Dialect
from pipeline.steps import read
from pipeline.storage.places import Folder
from support.cutting import cut
from support.frames import rows_of
from support.oracle import number
from support.reference import Span, spans

LARGEST = 1 << 20
REQUIRED = {"a": "--id-column", "b": "--amount-column"}
WANTED = read.Wanted("a", read.NumberColumn("b"))
BATCH = 100
GRAMMAR = ("unclosed quote", "text after a closing quote", "record too long")


class Text(NamedTuple):
    """The text behind the header `a,b`, its dialect, and sizes to cut it by."""

    body: bytes
    delimiter: str
    encoding: str
    max_size: int
    block_size: int


# Short pieces of what matters, so that they meet each other in every order.
TOKENS = st.sampled_from(
    [
        *(b'"', b'""', b'"""', b",", b";", b"\n", b"\r", b"\r\n", b"\n\n", b',"', b'",', b'"\n'),
        *(
            b"a",
            b"1",
            b"1.5",
            b"-2e3",
            b".-5",
            b" ",
            b"'",
            b"\\",
            b"\0",
            b"\xff",
            b"\xc3",
            b"\x81",
            b"\x80",
        ),
        *("é".encode(), "ゼ".encode("shift_jis"), b"\xef\xbb\xbf", b"a,b\n", b"1,2\n", b"x" * 30),
        *(b"1,2\r\n", b"3,4\r", b'5,"6"\n', "\ufeff7,8\n".encode(), b'9"0,z\n', b"\xef\xbb\xbf"),
        *(b'1,"x\n', b'1,"x"y\n', b'"1","2"\r\n', b"NA", b"\x1a", "\u2028".encode()),
    ]
)
FIELDS = st.one_of(
    st.sampled_from(["", "1", "x", "12.50", 'say "x"', "a,b", "a\nb", "a\r\nb", "\r", '"', " "]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
)
TABLES = st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=8)


@st.composite
def mutated_tables(draw: st.DrawFn) -> bytes:
    """Write a table as a program would, and break it in a few places."""
    target = io.StringIO(newline="")
    writer = csv.writer(
        target,
        lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
    )
    writer.writerows(draw(TABLES))
    text = target.getvalue().encode()
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        stop = start + draw(st.sampled_from([0, 0, 1, 2]))
        text = text[:start] + draw(st.one_of(st.just(b""), TOKENS)) + text[stop:]
    return text


BODIES = st.one_of(
    st.lists(TOKENS, max_size=20).map(b"".join), mutated_tables(), st.binary(max_size=40)
)
TEXTS = st.builds(
    Text,
    BODIES,
    st.sampled_from(",,,;|"),
    st.sampled_from(["utf-8", "utf-8", "utf-8", "cp1252", "shift_jis"]),
    st.one_of(st.just(LARGEST), st.integers(4, 9), st.integers(10, 40), st.integers(200, 300)),
    st.integers(1, 64),
)


def check(text: Text, folder: Path, client: Client) -> Counter[str]:
    """Check all that must hold for a text; return what was found in it."""
    dialect = Dialect(text.delimiter, text.encoding, max_record_size=text.max_size)
    found = spans(text.body, text.delimiter.encode(), text.max_size)
    assert b"".join(text.body[span.start : span.stop] for span in found) == text.body
    check_cuts(text.body, found, dialect)
    (folder / "t.csv").write_bytes(b"a%bb\n" % text.delimiter.encode() + text.body)
    source = open_source("purchases", [str(folder / "t.csv")], REQUIRED, dialect)
    if not source.files[0].is_plain:  # its offsets would be those of other bytes
        return Counter(unpacked=1)
    good = [span for span in found if span.fields and not _fault(span, text, text.body)]
    for block_size in (text.block_size, LARGEST):
        check_read(cut(source, block_size), text, found, good, client)
    rejected = sum(1 for span in found if _fault(span, text, text.body))
    if not rejected and text.encoding == "utf-8":
        check_against_python(text, good)
    return Counter(
        records=len(good), rejected=rejected, clean=not rejected, bytes=len(text.body), texts=1
    )


def check_cuts(body: bytes, found: list[Span], dialect: Dialect) -> None:
    """Cut a text at every block size: its faults must be the same, byte for byte."""
    wanted = [(one.start, one.stop - one.start, one.line, one.fault) for one in found if one.fault]
    starts = {span.start for span in found} | {len(body)}
    known: dict[tuple[int, int], tuple[list[Reject], int]] = {}
    for block_size in range(1, len(body) + 2):
        faults = []
        start = line = 0
        for stop in _stops(body, dialect, block_size):
            assert stop in starts, "cut within a record"
            if (start, stop) not in known:
                parsed = parse(body[start:stop], ("a", "b"), "latin-1", dialect)
                known[start, stop] = list_rejects(parsed.rejected), parsed.lines[0]
            rejected, lines = known[start, stop]
            faults += [
                (one.offset + start, one.length, one.line + line, one.reason)
                for one in rejected
                if one.reason in GRAMMAR
            ]
            line += lines
            start = stop
        assert [
            (place, len(body[place : place + size].rstrip(b"\r\n")), at, fault)
            for place, size, at, fault in wanted
        ] == faults, f"at block size {block_size}"


def check_read(
    source: Source,
    text: Text,
    found: list[Span],
    good: list[Span],
    client: Client,
) -> None:
    """Read all blocks: records, rejects, examples and sums must be those of the spans."""
    blocks = [
        read.read_block(block, source.name, source.columns, WANTED) for block in source.blocks
    ]
    records = pd.concat(blocks)
    ledger = Ledger([entry_of(block) for block in blocks])
    rows = [tuple(field.decode(text.encoding) or None for field in span.fields) for span in good]
    assert rows_of(records, ("a", "b"), "a") == rows
    assert records[read.ORDER].is_monotonic_increasing

    folder = Path(source.files[0].path).parent
    (folder / "rejected").unlink(missing_ok=True)
    write_rejected(folder / "rejected", client, ledger, [source], Folder(str(folder)))
    wanted = [
        (
            str(span.line + 2),
            str(span.start + 4),
            str(len(raw := text.body[span.start : span.stop].rstrip(b"\r\n"))),
            _fault(span, text, text.body),
            raw[: text.max_size].decode(text.encoding, "backslashreplace"),
        )
        for span in found
        if _fault(span, text, text.body)
    ]
    assert _rejects(folder / "rejected") == wanted

    numbers = [number(row[1]) for row in rows]
    unusable = [
        (span.line + 2, row[1])
        for span, row, value in zip(good, rows, numbers, strict=True)
        if row[1] is not None and value is None
    ]
    totals = total_table(source, ledger.all(read.BlockRead))
    assert totals.bytes == totals.bytes_in_files == len(text.body) + 4
    assert (totals.records, totals.rejected) == (len(good), len(wanted))
    assert totals.values_missing == sum(1 for row in rows if row[1] is None)
    assert totals.values_unusable == len(unusable)
    shown = [(example["line"], example["value"]) for example in totals.value_examples]
    assert shown == unusable[: read.MAX_EXAMPLES]
    assert totals.total == sum((value for value in numbers if value is not None), Decimal(0))
    moved = b"".join((field or "").encode() for row in rows for field in row)
    assert totals.text == sum(byte for byte in moved if byte not in b"\"',\r\n")
    kept = [text_bytes(to_arrow(records[name])) for name in (read.ID, read.REST)]
    assert totals.text == sum(map(text_total, kept))


def check_against_python(text: Text, good: list[Span]) -> None:
    """Python's csv module reads a text without a bad record in the same way."""
    stream = io.StringIO(text.body.decode(), newline="")
    rows = csv.reader(stream, delimiter=text.delimiter, strict=True)
    assert [row for row in rows if row] == [
        [field.decode() for field in span.fields] for span in good
    ]


def _fault(span: Span, text: Text, body: bytes) -> str:
    """Return why a span is no record of two columns."""
    raw = body[span.start : span.stop]
    if span.fault or not span.fields:
        return span.fault
    if b"\0" in raw:
        return "NUL byte"
    try:
        raw.decode(text.encoding)
    except UnicodeDecodeError:
        return f"not {text.encoding.upper()}"
    if len(span.fields) == 2:
        again = raw.rstrip(b"\r\n").removeprefix(BOM_UTF8) == b"a%bb" % text.delimiter.encode()
        return "the header again" if again else ""
    return "too few fields" if len(span.fields) < 2 else "too many fields"


def _stops(body: bytes, dialect: Dialect, block_size: int) -> Iterator[int]:
    """Yield where blocks end, as `unpacked` cuts a file, reading as little ahead as can be."""
    start, length = 0, block_size
    while start < len(body):
        text = body[start : start + length]
        at_end = start + len(text) == len(body)
        found = next_record(text, min(block_size, len(text)), at_end, dialect)
        if found is None:
            length += 1
            continue
        yield start + found
        start, length = start + found, block_size


def _rejects(path: Path) -> list[tuple[str, ...]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [(*row[1:5], row[6]) for row in itertools.islice(csv.reader(file), 1, None)]


def fuzz(first_seed: int, goes_on: Callable[[Counter[str]], bool]) -> Counter[str]:
    """Check drawn texts while `goes_on(counts)`; raise what the first bad one raises, shrunk.

    Counts `batches`, `texts`, their `records`, those that are `rejected`, and the `clean` texts.
    """
    total: Counter[str] = Counter()
    settings_ = ClusterSettings(threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with TemporaryDirectory() as folder, connect(settings_) as client:
        while goes_on(total):

            @seed(first_seed + total["batches"])
            @settings(
                max_examples=BATCH,
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )
            @given(TEXTS)
            def one_batch(text: Text) -> None:
                total.update(check(text, Path(folder), client))

            one_batch()
            total["batches"] += 1
    return total


@click.command()
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--seed", "first_seed", default=0, show_default=True, help="Of the first batch.")
def main(seconds: float, first_seed: int) -> None:
    """Read random and broken CSV until time is up; fail at the first fault."""
    stop = time.monotonic() + seconds
    found = fuzz(first_seed, lambda _: time.monotonic() < stop)
    click.echo(", ".join(f"{name} {count:,}" for name, count in sorted(found.items())))


if __name__ == "__main__":
    main()
