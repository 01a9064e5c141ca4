"""Hints about a header that cannot be used: options with which it can, or might, be read."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.csv_text.head import Head, Header, find_header, may_delimit, may_quote
from pipeline.csv_text.marks import count_lines
from pipeline.csv_text.messages import counted, quoted, visible, without_hidden
from pipeline.csv_text.parse import parse
from pipeline.settings import Dialect
from pipeline.settings.shell import for_shell

_SEARCHED = 20  # lines, for a header that is not on the first
_LONGEST = 300  # characters of a header in a message
_RARE_DELIMITERS = " ^~:\x01\x1f"  # tried if the header lacks a column
_CONTROL = re.compile("[\x01-\x08\x0e-\x1f]")
_HAS_LETTER = re.compile(r"\w")
_MADE_UP = re.compile(r"column_\d+")  # the name given to a column without one
_SEPARATORS = re.compile(r"[\s_.-]")  # of the words in a name
OTHER_QUOTE = "'"


def name_columns(table: str, columns: Sequence[str], header_lines: int) -> str:
    """Return the options that name the columns and skip a header of `header_lines` lines."""
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(columns)
    skip = f"--skip-lines {table}={header_lines} " if header_lines else ""
    return f"{skip}--column-names {for_shell(f'{table}={written.getvalue()}')}"


@dataclass(frozen=True)
class HeaderHints:
    """Explains why a file's header cannot be used, and tries options that might help.

    `required` are the columns that the `table` needs, each with the option that renames it.
    `dialect` is the one asked for, `head` the beginning of the file, `encoding` that of the file.
    """

    table: str
    required: Mapping[str, str]
    dialect: Dialect
    head: Head
    encoding: str

    def explain(self, header: Header) -> str:
        """Return why a header cannot be used, and how to fix that."""
        hint = self._find_options(header)
        if header.fault:
            hint = hint or self._suggest_utf16(header.raw) or self._suggest_cp1252()
            hint = hint or header.remedy
            what = f"its header cannot be read as CSV in {self.encoding}: {header.fault}"
            return f"{what}; {hint}"
        column = next(column for column in self.required if column not in header.columns)
        what = f"{self.table} need a column '{column}'; {_describe(header)}"
        return f"{what}; {hint or self._guess(header.columns)}"

    def _read(self, dialect: Dialect, encoding: str) -> Header:
        return find_header(self.head, dialect, encoding, self.required)

    def _has_all(self, header: Header, is_loose: bool = False) -> bool:
        missing = self._missing(header.columns)
        return not header.fault and (
            not missing or (is_loose and len(self._similar_names(header.columns)) == len(missing))
        )

    def _missing(self, columns: Sequence[str]) -> list[str]:
        return [column for column in self.required if column not in columns]

    def _similar_names(self, columns: Sequence[str]) -> dict[str, str]:
        """Return the name that each missing column seems to have, if only one is nearly right.

        Such names differ in case, in the separators of words, or in invisible characters.
        """
        counts = Counter(map(_loosely, columns))
        alike = {_loosely(name): name for name in columns if counts[_loosely(name)] == 1}
        alike.pop("", None)
        wanted = self._missing(columns)
        return {name: alike[_loosely(name)] for name in wanted if _loosely(name) in alike}

    def _find_options(self, header: Header) -> str:
        """Return options with which the header has all columns; "" if none is found."""
        if not self.required or header.dialect.column_names:
            return ""
        # If names are nearly right as the header is read now, `_guess` names them.
        for is_loose in (False, True):
            if is_loose and self._has_all(header, is_loose):
                return ""
            for other, given in self._try_other_signs(header):
                if self._has_all(other, is_loose) and all(map(_HAS_LETTER.search, other.columns)):
                    options = " ".join([given, *self._renamed(other.columns)])
                    return f"its columns are found with {options}{self._row_names(other)}"
            for tried in (self.encoding, "cp1252"):
                for lines in range(_SEARCHED):
                    if self.head.is_blank(lines) or lines == self.dialect.skip_lines:
                        continue
                    found = self._read(replace(self.dialect, skip_lines=lines), tried)
                    if self._has_all(found, is_loose):
                        skip = [self._write_option("--skip-lines", str(lines))]
                        if tried != self.encoding:
                            skip.append(self._write_option("--encoding", tried))
                        options = " ".join([*skip, *self._renamed(found.columns)])
                        return f"the columns are on line {lines + 1}: {options}"
        return ""

    def _try_other_signs(self, header: Header) -> Iterator[tuple[Header, str]]:
        """Yield the header as read with another delimiter or quote, and the option that sets it."""
        for delimiter in ("", *_RARE_DELIMITERS):
            if may_delimit(delimiter, self.dialect):
                other = self._read(replace(self.dialect, delimiter=delimiter), self.encoding)
                if other.dialect.delimiter != header.dialect.delimiter:
                    yield other, self._write_option("--delimiter", other.dialect.delimiter)
        if may_quote(OTHER_QUOTE, self.dialect):
            quoted_so = replace(self.dialect, quote=OTHER_QUOTE)
            yield self._read(quoted_so, self.encoding), self._write_option("--quote", OTHER_QUOTE)

    def _renamed(self, columns: Sequence[str]) -> list[str]:
        """Return options for the columns whose names are nearly right."""
        return [
            self._write_option(self.required[column], name)
            for column, name in self._similar_names(columns).items()
        ]

    def _row_names(self, header: Header) -> str:
        """Return options for records with a row name that the header lacks, as in R; or ""."""
        start, stop = self.head.find_record(header.stop, header.dialect)
        record = self.head.text[start:stop]
        columns = f"column_{len(header.columns) + 1}", *header.columns
        is_named = record.startswith(b'"1"') and header.dialect.quote == '"'
        if not is_named or not len(parse(record, columns, self.encoding, header.dialect).fields):
            return ""
        lines = count_lines(self.head.text[: header.stop])
        return f" {name_columns(self.table, columns, lines)}"

    def _suggest_utf16(self, raw: bytes) -> str:
        """Suggest UTF-16 if the header has its columns in it; else return ""."""
        for encoding, zeros in (("utf-16-le", raw[1::2]), ("utf-16-be", raw[::2])):
            text = raw.decode(encoding, "replace")
            if not any(zeros) and all(column in text for column in self.required):
                return f"its columns are found with {self._write_option('--encoding', encoding)}"
        return ""

    def _suggest_cp1252(self) -> str:
        """Return how the header reads in cp1252, and what it then lacks; "" if it is invalid."""
        found = self._read(self.dialect, "cp1252")
        if self.encoding == "cp1252" or found.fault:
            return ""
        as_read = quoted(found.raw.decode("cp1252", "replace"), _LONGEST)
        lacks = "" if self._has_all(found) else f"; {self._guess(found.columns)}"
        return f"with {self._write_option('--encoding', 'cp1252')}, it is {as_read}{lacks}"

    def _guess(self, columns: Sequence[str]) -> str:
        """Suggest what a header that lacks columns may mean."""
        missing, meant = self._missing(columns), self._similar_names(columns)
        control = _CONTROL.search(columns[0])
        if len(columns) == 1 and control:
            if self.dialect.encoding != "utf-8":
                return f"is its encoding really {self.dialect.encoding}?"
            given = self._write_option("--delimiter", f"\\x{ord(control[0]):02x}")
            more = self._guess(columns[0].split(control[0]))
            return f"is its delimiter an invisible character? {given}; {more}"
        if not meant and any(name.strip().lstrip("+-")[:1].isdigit() for name in columns):
            names = self._write_option("--column-names", ",".join(["NAME"] * len(columns)))
            return f"if that is a record, name its {counted(len(columns), 'column')}: {names}"
        hints = []
        if meant:
            names = " and ".join(map(quoted, meant.values()))
            given = " ".join(self._renamed(columns))
            hints.append(f"column names must match exactly: rename {names}, or use {given}")
        if unknown := [column for column in missing if column not in meant]:
            hints.append(
                "name " + ", and ".join(self._naming(column, missing) for column in unknown)
            )
        if len(columns) == 1 or columns[0].startswith("#") or _are_made_up(columns):
            skip = self._write_option("--skip-lines", "N")
            hints.append(f"or skip the lines before the header: {skip}")
        return "; ".join(hints)

    def _naming(self, column: str, missing: Sequence[str]) -> str:
        option = self.required[column]
        how = self._write_option(option, "NAME") if option == "--id-column" else option
        return f"{'it' if column == missing[0] else repr(column)} with {how}"

    def _write_option(self, option: str, value: str) -> str:
        """Return an option with a value, for a shell; if it takes a table, it gets this one."""
        is_for_both = option not in self.required.values() or option == "--id-column"
        shown_as = {"\t": "tab", "\x01": r"\x01", "\x1f": r"\x1f"}.get(value, value)
        return f"{option} {for_shell(f'{self.table}={shown_as}' if is_for_both else value)}"


def _describe(header: Header) -> str:
    if _are_made_up(header.columns):
        return f"its header is {quoted(header.raw.decode('latin-1'))}"
    columns = ", ".join(header.columns)
    shown = f"found: {visible(columns[:_LONGEST])}{'…' if len(columns) > _LONGEST else ''}"
    hidden = [name for name in header.columns if without_hidden(name) != name]
    return f"{shown}; {quoted(hidden[0])} has invisible characters" if hidden else shown


def _are_made_up(columns: Sequence[str]) -> bool:
    return all(map(_MADE_UP.fullmatch, columns))


def _loosely(name: str) -> str:
    """Return a name without case, separators and invisible characters, for comparison."""
    return _SEPARATORS.sub("", without_hidden(name)).casefold()
