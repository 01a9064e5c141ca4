"""Finds the files that paths, globs, folders and URLs name; opens none of them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from pipeline.csv_text.compression import COMPRESSIONS
from pipeline.csv_text.files import shown
from pipeline.csv_text.messages import list_names
from pipeline.errors import StorageError, UsageError, is_storage_fault
from pipeline.storage.remote import explain_errors, file_system, is_remote, is_web

_PACKED = f"(?:{'|'.join(map(re.escape, COMPRESSIONS))})"
_TABLE = re.compile(rf"\.[ct]sv{_PACKED}?$", re.IGNORECASE)
_ENDING = re.compile(rf"(?:\.[ct]sv)?{_PACKED}?$", re.IGNORECASE)
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Files:
    """The files of a table, in input order: absolute paths, or URLs.

    `left_out` has the names in the table's folders that are not read; those of folders end in a
    slash.
    """

    paths: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)


def find_files(table: str, paths: Iterable[str]) -> Files:
    """Return the files of one table.

    A path names a local file, glob or folder, or is an fsspec URL. A folder stands for its `*.csv`
    and `*.tsv` files, in upper or lower case, compressed ones included. Files of a glob or folder
    are sorted by name. Hidden files and those that begin with `_` are read only if a glob spells
    that out. Raises UsageError if a path has no file or a file is found twice, in any form;
    StorageError if a file system fails.
    """
    files: list[str] = []
    left_out: list[str] = []
    for path in paths:
        found = _find(table, path)
        files += found
        left_out += found.left_out
    counts = Counter(file if is_remote(file) else os.path.realpath(file) for file in files)
    if twice := [file for file, count in counts.items() if count > 1]:
        raise UsageError(
            f"{table}: '{shown(min(twice))}' is named twice; its records would count twice"
        )
    return Files(tuple(files), tuple(left_out))


def would_find(path: str, file: str) -> bool:
    """Return whether a folder or glob would match a file once it exists.

    Both are local paths, or URLs of the same kind.
    """
    if is_remote(path) != is_remote(file) or os.path.isfile(path):
        return False
    if not is_remote(path):
        parts = os.path.abspath(path).split("/")
        fixed = _count_fixed("/".join(parts))
        path = "/".join([os.path.realpath("/".join(parts[:fixed]) or "/"), *parts[fixed:]])
        file = os.path.realpath(file)
    is_in = file.rpartition("/")[0] == path.rstrip("/")
    return is_in or bool(_MAGIC.search(path) and re.match(glob_translate(path), file))


def _find(table: str, path: str) -> Files:
    if is_web(path):  # a web server has no folders; looking for one would fetch the file
        return Files((path,))
    try:
        with explain_errors(path):
            return _find_in(table, *file_system(path), path)
    except OSError as error:
        kind = StorageError if is_storage_fault(error) else UsageError
        raise kind(f"{shown(path)}: cannot be read: {error.strerror or error}") from error


def _find_in(table: str, system: fsspec.AbstractFileSystem, inner: str, path: str) -> Files:
    left_out: list[str] = []
    if system.isdir(inner):
        found, left_out = _in_folder(table, system, inner, path)
        above = path.rstrip("/")
    elif system.isfile(inner):  # checked before globs, as a file's name may hold their characters
        return Files((_with_protocol(path, system, inner),))
    else:
        found = _glob(system, inner)
        above = path.rpartition("/")[0]
        if not found:
            _refuse(table, system, inner, path)
    _refuse_two_forms(found, path, above)
    files = [_with_protocol(path, system, file) for file in sorted(found)]
    return Files(tuple(files), tuple(left_out))


def _in_folder(
    table: str, system: fsspec.AbstractFileSystem, inner: str, path: str
) -> tuple[list[str], list[str]]:
    """Return the files in a folder that are to be read, and the names of everything else."""
    found, left_out = [], []
    for entry in system.ls(inner, detail=True):
        file = entry["name"].rstrip("/")
        name = file.rpartition("/")[2]
        if file == inner.rstrip("/") or _is_hidden(name):
            continue
        is_folder = entry["type"] == "directory" or (
            isinstance(system, LocalFileSystem) and os.path.isdir(file)
        )
        if _TABLE.search(name) and not is_folder:
            if isinstance(system, LocalFileSystem):
                _refuse_pipe(table, file, file)
            found.append(file)
        else:
            left_out.append(f"{name}{'/' if is_folder else ''}")
    below, names = shown(f"{path.rstrip('/')}/"), sorted(left_out)
    if found:
        return found, [f"{below}{name}" for name in names]
    has = f"; it has {list_names(names)}" if names else ""
    endings = Counter(os.path.splitext(name)[1] for name in names if not name.endswith("/"))
    if endings:
        has += f"; to read such files, use '{below}*{endings.most_common(1)[0][0]}'"
    elif _glob(system, f"{inner}/**/*.csv"):
        has += f"; to read the files in its folders, use '{below}**/*.csv'"
    raise UsageError(f"no *.csv file in the folder '{shown(path)}'{has}")


def _glob(system: fsspec.AbstractFileSystem, pattern: str) -> list[str]:
    """Return the files that match a glob, hidden ones only if it spells out their prefix."""
    fixed = _count_fixed(pattern)
    written_out = tuple(part[0] for part in pattern.split("/")[fixed:] if _is_hidden(part))
    return [
        file
        for file in system.glob(pattern)
        if not any(
            _is_hidden(part) and not part.startswith(written_out)
            for part in file.split("/")[fixed:]
        )
        and system.isfile(file)
    ]


def _count_fixed(pattern: str) -> int:
    """Return how many parts of a path come before the first one with glob characters."""
    parts = pattern.split("/")
    return next((index for index, part in enumerate(parts) if _MAGIC.search(part)), len(parts))


def _is_hidden(name: str) -> bool:
    """Return whether a file is hidden, a marker such as `_SUCCESS`, or a lock such as `~$a.csv`."""
    return name.startswith((".", "_", "~$"))


def _refuse(table: str, system: fsspec.AbstractFileSystem, inner: str, path: str) -> None:
    """Raise a UsageError that explains why a path leads to no file."""
    if isinstance(system, LocalFileSystem):
        _refuse_pipe(table, path, inner)
        _check_readable(inner)
    what = "use a CSV file, a glob or a folder"
    escaped = inner.replace("[", "[[]")
    if "[" in inner and (system.exists(inner.partition("*")[0]) or system.glob(escaped)):
        written = shown(path.replace("[", "[[]"))
        what = f"'[' begins a set of characters in a glob: write '{written}'"
    elif _MAGIC.search(inner) and any(map(system.isdir, system.glob(inner))):
        what = f"it matches only folders: write '{shown(path)}/*.csv'"
    raise UsageError(f"{table}: no file at '{shown(path)}'; {what}")


def _refuse_pipe(table: str, path: str, inner: str) -> None:
    """Raise UsageError for a pipe or a device: reading it may never end."""
    if path == "-" or (os.path.exists(inner) and not os.path.isfile(inner)):
        raise UsageError(
            f"{table}: '{shown(path)}' is a pipe or a device, which cannot be read in parts; write "
            f"its text into a file first: COMMAND > {table}.csv, then --{table} {table}.csv"
        )


def _check_readable(inner: str) -> None:
    """Raise OSError if one cannot tell whether a file exists: without permission, for example."""
    parts, fixed = inner.split("/"), _count_fixed(inner)
    with suppress(FileNotFoundError, NotADirectoryError):
        if fixed < len(parts):
            os.listdir("/".join(parts[:fixed]) or "/")
        else:
            os.stat(inner)


def _refuse_two_forms(found: Iterable[str], path: str, above: str) -> None:
    """Raise UsageError if a folder or glob has a file in two forms, which would count twice."""
    forms: dict[tuple[str, bool], tuple[str, str]] = {}
    for file in sorted(found):
        ending = next(_ENDING.finditer(file))[0]
        stem = file.removesuffix(ending), _TABLE.search(file) is not None
        other, first = forms.setdefault(stem, (file, ending))
        if other != file:
            one, two = (shown(each.rpartition("/")[2]) for each in (other, file))
            glob = shown(f"{above}/*{first}" if above else f"*{first}")
            raise UsageError(
                f"'{shown(path)}' has both '{one}' and '{two}', whose records would count twice; "
                f"to read one of them, use a glob such as '{glob}'; to read both, list each file"
            )


def _with_protocol(path: str, system: fsspec.AbstractFileSystem, inner: str) -> str:
    if isinstance(system, LocalFileSystem) or not is_remote(path):  # file:// as well
        return inner
    found: str = system.unstrip_protocol(inner)
    # A chained URL such as simplecache::file://… may also end at a local file.
    return found.removeprefix("file://")
