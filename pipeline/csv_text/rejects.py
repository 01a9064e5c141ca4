"""Records that could not be read, as tables: a block may have a million of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import TEXT
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

# A fault that `scan.scan_records` does not look for.
REPEATED = TOO_MANY + 1
_REASONS = {
    UNCLOSED: "unclosed quote",
    AFTER_QUOTE: "text after a closing quote",
    TOO_LONG: "record too long",
    NUL: "NUL byte",
    TOO_FEW: "too few fields",
    TOO_MANY: "too many fields",
    REPEATED: "the header again",
}
# The columns of such a table (see `Reject`); `raw` is bytes in the encoding of the file.
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

    `line` and `offset` count from 0 in the block's text of that `file`. `length` is the size of the
    record in bytes, and `raw` its bytes, up to the maximum record size. Neither includes the line
    end.
    """

    line: int
    offset: int
    length: int
    reason: str
    detail: str
    raw: bytes
    file: int = 0


def make_table(
    text: np.ndarray,
    faults: np.ndarray,
    starts: np.ndarray,
    *,
    columns: int,
    encoding: str,
    max_size: int,
) -> pa.Table:
    """Return the faults in some texts as a table of rejected records (see `SCHEMA`).

    The texts are back to back (uint8); each begins at one of `starts` (int64). `faults` has a row
    of numbers for each fault, as `scan.scan_records` makes them, but lines count within each text.
    """
    if not len(faults):
        return SCHEMA.empty_table()
    begin, length, line, reason, _ = faults.T
    file = np.searchsorted(starts, begin, side="right") - 1
    names = {**_REASONS, UNDECODABLE: f"not {encoding.upper()}"}
    reasons = pa.array([names.get(code, "") for code in range(REPEATED + 1)], TEXT)
    numbers = line, begin - starts[file], length
    details = _describe(text, faults, columns)
    raw = _gather_raw(text, begin, np.minimum(length, max_size))
    return pa.table([*numbers, reasons.take(pa.array(reason)), details, raw, file], schema=SCHEMA)


def list_rejects(table: pa.Table) -> list[Reject]:
    """Return the rows of a table of rejected records."""
    return [Reject(*row) for row in zip(*(c.to_pylist() for c in table.columns), strict=True)]


def tabulate_rejects(rejects: Sequence[Reject]) -> pa.Table:
    """Return rejected records as a table (see `SCHEMA`)."""
    columns = zip(*rejects, strict=True) if rejects else [()] * len(SCHEMA)
    return pa.table([list(column) for column in columns], schema=SCHEMA)


def _describe(text: np.ndarray, faults: np.ndarray, columns: int) -> pa.Array:
    """Return the detail of each fault as text; "" if it has none."""
    begin, _, _, reason, detail = faults.T
    is_undecodable = reason == UNDECODABLE
    is_byte = is_undecodable | (reason == NUL)
    bad = text[np.where(is_undecodable, begin + detail, 0)]
    bytes_named = (f"byte 0x{byte:02x} at byte " for byte in range(256))
    before = pa.array([*bytes_named, "at byte ", ""], TEXT).take(
        pa.array(np.where(is_undecodable, bad, np.where(is_byte, 256, 257)))
    )
    after = pa.array([f" where the header has {columns}", " of the record"], TEXT).take(
        pa.array(is_byte.astype(np.int64))
    )
    number = pc.cast(pa.array(detail), TEXT)
    described = pc.binary_join_element_wise(before, number, after, pa.scalar("", TEXT))
    return pc.if_else(pa.array(is_byte | np.isin(reason, (TOO_FEW, TOO_MANY))), described, "")


def _gather_raw(text: np.ndarray, begin: np.ndarray, sizes: np.ndarray) -> pa.Array:
    data = np.empty(int(sizes.sum()) + ROOM, np.uint8)
    bounds = np.empty(len(begin) + 1, np.int64)
    begin = np.ascontiguousarray(begin)
    gather_ranges(text, begin, begin + sizes, NONE, data, bounds)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(data[: bounds[-1]])]
    return pa.Array.from_buffers(pa.large_binary(), len(begin), buffers)
