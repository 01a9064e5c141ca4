"""Sorts the rows of a block by partition, and keeps their order within each.

Row `r` goes into the partition `numbers[r]`, counted from 0. Its text is UTF-8 bytes from
`bounds[r]` to `bounds[r + 1]`. The caller allocates all arrays.
"""

from __future__ import annotations

from pipeline.kernels.jit import (
    Bytes,
    BytesOut,
    Int32sOut,
    Int64s,
    Int64sOut,
    kernel,
)
from pipeline.kernels.machine import copy


@kernel
def sum_sizes(bounds: Int64s, numbers: Int64s, sizes: Int64sOut) -> None:
    """Add the bytes of each row's text to the size of its partition."""
    for row in range(numbers.size):
        sizes[numbers[row]] += bounds[row + 1] - bounds[row]


@kernel
def place_rows(numbers: Int64s, following: Int64sOut, places: Int64sOut, rows: Int64sOut) -> None:
    """Find the place of each row, and the row in each place.

    `following` has the place of each partition's first row, and is advanced past its last row.
    """
    for row in range(numbers.size):
        place = following[numbers[row]]
        following[numbers[row]] = place + 1
        places[row], rows[place] = place, row


@kernel
def move_texts(
    text: Bytes,
    bounds: Int64s,
    numbers: Int64s,
    places: Int64s,
    following: Int64sOut,
    moved: BytesOut,
    moved_bounds: Int32sOut,
) -> None:
    """Move the text of each row to its place.

    `following` has the offset in `moved` at which each partition begins, and is advanced to its
    end. `moved_bounds` are to `moved` what `bounds` are to `text`.
    """
    # Reads are sequential, and writes append to each partition: this is faster than gathering the
    # texts in the order of their places.
    moved_bounds[0] = 0
    for row in range(numbers.size):
        at, size = following[numbers[row]], bounds[row + 1] - bounds[row]
        copy(moved, at, text, bounds[row], size)
        following[numbers[row]] = at + size
        moved_bounds[places[row] + 1] = at + size
