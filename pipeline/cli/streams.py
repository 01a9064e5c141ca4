"""Standard output and standard error that outlive their readers and can print any file name."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from pipeline.csv_text.messages import PRINTABLE


def outlive_readers() -> None:
    """Discard output to a pipe whose reader, such as `head`, has exited.

    A run must not fail because nobody reads its messages, because standard error cannot be written
    to, or because the terminal's encoding lacks a character. Any other failure to write to standard
    output is an error, whose message says so.
    """
    for name, kind in (("stdout", _Lasting), ("stderr", _Dropping)):
        stream = getattr(sys, name)
        if stream is None:  # closed when this process started
            lasting = open(os.devnull, "w")  # noqa: SIM115  # the process writes to it until it ends
        else:
            lasting = io.TextIOWrapper(
                io.BufferedWriter(kind(stream.fileno(), "w", closefd=False)),
                stream.encoding,
                PRINTABLE,
                line_buffering=stream.line_buffering,
            )
        setattr(sys, name, lasting)


class _Lasting(io.FileIO):
    _failed = False

    def write(self, data: Any) -> int:
        try:
            # Python flushes again at exit; a second failure would only print a traceback.
            return len(data) if self._failed else super().write(data)
        except BrokenPipeError:
            return len(data)
        except OSError as error:
            self._failed = True
            raise OSError(error.errno, error.strerror, "standard output") from None


class _Dropping(_Lasting):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:  # there is nowhere left to report it
            return len(data)
