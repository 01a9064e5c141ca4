"""The errors of a run, each with the exit code of the command line."""

from __future__ import annotations

import errno
from collections.abc import Iterator

# Errors of a failing file system, whatever the path.
_STORAGE_FAULTS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),  # full, over quota or read-only
    *(errno.EIO, errno.ENXIO, errno.ENODEV, errno.EUCLEAN),  # disk failures
    *(errno.ESTALE, errno.EREMOTEIO, errno.ETIMEDOUT, errno.EHOSTDOWN),  # file server failures
}

_RAISE_THREADS = (
    "raise the limit on processes (ulimit -u, or the container's pids limit), or lower --workers "
    "and --threads-per-worker"
)
_RAISE_FILES = "raise the limit on open files (ulimit -n)"
_RAISE_MEMORY = (
    "give the job more memory (ulimit -v, or the container's limit), or lower --block-size"
)
_SET_TMPDIR = "set TMPDIR to a writable folder"
# What to do, by the number or the text of the system's error.
_REFUSED = {
    errno.EAGAIN: _RAISE_THREADS,
    errno.EMFILE: _RAISE_FILES,
    errno.ENFILE: _RAISE_FILES,
    errno.ENOMEM: _RAISE_MEMORY,
    "can't start new thread": _RAISE_THREADS,
    "failed to map segment from shared object": _RAISE_MEMORY,
    "No usable temporary directory": _SET_TMPDIR,
}


class PipelineError(Exception):
    """A failure with a one-line message: what is wrong, where, and how to fix it."""

    exit_code = 1


class DataError(PipelineError):
    """Too much of the data is bad, or a check failed."""

    exit_code = 1


class UsageError(PipelineError):
    """An option, a path or a column is wrong."""

    exit_code = 2


class ClusterError(PipelineError):
    """The cluster is unreachable, lacks something, or was lost."""

    exit_code = 3


class StorageError(PipelineError):
    """A file system or a network failed: disk full, an I/O error, an input that vanished."""

    exit_code = 4


class InputChangedError(StorageError):
    """An input has changed since the run was planned."""


class ResourceError(PipelineError):
    """The system cannot provide memory, a thread, a process, a file or a connection."""

    exit_code = 4


def system_fault(error: BaseException) -> PipelineError | None:
    """Return a StorageError or a ResourceError if a file system or another resource failed.

    A ResourceError also says what to do, if that is known. Returns None if `error` has another
    cause.
    """
    for cause in causes(error):
        text = " ".join(str(cause).split())
        if isinstance(cause, MemoryError):
            return ResourceError(
                f"out of memory: {text or 'an allocation failed'}; {_RAISE_MEMORY}"
            )
        if is_storage_fault(cause):
            where = getattr(cause, "filename", None) or "a file system failed"
            return StorageError(f"{where}: {getattr(cause, 'strerror', None) or text}")
        for sign, remedy in _REFUSED.items():
            if sign == getattr(cause, "errno", None) or (isinstance(sign, str) and sign in text):
                return ResourceError(f"system resource unavailable: {text}; {remedy}")
        if isinstance(cause, OSError):
            return ResourceError(
                f"system error: {type(cause).__name__}: {text}; --debug shows where"
            )
    return None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that cause, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def is_storage_fault(error: BaseException) -> bool:
    """Return whether an error means that a file system failed, not that a path is wrong."""
    return isinstance(error, OSError) and error.errno in _STORAGE_FAULTS
