"""Versions of a file: whether it is still as it was when the run was planned."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import InputChangedError

_RETRY = "nothing was published; run the job again once no program is writing to it"


@dataclass(frozen=True)
class Version:
    """One version of a file; two versions are equal if nobody wrote to the file in between.

    `size` is in bytes. For a local file, `stamp` is the time of the last change in ns, and `inode`
    is its inode. Elsewhere, `etag` is the ETag, if there is one, and `stamp` is the time, unless a
    store's ETag makes it redundant. Two fields are not compared: `modified`, the time as ISO 8601,
    and `ends`, a checksum of the first and last bytes. None means unknown.
    """

    size: int
    stamp: int | str | None = None
    inode: int | None = None
    etag: str | None = None
    modified: str | None = field(default=None, compare=False)
    ends: int | None = field(default=None, compare=False)

    @classmethod
    def of_open(cls, file: Any) -> Version:
        """Return the version of an open local file."""
        status = os.fstat(file.fileno())
        modified = datetime.fromtimestamp(status.st_mtime, UTC).isoformat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, modified=modified)

    def difference(self, now: Version) -> str:
        """Describe how the file differs from this version; empty if it does not."""
        if now.size != self.size:
            return f"it had {self.size:,} bytes when the run began, and has {now.size:,}"
        if now.inode != self.inode:
            return "another file of the same size took its place"
        return "" if now == self else "it was written to"


def input_changed(name: str, how: str) -> InputChangedError:
    """Return the error for a file that is not the planned version."""
    return InputChangedError(f"{name}: changed during the run: {how}; {_RETRY}")


def input_ends_early(name: str, size: int) -> InputChangedError:
    """Return the error for a file that ends before byte `size`, which was to be read."""
    return input_changed(name, f"it ends before byte {size:,}")


def read_on(start: int, stop: int, read: Callable[[int, int], bytes]) -> bytes:
    """Return bytes `start` to `stop` of a file, or fewer at its end.

    `read(start, stop)` may return fewer bytes each time, but returns none only at the end.
    """
    parts, offset = [], start
    while offset < stop and (part := read(offset, stop)):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
