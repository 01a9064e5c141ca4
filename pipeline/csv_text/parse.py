"""Parses the text of a block into fields and sets malformed records aside."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.columns.totals import range_total
from pipeline.csv_text.encodings import find_undecodable
from pipeline.csv_text.fields import Fields
from pipeline.csv_text.marks import Marks
from pipeline.csv_text.rejects import REPEATED, make_table
from pipeline.csv_text.sources import FileText
from pipeline.errors import DataError
from pipeline.kernels.marks import LINE_ENDS, count_lines_before
from pipeline.kernels.scan import FAULT_SIZE, scan_records
from pipeline.settings import Dialect

_NOTHING = np.empty(0, np.int64)
_LONGEST = (1 << 31) - 1


@dataclass(frozen=True)
class Parsed:
    """The records of some texts: the fields of the good ones, and a table of the `rejected` ones.

    For the table, see `rejects.SCHEMA`. `lines` has the number of newlines in each text, including
    quoted ones.
    """

    fields: Fields
    rejected: pa.Table
    lines: tuple[int, ...]
    _marks: Marks
    _edges: np.ndarray
    _starts: np.ndarray

    def text_total(self) -> int:
        """Return the total of the text of all `fields` (see `totals.text_total`)."""
        offset, length, file = (
            self.rejected[name].to_numpy() for name in ("offset", "length", "file")
        )
        begin = self._starts[file] + offset
        return self.fields.text_total(range_total(self._marks.text, begin, begin + length))

    def stops(self) -> np.ndarray:
        """Return the row of `fields` after the last one of each text (int64)."""
        starts = self._edges[:: len(self.fields.columns) + 1]
        return np.append(np.searchsorted(starts, self._starts[1:]), len(self.fields))

    def lines_of(self, rows: Sequence[int]) -> list[tuple[int, int]]:
        """Return the text and the line in it, from 0, of each of these ascending rows."""
        offsets = self._edges[np.array(rows, np.int64) * (len(self.fields.columns) + 1)]
        found = np.empty(len(rows), np.int64)
        count_lines_before(self._marks.lines, offsets.astype(np.int64), found)
        texts = np.searchsorted(self._starts, offsets, side="right") - 1
        found -= np.cumsum([0, *self.lines])[texts]
        return list(zip(texts.tolist(), found.tolist(), strict=True))


class _Scanned(NamedTuple):
    """A text (see `Marks`), the edges of its good records, and its faults (`scan.scan_records`)."""

    marks: Marks
    edges: np.ndarray
    faults: np.ndarray

    @classmethod
    def back_to_back(cls, several: Sequence[_Scanned]) -> tuple[_Scanned, np.ndarray]:
        """Return several texts as one, and where each begins in it (see `Marks.back_to_back`)."""
        marks, starts = Marks.back_to_back([one.marks for one in several])
        edges, faults = [], []
        for one, start in zip(several, starts.tolist(), strict=True):
            edges.append(one.edges + np.int32(start))
            faults.append(one.faults + np.array([start, 0, 0, 0, 0]))
        return cls(marks, np.concatenate(edges), np.concatenate(faults)), starts


def parse(
    text: bytes,
    columns: tuple[str, ...],
    encoding: str,
    dialect: Dialect,
    header: bytes = b"",
) -> Parsed:
    """Return the records of a text that begins at the start of a record.

    Records that repeat the `header` are rejected. Raises DataError if the text is longer than
    2 GiB, which happens only if a single line is.
    """
    how = columns, encoding, dialect
    return _combine([_scan(text, *how, header)], *how)


def parse_texts(texts: Sequence[FileText]) -> Parsed:
    """Return the records of texts of similar files (see `is_like`), each read by itself."""
    file = texts[0].file
    how = file.columns, file.encoding, file.dialect
    return _combine([_scan(one.text, *how, one.file.header) for one in texts], *how)


def _combine(
    texts: Sequence[_Scanned], columns: tuple[str, ...], encoding: str, dialect: Dialect
) -> Parsed:
    whole, starts = texts[0], np.zeros(1, np.int64)
    if len(texts) > 1:
        whole, starts = _Scanned.back_to_back(texts)
    edges = whole.edges.ravel()
    return Parsed(
        fields=Fields(columns, whole.marks, edges, encoding=encoding, null=dialect.null),
        rejected=make_table(
            whole.marks.text,
            whole.faults,
            starts,
            columns=len(columns),
            encoding=encoding,
            max_size=dialect.max_record_size,
        ),
        lines=tuple(int(text.marks.counts[LINE_ENDS]) for text in texts),
        _marks=whole.marks,
        _edges=edges,
        _starts=starts,
    )


def _scan(
    text: bytes, columns: tuple[str, ...], encoding: str, dialect: Dialect, header: bytes
) -> _Scanned:
    if len(text) > _LONGEST:
        raise DataError(f"a line of about {len(text):,} bytes is too long to read; is this CSV?")
    marks, width = Marks.of(text, dialect), len(columns) + 1
    most = int(marks.counts[LINE_ENDS]) + 1
    edges = np.empty(most * width, np.int32)
    faults = np.empty(most * FAULT_SIZE + 1, np.int64)
    rows = scan_records(
        *(marks.text, marks.stops, marks.lines, marks.quotes, marks.delimiter, marks.quote_used),
        *(marks.escape_used, len(columns), dialect.max_record_size, marks.nuls()),
        find_undecodable(marks, encoding),
        *(edges, faults),
    )
    good = edges.reshape(-1, width)[:rows]
    bad = faults[1 : 1 + int(faults[0]) * FAULT_SIZE].copy()  # without the unused room
    bad = bad.reshape(-1, FAULT_SIZE)
    repeats = _find_record(header, marks.text, good) if header else _NOTHING
    if len(repeats):
        bad = _with_repeats(bad, good[repeats], marks)
        good = np.delete(good, repeats, axis=0)
    return _Scanned(marks, good, bad)


def _find_record(record: bytes, text: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the rows (int64) that repeat a record, with or without a byte order mark before it."""
    starts, ends = edges[:, 0], edges[:, -1]
    sizes = ends - starts
    found = []
    for wanted in (record, BOM_UTF8 + record):
        same = np.flatnonzero(sizes == len(wanted))
        for index, byte in enumerate(wanted):
            if not len(same):
                break
            same = same[text[starts[same] + index] == byte]
        found.append(same)
    return np.sort(np.concatenate(found))


def _with_repeats(faults: np.ndarray, repeats: np.ndarray, marks: Marks) -> np.ndarray:
    """Add a fault for each repeated header, given by its edges; return all faults by offset."""
    starts = repeats[:, 0].astype(np.int64)
    lines = np.empty_like(starts)
    count_lines_before(marks.lines, starts, lines)
    more = np.zeros((len(starts), FAULT_SIZE), np.int64)
    more[:, :4] = np.stack([starts, repeats[:, -1] - starts, lines, lines * 0 + REPEATED], axis=1)
    found = np.concatenate([faults, more])
    return found[np.argsort(found[:, 0])]
