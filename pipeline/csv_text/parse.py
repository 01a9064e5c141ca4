"""Parses the text of a block into fields and sets malformed records aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv

from pipeline.columns.arrow import TEXT
from pipeline.csv_text.fields import Fields, PlainFields, TableFields
from pipeline.csv_text.records import Grammar, Record, count_lines, grammar
from pipeline.settings import Dialect

_BOM = b"\xef\xbb\xbf"
_SMALL = 1 << 16  # bytes; in such a text, checking each record by itself takes no time


class Reject(NamedTuple):
    """A record that could not be read; `line` and `offset` count from 0 at the block's start.

    `length` is that of the record in bytes, without its line end; `raw`, too, has no line end, and
    not more bytes than the largest record may have.
    """

    line: int
    offset: int
    length: int
    reason: str
    detail: str
    raw: bytes


@dataclass(frozen=True)
class Piece:
    """A part of a block: whole records, their position in the block, and their fields.

    `line` and `offset` count from 0 at the block's start.
    """

    text: bytes
    fields: Fields
    offset: int = 0
    line: int = 0
    rejected: tuple[Reject, ...] = ()

    def lines_of(self, rows: Sequence[int], dialect: Dialect) -> Iterator[int]:
        """Yield the lines of some rows of `fields`, counted from 0 at the block's start."""
        rules = grammar(dialect)
        if self.rejected:
            bad = {reject.offset - self.offset for reject in self.rejected}
            good = [record.line for record in rules.split(self.text) if record.offset not in bad]
            yield from (self.line + good[row] for row in rows)
        else:
            yield from (self.line + line for line in rules.lines(self.text, rows))


def parse(
    text: bytes,
    columns: tuple[str, ...],
    encoding: str,
    dialect: Dialect,
    offset: int = 0,
    line: int = 0,
) -> list[Piece]:
    """Return the text of a block, or of a part of it, in pieces that can each be read at once.

    Text without a bad record is one piece. Otherwise bad records are found by bisection, so that
    one of them does not slow down the whole block.
    """
    rules = grammar(dialect)
    if rules.is_regular(text):
        fields = _fields(text, columns, encoding, dialect)
        if fields is not None:
            return [Piece(text, fields, offset, line)]
    half = rules.complete_records(text[: len(text) // 2]) if len(text) > _SMALL else 0
    if half > len(text) // 4:  # else a record is so long that a copy of the rest would cost more
        first, second = text[:half], text[half:]
        return [
            *parse(first, columns, encoding, dialect, offset, line),
            *parse(second, columns, encoding, dialect, offset + half, line + count_lines(first)),
        ]
    good, rejected = _sift(text, len(columns), encoding, rules, offset, line)
    fields = _fields(good, columns, encoding, dialect)
    assert fields is not None, "every record that is left is well formed"
    return [Piece(text, fields, offset, line, tuple(rejected))]


def _fields(
    text: bytes, columns: tuple[str, ...], encoding: str, dialect: Dialect
) -> Fields | None:
    """Return the fields of a text, or None if any record is malformed."""
    if encoding == "utf-8":
        plain = PlainFields.find(text, columns, dialect.delimiter)
        if plain is not None:
            return plain
    table = _parse_strictly(text, columns, encoding, dialect)
    return None if table is None else TableFields(table)


def _parse_strictly(
    text: bytes, columns: tuple[str, ...], encoding: str, dialect: Dialect
) -> pa.Table | None:
    """Return the table in a text, or None if any record is malformed."""
    if not text.strip(b"\r\n"):
        return pa.table({name: pa.array([], TEXT) for name in columns})
    if b"\0" in text:
        return None
    try:
        if encoding != "utf-8":
            text = text.decode(encoding).encode()
        if text.startswith(_BOM):  # which Arrow would strip as the start of a file
            text = b"\n" + text
        return pa.csv.read_csv(
            pa.py_buffer(text),
            read_options=pa.csv.ReadOptions(
                column_names=columns, use_threads=False, block_size=len(text) + 1
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=dialect.delimiter, newlines_in_values=b'"' in text
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, TEXT),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None


def _sift(
    text: bytes, fields: int, encoding: str, records: Grammar, offset: int, line: int
) -> tuple[bytes, list[Reject]]:
    """Split the records of a text into the readable ones, as one text, and the others.

    `offset` and `line` are those of the text in its block.
    """
    good, rejected = [], []
    for record in records.split(text):
        fault = _fault(record, fields, encoding, records)
        raw = record.raw
        if fault is None:
            good.append(raw if raw.endswith((b"\n", b"\r")) else raw + b"\n")
        else:
            stop = record.offset + record.size
            end = text[stop - 2 : stop]
            length = record.size - len(end) + len(end.rstrip(b"\r\n"))
            place = line + record.line, offset + record.offset
            rejected.append(Reject(*place, length, *fault, raw[:length]))
    return b"".join(good), rejected


def _fault(record: Record, fields: int, encoding: str, records: Grammar) -> tuple[str, str] | None:
    """Return what is wrong with a record, as (reason, detail); None if nothing is."""
    if record.fault:
        return record.fault, ""
    if b"\0" in record.raw:
        return "NUL byte", f"at byte {record.raw.index(0)} of the record"
    try:
        record.raw.decode(encoding)
    except UnicodeDecodeError as error:
        place = f"byte 0x{record.raw[error.start]:02x} at byte {error.start} of the record"
        return f"not {encoding.upper()}", place
    found = records.count_fields(record.raw)
    if found != fields:
        few_or_many = "too few fields" if found < fields else "too many fields"
        return few_or_many, f"{found} where the header has {fields}"
    return None
