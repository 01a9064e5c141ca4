"""Where records begin and end; held against a reader that goes one byte at a time."""

from __future__ import annotations

from itertools import product

import pytest
from support.reference import spans

from pipeline.csv_text import record_ends as ends
from pipeline.csv_text.record_ends import RecordEnds
from pipeline.csv_text.records import Grammar, count_lines, grammar
from pipeline.settings import Dialect

COMMA = Grammar(",", 1 << 20)


def test_every_short_text_falls_into_the_same_records_as_byte_by_byte() -> None:
    for length in range(7):
        for letters in product(b'",\n\rx', repeat=length):
            text = bytes(letters)
            for max_size in (4, 1 << 20):
                wanted = [
                    (
                        *(span.start, text[span.start : span.stop][:max_size], span.line),
                        *(span.fault or None, span.stop - span.start),
                    )
                    for span in spans(text, max_size=max_size)
                    if text[span.start : span.stop].strip(b"\r\n")
                ]
                found = Grammar(",", max_size).split(text)
                assert [
                    (one.offset, one.raw, one.line, one.fault, one.size) for one in found
                ] == wanted, text


def test_the_fields_of_short_records_are_counted() -> None:
    for length in range(1, 7):
        for letters in product(b'",\nx', repeat=length):
            text = bytes(letters)
            (first, *rest) = spans(text)
            if first.fields and not rest:
                assert COMMA.count_fields(text) == len(first.fields), text


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        (b"", 0),
        (b"a,b", 0),
        (b"a,b\n", 4),
        (b"a,b\nc", 4),
        (b"a,b\r", 0),  # an LF may follow
        (b"a,b\r\n", 5),
        (b"a\rb\r", 2),
        (b"a\n\n\n", 4),
        (b"\r", 0),
        (b'a,"b\n', 0),  # may be closed later
        (b'x\na,"b\n', 2),
        (b'a,"b\n"\n', 7),
        (b'a,"b\n""\n', 0),
        (b'a"b\nc', 4),
        (b'"a"b\nc', 5),
        (b'"a"b\n"c\nd', 5),
        (b'a"\n"b\r', 3),
    ],
)
def test_a_block_ends_behind_the_last_record_that_surely_is_complete(
    text: bytes, stop: int
) -> None:
    assert COMMA.complete_records(text) == stop


def test_a_quote_that_is_open_for_too_long_is_not_waited_for() -> None:
    assert Grammar(",", 10).complete_records(b'"a\nbcdefgh') == 0
    assert Grammar(",", 9).complete_records(b'"a\nbcdefgh\nx') == 11


@pytest.mark.parametrize(
    ("text", "regular"),
    [
        (b"", True),
        (b"a,b\n", True),
        (b'"a","b"\n', True),
        (b'"a""","\n"\r\n', True),
        (b'"a"', True),
        (b'"a', False),
        (b'"a"b\n', False),
        (b'"a" \n', False),
        (b'a"b\n', True),  # within a field a quote is text
        (b' "a"\r', True),
        (b'a"b\n"c', False),
    ],
)
def test_a_text_is_regular_where_no_record_is_malformed(text: bytes, regular: bool) -> None:
    assert COMMA.is_regular(text) is regular


@pytest.mark.parametrize("quote", [b"", b'"'])
@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_a_text_with_a_record_too_long_is_not_regular(quote: bytes, line_end: bytes) -> None:
    rules = Grammar(",", 1000)
    short = quote + b"x" * 90 + quote + line_end

    assert rules.is_regular(short * 100)
    for length in (1001, 1500, 5000):
        long = quote + b"x" * (length - 2 * len(quote)) + quote + line_end
        for text in (long, short * 50 + long + short * 50, short * 50 + long.strip()):
            assert not rules.is_regular(text)


@pytest.mark.parametrize("chunk", [64, 128, 1 << 20])
def test_long_texts_are_looked_through_in_chunks(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(ends, "_CHUNK", chunk)
    text = b'a,"b\n"",c"\r\n\n1,2\r"x","y"\n' * 40
    wanted = [span for span in spans(text) if span.fields]

    found = RecordEnds.find(text, b",")

    assert found is not None
    assert found.starts().tolist() == [span.start for span in wanted]
    assert found.last() == len(text)
    assert list(COMMA.lines(text, range(len(wanted)))) == [span.line for span in wanted]
    for place in range(len(text)):  # a quote too many, anywhere, is seen
        broken = RecordEnds.find(text[:place] + b'z"z' + text[place:], b",")
        assert broken is None


@pytest.mark.parametrize("max_size", [40, 1000, 1 << 20])
def test_bad_records_among_many_are_passed_by(max_size: int) -> None:
    rules = Grammar(",", max_size)
    texts = (b"1,2\n" * 30, b'a"b,c\r\n' * 30, b'"x\ny",z\r' * 30, b'"u,v\n', b'"t"u\n', b"w" * 50)
    for first, bad, last in product(texts, repeat=3):
        text = first + b"\n" + bad + b"\r" + last
        wanted = [span for span in spans(text, max_size=max_size) if span.fields or span.fault]
        faulty = any(span.fault for span in wanted)

        assert [one.fault or "" for one in rules.split(text)] == [span.fault for span in wanted]
        assert not (faulty and rules.is_regular(text))
        if not faulty:
            assert rules.is_regular(text)
            assert list(rules.lines(text, range(len(wanted)))) == [span.line for span in wanted]
        stop = rules.complete_records(text)
        assert stop in {0, len(text), *(span.start for span in spans(text, max_size=max_size))}


def test_the_last_end_is_found_in_an_earlier_word() -> None:
    text = b"x\n" + b"y" * 200 + b"\r"

    found = RecordEnds.find(text, b",")

    assert found is not None
    assert found.last() == 2
    assert RecordEnds.find(b"y" * 200 + b"\r", b",").last() == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("filler", [b"", b"x" * 2000])
@pytest.mark.parametrize(
    ("text", "lines"), [(b"", 0), (b"\n", 1), (b"\r\n", 1), (b"\r\r\n\n", 3), (b"a\nb\rc", 2)]
)
def test_lines_are_counted_by_their_ends(filler: bytes, text: bytes, lines: int) -> None:
    assert count_lines(filler + text) == lines


def test_the_rules_of_a_dialect_are_made_once() -> None:
    assert grammar(Dialect()) is grammar(Dialect(encoding="cp1252"))
    assert grammar(Dialect()) is not grammar(Dialect(delimiter=";"))
