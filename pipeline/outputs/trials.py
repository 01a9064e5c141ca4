"""Hints, tried on bad records and on the beginning of a file before they are given."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from shlex import quote
from typing import NamedTuple

import pyarrow.compute as pc

from pipeline.columns.keys import trimmed
from pipeline.csv_text.fields import Fields
from pipeline.csv_text.files import TextFile
from pipeline.csv_text.parse import Parsed, parse
from pipeline.csv_text.rejects import Reject, Rejects
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.errors import PipelineError
from pipeline.settings import Columns

_SAMPLE = 1 << 18  # bytes of a file
_UNSEEN = re.compile(r"[\u00ad\u200b-\u200f\ufeff]")
# What may differ in the ids of two tables, and ids without it.
_DIFFERENCES: dict[str, Callable[[str], str]] = {
    "without '.0' at their ends": lambda id: re.sub(r"\.0+$", "", id),
    "without zeros before them": lambda id: id.lstrip("0"),
    "in the same case": str.casefold,
    "without an apostrophe before them": lambda id: id.removeprefix("'"),
    "without characters that do not show": lambda id: _UNSEEN.sub("", id),
}


class _Way(NamedTuple):
    """Options to try, and the file as it is read with them."""

    options: str
    file: SourceFile


def suggest_dialect(
    table: str, file: SourceFile, rejected: Sequence[Reject], none_left: bool
) -> str:
    """Return the options with which most of a file's rejected records could be read, "" if none.

    With them, all can be read of the beginning of the file that can be without. `none_left`: all
    records of the table are rejected.
    """
    first = rejected[0]
    if first.reason.startswith("not "):
        read = first.raw.decode("cp1252", "replace").rstrip("\r\n")[:80]
        option = f"--encoding {table}=cp1252"
        return f"; with {option}, that is {read!r}" if file.encoding != "cp1252" else ""
    bad = b"\n".join(reject.raw for reject in rejected) + b"\n"
    text = _sample(file)
    known, best, most = _places(_parsed(text, file).rejected), "", 0
    for way in _ways(table, file, none_left):
        found, sample = _parsed(bad, way.file).fields, _parsed(text, way.file)
        is_usable = all(_is_usable(fields, way.file, file) for fields in (found, sample.fields))
        if is_usable and _places(sample.rejected) <= known and len(found) > most:
            best, most = way.options, len(found)
    tried = f"{most:,} of {len(rejected):,} that were tried"
    return f"; {tried} can be read with {best}" if most else ""


def suggest_ids(customers: Source, purchases: Source, columns: Columns) -> str:
    """Return what keeps most of some unmatched ids from those of customers; "" if nothing does."""
    known = _ids(customers.files[0], columns.id)
    bought = _ids(purchases.files[0], columns.id_of_purchases)
    unmatched = bought - known
    counts = {}
    for what, without in _DIFFERENCES.items():
        plain = {without(id) for id in known} - {""}
        counts[what] = sum(without(id) in plain for id in unmatched)
    best = max(counts, key=lambda what: counts[what])
    if not counts[best]:
        return ""
    return f"; {counts[best]:,} of {len(unmatched):,} ids that were tried would match {best}"


def _ways(table: str, file: SourceFile, none_left: bool) -> Iterator[_Way]:
    dialect = file.dialect
    escape, no_quotes = "--escape " + quote(f"{table}=\\"), f"--quote {table}=none"
    if not dialect.escape:
        yield _Way(escape, replace(file, dialect=replace(dialect, escape="\\")))
    if dialect.quote:
        yield _Way(no_quotes, replace(file, dialect=replace(dialect, quote="")))
    if dialect.quote and not dialect.escape:
        both = replace(dialect, quote="", escape="\\")
        yield _Way(f"{no_quotes} {escape}", replace(file, dialect=both))
    if none_left:  # a delimiter at the end of each line, or the numbers of lines before them
        more = f"column_{len(file.columns) + 1}"
        for columns in ((*file.columns, more), (more, *file.columns)):
            written = io.StringIO()
            csv.writer(written, lineterminator="").writerow(columns)
            names = quote(f"{table}={written.getvalue()}")
            skip = "" if dialect.column_names else f"--skip-lines {table}={file.header_lines} "
            yield _Way(f"{skip}--column-names {names}", replace(file, columns=columns))


def _is_usable(fields: Fields, way: SourceFile, file: SourceFile) -> bool:
    """Tell whether no field is left in quotes, and a column more is empty or counts the lines."""
    if way.columns[0] != file.columns[0]:
        numbers = fields.column(way.columns[0]).to_pylist()
        return len(numbers) > 0 and numbers == [str(1 + place) for place in range(len(numbers))]
    if len(way.columns) > len(file.columns):
        return bool(fields.column(way.columns[-1]).null_count == len(fields))
    if way.dialect.quote == file.dialect.quote:
        return True
    mark = re.escape(file.dialect.quote)
    columns = (fields.column(name).drop_null() for name in way.columns)
    return not any(
        pc.any(pc.match_substring_regex(values, f"^{mark}.*{mark}$")).as_py() for values in columns
    )


def _ids(file: SourceFile, column: str) -> set[str]:
    ids = trimmed(_parsed(_sample(file), file).fields.column(column))
    return set(ids.drop_null().to_pylist())


def _parsed(text: bytes, file: SourceFile) -> Parsed:
    return parse(text, file.columns, file.encoding, file.dialect, file.header)


def _places(rejected: Rejects) -> set[int]:
    return set(rejected.table()["offset"].to_pylist())


def _sample(file: SourceFile) -> bytes:
    """Return the first records of a file, as many as are read in no time; none if that fails."""
    try:
        with TextFile(file.path, file.dialect, version=file.version) as opened:
            opened.read(file.start)
            text = opened.read(_SAMPLE)
    except PipelineError:
        return b""
    return text if len(text) < _SAMPLE else text[: max(text.rfind(b"\n"), text.rfind(b"\r")) + 1]
