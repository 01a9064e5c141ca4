"""The errors of a run, each with the exit code of the command line."""

from __future__ import annotations

import errno

# Errors of a failing file system, whatever the path.
_STORAGE_FAULTS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),  # full, over quota or read-only
    *(errno.EIO, errno.ENXIO, errno.ENODEV, errno.EUCLEAN),  # disk failures
    *(errno.ESTALE, errno.EREMOTEIO, errno.ETIMEDOUT, errno.EHOSTDOWN),  # file server failures
}


class PipelineError(Exception):
    """A failure with a one-line message: what is wrong, where, and how to fix it."""

    exit_code = 1


class DataError(PipelineError):
    """The data was refused, or the books of a run do not balance."""

    exit_code = 1


class UsageError(PipelineError):
    """An option, a path or a column is wrong."""

    exit_code = 2


class ClusterError(PipelineError):
    """The cluster is unreachable, lacks something, or was lost."""

    exit_code = 3


class StorageError(PipelineError):
    """A file system or a network failed: disk full, an I/O error, or an input that is gone."""

    exit_code = 4


class InputChangedError(StorageError):
    """An input is not what it was when the run was planned."""


def is_storage_fault(error: BaseException) -> bool:
    """Return whether an error means a failing file system, not a wrong path."""
    return isinstance(error, OSError) and error.errno in _STORAGE_FAULTS
