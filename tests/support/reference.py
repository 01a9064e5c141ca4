"""CSV by the rules of DESIGN, one byte at a time: slow, plain, and with no code of the job's."""

from __future__ import annotations

from dataclasses import dataclass

LF, CR, QUOTE = b'\n\r"'


@dataclass(frozen=True)
class Span:
    """What some bytes of a text are: a blank line, a record (its fields) or a fault."""

    start: int
    stop: int
    line: int
    fields: tuple[bytes, ...] = ()
    fault: str = ""


def spans(text: bytes, delimiter: bytes = b",", max_size: int = 1 << 20) -> list[Span]:
    """Part a text into spans that follow one another without a gap; lines count from 0."""
    found = []
    start = line = 0
    while start < len(text):
        stop, fields, fault = _record(text, start, delimiter[0], max_size)
        if fault:
            stop, fields = _line_end(text, start), ()
            # How a quoted field goes on behind its line does not matter.
            *_, fault = _record(text[:stop], start, delimiter[0], max_size)
        elif not text[start:stop].strip(b"\r\n"):
            fields = ()
        found.append(Span(start, stop, line, fields, fault))
        line += _lines(text[start:stop])
        start = stop
    return found


def _record(
    text: bytes, start: int, delimiter: int, max_size: int
) -> tuple[int, tuple[bytes, ...], str]:
    """Return (where it ends, its fields, what is wrong) of the record at `start`."""
    limit = start + max_size
    fields: list[bytes] = []
    at = start
    while True:
        field = bytearray()
        if at < limit and text[at : at + 1] == b'"':
            at += 1
            while True:
                if at >= limit or at >= len(text):
                    return 0, (), "unclosed quote"
                if text[at] == QUOTE:
                    if text[at + 1 : at + 2] != b'"':
                        break
                    if at + 1 >= limit:  # the second of the two lies beyond
                        return 0, (), "record too long"
                    at += 1
                field.append(text[at])
                at += 1
            at += 1
            follows = text[at : at + 1]
            if at < limit and follows not in (b"", b"\r", b"\n", bytes([delimiter])):
                return 0, (), "text after a closing quote"
        else:
            while at < len(text) and text[at] not in (delimiter, LF, CR):
                field.append(text[at])
                at += 1
        fields.append(bytes(field))
        if at < len(text) and text[at] == delimiter and at < limit:
            at += 1
            continue
        stop = _line_end(text, at)
        if stop > limit:
            return 0, (), "record too long"
        return stop, tuple(fields), ""


def _line_end(text: bytes, at: int) -> int:
    while at < len(text) and text[at] not in (LF, CR):
        at += 1
    return at + (2 if text[at : at + 2] == b"\r\n" else 1 if at < len(text) else 0)


def _lines(text: bytes) -> int:
    return (
        text.count(b"\r\n")
        + text.replace(b"\r\n", b"").count(b"\n")
        + (text.replace(b"\r\n", b"").count(b"\r"))
    )
