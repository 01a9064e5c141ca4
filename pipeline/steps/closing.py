"""Finds what may be a totals row: the last record of a file, without a customer's id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.columns.keys import WHITESPACE
from pipeline.columns.totals import sum_by_group
from pipeline.csv_text.parse import Parsed

_TOTAL = re.compile(
    r"((grand |sub)?-?totals?|sum|insgesamt|gesamt|(gesamt|zwischen)?summe):?", re.IGNORECASE
)


class Closing(NamedTuple):
    """The last record of a file in a block, if its id is missing or a word for totals.

    `line` is counted from 0 in the block's text of that `file`. `amount` is its own, `total` the
    sum of all of the `records` in that text, its own included.
    """

    file: int
    line: int
    amount: Decimal
    total: Decimal
    records: int


def means_total(id: str) -> bool:
    """Return whether an id is a word for totals."""
    return _TOTAL.fullmatch(id.strip(WHITESPACE)) is not None


def find_closings(parsed: Parsed, ids: pa.Array, numbers: pa.Array) -> Sequence[Closing]:
    """Return the records of a block that may be totals rows, given all its ids and numbers."""
    stops = parsed.stops()
    sizes = np.diff(stops, prepend=0)
    files = [
        file
        for file, stop in enumerate(stops.tolist())
        if sizes[file] and numbers[stop - 1].is_valid and _may_close(ids[stop - 1].as_py())
    ]
    if not files:
        return ()
    totals = sum_by_group(numbers, np.repeat(np.arange(len(sizes)), sizes), len(sizes))
    rows = (stops[files] - 1).tolist()
    return [
        Closing(file, line, numbers[row].as_py(), totals[file], int(sizes[file]))
        for row, (file, line) in zip(rows, parsed.lines_of(rows), strict=True)
    ]


def _may_close(id: str | None) -> bool:
    return not id or not id.strip(WHITESPACE) or means_total(id)
