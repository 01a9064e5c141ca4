"""The ways a run can fail, each with the exit code that the command line ends with."""

from __future__ import annotations


class PipelineError(Exception):
    """A failure with one line for the user: what is wrong, where, and how to mend it."""

    exit_code = 1


class DataError(PipelineError):
    """The data was refused, or the books of a run do not balance."""

    exit_code = 1


class UsageError(PipelineError):
    """An option, a path or a column that cannot be meant."""

    exit_code = 2


class ClusterError(PipelineError):
    """The cluster cannot be reached, lacks something, or was lost."""

    exit_code = 3
