"""The combined table as one file in a folder that all workers see.

If this machine also handled all earlier blocks, the prefix sum of their lengths is a block's
offset, and it is written there. Otherwise it goes into a part file, which is copied into place at
the end. Each worker then fills ranges of whole pages: on a network file system, two clients that
write within one page can corrupt it. If possible, the kernel or the file server does the copying.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import dask.dataframe as dd
import pandas as pd

from pipeline.engine.ledger import NO_ENTRIES, Ledger, entry_with
from pipeline.engine.partitions import from_blocks
from pipeline.engine.prefix_sum import PrefixSum
from pipeline.engine.shared import shared
from pipeline.steps.write import Written, offsets
from pipeline.storage.places import open_file, write_at

_RANGE = 1 << 26  # bytes of the file that one task fills: a multiple of any page size
_CHUNK = 1 << 20
# The kernel or the file system does not support copy_file_range here.
_NO_COPY = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class Piece(NamedTuple):
    """`size` bytes at offset `start` of the file `source`, which belong at offset `place`."""

    source: str
    start: int
    place: int
    size: int


@dataclass(frozen=True)
class CombinedFile:
    """The combined table as a file at an absolute path, and its first line (see `write.Target`)."""

    path: str
    header: bytes

    @classmethod
    def create(cls, path: Path, header: bytes) -> CombinedFile:
        """Create the file with its header."""
        path.write_bytes(header)
        return cls(str(path), header)

    def write(
        self, block: int, following: int, size: int, texts: Iterator[memoryview]
    ) -> int | None:
        """Write a block to its place, or into a part file if its place is unknown here."""
        prefix = shared(self.path, lambda: PrefixSum(len(self.header), Path(self.path).parent))
        place = prefix.add(block, size, following)
        # Never create the combined file or its folder: a worker that outlives its run must leave
        # nothing behind. Never truncate a part file: it may be complete, and this worker late.
        path, new = (part_file(self.path, block), os.O_CREAT) if place is None else (self.path, 0)
        with open_file(path, os.O_WRONLY | new) as file:
            offset = place or 0
            for text in texts:
                write_at(file, text, offset)
                offset += len(text)
        return place

    def assemble(self, written: Sequence[Written]) -> list[dd.DataFrame]:
        """Return lazy tasks that copy the part files into place, if there are any."""
        ranges: dict[int, list[Piece]] = defaultdict(list)
        for block, place in zip(written, offsets(written, len(self.header)), strict=False):
            if block.offset is not None:
                continue
            source = part_file(self.path, block.block)
            start, size = 0, block.bytes
            while start < size:
                number = (place + start) // _RANGE
                stop = min(size, (number + 1) * _RANGE - place)
                ranges[number].append(Piece(source, start, place + start, stop - start))
                start = stop
        if not ranges:
            return []
        pieces = list(ranges.values())
        return [from_blocks(_copy, pieces, self.path, meta=NO_ENTRIES, step="assemble")]

    def size(self, _: Ledger) -> int:
        """Return the size of the file in bytes."""
        return os.stat(self.path).st_size


def part_file(path: str, block: int) -> str:
    """Return the path of the part file that holds a block until it is copied into `path`."""
    return f"{path}.part-{block}"


def _copy(pieces: list[Piece], path: str) -> pd.DataFrame:
    for piece in pieces:
        with open_file(piece.source, os.O_RDONLY) as source, open_file(path, os.O_WRONLY) as target:
            _copy_piece(piece, source, target)
    return entry_with()


def _copy_piece(piece: Piece, source: int, target: int) -> None:
    done = 0
    while done < piece.size:
        start, place, left = piece.start + done, piece.place + done, piece.size - done
        try:
            copied = os.copy_file_range(source, target, left, start, place)
        except OSError as error:
            if error.errno not in _NO_COPY:
                raise
            chunk = os.pread(source, min(left, _CHUNK), start)
            write_at(target, chunk, place)
            copied = len(chunk)
        if not copied:
            raise OSError(errno.EIO, f"{piece.source} is shorter than expected")
        done += copied
