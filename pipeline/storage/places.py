"""Where the workers of a run keep temporary data: a shared folder; for stores, see `objects`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

if TYPE_CHECKING:
    from pipeline.storage.objects import ObjectFolder


# A folder that all workers see, or one in a store. `hint` says how to let them write there.
Place: TypeAlias = "Folder | ObjectFolder"


@dataclass(frozen=True)
class Folder:
    """A folder at an absolute path that all workers see."""

    path: str
    hint: ClassVar[str] = (
        "with --output-dir, choose a folder that all machines share at the same path and in which "
        "the workers' user may write"
    )

    def __str__(self) -> str:
        """Return the path."""
        return self.path

    def put(self, name: str, data: bytes) -> None:
        """Write a file. Never creates the folder: a worker that outlives its run leaves nothing."""
        with open_file(os.path.join(self.path, name), os.O_WRONLY | os.O_CREAT) as file:
            write_at(file, data, 0)

    def get(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return Path(self.path, name).read_bytes()

    def below(self, name: str) -> Folder:
        """Return a folder in this one; create it if it is missing."""
        path = Path(self.path, name)
        path.mkdir(exist_ok=True)
        return Folder(str(path))


@contextmanager
def open_file(path: str, flags: int) -> Iterator[int]:
    """Open a file and yield its descriptor; make any OSError in the block name the file."""
    file = os.open(path, flags, 0o666)
    try:
        yield file
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror, path) from error
        raise
    finally:
        os.close(file)


def write_at(file: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of the data to a descriptor at an offset."""
    left = memoryview(data)
    while left:
        size = os.pwrite(file, left, offset)
        left, offset = left[size:], offset + size
