"""Where records and their fields are, held against a reader that goes one byte at a time.

These tests run on compiled kernels, and again as plain Python and with bounds checked (see
test_modes).
"""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import config
from support.reference import Span, spans

from pipeline.csv_text.marks import next_record
from pipeline.csv_text.parse import parse
from pipeline.csv_text.rejects import list_rejects
from pipeline.kernels.encodings import find_invalid_utf8
from pipeline.kernels.marks import count_marks, next_mark
from pipeline.settings import Dialect

LENGTHS = range(4 if config.DISABLE_JIT else 6)
TEXTS = st.lists(
    st.sampled_from(
        [b"1,2\n", b"3,4\r\n", b"5,6\r", b'7,"8"\n', b'9,"a\nb"\n', b'"",""""\n', b'"', b'""',
         b"\n", b"\r", b",", b"x", b'1,"open\n', b'"a"b\n', b"y" * 20, b"z" * 70, b'y","\n']
    ),
    max_size=40,
).map(b"".join)  # fmt: skip
SIZES = st.sampled_from([2, 5, 7, 16, 64, 100, 1 << 20])


def check(text: bytes, max_size: int, width: int = 2) -> None:
    """Compare what was found in a text with what the reference finds."""
    found = spans(text, max_size=max_size)
    dialect = Dialect(max_record_size=max_size)
    columns = tuple("abcdefg"[:width])

    parsed = parse(text, columns, "latin-1", dialect)

    good = [one for one in found if one.fields and len(one.fields) == width and not one.fault]
    rows = [tuple(field.decode("latin-1") or None for field in one.fields) for one in good]
    assert list(zip(*map(column_of(parsed), columns), strict=True)) == rows
    assert parsed.lines_of(range(len(rows))) == [(0, one.line) for one in good]
    bad = [(one.offset, one.length, one.line, one.reason) for one in list_rejects(parsed.rejected)]
    assert bad == [
        (one.start, len(text[one.start : one.stop].rstrip(b"\r\n")), one.line, fault)
        for one in found
        if (fault := fault_of(one, width))
    ]


def column_of(parsed):  # type: ignore[no-untyped-def]
    return lambda name: parsed.fields.column(name).to_pylist()


def fault_of(span: Span, width: int) -> str:
    if span.fault or not span.fields or len(span.fields) == width:
        return span.fault
    return "too few fields" if len(span.fields) < width else "too many fields"


@pytest.mark.parametrize("max_size", [4, 1 << 20])
def test_every_short_text_falls_into_the_same_records_as_byte_by_byte(max_size: int) -> None:
    for length in LENGTHS:
        for letters in product(b'",\n\rx', repeat=length):
            check(bytes(letters), max_size)


@given(TEXTS, SIZES, st.integers(1, 3))
def test_any_text_falls_into_the_same_records_as_byte_by_byte(
    text: bytes, max_size: int, width: int
) -> None:
    check(text, max_size, width)


@given(TEXTS, SIZES, st.integers(0, 80), st.integers(0, 200))
def test_the_next_record_begins_where_it_does_in_the_whole_text(
    text: bytes, max_size: int, position: int, size: int
) -> None:
    """However little of the text is there, unless it is too little."""
    dialect = Dialect(max_record_size=max_size)
    starts = [span.start for span in spans(text, max_size=max_size)] + [len(text)]
    wanted = min((start for start in starts if start >= position), default=len(text))
    begin, is_whole = text[:size], size >= len(text)

    found = next_record(begin, min(position, len(begin)), is_whole, dialect)

    if position <= len(begin):
        assert found == wanted or (found is None and not is_whole)
        enough = len(begin) > wanted + max_size + 1
        assert found is not None or not enough


@given(st.lists(st.integers(0, 300), unique=True), st.integers(0, 310), st.integers(0, 310))
def test_marks_are_found_and_counted(places: list[int], start: int, stop: int) -> None:
    marks = np.zeros(5, np.uint64)
    for place in places:
        marks[place >> 6] |= np.uint64(1 << (place & 63))
    between = sorted(place for place in places if start <= place < stop)

    assert next_mark(marks, start, stop) == (between[0] if between else stop)
    assert count_marks(marks, start, stop) == len(between)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=5),
            st.text(max_size=9).map(lambda one: one.encode("utf-8", "replace")),
            st.sampled_from(
                [
                    b"\xed\xa0\x80",
                    b"\xe0\x80\x80",
                    b"\xf4\x90\x80\x80",
                    b"\xf0\x80\x80\x80",
                    b"\xc0\x80",
                    b"\xe2\x82",
                    b"\xf0\x9f\x98",
                    b"x" * 70,
                ]
            ),
        )
    ).map(b"".join)
)
def test_the_first_byte_of_a_line_that_is_no_utf8_is_found_as_by_python(text: bytes) -> None:
    lines = re.split(rb"(?<=[\r\n])", text)
    starts = np.cumsum([0, *map(len, lines)]).tolist()
    marks = np.zeros(len(text) // 64 + 1, np.uint64)
    for end in re.finditer(rb"[\r\n]", text):
        marks[end.start() >> 6] |= np.uint64(1 << (end.start() & 63))
    places = np.empty(len(lines), np.int64)

    found = find_invalid_utf8(np.frombuffer(text, np.uint8), marks, places)

    bad = [first_bad(line) for line in lines]
    wanted = [starts[number] + place for number, place in enumerate(bad) if place is not None]
    assert places[:found].tolist() == wanted


def first_bad(text: bytes) -> int | None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None
