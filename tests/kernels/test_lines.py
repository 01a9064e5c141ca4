"""Lines hold their parts, in as many texts as it takes; tested in three ways (see test_modes)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.kernels.lines import count_special, write_lines

TEXTS = st.binary(max_size=80)


def flat(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return texts back to back, behind another one, and where each begins and the last ends."""
    bounds = np.cumsum([3, *map(len, texts)], dtype=np.int64)
    return np.frombuffer(b"???" + b"".join(texts), np.uint8), bounds


@given(
    st.lists(st.tuples(TEXTS, st.integers(0, 4), st.none() | TEXTS), max_size=60),
    st.lists(TEXTS, min_size=5, max_size=5),
    st.integers(0, 400),
    st.integers(0, 9),
)
@example([(b"", 0, b""), (b"", 0, None)], [b""] * 5, 1, 0)
def test_lines_are_written_in_turn(
    lines: list[tuple[bytes, int, bytes | None]],
    customers: list[bytes],
    room: int,
    first_bit: int,
) -> None:
    rows = np.array([row for _, row, _ in lines], np.int64)
    are_there = [rest is not None for *_, rest in lines]
    bits = np.packbits(np.array([False] * first_bit + are_there, bool), bitorder="little")
    rests = flat([b"hidden" if rest is None else rest for *_, rest in lines])
    none = np.frombuffer(b"none\n", np.uint8)
    size = np.zeros(1, np.int64)
    row, found = 0, []
    while row < len(lines):
        out = np.zeros(room, np.uint8)
        following = write_lines(
            *flat([one for one, *_ in lines]), rows, *flat(customers), *rests, bits, first_bit,
            none, row, out, size,
        )  # fmt: skip
        if following == row:
            assert size[0] > room
            room = int(size[0])
        else:
            found.append(out[: size[0]].tobytes())
            row = following

    assert b"".join(found) == b"".join(
        one + customers[row] + (b"none\n" if rest is None else rest) for one, row, rest in lines
    )
    assert all(len(one) <= room for one in found)


def test_without_a_missing_rest_no_bits_are_needed() -> None:
    none, size = np.empty(0, np.uint8), np.zeros(1, np.int64)
    out, rows = np.zeros(20, np.uint8), np.array([1, 0], np.int64)

    row = write_lines(
        *flat([b"1", b"2"]), rows, *flat([b"Ada", b"Bo"]), *flat([b"x\n", b"y\n"]), none, 0,
        none, 0, out, size,
    )  # fmt: skip

    assert row == 2
    assert out[: size[0]].tobytes() == b"1Box\n2Aday\n"


@pytest.mark.parametrize(
    ("text", "count"), [(b"", 0), (b"a'b;c\t\x00", 0), (b'a,"b"\r\n', 5), (b"," * 300, 300)]
)
def test_marks_that_need_quotes_are_counted(text: bytes, count: int) -> None:
    assert count_special(np.frombuffer(text, np.uint8)) == count
