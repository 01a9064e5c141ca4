"""Text in encodings that extend ASCII: what cannot be decoded, and columns as UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from functools import cache
from threading import local

import numpy as np

from pipeline.kernels.encodings import (
    find_no_utf8,
    find_undefined,
    recode_bytes,
    split_at_nuls,
)
from pipeline.kernels.gather import ROOM, gather_ranges

_NONE = np.empty(0, np.int64)
_COLLECT = "pipeline-collect"
_found = local()  # `places`: where this thread has come upon bytes that cannot be decoded


def undecodable(text: np.ndarray, encoding: str) -> np.ndarray:
    """Return where bytes of a text (uint8) begin that are invalid in its encoding (int64)."""
    if encoding == "utf-8":
        return _found_by(lambda places: find_no_utf8(text, places))
    if _is_one_byte(encoding):
        undefined = _undefined(encoding)
        return _found_by(lambda places: find_undefined(text, undefined, places))
    _found.places = []
    try:
        codecs.decode(text.data, encoding, _COLLECT)
        return np.array(_found.places, np.int64)
    finally:
        del _found.places


def recoded(data: np.ndarray, bounds: np.ndarray, encoding: str) -> tuple[np.ndarray, np.ndarray]:
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


def _found_by(find: Callable[[np.ndarray], int]) -> np.ndarray:
    """Return the places that a kernel finds, which says how many there are without room."""
    places = np.empty(find(_NONE), np.int64)
    if len(places):
        find(places)
    return places


@cache
def _is_one_byte(encoding: str) -> bool:
    """Tell whether each character of an encoding is one byte."""
    return len(bytes(range(256)).decode(encoding, "replace")) == 256


@cache
def _undefined(encoding: str) -> np.ndarray:
    """Return which bytes are no character (uint8)."""
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
    return "", error.start + 1


codecs.register_error(_COLLECT, _collect)
