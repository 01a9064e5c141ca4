"""The fields of records, column by column."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from pipeline.columns.arrow import TEXT, text_bytes
from pipeline.columns.totals import text_total
from pipeline.csv_text import quoting
from pipeline.csv_text.encodings import recode
from pipeline.csv_text.marks import Marks
from pipeline.kernels.gather import ROOM, gather_fields, join_fields, measure_columns
from pipeline.kernels.marks import HIGH, NEEDS, NONE

_COMMA, _QUOTE = 0x2C, 0x22


class Fields:
    """The fields of records: a row per record, a column per name.

    The fields stay in the text; a column is extracted on demand.
    """

    def __init__(
        self,
        columns: tuple[str, ...],
        marks: Marks,
        edges: np.ndarray,
        *,
        encoding: str,
        null: str,
    ) -> None:
        """Take what `scan.scan_records` found in a text; a field that is `null` is missing."""
        self.columns = columns
        self._marks, self._edges, self._rows = marks, edges, len(edges) // (len(columns) + 1)
        self._encoding = encoding
        self._null = np.frombuffer(null.encode(), np.uint8)
        self._is_utf8 = encoding == "utf-8" or not marks.counts[HIGH]
        self._sizes = np.zeros(len(columns), np.int64)
        measure_columns(edges, self._rows, len(columns), self._sizes)

    def __len__(self) -> int:
        return self._rows

    def column(self, name: str) -> pa.Array:
        """Return one column as large_string; an empty field is null."""
        marks, rows, index = self._marks, self._rows, self.columns.index(name)
        valid = np.empty(-(-rows // 8), np.uint8)
        missing = 0

        def fill(data: np.ndarray, bounds: np.ndarray) -> None:
            nonlocal missing
            missing = gather_fields(
                *(marks.text, marks.quotes, self._edges, rows, len(self.columns), index),
                *(marks.quote_used, marks.escape_used, self._null, data, bounds, valid),
            )

        data, bounds = self._texts(fill, int(self._sizes[index]))
        buffers = [pa.py_buffer(valid) if missing else None, pa.py_buffer(bounds), data]
        return pa.Array.from_buffers(TEXT, rows, buffers, missing)

    def lines(self, names: Sequence[str], escape: bool) -> pa.Array:
        """Return some columns as CSV text, one string per record, with its newline.

        For `escape`, see `quoting.quote`.
        """
        if escape:
            columns = (self.column(name) for name in names)
            return quoting.end_lines(quoting.join_fields(columns, escape))
        marks, rows = self._marks, self._rows
        ranges = self._ranges([self.columns.index(name) for name in names])
        is_literal = marks.quote_used == marks.escape_used == NONE and not len(self._null)
        is_plain = marks.delimiter == _COMMA and marks.quote == _QUOTE and is_literal
        firsts, lasts = np.array(ranges, np.int64).reshape(-1, 2).T.copy()

        def fill(data: np.ndarray, bounds: np.ndarray) -> None:
            join_fields(
                *(marks.text, marks.quotes, marks.needs, self._edges, rows, len(self.columns)),
                *(firsts, lasts, marks.delimiter, marks.quote, marks.escape_used, self._null),
                *(is_plain, data, bounds),
            )

        size = sum(int(self._sizes[first : last + 1].sum()) for first, last in ranges)
        size += rows * max(1, len(names)) + (0 if is_plain else 3 * int(marks.counts[NEEDS]))
        data, bounds = self._texts(fill, size)
        return pa.Array.from_buffers(TEXT, rows, [None, pa.py_buffer(bounds), data], 0)

    def text_total(self, rejected: int) -> int:
        """Return the total of the text of all fields (see `totals.text_total`).

        `rejected` is the total of the rejected records in the same text.
        """
        marks, width = self._marks, len(self.columns)
        if not self._is_utf8 or marks.escape_used != NONE or len(self._null):
            return sum(text_total(text_bytes(self.column(name))) for name in self.columns)
        delimiter = text_total(np.array([marks.delimiter], np.uint8))
        return text_total(marks.text) - rejected - self._rows * (width - 1) * delimiter

    def _texts(
        self, fill: Callable[[np.ndarray, np.ndarray], None], size: int
    ) -> tuple[pa.Buffer, np.ndarray]:
        """Return texts as UTF-8, back to back, and their bounds (int64).

        `fill` writes the texts, at most `size` bytes, and their bounds into two arrays.
        """
        data, bounds = np.empty(size + ROOM, np.uint8), np.empty(self._rows + 1, np.int64)
        fill(data, bounds)
        data = data[: bounds[-1]]
        if not self._is_utf8 and len(data) and data.max() >= 0x80:
            data, bounds = recode(data, bounds, self._encoding)
        return pa.py_buffer(data), bounds

    def _ranges(self, indices: Sequence[int]) -> list[tuple[int, int]]:
        """Return the first and last of each run of adjacent columns that can be copied at once."""
        ranges: list[tuple[int, int]] = []
        for index in indices:
            if ranges and ranges[-1][1] + 1 == index and self._marks.delimiter == _COMMA:
                ranges[-1] = ranges[-1][0], index
            else:
                ranges.append((index, index))
        return ranges
