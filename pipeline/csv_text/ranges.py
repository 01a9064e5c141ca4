"""Finds the records of a range of bytes without reading what comes before it.

A file is cut into ranges that are scanned independently. In a range without a quote, every newline
ends a record if no earlier quoted field can reach into the range. Any other range may begin inside
or outside quotes, so both are tried. The end of the previous range then tells which is right (Ge et
al., Speculative Distributed CSV Data Parsing for Big Data Analytics, SIGMOD 2019). If neither is,
as in malformed text, the range is cut again from that end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from pipeline.csv_text.files import call_at_once, read_bytes
from pipeline.csv_text.marks import AHEAD, find_first_ends, next_record, read_further
from pipeline.csv_text.sources import Block, FileText, Source, SourceFile, UnpackedBlock
from pipeline.errors import DataError

_LINE_END = re.compile(rb"\r\n?|\n")
_MOST_FILES = 256  # of one block: opening a file takes time
# How many block numbers a table has, and how many are reserved for a file to unpack.
_NUMBERS, _RESERVED = 1 << 32, 1 << 20


class Cut(NamedTuple):
    """One way to cut a range: its records are bytes `start` to `stop` of the file.

    The two are equal if no record begins in the range.
    """

    start: int
    stop: int


class Found(NamedTuple):
    """The text of a block's records, file by file, for at least one file.

    If the range alone does not determine its records, the text is empty, and `undecided` holds the
    possible cuts, at most two.
    """

    texts: tuple[FileText, ...]
    undecided: tuple[Cut, ...] | None = None


def cut_into_ranges(source: Source, size: int) -> Source:
    """Return a table with blocks of `size` bytes, which may begin and end within a record.

    Small files share a block. A file that can only be read from the start is one block, which
    reserves numbers for the blocks that it may become.
    """
    blocks: list[Block] = []
    number = 0
    reserved = min(_RESERVED, _NUMBERS // len(source.files))
    for file, *more in _group_files(source.files, size):
        following = None if file.is_plain else number + reserved
        bounds = [file.start, file.size]
        if file.is_plain:
            bounds = [*range(file.start, file.size, size), file.size]
        for start, stop in pairwise(bounds):
            block = Block(
                *(file, start, stop, number),
                exact=len(bounds) == 2,
                following=following,
                more=tuple(more),
            )
            blocks.append(block)
            number = block.next_number
    if not blocks:  # headers only: a table without records still has one partition
        first = source.files[0]
        blocks = [Block(first, first.start, first.start, 0)]
    return replace(source, blocks=tuple(blocks))


def _group_files(files: Iterable[SourceFile], size: int) -> Iterator[list[SourceFile]]:
    """Yield the files that share a block of `size` bytes: small neighbors of the same form."""
    group: list[SourceFile] = []
    left = 0
    for file in files:
        if file.is_plain and file.start == file.size:  # no records
            continue
        left -= file.plain_size
        if group and (left < 0 or len(group) == _MOST_FILES or not file.is_like(group[0])):
            yield group
            group = []
        if not group:
            left = size - file.plain_size
        group.append(file)
    if group:
        yield group


def find_records(block: Block) -> Found:
    """Read the records that begin in a block."""
    if isinstance(block, UnpackedBlock):
        return Found(block.texts)
    file, start, stop = block.file, block.start, block.stop
    if block.exact or start >= stop:
        parts = (file, start, stop), *((other, other.start, other.size) for other in block.more)
        return Found(tuple(call_at_once(_read_part, parts)))
    first = start == file.start
    # Include the previous byte, which may be a newline, and those that may escape it.
    before = 0 if first else min(start - file.start, 3 if file.dialect.escape else 1)
    text = _Text(file, start - before, stop + AHEAD)
    if first:
        return text.between(_cut(block, start, text))
    if text.is_unquoted(start, stop) and _is_outside_quotes(block):
        begin = text.first_line(start, stop)
        if begin is None:
            return Found((FileText(file, stop, b""),))
        return text.between(_cut(block, begin, text, text.last_line(begin, stop)))
    begins = text.find_first_ends(start - 1, start + file.dialect.max_record_size)
    cuts = [_cut(block, begin, text) for begin in begins if begin and begin < stop]
    return Found((FileText(file, stop, b""),), tuple(cuts))


def _read_part(part: tuple[SourceFile, int, int]) -> FileText:
    file, start, stop = part
    return FileText(file, start, read_bytes(file.path, start, stop, file.version))


def _is_outside_quotes(block: Block) -> bool:
    """Return whether a range without a quote is certainly outside quotes.

    A quote opened earlier must be closed within the maximum record size. Otherwise it is malformed
    and does not count.
    """
    file, start, stop = block.file, block.start, block.stop
    dialect = file.dialect
    if not dialect.quote or stop - start >= dialect.max_record_size or stop == file.size:
        return True
    first = max(file.start, start - dialect.max_record_size)
    before = read_bytes(file.path, first, start, file.version)
    return dialect.quote.encode() not in before


def cut_again(block: Block, start: int) -> Cut:
    """Cut a range whose first record begins at byte `start`."""
    return _cut(block, start, _Text(block.file, start, block.stop + AHEAD))


def decide_blocks(
    source: Source,
    found: Mapping[int, Cut | Sequence[Cut]],
    again: Callable[[Block, int], Cut],
) -> Iterator[Block]:
    """Yield the blocks of a table with their exact bytes; leave out blocks without a record.

    `found` maps the number of each inexact block to its cut, or to its possible cuts. `again` calls
    `cut_again` with a block and a byte. Raises DataError if two blocks do not meet.
    """
    file, end = None, 0
    for block in source.blocks:
        if block.exact:
            yield block
            continue
        if block.file is not file:
            file, end = block.file, block.file.start
        cut = found[block.number]
        if not isinstance(cut, Cut):
            if end >= block.stop:  # one record is longer than this range
                continue
            held = (possible for possible in cut if possible.start == end)
            cut = next(held, None) or again(block, end)
        elif cut.start == cut.stop and end >= block.stop:
            continue
        if cut.start != end:
            raise DataError(
                f"{block.file.name}: a block begins at byte {cut.start}, but the previous one ends "
                f"at byte {end}; this is a bug: please report it"
            )
        yield replace(block, start=cut.start, stop=cut.stop, exact=True)
        end = cut.stop


class _Text:
    """Bytes of a file from byte `start` on, to which more can be added."""

    def __init__(self, file: SourceFile, start: int, stop: int) -> None:
        self._file, self._start = file, start
        self._bytes = read_bytes(file.path, start, min(stop, file.size), file.version)

    @property
    def size(self) -> int:
        return len(self._bytes)

    @property
    def at_end(self) -> bool:
        return self._start + len(self._bytes) == self._file.size

    def read_on(self, size: int) -> None:
        file, begin = self._file, self._start + len(self._bytes)
        self._bytes += read_bytes(file.path, begin, min(begin + size, file.size), file.version)

    def after(self, start: int) -> bytes:
        return self._bytes[start - self._start :]

    def between(self, cut: Cut) -> Found:
        first, last = (offset - self._start for offset in cut)
        return Found((FileText(self._file, cut.start, self._bytes[first:last]),))

    def is_unquoted(self, start: int, stop: int) -> bool:
        """Return whether `start` to `stop` has neither quotes nor escapes that apply."""
        first, last = start - self._start, stop - self._start
        dialect = self._file.dialect
        marks = (dialect.quote, first), (dialect.escape, 0)
        return not any(
            mark and self._bytes.find(mark.encode(), begin, last) >= 0 for mark, begin in marks
        )

    def find_first_ends(self, start: int, stop: int) -> tuple[int | None, int | None]:
        """Do what `marks.find_first_ends` does, from byte `start` to `stop` of the file."""
        text = self._bytes[start - self._start : stop - self._start]
        outside, inside = find_first_ends(text, self._file.dialect)
        return (
            None if outside is None else start + outside,
            None if inside is None else start + inside,
        )

    def first_line(self, start: int, stop: int) -> int | None:
        """Return where the first line in `start` to `stop` begins; None if none does."""
        end = _LINE_END.search(self._bytes, start - self._start - 1)
        begin = self._start + end.end() if end else stop
        return begin if begin < stop else None

    def last_line(self, start: int, stop: int) -> int:
        """Return where the last line before `stop` begins; `start` is where one begins."""
        first, last = start - self._start, stop - self._start
        lf = self._bytes.rfind(b"\n", first, last - 1)
        cr = self._bytes.rfind(b"\r", max(lf, first), last - 1)
        end = max(lf, cr) + 1
        if end == cr + 1 and self._bytes[end : end + 1] == b"\n":
            end += 1
        return self._start + end if max(lf, cr) >= 0 else start


def _cut(block: Block, start: int, text: _Text, known: int | None = None) -> Cut:
    """Cut a range whose first record begins at `start`; if given, one also begins at `known`."""
    if block.stop == block.file.size:
        return Cut(start, block.stop)
    begin = start if known is None else known
    ahead, dialect = AHEAD, block.file.dialect
    while True:
        found = next_record(text.after(begin), block.stop - begin, text.at_end, dialect)
        if found is not None:
            return Cut(start, begin + found)
        ahead = read_further(ahead, text.size)
        text.read_on(ahead)
