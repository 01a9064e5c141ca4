"""Paths as users write them: which are valid, and what `~` stands for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TypeAlias

from pipeline.errors import UsageError

AnyPath: TypeAlias = "str | os.PathLike[str]"
Paths: TypeAlias = "Iterable[AnyPath]"

# The sample, for a run that names neither table.
_SAMPLE = {"customers": ("data/customers.csv",), "purchases": ("data/purchases.csv",)}
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*(?=://)")
# The beginning of a URL with too few slashes.
_HALF_URL = re.compile(
    r"(s3a?|gs|gcs|az|abfss?|adl|hdfs|https?|s?ftp|file|local|memory):/?(?!/)", re.IGNORECASE
)


def clean_inputs(
    customers: Paths | None, purchases: Paths | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the paths of both tables as text (see `clean_path`); for None, those of the sample.

    Raises UsageError if only one table is named, a table has no path, or the current folder has
    been deleted.
    """
    _check_current_folder()
    given = {"customers": customers, "purchases": purchases}
    missing = [name for name, paths in given.items() if paths is None]
    if len(missing) == 1:
        (named,) = given.keys() - missing
        raise UsageError(
            f"--{missing[0]} is missing; pass it as well as --{named}, or neither to read the "
            "sample"
        )
    found = []
    for name, sample in _SAMPLE.items():
        paths = sample if missing else given[name]
        if isinstance(paths, str | os.PathLike) or not paths:
            raise UsageError(f"{name} must be a list of one or more paths, not {paths!r}")
        found.append(tuple(clean_path(path, f"--{name}") for path in paths))
    return found[0], found[1]


def clean_output(path: AnyPath) -> str:
    """Return the path or URL of the outputs as text; raise UsageError if none can go there."""
    output_dir = clean_path(path, "--output-dir")
    scheme, is_url, rest = output_dir.partition("://")
    if is_url and scheme != "s3":
        here = scheme in ("file", "local")
        folder = f"the folder as /{rest.lstrip('/')}" if here else "a folder"
        raise UsageError(
            f"--output-dir: cannot write to '{output_dir}'; use {folder}, local or shared by "
            "all machines, or s3://bucket/prefix"
        )
    return output_dir


def clean_report(path: AnyPath | None) -> str | None:
    """Return the path of Dask's report as text, if any; raise UsageError if it is not local."""
    if path is None:
        return None
    report = clean_path(path, "--performance-report")
    if "://" in report:
        raise UsageError(
            f"--performance-report: '{report}' is not a local file; use one, such as report.html"
        )
    return report


def clean_path(path: AnyPath, option: str) -> str:
    """Return a path or URL as text, with `~` or `~user` replaced by the home folder.

    The scheme of a URL is in lowercase. Raises UsageError if the path is empty or half a URL,
    or the home folder is unknown.
    """
    text = _SCHEME.sub(lambda scheme: scheme[0].lower(), os.fspath(path))
    if not text.strip():
        what = (
            "a file"
            if option == "--performance-report"
            else "a file or folder, such as '.' for the current folder"
        )
        raise UsageError(f"{option}: the path is empty; use {what}")
    if "\0" in text:
        raise UsageError(f"{option}: {text!r} contains a NUL, which is not allowed in a path")
    if half := _HALF_URL.match(text):
        rest = text[half.end() :]
        url = f"{half[1].lower()}://{'/' if half[1].lower() in ('file', 'local') else ''}{rest}"
        raise UsageError(
            f"{option}: '{text}' may be a path or a URL; write it as {url}, or as ./{text} "
            "if it is a path"
        )
    if re.match(r"s3://(/|$)", text):
        raise UsageError(f"{option}: '{text}' names no bucket; write it as s3://bucket/prefix")
    if not text.startswith("~"):
        return text
    expanded = os.path.expanduser(text)
    if expanded == text:
        home = text.partition("/")[0]
        raise UsageError(
            f"{option}: '{text}': the home folder '{home}' is unknown; write the full path, or "
            f"./{text} if that is its name"
        )
    return expanded


def _check_current_folder() -> None:
    """Raise UsageError if there is no current folder, to which paths are relative."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UsageError(
            "the current folder has been deleted; change to another one (cd), then run again"
        ) from error
