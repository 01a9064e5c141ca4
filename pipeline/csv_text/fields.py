"""The fields of some records, column by column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import TEXT, text_bytes
from pipeline.columns.totals import text_total
from pipeline.csv_text.quoting import end_lines, join_fields

_COMMA, _LF = b",\n"


class Fields(ABC):
    """The fields of some records: a row per record, a column per name."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def column(self, name: str) -> pa.Array:
        """Return one column as large_string; an empty field is null."""

    def lines(self, names: Sequence[str], escape: bool) -> pa.Array:
        """Return some columns as CSV text, one string per record, with its line end.

        `escape`: see `csv_text.quote`.
        """
        return end_lines(join_fields((self.column(name) for name in names), escape))

    def text_total(self) -> int:
        """Return the total of the text of all fields (see `totals.text_total`)."""
        return sum(text_total(text_bytes(self.column(name))) for name in self.columns)


class TableFields(Fields):
    """Fields that a CSV reader has parsed into a table of large_string."""

    def __init__(self, table: pa.Table) -> None:
        super().__init__(tuple(table.column_names))
        self._table = table.combine_chunks()

    def __len__(self) -> int:
        return self._table.num_rows

    def column(self, name: str) -> pa.Array:
        """Return one column as large_string; an empty field is null."""
        chunks = self._table[name].chunks
        return chunks[0] if chunks else pa.array([], TEXT)


class PlainFields(Fields):
    """Fields of plain text, which has no quotes and LF line ends: slices of that text.

    Most files are plain. Parsing them only means finding the delimiters. What follows the first
    field is output unchanged, not split and joined again. With the work this saves later, it takes
    a third of a CSV reader's time.
    """

    def __init__(self, columns: tuple[str, ...], text: np.ndarray, stops: np.ndarray) -> None:
        """Take text and the stops of its fields: a row per record, a column per field."""
        super().__init__(columns)
        self._text = text
        self._stops = stops

    @classmethod
    def find(cls, text: bytes, columns: tuple[str, ...], delimiter: str) -> PlainFields | None:
        """Scan whole records of UTF-8; return None if the text is not plain.

        Text is not plain if it has a quote, a CR, a NUL, invalid UTF-8, a blank line, or a line
        with another number of fields.
        """
        if any(mark in text for mark in b'"\r\0') or not _is_utf8(text):
            return None
        if not text.endswith(b"\n"):
            text += b"\n"
        data = np.frombuffer(text, np.uint8)
        lines = data == _LF
        records = int(np.count_nonzero(lines))
        marks = np.flatnonzero((data == delimiter.encode()[0]) | lines)
        if len(marks) != records * len(columns):
            return None
        stops = marks.reshape(records, len(columns))
        # There are as many line ends as records: if each record ends with one, none is elsewhere.
        return cls(columns, data, stops) if lines[stops[:, -1]].all() else None

    def __len__(self) -> int:
        return len(self._stops)

    def column(self, name: str) -> pa.Array:
        """Return one column as large_string; an empty field is null."""
        place = self.columns.index(name)
        if place:
            starts = self._stops[:, place - 1] + 1
        else:
            starts = np.concatenate(([0], self._stops[:-1, -1] + 1))
        column = self._slices(starts, self._stops[:, place])
        empty = pc.equal(pc.binary_length(column), 0)
        return pc.if_else(empty, None, column) if empty.true_count else column

    def lines(self, names: Sequence[str], escape: bool) -> pa.Array:
        """Return some columns as CSV text, one string per record, with its line end."""
        if escape or tuple(names) != self.columns[1:] or self._text[self._stops[0, 0]] != _COMMA:
            return super().lines(names, escape)
        return self._slices(self._stops[:, 0] + 1, self._stops[:, -1] + 1)

    def text_total(self) -> int:
        """Return the total of the text of all fields: that of the whole text, but delimiters."""
        delimiter = self._text[self._stops[0, 0]]
        count = len(self) * (len(self.columns) - 1)
        return text_total(self._text) - count * text_total(np.array([delimiter]))

    def _slices(self, starts: np.ndarray, stops: np.ndarray) -> pa.Array:
        """Return consecutive parts of the text, with gaps between them."""
        offsets = np.empty(2 * len(starts) + 1, np.int64)
        offsets[:-1:2], offsets[1::2], offsets[-1] = starts, stops, len(self._text)
        # Every second string of this array is a slice; the others are the gaps.
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self._text)]
        parts = pa.Array.from_buffers(TEXT, len(offsets) - 1, buffers)
        return parts.take(pa.array(np.arange(0, len(offsets) - 1, 2)))


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
