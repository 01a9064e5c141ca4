"""Parses the text of a block into fields and sets malformed records aside."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.csv_text.encodings import undecodable
from pipeline.csv_text.fields import Fields
from pipeline.csv_text.marks import Marks
from pipeline.csv_text.rejects import REPEATED, Rejects
from pipeline.errors import DataError
from pipeline.kernels.marks import HIGH, LINE_ENDS, count_lines_before
from pipeline.kernels.scan import FAULT_SIZE, scan_records
from pipeline.settings import Dialect

_NOTHING = np.empty(0, np.int64)
_LONGEST = (1 << 31) - 1


@dataclass(frozen=True)
class Parsed:
    """The records of a text: the fields of the good ones, and the others.

    `lines` is the number of line ends in the text, quoted ones too.
    """

    fields: Fields
    rejected: Rejects
    lines: int
    _marks: Marks
    _edges: np.ndarray

    def lines_of(self, rows: Sequence[int]) -> list[int]:
        """Return the lines of some rows of `fields`, ascending, counted from 0."""
        places = self._edges[np.array(rows, np.int64) * (len(self.fields.columns) + 1)]
        found = np.empty(len(rows), np.int64)
        count_lines_before(self._marks.lines, places.astype(np.int64), found)
        return found.tolist()


def parse(
    text: bytes,
    columns: tuple[str, ...],
    encoding: str,
    dialect: Dialect,
    header: bytes = b"",
) -> Parsed:
    """Return the records of a text, which begins with one.

    Records that repeat the `header` are rejected.

    Raises DataError if it is longer than 2 GiB, which no block is, unless one line of it is.
    """
    if len(text) > _LONGEST:
        raise DataError(
            f"a line has {len(text):,} bytes, or nearly, more than can be read; is it CSV?"
        )
    marks = Marks.of(text, dialect)
    most = int(marks.counts[LINE_ENDS]) + 1
    edges = np.empty(most * (len(columns) + 1), np.int32)
    faults = np.empty(most * FAULT_SIZE + 1, np.int64)
    rows = scan_records(
        *(marks.text, marks.stops, marks.lines, marks.quotes, marks.delimiter, marks.quote_used),
        *(marks.escape_used, len(columns), dialect.max_record_size, marks.nuls()),
        undecodable(marks.text, encoding) if marks.counts[HIGH] else _NOTHING,
        *(edges, faults),
    )
    bad = faults[1 : 1 + int(faults[0]) * FAULT_SIZE].copy()  # not all that there was room for
    repeats = _rows_of(header, marks.text, edges, rows, len(columns) + 1) if header else _NOTHING
    if len(repeats):
        bad = _with_repeats(bad, edges.reshape(-1, len(columns) + 1)[repeats], marks)
        edges = np.delete(edges.reshape(-1, len(columns) + 1), repeats, axis=0).ravel()
        rows -= len(repeats)
    return Parsed(
        Fields(columns, marks, edges, rows, encoding, dialect.null),
        Rejects(marks.text, bad, len(columns), encoding, dialect.max_record_size),
        int(marks.counts[LINE_ENDS]),
        marks,
        edges,
    )


def _rows_of(
    record: bytes, text: np.ndarray, edges: np.ndarray, rows: int, width: int
) -> np.ndarray:
    """Return the rows of the records that are this one, also behind a byte order mark (int64)."""
    starts, ends = edges[: rows * width : width], edges[width - 1 : rows * width : width]
    sizes = ends - starts
    found = []
    for wanted in (record, BOM_UTF8 + record):
        same = np.flatnonzero(sizes == len(wanted))
        for place, byte in enumerate(wanted):
            if not len(same):
                break
            same = same[text[starts[same] + place] == byte]
        found.append(same)
    return np.sort(np.concatenate(found))


def _with_repeats(faults: np.ndarray, repeats: np.ndarray, marks: Marks) -> np.ndarray:
    """Return faults with those of some records more, given the edges of these."""
    starts = repeats[:, 0].astype(np.int64)
    lines = np.empty_like(starts)
    count_lines_before(marks.lines, starts, lines)
    more = np.zeros((len(starts), FAULT_SIZE), np.int64)
    more[:, :4] = np.stack([starts, repeats[:, -1] - starts, lines, lines * 0 + REPEATED], axis=1)
    found = np.concatenate([faults.reshape(-1, FAULT_SIZE), more])
    return found[np.argsort(found[:, 0])].ravel()
