"""Text in encodings that extend ASCII: finds invalid bytes, and turns columns into UTF-8."""

from __future__ import annotations

import codecs
import re
from functools import cache
from threading import local

import numpy as np

from pipeline.csv_text.marks import Marks
from pipeline.kernels.encodings import (
    find_invalid_utf8,
    find_undefined,
    recode_bytes,
    split_at_nuls,
)
from pipeline.kernels.gather import ROOM, gather_ranges
from pipeline.kernels.marks import HIGH, LINE_ENDS

_NO_OFFSETS = np.empty(0, np.int64)
_COLLECT = "pipeline-collect"
_LINE_END = re.compile(rb"[\r\n]")
_found = local()  # `offsets`: where this thread has found invalid bytes


def find_undecodable(marks: Marks, encoding: str) -> np.ndarray:
    """Return the offset of the first invalid byte in each line that has one (int64)."""
    if not marks.counts[HIGH]:
        return _NO_OFFSETS
    offsets = np.empty(int(marks.counts[LINE_ENDS]) + 1, np.int64)
    if encoding == "utf-8":
        return offsets[: find_invalid_utf8(marks.text, marks.lines, offsets)]
    if _is_one_byte(encoding):
        return offsets[: find_undefined(marks.text, marks.lines, _undefined(encoding), offsets)]
    _found.offsets = []
    try:
        codecs.decode(marks.text.data, encoding, _COLLECT)
        return np.array(_found.offsets, np.int64)
    finally:
        del _found.offsets


def recode(data: np.ndarray, bounds: np.ndarray, encoding: str) -> tuple[np.ndarray, np.ndarray]:
    """Return texts in an encoding as UTF-8, back to back (uint8), and their bounds (int64).

    Text `i` is `data[bounds[i] : bounds[i + 1]]`, and has no NUL.
    """
    new_bounds = np.empty(len(bounds), np.int64)
    if _is_one_byte(encoding):
        text = np.empty(3 * len(data), np.uint8)
        recode_bytes(data, bounds, _utf8_table(encoding), text, new_bounds)
    else:
        # A NUL after each text survives the conversion of all at once, and shows where each ends.
        separated = np.empty(len(data) + len(bounds) + ROOM, np.uint8)
        gather_ranges(data, bounds[:-1], bounds[1:], 0, separated, new_bounds)
        joined = str(separated[: new_bounds[-1]].data, encoding).encode()
        text = np.empty(len(joined), np.uint8)
        split_at_nuls(np.frombuffer(joined, np.uint8), text, new_bounds)
    return text[: new_bounds[-1]], new_bounds


def _decode_each_byte(encoding: str) -> str:
    """Decode all 256 bytes, undefined ones as U+FFFD: to 256 characters if each byte is one."""
    return bytes(range(256)).decode(encoding, "replace")


@cache
def _is_one_byte(encoding: str) -> bool:
    """Return whether every character of an encoding is one byte."""
    return len(_decode_each_byte(encoding)) == 256


@cache
def _undefined(encoding: str) -> np.ndarray:
    """Return 1 for each byte that is not a character, else 0 (uint8)."""
    return np.array([one == "\ufffd" for one in _decode_each_byte(encoding)], np.uint8)


@cache
def _utf8_table(encoding: str) -> np.ndarray:
    """Return the UTF-8 of each byte: its size and three bytes (uint8)."""
    table = np.zeros((256, 4), np.uint8)
    for row, character in zip(table, _decode_each_byte(encoding), strict=True):
        text = character.encode()
        row[: len(text) + 1] = [len(text), *text]
    return table.reshape(-1)


def _collect(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    _found.offsets.append(error.start)
    line_end = _LINE_END.search(error.object, error.start)
    return "", line_end.start() if line_end else len(error.object)


codecs.register_error(_COLLECT, _collect)
