"""Text in encodings that extend ASCII: finds invalid bytes, and turns columns into UTF-8."""

from __future__ import annotations

import codecs
import re
from functools import cache
from threading import local

import numpy as np

from pipeline.csv_text.marks import Marks
from pipeline.kernels.encodings import (
    find_no_utf8,
    find_undefined,
    recode_bytes,
    split_at_nuls,
)
from pipeline.kernels.gather import ROOM, gather_ranges
from pipeline.kernels.marks import HIGH, LINE_ENDS

_NONE = np.empty(0, np.int64)
_COLLECT = "pipeline-collect"
_LINE_END = re.compile(rb"[\r\n]")
_found = local()  # `places`: where this thread has found invalid bytes


def find_undecodable(marks: Marks, encoding: str) -> np.ndarray:
    """Return where the first byte is in each line that is invalid in an encoding (int64)."""
    if not marks.counts[HIGH]:
        return _NONE
    places = np.empty(int(marks.counts[LINE_ENDS]) + 1, np.int64)
    if encoding == "utf-8":
        return places[: find_no_utf8(marks.text, marks.lines, places)]
    if _is_one_byte(encoding):
        return places[: find_undefined(marks.text, marks.lines, _undefined(encoding), places)]
    _found.places = []
    try:
        codecs.decode(marks.text.data, encoding, _COLLECT)
        return np.array(_found.places, np.int64)
    finally:
        del _found.places


def recode(data: np.ndarray, bounds: np.ndarray, encoding: str) -> tuple[np.ndarray, np.ndarray]:
    """Return texts in an encoding as UTF-8, back to back (uint8), and their `bounds` (int64).

    Text `i` is from `bounds[i]` to `bounds[i + 1]`, and has no NUL.
    """
    found = np.empty(len(bounds), np.int64)
    if _is_one_byte(encoding):
        text = np.empty(3 * len(data), np.uint8)
        recode_bytes(data, bounds, _characters(encoding), text, found)
    else:
        parted = np.empty(len(data) + len(bounds) + ROOM, np.uint8)
        gather_ranges(data, bounds[:-1], bounds[1:], 0, parted, found)
        decoded = np.frombuffer(str(parted[: found[-1]].data, encoding).encode(), np.uint8)
        text = np.empty(len(decoded), np.uint8)
        split_at_nuls(decoded, text, found)
    return text[: found[-1]], found


@cache
def _is_one_byte(encoding: str) -> bool:
    """Tell whether every character of an encoding is one byte."""
    return len(bytes(range(256)).decode(encoding, "replace")) == 256


@cache
def _undefined(encoding: str) -> np.ndarray:
    """Return which bytes are not a character (uint8)."""
    characters = bytes(range(256)).decode(encoding, "replace")
    return np.array([one == "\ufffd" for one in characters], np.uint8)


@cache
def _characters(encoding: str) -> np.ndarray:
    """Return the UTF-8 of each byte: its size and three bytes (uint8)."""
    table = np.zeros((256, 4), np.uint8)
    for row, character in zip(table, bytes(range(256)).decode(encoding, "replace"), strict=True):
        text = character.encode()
        row[: len(text) + 1] = [len(text), *text]
    return table.reshape(-1)


def _collect(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    _found.places.append(error.start)
    line_end = _LINE_END.search(error.object, error.start)
    return "", line_end.start() if line_end else len(error.object)


codecs.register_error(_COLLECT, _collect)
