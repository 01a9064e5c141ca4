"""Text in encodings that extend ASCII: what cannot be decoded, and columns as UTF-8."""

from __future__ import annotations

import codecs
from threading import local

import numpy as np
import pyarrow as pa

from pipeline.columns.arrow import TEXT
from pipeline.kernels.scan import find_no_utf8

_NONE = np.empty(0, np.int64)
_COLLECT = "pipeline-collect"
_found = local()  # `places`: where this thread has come upon bytes that cannot be decoded


def undecodable(text: np.ndarray, encoding: str) -> np.ndarray:
    """Return where bytes of a text (uint8) begin that are invalid in its encoding (int64)."""
    if encoding == "utf-8":
        places = np.empty(find_no_utf8(text, _NONE), np.int64)
        if len(places):
            find_no_utf8(text, places)
        return places
    _found.places = []
    try:
        codecs.decode(text.data, encoding, _COLLECT)
        return np.array(_found.places, np.int64)
    finally:
        del _found.places


def recoded(
    data: np.ndarray, valid: pa.Buffer | None, missing: int, encoding: str, rows: int
) -> pa.Array:
    """Return texts in an encoding (uint8), each with a NUL behind it, as large_string.

    No text has a NUL of its own. `valid` and `missing` say which texts are missing, as Arrow does.
    """
    text = np.frombuffer(str(data.data, encoding).encode(), np.uint8)
    is_end = text == 0
    bounds = np.zeros(rows + 1, np.int64)
    bounds[1:] = np.flatnonzero(is_end)
    bounds[1:] -= np.arange(rows)
    buffers = [valid, pa.py_buffer(bounds), pa.py_buffer(text[~is_end])]
    return pa.Array.from_buffers(TEXT, rows, buffers, missing)


def _collect(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    _found.places.append(error.start)
    return "", error.start + 1


codecs.register_error(_COLLECT, _collect)
