"""The combined table as one object in a store: a multipart upload by all workers.

The worker that writes a block stores it as a temporary object. Once all are written, they become
the parts of the upload, in order: the store copies each. It takes no part below 5 MiB except the
last, and no part number above 10,000. So workers read small neighbors again, or all blocks if there
are too many, and upload several as one part; likewise the header with the first block. A block or
part that is written twice has the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import dask.dataframe as dd
import pandas as pd

from pipeline.engine.ledger import NO_ENTRIES, Ledger, entry_with
from pipeline.engine.partitions import from_blocks
from pipeline.errors import UsageError
from pipeline.steps.write import Written
from pipeline.storage.objects import LARGEST_PART, LEAST_PART, MOST_PARTS, ObjectFolder, Upload

_READERS = 8  # threads that read temporary objects in one task


class _Pieces(NamedTuple):
    """A part to make: its number, the text it begins with, and the objects with the rest of it."""

    number: int
    lead: bytes
    names: tuple[str, ...]


@dataclass(frozen=True)
class Combined:
    """A part that was made: its number and its ETag."""

    number: int
    etag: str


@dataclass(frozen=True)
class CombinedObject:
    """The combined table as a multipart upload, and its first line (see `write.Target`).

    `place` is where the blocks wait.
    """

    upload: Upload
    place: ObjectFolder
    header: bytes

    @classmethod
    def begin(
        cls, output: ObjectFolder, name: str, place: ObjectFolder, header: bytes, purchases: int
    ) -> CombinedObject:
        """Start the upload; raise UsageError if `purchases` bytes do not fit into an object."""
        if purchases > MOST_PARTS * LARGEST_PART:
            raise UsageError(
                f"{purchases / 1e12:,.0f} TB of purchases do not fit into one object, which has at "
                f"most {MOST_PARTS:,} parts of 5 GiB; use a folder as --output-dir, or split the "
                "purchases over several runs"
            )
        return cls(output.start_upload(name), place, header)

    @property
    def path(self) -> None:
        """None: it is not in a file."""

    def write(self, block: int, _: int, size: int, texts: Iterator[memoryview]) -> None:
        """Store a block as a temporary object."""
        if size:
            self.place.put(_name(block), b"".join(texts))

    def assemble(self, written: Sequence[Written]) -> list[dd.DataFrame]:
        """Return lazy tasks that make the parts of the upload. Totals: `Combined`."""
        how = {"meta": NO_ENTRIES, "step": "assemble"}
        return [from_blocks(_make_part, self._parts(written), self.upload, self.place, **how)]

    def size(self, ledger: Ledger) -> int:
        """Return the total size in bytes of the parts that workers have uploaded."""
        made = {(one.number, one.etag) for one in ledger.all(Combined)}
        return sum(part.size for part in self.upload.parts() if (part.number, part.etag) in made)

    def _parts(self, written: Sequence[Written]) -> list[_Pieces]:
        """Return the blocks as parts; only the last may be too small."""
        total = len(self.header) + sum(block.bytes for block in written)
        least = max(LEAST_PART, -(-total // (MOST_PARTS - 1)))
        parts, size = [list[str]()], len(self.header)
        for block in written:
            if size >= least:
                parts.append([])
                size = 0
            if block.bytes:
                parts[-1].append(_name(block.block))
                size += block.bytes
        return [
            _Pieces(number, b"" if number > 1 else self.header, tuple(names))
            for number, names in enumerate(parts, start=1)
            if names or number == 1
        ]


def _make_part(pieces: _Pieces, upload: Upload, place: ObjectFolder) -> pd.DataFrame:
    number, lead, names = pieces
    if len(names) == 1 and not lead:
        etag = upload.copy(number, place, names[0])
    else:
        with ThreadPoolExecutor(_READERS) as pool:
            etag = upload.put(number, b"".join([lead, *pool.map(place.get, names)]))
    return entry_with(Combined(number, etag))


def _name(block: int) -> str:
    return f"block-{block}"
