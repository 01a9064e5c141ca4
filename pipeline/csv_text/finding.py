"""Turns paths, globs, folders and URLs into files, in order; opens none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.csv_text.compression import COMPRESSIONS
from pipeline.csv_text.files import shown
from pipeline.csv_text.remote import file_system, is_remote, is_web, told
from pipeline.errors import StorageError, UsageError, is_storage_fault

_ENDINGS = tuple(f".csv{ending}" for ending in ("", *COMPRESSIONS))


def find_files(table: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the files of one table, in input order: absolute paths, or URLs; open none.

    `paths` are files, globs or folders (all `*.csv` in them, compressed ones too), local or fsspec
    URLs. Files of a glob or folder are in order of their names. Raises UsageError naming the path
    at which no file is, or the file that is found twice, in any form, and StorageError if a file
    system fails.
    """
    files: list[str] = []
    for path in paths:
        found = _find(path)
        if not found:
            raise UsageError(
                f"{table}: no file at '{shown(path)}'; name a file, a glob or a folder of CSV"
            )
        files += found
    places = Counter(file if is_remote(file) else os.path.realpath(file) for file in files)
    if twice := [place for place, times in places.items() if times > 1]:
        raise UsageError(
            f"{table}: '{shown(min(twice))}' is named twice; its records would count twice"
        )
    return tuple(files)


def _find(path: str) -> list[str]:
    if is_web(path):  # a web server has no folders; to look for one would fetch the file
        return [path]
    try:
        with told(path):
            return _find_in(*file_system(path), path)
    except OSError as error:
        kind = StorageError if is_storage_fault(error) else UsageError
        raise kind(f"{shown(path)}: cannot be read: {error.strerror or error}") from error


def _find_in(system: fsspec.AbstractFileSystem, inner: str, path: str) -> list[str]:
    if system.isdir(inner):
        names = filter(_is_visible, system.ls(inner, detail=False))
        found = [file for file in names if file.endswith(_ENDINGS)]
        if not found:
            raise UsageError(f"no *.csv file in the folder '{shown(path)}'")
    elif system.isfile(inner):  # first: a file's name may hold the characters of a glob
        return [_with_protocol(path, system, inner)]
    else:
        # As in a shell, a glob matches hidden files only if its own last name begins like one.
        matches = system.glob(inner)
        named = matches if not _is_visible(inner) else filter(_is_visible, matches)
        found = [file for file in named if system.isfile(file)]
    _refuse_two_forms(found, path)
    return [_with_protocol(path, system, file) for file in sorted(found)]


def _refuse_two_forms(found: Iterable[str], path: str) -> None:
    """Raise UsageError if a folder or glob has a file and its compressed form: records twice."""
    forms: dict[str, str] = {}
    for file in sorted(found):
        ending = next((ending for ending in COMPRESSIONS if file.endswith(ending)), "")
        other = forms.setdefault(file.removesuffix(ending), file)
        if other != file:
            one, two = (shown(each.rpartition("/")[2]) for each in (other, file))
            raise UsageError(
                f"'{shown(path)}' has both '{one}' and '{two}', whose records would count twice; "
                "name a glob that takes one of them, such as '*.csv', or each file to take both"
            )


def _is_visible(path: str) -> bool:
    """Tell whether a file is neither hidden nor the lock of an open document, as `~$a.csv`."""
    return not path.rpartition("/")[2].startswith((".", "~$"))


def _with_protocol(path: str, system: fsspec.AbstractFileSystem, inner: str) -> str:
    if isinstance(system, LocalFileSystem) or not is_remote(path):  # also at file://
        return inner
    found: str = system.unstrip_protocol(inner)
    # A chain of URLs, such as simplecache::file://, may end at a local file as well.
    return found.removeprefix("file://")
