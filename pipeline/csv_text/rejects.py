"""Records that could not be read, column by column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import TEXT
from pipeline.columns.totals import range_total
from pipeline.kernels.gather import ROOM, gather_ranges
from pipeline.kernels.marks import NONE
from pipeline.kernels.scan import (
    AFTER_QUOTE,
    NUL,
    TOO_FEW,
    TOO_LONG,
    TOO_MANY,
    UNCLOSED,
    UNDECODABLE,
)

# What is wrong with a record that `scan.scan_records` finds good.
REPEATED = TOO_MANY + 1
# Of Arrow tables of rejects; `raw` is bytes in the encoding of the file.
SCHEMA = pa.schema(
    {
        **dict.fromkeys(("line", "offset", "length"), pa.int64()),
        **dict.fromkeys(("reason", "detail"), TEXT),
        "raw": pa.large_binary(),
        "file": pa.int64(),
    }
)


class Reject(NamedTuple):
    """A record that could not be read.

    `line` and `offset` count from 0 in its block's text of that `file`.
    `length` is that of the record in bytes, without its line end; `raw`, too, has no line end, and
    not more bytes than the largest record may have.
    """

    line: int
    offset: int
    length: int
    reason: str
    detail: str
    raw: bytes
    file: int = 0


class Rejects(Sequence[Reject]):
    """The rejected records of some texts."""

    def __init__(
        self,
        text: np.ndarray,
        faults: np.ndarray,
        columns: int,
        encoding: str,
        max_size: int,
        starts: np.ndarray,
    ) -> None:
        """Take texts, back to back (uint8), what is wrong in them (int64), and where each begins.

        Of each fault there are the numbers of `scan.scan_records`; its line is that of its text.
        """
        self._text, self._faults, self._starts = text, faults, starts
        self._columns, self._encoding, self._max_size = columns, encoding, max_size

    def __len__(self) -> int:
        return len(self._faults)

    @overload
    def __getitem__(self, index: int) -> Reject: ...

    @overload
    def __getitem__(self, index: slice) -> Rejects: ...

    def __getitem__(self, index: int | slice) -> Reject | Rejects:
        if isinstance(index, int):
            (one,) = rejects_of(self[index : index + 1 or None].table())
            return one
        how = self._columns, self._encoding, self._max_size, self._starts
        return Rejects(self._text, self._faults[index], *how)

    def __iter__(self) -> Iterator[Reject]:
        return iter(rejects_of(self.table()) if len(self) else ())

    @property
    def sizes(self) -> np.ndarray:
        """The size of the `raw` of each, in bytes (int64)."""
        return np.minimum(self._faults[:, 1], self._max_size)

    @property
    def reasons(self) -> list[str]:
        """The reason of each."""
        names = self._reasons()
        return [names[code] for code in self._faults[:, 3].tolist()]

    def text_total(self) -> int:
        """Return the total of their whole text (see `totals.text_total`)."""
        begin, size = self._faults[:, 0].copy(), self._faults[:, 1]
        return range_total(self._text, begin, begin + size)

    def table(self) -> pa.Table:
        """Return them as an Arrow table (see `SCHEMA`)."""
        offset, length, line, reason, detail = self._faults.T
        parts = [reason == code for code in range(REPEATED + 1)]
        reasons = pa.array(self._reasons(), TEXT).take(pa.array(reason))
        details = self._details(parts, offset, detail)
        file = np.searchsorted(self._starts, offset, side="right") - 1
        places = line, offset - self._starts[file], length
        return pa.table([*places, reasons, details, self._raw(), file], schema=SCHEMA)

    def _reasons(self) -> list[str]:
        names = {
            UNCLOSED: "unclosed quote",
            AFTER_QUOTE: "text after a closing quote",
            TOO_LONG: "record too long",
            NUL: "NUL byte",
            UNDECODABLE: f"not {self._encoding.upper()}",
            TOO_FEW: "too few fields",
            TOO_MANY: "too many fields",
            REPEATED: "the header again",
        }
        return [names.get(code, "") for code in range(REPEATED + 1)]

    def _details(
        self, of_reason: list[np.ndarray], offset: np.ndarray, detail: np.ndarray
    ) -> pa.Array:
        numbers = pc.cast(pa.array(detail), TEXT)
        at_byte = _joined("at byte ", numbers, " of the record")
        found = pa.repeat(pa.scalar("", TEXT), len(detail))
        if of_reason[UNDECODABLE].any():
            bytes_found = self._text[np.where(of_reason[UNDECODABLE], offset + detail, 0)]
            names = pa.array([f"byte 0x{byte:02x} " for byte in range(256)], TEXT)
            named = _joined("", names.take(pa.array(bytes_found)), "", at_byte)
            found = pc.if_else(pa.array(of_reason[UNDECODABLE]), named, found)
        found = pc.if_else(pa.array(of_reason[NUL]), at_byte, found)
        counted = _joined("", numbers, f" where the header has {self._columns}")
        return pc.if_else(pa.array(of_reason[TOO_FEW] | of_reason[TOO_MANY]), counted, found)

    def _raw(self) -> pa.Array:
        begin = np.ascontiguousarray(self._faults[:, 0])
        end = begin + self.sizes
        data = np.empty(int((end - begin).sum()) + ROOM, np.uint8)
        bounds = np.empty(len(begin) + 1, np.int64)
        gather_ranges(self._text, begin, end, NONE, data, bounds)
        buffers = [None, pa.py_buffer(bounds), pa.py_buffer(data[: bounds[-1]])]
        return pa.Array.from_buffers(pa.large_binary(), len(begin), buffers)


def rejects_of(table: pa.Table) -> list[Reject]:
    """Return the rows of an Arrow table of rejects."""
    return [Reject(*row) for row in zip(*(c.to_pylist() for c in table.columns), strict=True)]


def table_of(rejects: Sequence[Reject]) -> pa.Table:
    """Return rejects as an Arrow table (see `SCHEMA`)."""
    columns = zip(*rejects, strict=True) if rejects else [()] * len(SCHEMA)
    return pa.table([list(column) for column in columns], schema=SCHEMA)


def _joined(*parts: pa.Array | str) -> pa.Array:
    """Return texts made of parts, some of which are the same in all."""
    some = [pa.scalar(part, TEXT) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*some, pa.scalar("", TEXT))
