"""Hints that are tried, on bad records and the beginning of a file, before they are given."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import TEXT
from pipeline.columns.keys import trimmed
from pipeline.csv_text.fields import Fields
from pipeline.csv_text.files import TextFile
from pipeline.csv_text.head import may_quote
from pipeline.csv_text.header_hints import OTHER_QUOTE, name_columns
from pipeline.csv_text.messages import agreeing, quoted
from pipeline.csv_text.parse import Parsed, parse
from pipeline.csv_text.rejects import Reject
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.errors import PipelineError
from pipeline.settings.shell import for_shell
from pipeline.steps.closing import means_total

_SAMPLE = 1 << 18  # bytes of a file
_SAMPLE_OF_IDS = 1 << 22  # bytes of customers
_OPENING = 1 << 16  # bytes that could be read in the time that opening a file takes
_MISSING = {"null", r"\n", "na", "n/a", "nan", "none", "nil", "#n/a"}  # as exports write it
_CENTS = re.compile(r"\d{1,2}")
# How ids of two tables may differ, and a function that removes the difference.
_DIFFERENCES: dict[str, Callable[[pa.Array], pa.Array]] = {
    "without a trailing '.0'": lambda ids: pc.replace_substring_regex(ids, r"\.0+$", ""),
    "without leading zeros": lambda ids: pc.utf8_ltrim(ids, "0"),
    "ignoring case": pc.utf8_lower,
    "in Unicode's composed form (NFC)": lambda ids: pc.utf8_normalize(ids, "NFC"),
    "without apostrophes around them: see --quote": lambda ids: pc.replace_substring_regex(
        ids, "^'(.*)'$", r"\1"
    ),
    "without a leading apostrophe": lambda ids: pc.replace_substring_regex(ids, "^'", ""),
    "without invisible characters": lambda ids: pc.replace_substring_regex(
        ids, "[\u00ad\u200b-\u200f\ufeff]", ""
    ),
}


class _Attempt(NamedTuple):
    """Options to try, and the file as it is read with them."""

    options: str
    file: SourceFile


def suggest_dialect(
    table: str, file: SourceFile, rejected: Sequence[Reject], none_left: bool
) -> str:
    """Return the options with which the most rejected records of a file can be read, or "".

    At the beginning of the file, they reject no record that can be read now. `none_left` means that
    all records of the table are rejected.
    """
    first = rejected[0]
    if first.reason.startswith("not "):
        read = quoted(first.raw.decode("cp1252", "replace"))
        option = f"--encoding {table}=cp1252"
        return f"; with {option}, that is {read}" if file.encoding != "cp1252" else ""
    bad = b"\n".join(reject.raw for reject in rejected) + b"\n"
    text = _sample(file)
    known, best, most = _offsets(_parsed(text, file).rejected), "", 0
    for attempt in _attempts(table, file, none_left):
        found, sample = _parsed(bad, attempt.file).fields, _parsed(text, attempt.file)
        is_usable = all(_is_usable(fields, attempt.file, file) for fields in (found, sample.fields))
        if is_usable and _offsets(sample.rejected) <= known and len(found) > most:
            best, most = attempt.options, len(found)
    tried = f"{most:,} of {len(rejected):,} sampled records"
    return f"; {tried} can be read with {best}" if most else ""


def suggest_ids(customers: Source, column: str, unmatched: Sequence[str]) -> str:
    """Return what keeps the most ids from matching, or what else they may be; "" if unknown."""
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
    return f"; is {quoted(total)} a totals row? it counts as a purchase" if total else ""


def suggest_null(table: str, values: Sequence[str]) -> str:
    """Return the --null option for the most frequent value if it means a missing one; else ""."""
    word, count = Counter(values).most_common(1)[0] if values else ("", 0)
    if word.casefold() not in _MISSING:
        return ""
    null = for_shell(f"{table}={word}")
    missing = f"{agreeing(count, 'counts', 'count')} as missing with --null {null}"
    return f"; {count:,} of {len(values):,} sampled values {missing}"


def suggest_quote(table: str, file: SourceFile, values: Sequence[str]) -> str:
    """Return the --quote option if values are in other quotes; "" if they are not.

    At the beginning of the file, it rejects no record that can be read now.
    """
    count = sum(value[:1] == value[-1:] == OTHER_QUOTE for value in values)
    if not count or not may_quote(OTHER_QUOTE, file.dialect):
        return ""
    text, other = _sample(file), replace(file, dialect=replace(file.dialect, quote=OTHER_QUOTE))
    if not _offsets(_parsed(text, other).rejected) <= _offsets(_parsed(text, file).rejected):
        return ""
    option = for_shell(f"{table}={OTHER_QUOTE}")
    are = agreeing(count, "is", "are")
    return f"; {count:,} of {len(values):,} sampled values {are} in quotes: --quote {option}"


def read_as_cp1252(file: SourceFile, rejected: Sequence[Reject], column: str) -> list[str]:
    """Return the values, read as cp1252, of records rejected for invalid bytes."""
    raw = [reject.raw for reject in rejected if reject.reason.startswith("not ")]
    parsed = _parsed(b"\n".join([*raw, b""]), replace(file, encoding="cp1252"))
    values: list[str] = parsed.fields.column(column).drop_null().to_pylist()
    return values


def _attempts(table: str, file: SourceFile, none_left: bool) -> Iterator[_Attempt]:
    dialect = file.dialect
    escape, no_quotes = "--escape " + for_shell(f"{table}=\\"), f"--quote {table}=none"

    def read_with(options: str, **signs: Any) -> _Attempt:
        return _Attempt(options, replace(file, dialect=replace(dialect, **signs)))

    if not dialect.escape:
        yield read_with(escape, escape="\\")
    if dialect.quote:
        yield read_with(no_quotes, quote="")
    if dialect.quote and not dialect.escape:
        yield read_with(f"{no_quotes} {escape}", quote="", escape="\\")
    if may_quote(OTHER_QUOTE, dialect):
        yield read_with("--quote " + for_shell(f"{table}={OTHER_QUOTE}"), quote=OTHER_QUOTE)
    if none_left:  # a delimiter at the end of each line, or the numbers of lines before them
        more = f"column_{len(file.columns) + 1}"
        for columns in ((*file.columns, more), (more, *file.columns)):
            lines = 0 if dialect.column_names else file.header_lines
            named = _Attempt(name_columns(table, columns, lines), replace(file, columns=columns))
            yield named
            if not dialect.escape:  # as R writes quotes within text
                escaped = replace(dialect, escape="\\")
                yield _Attempt(f"{named.options} {escape}", replace(named.file, dialect=escaped))


def _is_usable(fields: Fields, changed: SourceFile, file: SourceFile) -> bool:
    """Return whether no field is left in quotes, and an extra column is empty or numbers lines."""
    if changed.columns[0] != file.columns[0]:
        numbers, last = (fields.column(changed.columns[at]).to_pylist() for at in (0, -1))
        if changed.dialect.delimiter == "," and all(_CENTS.fullmatch(one or "") for one in last):
            return False  # the first column may be ids, and the last cents after a decimal comma
        return numbers == [str(1 + row) for row in range(len(numbers))]
    if len(changed.columns) > len(file.columns):
        return bool(fields.column(changed.columns[-1]).null_count == len(fields))
    if changed.dialect.quote == file.dialect.quote:
        return True
    mark = re.escape(file.dialect.quote)
    columns = (fields.column(name).drop_null() for name in changed.columns)
    return not any(
        pc.any(pc.match_substring_regex(values, f"^{mark}.*{mark}$")).as_py() for values in columns
    )


def _values(source: Source, column: str) -> pa.Array:
    """Return the first values of a table's column, as many as can be read quickly."""
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


def _offsets(rejected: pa.Table) -> set[int]:
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
