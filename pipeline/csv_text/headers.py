"""Opens the files of a table: the header of each, its delimiter, and where its records begin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipeline.csv_text.files import (
    TextFile,
    call_at_once,
    checksum_of_ends,
    cuts_at_bytes,
    shown,
)
from pipeline.csv_text.head import AT_FIRST, Head, Header, find_header
from pipeline.csv_text.header_hints import HeaderHints
from pipeline.csv_text.marks import count_lines
from pipeline.csv_text.messages import counted
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.errors import UsageError
from pipeline.settings import Dialect
from pipeline.storage.remote import is_remote, list_versions
from pipeline.storage.versions import Version


def open_source(
    name: str, files: Iterable[str], required: Mapping[str, str], dialect: Dialect
) -> Source:
    """Read and check the headers of one table's files (see `find_files`); cut no blocks yet.

    `required` maps each required column to the option that renames it. If there are several files,
    those without any text are empty parts with the columns of the others. Raises UsageError naming
    the file and the column.
    """
    paths = list(files)
    table = _Table(name, required, dialect, list_versions(paths))
    opened = list(call_at_once(table.open, paths))
    with_text = [file for file in opened if file.columns]
    if not with_text:
        raise _empty(opened[0].name, dialect)
    first = with_text[0]
    _check_same_columns(with_text)
    return Source(
        name,
        first.columns,
        tuple(
            file
            if file.columns
            else replace(file, columns=first.columns, dialect=first.dialect, header=first.header)
            for file in opened
        ),
    )


@dataclass(frozen=True)
class _Table:
    """A table whose files are opened: its name, its required columns, and the dialect asked for.

    `versions` are the known versions of its files, by path.
    """

    name: str
    required: Mapping[str, str]
    dialect: Dialect
    versions: Mapping[str, Version]

    def open(self, path: str) -> SourceFile:
        """Read a file's header; a file without any text has no columns."""
        return self._open(path, self.dialect)

    def _open(self, path: str, dialect: Dialect) -> SourceFile:
        with TextFile(path, dialect, AT_FIRST, self.versions.get(path)) as file:
            head = Head(file, dialect.max_record_size)
            found = find_header(head, dialect, file.encoding, self.required)
            if found.columns or head.text:
                self._check(shown(path), head, found, file.encoding)
        if not dialect.delimiter and not cuts_at_bytes(file.encoding, found.dialect.delimiter):
            return self._open(path, found.dialect)  # it has to be converted to UTF-8
        version = file.version
        # Compressed files without records are often identical.
        if not is_remote(path) and (file.is_plain or head.text[found.stop :].strip(b"\r\n")):
            version = replace(version, ends=checksum_of_ends(path, version.size))
        return SourceFile(
            path=path,
            name=shown(path),
            columns=found.columns,
            start=found.stop,
            header_lines=count_lines(head.text[: found.stop]),
            version=version,
            encoding=file.encoding,
            is_plain=file.is_plain,
            dialect=found.dialect,
            header=found.raw,
        )

    def _check(self, name: str, head: Head, header: Header, encoding: str) -> None:
        """Raise UsageError if there is no header, or if it lacks or repeats a column."""
        if not header.columns and not header.fault:
            raise _empty(name, header.dialect)
        if header.fault or not set(self.required) <= set(header.columns):
            hints = HeaderHints(self.name, self.required, self.dialect, head, encoding)
            raise UsageError(f"{name}: {hints.explain(header)}")
        for column in header.columns:
            if header.columns.count(column) > 1:
                raise UsageError(f"{name}: column '{column}' appears twice in the header")


def _empty(name: str, dialect: Dialect) -> UsageError:
    after = f" after {counted(dialect.skip_lines, 'line')}" if dialect.skip_lines else ""
    return UsageError(f"{name}: is empty{after}; it needs a header that names the columns")


def _check_same_columns(files: list[SourceFile]) -> None:
    """Raise UsageError if files differ in their columns; count the files with each set."""
    groups: dict[frozenset[str], list[SourceFile]] = {}
    for file in files:
        groups.setdefault(frozenset(file.columns), []).append(file)
    if len(groups) == 1:
        return
    of_first, of_other, *_ = groups.values()
    first, other = of_first[0], of_other[0]
    differs = "; ".join(
        f"{what}: {', '.join(repr(column) for column in which)}"
        for what, which in (
            ("missing", [column for column in first.columns if column not in other.columns]),
            ("extra", [column for column in other.columns if column not in first.columns]),
        )
        if which
    )
    one, two = (
        f"{group[0].name}{f' and {len(group) - 1:,} more' if len(group) > 1 else ''}"
        for group in (of_other, of_first)
    )
    raise UsageError(f"{one}: the columns differ from those of {two} ({differs})")
