"""The fields of some records, column by column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.columns.arrow import TEXT, text_bytes
from pipeline.columns.totals import text_total
from pipeline.csv_text import quoting
from pipeline.csv_text.encodings import recoded
from pipeline.csv_text.marks import Marks
from pipeline.kernels.gather import ROOM, gather_fields, join_fields, measure_fields, sum_gaps
from pipeline.kernels.scan import HIGH, NEEDS, NONE

_COMMA, _NUL = 0x2C, 0
_NO_NULL = np.empty(0, np.uint8)


class Fields:
    """The fields of some records: a row per record, a column per name.

    They are parts of the text; a column is taken out of it when it is asked for.
    """

    def __init__(
        self, columns: tuple[str, ...], marks: Marks, edges: np.ndarray, rows: int, encoding: str
    ) -> None:
        """Take what `scan.scan_records` has found in a text."""
        self.columns = columns
        self._marks, self._edges, self._rows = marks, edges, rows
        self._encoding = encoding
        self._is_utf8 = encoding == "utf-8" or not marks.counts[HIGH]

    def __len__(self) -> int:
        return self._rows

    def column(self, name: str) -> pa.Array:
        """Return one column as large_string; an empty field is null."""
        place, rows, marks = self.columns.index(name), self._rows, self._marks
        size = self._size(place, place) + (0 if self._is_utf8 else rows)
        data, bounds = np.empty(size + ROOM, np.uint8), np.empty(rows + 1, np.int64)
        valid = np.empty(-(-rows // 8), np.uint8)
        missing = gather_fields(
            *(marks.text, marks.quotes, self._edges, rows, len(self.columns), place),
            *(marks.quote_used, marks.escape, _NO_NULL, NONE if self._is_utf8 else _NUL),
            *(data, bounds, valid),
        )
        are_valid = pa.py_buffer(valid) if missing else None
        if not self._is_utf8:
            return recoded(data[: bounds[-1]], are_valid, missing, self._encoding, rows)
        buffers = [are_valid, pa.py_buffer(bounds), pa.py_buffer(data[: bounds[-1]])]
        return pa.Array.from_buffers(TEXT, rows, buffers, missing)

    def lines(self, names: Sequence[str], escape: bool) -> pa.Array:
        """Return some columns as CSV text, one string per record, with its line end.

        `escape`: see `csv_text.quote`.
        """
        if escape or not self._is_utf8:
            columns = (self.column(name) for name in names)
            return quoting.end_lines(quoting.join_fields(columns, escape))
        marks, rows = self._marks, self._rows
        ranges = self._ranges([self.columns.index(name) for name in names])
        is_plain = marks.delimiter == _COMMA and marks.quote_used == NONE
        size = sum(self._size(first, last) for first, last in ranges) + rows * (len(ranges) or 1)
        if not is_plain:
            size += 3 * int(marks.counts[NEEDS])
        data, bounds = np.empty(size + ROOM, np.uint8), np.empty(rows + 1, np.int64)
        firsts, lasts = np.array(ranges, np.int64).reshape(-1, 2).T
        join_fields(
            *(marks.text, marks.quotes, marks.needs, self._edges, rows, len(self.columns)),
            *(np.ascontiguousarray(firsts), np.ascontiguousarray(lasts)),
            *(marks.delimiter, marks.quote_used, marks.escape, _NO_NULL, is_plain, data, bounds),
        )
        buffers = [None, pa.py_buffer(bounds), pa.py_buffer(data[: bounds[-1]])]
        return pa.Array.from_buffers(TEXT, rows, buffers, 0)

    def text_total(self) -> int:
        """Return the total of the text of all fields (see `totals.text_total`)."""
        marks, width = self._marks, len(self.columns)
        if not self._is_utf8 or marks.escape != NONE:
            return sum(text_total(text_bytes(self.column(name))) for name in self.columns)
        gaps: int = sum_gaps(marks.text, self._edges, self._rows, width)
        delimiter = text_total(np.array([marks.delimiter], np.uint8))
        return text_total(marks.text) - gaps - self._rows * (width - 1) * delimiter

    def _size(self, first: int, last: int) -> int:
        return int(measure_fields(self._edges, self._rows, len(self.columns), first, last))

    def _ranges(self, places: Sequence[int]) -> list[tuple[int, int]]:
        """Return places of columns as ranges of neighbours, if these can be copied at once."""
        ranges: list[tuple[int, int]] = []
        for place in places:
            if ranges and ranges[-1][1] + 1 == place and self._marks.delimiter == _COMMA:
                ranges[-1] = ranges[-1][0], place
            else:
                ranges.append((place, place))
        return ranges
