"""Checks, before a run writes anything, that no output would overwrite a file of the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from functools import cache, partial
from pathlib import PurePath

from pipeline.csv_text.files import shown
from pipeline.csv_text.finding import would_find
from pipeline.errors import UsageError
from pipeline.outputs.names import COMBINED, REJECTED, SPENDING, is_reserved
from pipeline.settings import Settings
from pipeline.steps.plan import Inputs
from pipeline.storage.objects import ObjectFolder, is_object_url
from pipeline.storage.remote import is_remote


def check_separate(settings: Settings, inputs: Inputs) -> None:
    """Check that no output is an input, and that no two outputs are the same; write nothing.

    The outputs are all that a run writes, replaces or deletes in its output folder, and Dask's
    performance report. Two local paths are the same file if they have the same real path or inode.
    Raises a UsageError that names both.
    """
    folder, report = settings.output_dir, settings.performance_report
    output_at: Callable[[str], str | None]
    if is_object_url(folder):
        output_at = partial(_object_at, ObjectFolder.of(folder).url(""))
    else:
        output_at = _OutputFolder(folder).at
    for table, files in (("customers", inputs.customers), ("purchases", inputs.purchases)):
        for file in files:
            if output := output_at(file):
                raise UsageError(
                    f"{table}: a run would replace or delete the input {_alias(file, output)}; "
                    "choose another folder with --output-dir, or move the input"
                )
            if report and not is_remote(file) and _identity(report) == _identity(file):
                raise UsageError(
                    f"--performance-report: '{report}' is the input '{shown(file)}' of {table}; "
                    "use another file"
                )
    _check_next_run(settings)
    if report and (output := output_at(os.path.abspath(report))):
        raise UsageError(
            f"--performance-report: a run would replace or delete {_alias(report, output)}; use "
            "another file"
        )


def _alias(path: str, output: str) -> str:
    """Name a file by its path and, if that differs, by the path of the output that it is."""
    name, other = shown(path), shown(output)
    return f"'{name}'" if name == other else f"'{name}', which is '{other}'"


def _check_next_run(settings: Settings) -> None:
    """Raise UsageError if a folder or glob of inputs would match what a run writes."""
    for table, paths in (("customers", settings.customers), ("purchases", settings.purchases)):
        for path in paths:
            for name in (COMBINED, SPENDING, REJECTED):
                if would_find(path, f"{settings.output_dir.rstrip('/')}/{name}"):
                    raise UsageError(
                        f"{table}: in the next run, '{shown(path)}' would match '{name}' in the "
                        f"output folder '{shown(settings.output_dir)}'; choose another folder with "
                        "--output-dir, or list the input files"
                    )


def _object_at(begin: str, path: str) -> str | None:
    """Return the URL of the output at a path or URL; outputs are below the prefix `begin`."""
    return path if path.startswith(begin) and is_reserved(path.removeprefix(begin)) else None


class _OutputFolder:
    """What a run writes, replaces or deletes in its output folder."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.abspath(folder)
        self._folder = _identity(folder)
        names = filter(is_reserved, os.listdir(folder) if os.path.isdir(folder) else ())
        # These may be links to an input.
        self._links = {_identity(os.path.join(folder, name)): name for name in names}
        self._below = cache(self._find_below)

    def at(self, path: str) -> str | None:
        """Return the path of the output at an absolute path or URL; None if there is none."""
        if is_remote(path):
            return None
        folder, name = os.path.split(path)
        real_folder, real_name = os.path.split(os.path.realpath(path))
        candidates = [
            f"{below}{name}"
            for below, name in ((self._below(folder), name), (self._below(real_folder), real_name))
            if below is not None
        ]
        candidates += filter(None, [self._links.get(_identity(path))])
        found = next(filter(is_reserved, candidates), None)
        return found and os.path.join(self._path, found)

    def _find_below(self, folder: str) -> str | None:
        """Return the path from the output folder to one in it, "" or ending in "/"; else None."""
        real = PurePath(os.path.realpath(folder))
        for above in (real, *real.parents):
            if _identity(str(above)) == self._folder:
                return "".join(f"{name}/" for name in real.relative_to(above).parts)
        return None


def _identity(path: str) -> Hashable:
    """Return what identifies a file or folder: device and inode, or the real path if missing."""
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino
