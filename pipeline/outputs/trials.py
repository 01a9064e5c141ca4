"""Hints, tried on bad records and on the beginning of a file before they are given."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import TEXT
from pipeline.columns.keys import trimmed
from pipeline.csv_text.fields import Fields
from pipeline.csv_text.files import TextFile
from pipeline.csv_text.head import may_quote
from pipeline.csv_text.header_hints import OTHER_QUOTE, name_columns
from pipeline.csv_text.messages import quoted
from pipeline.csv_text.parse import Parsed, parse
from pipeline.csv_text.rejects import Reject
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.errors import PipelineError
from pipeline.settings.shell import for_shell
from pipeline.steps.closing import means_total

_SAMPLE = 1 << 18  # bytes of a file
_SAMPLE_OF_IDS, _OPENING = 1 << 22, 1 << 16  # bytes of customers; what it costs to open a file
_MISSING = {"null", r"\n", "na", "n/a", "nan", "none", "nil", "#n/a"}  # as exports write it
_CENTS = re.compile(r"\d{1,2}")
# What may differ in the ids of two tables, and ids without it.
_DIFFERENCES: dict[str, Callable[[pa.Array], pa.Array]] = {
    "without a trailing '.0'": lambda ids: pc.replace_substring_regex(ids, r"\.0+$", ""),
    "without leading zeros": lambda ids: pc.utf8_ltrim(ids, "0"),
    "if case is ignored": pc.utf8_lower,
    "without apostrophes around them: see --quote": lambda ids: pc.replace_substring_regex(
        ids, "^'(.*)'$", r"\1"
    ),
    "without a leading apostrophe": lambda ids: pc.replace_substring_regex(ids, "^'", ""),
    "without invisible characters": lambda ids: pc.replace_substring_regex(
        ids, "[\u00ad\u200b-\u200f\ufeff]", ""
    ),
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
        read = quoted(first.raw.decode("cp1252", "replace"))
        option = f"--encoding {table}=cp1252"
        return f"; with {option}, that is {read}" if file.encoding != "cp1252" else ""
    bad = b"\n".join(reject.raw for reject in rejected) + b"\n"
    text = _sample(file)
    known, best, most = _places(_parsed(text, file).rejected), "", 0
    for way in _ways(table, file, none_left):
        found, sample = _parsed(bad, way.file).fields, _parsed(text, way.file)
        is_usable = all(_is_usable(fields, way.file, file) for fields in (found, sample.fields))
        if is_usable and _places(sample.rejected) <= known and len(found) > most:
            best, most = way.options, len(found)
    tried = f"{most:,} of {len(rejected):,} sampled records"
    return f"; {tried} can be read with {best}" if most else ""


def suggest_ids(customers: Source, column: str, unmatched: Sequence[str]) -> str:
    """Return what keeps most of some unmatched ids from those of customers; "" if nothing does."""
    known = trimmed(_values(customers, column)).drop_null()
    ids = trimmed(pa.array(unmatched, TEXT)).unique()
    counts = {}
    for what, without in _DIFFERENCES.items():
        plain = without(known)
        plain = plain.filter(pc.not_equal(plain, ""))
        counts[what] = pc.is_in(without(ids), plain).to_pylist().count(True)
    best = max(counts, key=lambda what: counts[what])
    if counts[best]:
        return f"; {counts[best]:,} of {len(ids):,} sampled ids would match {best}"
    if hint := suggest_null("purchases", unmatched):
        return hint
    totals = (id for id in ids.to_pylist() if id and means_total(id))
    total = next(totals, None)
    return f"; is {quoted(total)} a line of totals? it counts as a purchase" if total else ""


def suggest_null(table: str, values: Sequence[str]) -> str:
    """Return the option with which the most frequent of some values counts as missing, or ""."""
    word, count = Counter(values).most_common(1)[0] if values else ("", 0)
    if word.casefold() not in _MISSING:
        return ""
    null = for_shell(f"{table}={word}")
    return f"; {count:,} of {len(values):,} sampled values count as missing with --null {null}"


def suggest_quote(table: str, file: SourceFile, values: Sequence[str]) -> str:
    """Return the option with which quotes around values are none of them; "" if there are none.

    With it, no more of the beginning of a file is rejected.
    """
    count = sum(value[:1] == value[-1:] == OTHER_QUOTE for value in values)
    if not count or not may_quote(OTHER_QUOTE, file.dialect):
        return ""
    text, other = _sample(file), replace(file, dialect=replace(file.dialect, quote=OTHER_QUOTE))
    if not _places(_parsed(text, other).rejected) <= _places(_parsed(text, file).rejected):
        return ""
    option = for_shell(f"{table}={OTHER_QUOTE}")
    return f"; {count:,} of {len(values):,} sampled values are in quotes: --quote {option}"


def amounts_in_cp1252(file: SourceFile, rejected: Sequence[Reject], column: str) -> list[str]:
    """Return the values of records that were rejected because they are not in their encoding."""
    raw = [reject.raw for reject in rejected if reject.reason.startswith("not ")]
    parsed = _parsed(b"\n".join([*raw, b""]), replace(file, encoding="cp1252"))
    values: list[str] = parsed.fields.column(column).drop_null().to_pylist()
    return values


def _ways(table: str, file: SourceFile, none_left: bool) -> Iterator[_Way]:
    dialect = file.dialect
    escape, no_quotes = "--escape " + for_shell(f"{table}=\\"), f"--quote {table}=none"
    if not dialect.escape:
        yield _Way(escape, replace(file, dialect=replace(dialect, escape="\\")))
    if dialect.quote:
        yield _Way(no_quotes, replace(file, dialect=replace(dialect, quote="")))
    if dialect.quote and not dialect.escape:
        both = replace(dialect, quote="", escape="\\")
        yield _Way(f"{no_quotes} {escape}", replace(file, dialect=both))
    if may_quote(OTHER_QUOTE, dialect):
        option = "--quote " + for_shell(f"{table}={OTHER_QUOTE}")
        yield _Way(option, replace(file, dialect=replace(dialect, quote=OTHER_QUOTE)))
    if none_left:  # a delimiter at the end of each line, or the numbers of lines before them
        more = f"column_{len(file.columns) + 1}"
        for columns in ((*file.columns, more), (more, *file.columns)):
            lines = 0 if dialect.column_names else file.header_lines
            named = _Way(name_columns(table, columns, lines), replace(file, columns=columns))
            yield named
            if not dialect.escape:  # as R writes quotes within text
                escaped = replace(dialect, escape="\\")
                yield _Way(f"{named.options} {escape}", replace(named.file, dialect=escaped))


def _is_usable(fields: Fields, way: SourceFile, file: SourceFile) -> bool:
    """Return whether no field is left in quotes, and a column more is empty or counts the lines."""
    if way.columns[0] != file.columns[0]:
        numbers, last = (fields.column(way.columns[at]).to_pylist() for at in (0, -1))
        if way.dialect.delimiter == "," and all(_CENTS.fullmatch(one or "") for one in last):
            return False  # the first may be ids, and the last stand behind a decimal comma
        return numbers == [str(1 + place) for place in range(len(numbers))]
    if len(way.columns) > len(file.columns):
        return bool(fields.column(way.columns[-1]).null_count == len(fields))
    if way.dialect.quote == file.dialect.quote:
        return True
    mark = re.escape(file.dialect.quote)
    columns = (fields.column(name).drop_null() for name in way.columns)
    return not any(
        pc.any(pc.match_substring_regex(values, f"^{mark}.*{mark}$")).as_py() for values in columns
    )


def _values(source: Source, column: str) -> pa.Array:
    """Return the first values of a table's column, as many as are read in no time."""
    found, left = [], _SAMPLE_OF_IDS
    for file in source.files:
        text = _sample(file, left)
        found.append(_parsed(text, file).fields.column(column))
        left -= max(len(text), _OPENING)
        if left <= 0:
            break
    return pa.concat_arrays(found)


def _parsed(text: bytes, file: SourceFile) -> Parsed:
    return parse(text, file.columns, file.encoding, file.dialect, file.header)


def _places(rejected: pa.Table) -> set[int]:
    return set(rejected["offset"].to_pylist())


def _sample(file: SourceFile, size: int = _SAMPLE) -> bytes:
    """Return the first records of a file, up to a size in bytes; none if they cannot be read."""
    try:
        with TextFile(file.path, file.dialect, version=file.version) as opened:
            opened.read(file.start)
            text = opened.read(size)
    except PipelineError:
        return b""
    return text if len(text) < size else text[: max(text.rfind(b"\n"), text.rfind(b"\r")) + 1]
