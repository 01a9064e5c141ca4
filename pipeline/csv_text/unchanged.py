"""Checks that the inputs are still those that the run was planned with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from pipeline.csv_text.files import call_at_once, checksum_of_ends, read_bytes, version_of
from pipeline.csv_text.sources import Source, SourceFile
from pipeline.errors import InputChangedError
from pipeline.storage.remote import list_versions
from pipeline.storage.versions import Version, input_changed


class WatchedInputs:
    """The input files of a run; `warn` is called with a message about each that has grown."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._files: list[SourceFile] = []

    def watch(self, *sources: Source) -> None:
        """Add the files of some tables, in their planned versions."""
        self._files += [file for source in sources for file in source.files]

    def check(self) -> None:
        """Warn of files that have grown; raise InputChangedError for any other change."""
        for file, growth in zip(self._files, self.compare(), strict=True):
            if growth:
                self._warn(
                    f"{file.name} grew by {growth:,} bytes during the run; only its first "
                    f"{file.size:,} bytes were read"
                )

    def compare(self) -> list[int]:
        """Return by how many bytes each file has grown; raise InputChangedError (see `check`)."""
        listed = list_versions(file.path for file in self._files)
        return list(call_at_once(partial(_growth, listed), self._files))


@contextmanager
def unchanged_inputs(warn: Callable[[str], None]) -> Iterator[WatchedInputs]:
    """Yield the inputs of a run, to be watched and checked; compare them if the block fails.

    A changed input explains any failure: damaged data, blocks that do not meet, an index out of
    range. So InputChangedError is raised instead.
    """
    inputs = WatchedInputs(warn)
    try:
        yield inputs
    except InputChangedError:
        raise
    except Exception as error:
        try:
            inputs.compare()
        except InputChangedError as change:
            raise change from error
        raise


def _growth(listed: Mapping[str, Version], file: SourceFile) -> int:
    """Return by how many bytes a file has grown; raise InputChangedError for any other change."""
    try:
        now = listed.get(file.path) or version_of(file.path)
        if now == file.version:
            return 0
        if now.size > file.size and now.inode == file.version.inode and _has_only_grown(file):
            return now.size - file.size
    except OSError as error:
        raise InputChangedError(
            f"{file.name}: can no longer be read: {error.strerror or error}; nothing was "
            "published; check the file or its server, then run again"
        ) from error
    raise input_changed(file.name, file.version.difference(now))


def _has_only_grown(file: SourceFile) -> bool:
    """Return whether a file only grew: the planned part ends a line and seems unchanged."""
    if not file.is_plain or file.version.ends is None:  # compressed, converted or at a URL
        return False
    last = read_bytes(file.path, file.size - 1, file.size)
    return last in (b"\n", b"\r") and checksum_of_ends(file.path, file.size) == file.version.ends
