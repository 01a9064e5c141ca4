"""`combined_data.csv`: every partition writes its own part of the one file.

Once a partition is text its length is known, and a running sum of lengths is the place of each in
the file. So partitions are written in parallel and nothing is glued together; and a partition
that is written twice, after a retry, writes the same bytes to the same place.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import TEXT, TEXT_DTYPE, chunks, text_bytes, to_arrow, to_text, weight
from pipeline.counting import Counted, apply, counts
from pipeline.csv_text import quote
from pipeline.join import ROW, Joined, without_purchases
from pipeline.lookup import Lookup
from pipeline.partitions import running, with_meta
from pipeline.read import ID
from pipeline.render import Layout

WRITTEN = "written"

_WRITTEN = pd.DataFrame({"start": [0], "bytes": [0], "rows": [0], "weight": [0]}).iloc[:0]
_ENDS = pd.Series(dtype="int64")
_LINES = pd.Series(dtype=TEXT_DTYPE)
# So many rows are put together at a time: what is copied twice is still in the cache.
_SLICE = 1 << 15


def write_combined(
    joined: Joined, path: Path, layout: Layout, escape: bool = False
) -> list[dd.DataFrame]:
    """Write joined records below the layout's header into the file at `path`, which is made here.

    With `escape`, ids that a spreadsheet would run are defused (see `csv_text.quote`). Returns
    counted dataframes, the first for `joined.combined`, one row for each partition (int64):
    `start`, its place in the file, the `bytes` and `rows` written, and their `weight` (see
    `columns.weight`); the same is counted by `written`.
    """
    path.write_text(f"{layout.header}\n", encoding="utf-8", newline="")
    written, ends = _write(joined.combined, None, joined.lookup, path, layout, escape)
    if not joined.alone:
        return [written]
    alone = without_purchases(joined, counts(written))
    return [written, _write(alone, ends, joined.lookup, path, layout, escape)[0]]


def _write(
    combined: dd.DataFrame,
    ends_before: dd.DataFrame | None,
    lookup: dd.DataFrame,
    path: Path,
    layout: Layout,
    escape: bool,
) -> tuple[dd.DataFrame, dd.DataFrame]:
    """Return what is written, and where each partition ends, counted from behind the header."""
    lines = apply(_lines, combined, lookup, layout.no_purchase, escape, meta=_LINES)
    ends = running(_end, _ENDS, lines, ends_before)
    first = len(f"{layout.header}\n".encode())
    return with_meta(_write_before, _WRITTEN, lines, ends, first, str(path.absolute())), ends


def _lines(combined: pd.DataFrame, lookup: Lookup, no_purchase: str, escape: bool) -> pd.Series:
    """Return each record as a line of CSV, its line end included."""
    customer_id = quote(to_arrow(combined[ID]), escape)
    rows = pa.array(combined[ROW])
    purchase = pc.fill_null(to_arrow(combined["purchase"]), f"{no_purchase}\n")
    lines = [
        pc.binary_join_element_wise(
            customer_id.slice(start, _SLICE),
            lookup.customer.take(rows.slice(start, _SLICE)),
            purchase.slice(start, _SLICE),
            pa.scalar(",", TEXT),
        )
        for start in range(0, len(rows), _SLICE)
    ]
    return to_text(pa.chunked_array(lines, TEXT))


def _size(lines: pd.Series) -> int:
    return sum(len(text_bytes(chunk)) for chunk in chunks(lines))


def _end(lines: Counted, end_before: pd.Series | None) -> pd.Series:
    """Return where lines end that follow those which end at `end_before` (None: at 0)."""
    return pd.Series([_size(lines.frame) + (0 if end_before is None else end_before.item())])


def _write_before(part: Counted, end: pd.Series, first: int, path: str) -> Counted:
    """Write lines into the file so that they end at `end`, counted from behind the header."""
    lines = part.frame
    start = place = first + end.item() - _size(lines)
    total = 0
    # Not created here: a worker that comes back after the run has ended must leave nothing.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for chunk in chunks(lines):
            total += weight(chunk)
            data = memoryview(text_bytes(chunk).data)
            while data:
                written = os.pwrite(descriptor, data, place)
                data, place = data[written:], place + written
    except OSError as error:  # of a descriptor: it knows no name
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)
    written = pd.DataFrame(
        {"start": [start], "bytes": [place - start], "rows": [len(lines)], "weight": [total]}
    )
    return replace(part, frame=written).with_count(WRITTEN, written)
