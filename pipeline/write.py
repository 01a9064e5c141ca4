"""`combined_data.csv`: every partition writes its own part of the one file.

Once the customers are found it is known how long a partition's text will be, and a running sum of
lengths is the place of each in the file. So partitions are written in parallel and nothing is glued
together; and a partition that is written twice, after a retry, writes the same bytes to the same
place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import TEXT, text_bytes, to_arrow, to_text, weight
from pipeline.counting import Counted, apply, count, counts
from pipeline.csv_text import quote
from pipeline.join import ROW, Joined, without_purchases
from pipeline.lookup import Lookup
from pipeline.partitions import running, with_meta
from pipeline.read import ID
from pipeline.render import Layout

WRITTEN = "written"

_WRITTEN = pd.DataFrame({"start": [0], "bytes": [0], "rows": [0], "weight": [0]}).iloc[:0]
_ENDS = pd.Series(dtype="int64")
_SIZE = "size"
# So many rows are put together and written at a time: their text is still in the cache.
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
    fields = apply(_fields, combined, layout.no_purchase, escape)
    sized = count(_SIZE, _size, fields, lookup)
    ends = running(_end, _ENDS, sized, ends_before)
    first = len(f"{layout.header}\n".encode())
    written = with_meta(_write_before, _WRITTEN, sized, ends, lookup, first, str(path.absolute()))
    return written, ends


def _fields(combined: pd.DataFrame, no_purchase: str, escape: bool) -> pd.DataFrame:
    """Return what a line is made of: the id and the purchase as CSV text, the customer's row."""
    return pd.DataFrame(
        {
            ID: to_text(quote(to_arrow(combined[ID]), escape)),
            ROW: combined[ROW].array,
            "purchase": to_text(pc.fill_null(to_arrow(combined["purchase"]), f"{no_purchase}\n")),
        }
    )


def _size(fields: pd.DataFrame, lookup: Lookup) -> pd.DataFrame:
    """Return one row: the `bytes` (int64) of all lines."""
    texts = sum(len(text_bytes(to_arrow(fields[name]))) for name in (ID, "purchase"))
    customers = int(lookup.sizes.take(fields[ROW].to_numpy()).sum())
    return pd.DataFrame({"bytes": [texts + customers + 2 * len(fields)]})


def _end(part: Counted, end_before: pd.Series | None) -> pd.Series:
    """Return where lines end that follow those which end at `end_before` (None: at 0)."""
    return pd.Series([_size_of(part) + (0 if end_before is None else end_before.item())])


def _size_of(part: Counted) -> int:
    return int(part.rows_of(_SIZE)["bytes"].item())


def _write_before(part: Counted, end: pd.Series, lookup: Lookup, first: int, path: str) -> Counted:
    """Write lines into the file so that they end at `end`, counted from behind the header."""
    start = place = first + end.item() - _size_of(part)
    rows = total = 0
    # Not created here: a worker that comes back after the run has ended must leave nothing.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for lines in _lines(part.frame, lookup):
            rows, total = rows + len(lines), total + weight(lines)
            data = memoryview(text_bytes(lines).data)
            while data:
                written = os.pwrite(descriptor, data, place)
                data, place = data[written:], place + written
    except OSError as error:  # of a descriptor: it knows no name
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)
    written = pd.DataFrame(
        {"start": [start], "bytes": [place - start], "rows": [rows], "weight": [total]}
    )
    return replace(part, frame=written).with_count(WRITTEN, written)


def _lines(fields: pd.DataFrame, lookup: Lookup) -> Iterator[pa.Array]:
    """Yield the records as lines of CSV, their line ends included, some at a time."""
    ids, purchases = to_arrow(fields[ID]), to_arrow(fields["purchase"])
    rows = pa.array(fields[ROW])
    for start in range(0, len(rows), _SLICE):
        yield pc.binary_join_element_wise(
            ids.slice(start, _SLICE),
            lookup.customer.take(rows.slice(start, _SLICE)),
            purchases.slice(start, _SLICE),
            pa.scalar(",", TEXT),
        )
