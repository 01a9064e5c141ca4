"""The fields of some records, column by column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import TEXT, weigh, weight
from pipeline.csv_text import end_lines, join_fields

_COMMA, _LF = b",\n"


class Fields(ABC):
    """The fields of some records: as many rows as records, a column for each name."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def column(self, name: str) -> pa.Array:
        """Return one column as large_string; an empty field is missing."""

    def lines(self, names: Sequence[str], escape: bool) -> pa.Array:
        """Return some columns as CSV text, each record with its line end.

        `escape`: see `csv_text.quote`.
        """
        return end_lines(join_fields((self.column(name) for name in names), escape))

    def weight(self) -> int:
        """Return the weight of all fields (see `columns.weight`)."""
        return sum(weight(self.column(name)) for name in self.columns)


class TableFields(Fields):
    """Fields that a CSV reader has put into a table of large_string."""

    def __init__(self, table: pa.Table) -> None:
        super().__init__(tuple(table.column_names))
        self._table = table.combine_chunks()

    def __len__(self) -> int:
        return self._table.num_rows

    def column(self, name: str) -> pa.Array:
        """Return one column as large_string; an empty field is missing."""
        chunks = self._table[name].chunks
        return chunks[0] if chunks else pa.array([], TEXT)


class PlainFields(Fields):
    """Fields of plain text, which has no quotes and LF line ends: slices of that text.

    Most files are plain. To find the delimiters is all the parsing there is then, and what stands
    behind the first field goes out as it came, not parted and joined again: with the work that
    this saves later, a third of what a CSV reader takes.
    """

    def __init__(self, columns: tuple[str, ...], text: np.ndarray, stops: np.ndarray) -> None:
        """Take text, and where its fields stop: a row for each record, a column for each field."""
        super().__init__(columns)
        self._text = text
        self._stops = stops

    @classmethod
    def find(cls, text: bytes, columns: tuple[str, ...], delimiter: str) -> PlainFields | None:
        """Look through whole records of UTF-8; None where the text is not plain.

        That is: where it has a quote, a CR, a NUL, a byte that is no text, a blank line or one
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
        # As many line ends as records, and each at the end of one: none is elsewhere.
        return cls(columns, data, stops) if lines[stops[:, -1]].all() else None

    def __len__(self) -> int:
        return len(self._stops)

    def column(self, name: str) -> pa.Array:
        """Return one column as large_string; an empty field is missing."""
        place = self.columns.index(name)
        if place:
            starts = self._stops[:, place - 1] + 1
        else:
            starts = np.concatenate(([0], self._stops[:-1, -1] + 1))
        column = self._slices(starts, self._stops[:, place])
        empty = pc.equal(pc.binary_length(column), 0)
        return pc.if_else(empty, None, column) if empty.true_count else column

    def lines(self, names: Sequence[str], escape: bool) -> pa.Array:
        """Return some columns as CSV text, each record with its line end."""
        if escape or tuple(names) != self.columns[1:] or self._text[self._stops[0, 0]] != _COMMA:
            return super().lines(names, escape)
        return self._slices(self._stops[:, 0] + 1, self._stops[:, -1] + 1)

    def weight(self) -> int:
        """Return the weight of all fields: of the whole text but what stands between them."""
        delimiter = int(self._text[self._stops[0, 0]])
        return weigh(self._text) - len(self) * (delimiter * (len(self.columns) - 1) + _LF)

    def _slices(self, starts: np.ndarray, stops: np.ndarray) -> pa.Array:
        """Return parts of the text that follow one another, with gaps between them."""
        offsets = np.empty(2 * len(starts) + 1, np.int64)
        offsets[:-1:2], offsets[1::2], offsets[-1] = starts, stops, len(self._text)
        # Every second string of this array is a slice, and the others are the gaps.
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
