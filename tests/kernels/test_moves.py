"""Rows are moved as a stable sort moves them; tested in three ways (see test_modes)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kernels.moves import move_texts, place_rows, sum_sizes

COUNT = 4
ROWS = st.lists(st.tuples(st.integers(0, COUNT - 1), st.binary(max_size=20)), max_size=40)


@given(ROWS)
def test_the_rows_of_a_partition_come_together_in_their_order(
    rows: list[tuple[int, bytes]],
) -> None:
    numbers = np.array([number for number, _ in rows], np.int64)
    bounds = np.cumsum([3, *(len(text) for _, text in rows)], dtype=np.int64)
    text = np.frombuffer(b"???" + b"".join(text for _, text in rows), np.uint8)
    places, back = np.empty_like(numbers), np.empty_like(numbers)
    sizes, following = np.zeros(COUNT, np.int64), np.bincount(numbers, minlength=COUNT)
    moved, moved_bounds = np.empty(len(text) - 3, np.uint8), np.empty(len(rows) + 1, np.int32)

    place_rows(numbers, np.cumsum(following) - following, places, back)
    sum_sizes(bounds, numbers, sizes)
    move_texts(text, bounds, numbers, places, np.cumsum(sizes) - sizes, moved, moved_bounds)

    order = np.argsort(numbers, kind="stable")
    assert back.tolist() == order.tolist()
    assert back[places].tolist() == list(range(len(rows)))
    expected = [rows[row][1] for row in order]
    found = [moved[start:stop].tobytes() for start, stop in pairwise(moved_bounds)]
    assert found == expected
