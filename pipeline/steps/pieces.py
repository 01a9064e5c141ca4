"""The records of a block in pieces, one for each partition of a shuffle.

Pieces are Arrow record batches: flat columns without Python objects, in small types. Each is packed
into a cell of bytes. Cells are kept in files, one file for each block, or are values of a dataframe
that Dask shuffles, which then handles a few large values in place of many small rows. Read back in
the order of blocks, a partition's records are in input order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import NUMBER, TEXT, raw_text, text_bytes
from pipeline.columns.keys import TrimmedIds
from pipeline.kernels.moves import move_texts, place_rows, sum_sizes

CELL = pa.large_binary()
_END = np.dtype(np.int64)  # the type of the offsets where cells end
_FAR = 1 << 31  # bytes that Arrow's 32-bit offsets reach


def partition_numbers(ids: pa.Array, count: int) -> np.ndarray:
    """Return the number of each record's partition, from 0 to `count` - 1 (int64).

    Equal ids have equal numbers. Missing ids, which match nothing, are spread evenly.
    """
    keys = TrimmedIds(ids)
    numbers = (keys.hashes() % np.uint64(count)).astype(np.int64)
    missing = keys.are_missing()
    numbers[missing] = spread(int(missing.sum()), count)
    return numbers


def spread(records: int, count: int) -> np.ndarray:
    """Return partition numbers in rotation."""
    return np.arange(records) % count


def split(columns: Mapping[str, pa.Array], numbers: np.ndarray, count: int) -> pa.Array:
    """Return the `count` cells of a block: the rows of each partition, in their order."""
    places, rows = np.empty_like(numbers), np.empty_like(numbers)
    sizes = np.bincount(numbers, minlength=count)
    place_rows(numbers, np.cumsum(sizes) - sizes, places, rows)
    moved = {
        name: _moved_text(column, numbers, places, count)
        if _is_short(column)
        else _narrow(column).take(pa.array(rows))
        for name, column in columns.items()
    }
    return _to_cells(pa.record_batch(moved), sizes.tolist())


def _moved_text(text: pa.Array, numbers: np.ndarray, places: np.ndarray, count: int) -> pa.Array:
    """Return strings in their places, with small offsets."""
    data, bounds, _ = raw_text(text)
    sizes = np.zeros(count, np.int64)
    sum_sizes(bounds, numbers, sizes)
    moved, moved_bounds = np.empty(sizes.sum(), np.uint8), np.empty(len(text) + 1, np.int32)
    move_texts(data, bounds, numbers, places, np.cumsum(sizes) - sizes, moved, moved_bounds)
    valid = None
    if text.null_count:
        is_valid = np.empty(len(text), bool)
        is_valid[places] = text.is_valid().to_numpy(zero_copy_only=False)
        valid = pa.py_buffer(np.packbits(is_valid, bitorder="little"))
    buffers = [valid, pa.py_buffer(moved_bounds), pa.py_buffer(moved)]
    return pa.Array.from_buffers(pa.string(), len(text), buffers)


def _to_cells(block: pa.RecordBatch, sizes: Sequence[int]) -> pa.Array:
    """Return pieces of these sizes as bytes, in Arrow's stream format (large_binary)."""
    starts = accumulate(sizes, initial=0)
    ends = [0]
    with pa.BufferOutputStream() as sink:
        for start, size in zip(starts, sizes, strict=False):
            with pa.ipc.new_stream(sink, block.schema) as stream:
                stream.write_batch(block.slice(start, size))
            ends.append(sink.tell())
        data = sink.getvalue()
    buffers = [None, pa.py_buffer(np.array(ends)), data]
    return pa.Array.from_buffers(CELL, len(sizes), buffers)


def from_cells(cells: Sequence[pa.Array]) -> list[pa.RecordBatch]:
    """Return the pieces in some cells, without a copy."""
    return [
        batch for array in cells for cell in array for batch in pa.ipc.open_stream(cell.as_buffer())
    ]


def gather(pieces: Sequence[pa.RecordBatch], name: str, empty: pa.DataType) -> pa.ChunkedArray:
    """Return one column of some pieces, in its original type; without pieces, of type `empty`."""
    parts = [_widen(piece.column(name)) for piece in pieces]
    if len({part.type for part in parts}) > 1:  # decimals
        parts = [part.cast(NUMBER) for part in parts]
    return pa.chunked_array(parts, parts[0].type if parts else empty)


def write_cells(cells: pa.Array, folder: Path, block: int) -> int:
    """Keep the cells of a block in a file; return its size in bytes.

    The file appears only once it is complete, and replaces any earlier one. The cells are followed
    by the offsets where they end (int64), so each can be read by itself.
    """
    path = folder / f"{block:020}"
    unfinished = path.with_name(f"{uuid4().hex}.new")
    _, ends, data = cells.buffers()
    with _errors_named(folder):
        with pa.OSFile(str(unfinished), "wb") as sink:
            sink.write(data)
            sink.write(ends)
        unfinished.replace(path)
        return path.stat().st_size


def read_cells(folder: Path, number: int, count: int) -> tuple[list[int], list[pa.Array]]:
    """Return the blocks in a folder, in order, and from each the cell of partition `number`.

    There are `count` partitions. Cells are read, not mapped: Linux may map several times as many
    pages around them, and all of those count as the worker's memory.
    """
    paths = sorted(folder.glob("*[0-9]"))
    with _errors_named(folder):
        return [int(path.name) for path in paths], [_cell(path, number, count) for path in paths]


def _cell(path: Path, number: int, count: int) -> pa.Array:
    with pa.OSFile(str(path), "rb") as source:
        source.seek(source.size() + _END.itemsize * (number - count - 1))
        start, end = np.frombuffer(source.read(2 * _END.itemsize), _END)
        source.seek(start)
        data = source.read_buffer(end - start)
    return pa.Array.from_buffers(CELL, 1, [None, pa.py_buffer(np.array([0, end - start])), data])


@contextmanager
def _errors_named(folder: Path) -> Iterator[None]:
    """Make Arrow's errors name the folder, in a short text."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, reason, str(folder)) from error


def _is_short(column: pa.Array) -> bool:
    return column.type == TEXT and len(text_bytes(column)) < _FAR


def _narrow(column: pa.Array) -> pa.Array:
    """Return decimals in a smaller type if they fit, and any other column as it is."""
    if pa.types.is_decimal128(column.type) and column.type.precision < NUMBER.precision:
        try:
            return pc.cast(column, pa.decimal64(18, column.type.scale))
        except pa.ArrowInvalid:  # a number has 19 digits
            return column
    return column


def _widen(column: pa.Array) -> pa.Array:
    if pa.types.is_decimal64(column.type):
        return pc.cast(column, pa.decimal128(19, column.type.scale))
    return column.cast(TEXT) if pa.types.is_string(column.type) else column
