"""An index finds what a plain dict of trimmed texts would."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.frames import text
from support.oracle import WHITESPACE

from pipeline.columns.id_index import IdIndex

ID = st.none() | st.integers(0, 30).map(str) | st.text(st.sampled_from("7 \xa0é-"), max_size=20)
IDS = st.lists(ID, max_size=30)


def rows_by_dict(ids: Sequence[str | None], wanted: Sequence[str | None]) -> list[int]:
    """Return the first row of each wanted id, or the number of rows."""
    first: dict[str, int] = {}
    for row, one in enumerate(ids):
        if one and one.strip(WHITESPACE):
            first.setdefault(one.strip(WHITESPACE), row)
    return [first.get((one or "").strip(WHITESPACE), len(ids)) for one in wanted]


@given(IDS, IDS, st.integers(0, 30), st.integers(0, 30))
def test_rows_are_those_of_a_dict(
    ids: Sequence[str | None], others: Sequence[str | None], start: int, other_start: int
) -> None:
    """Also where both columns are parts of others."""
    wanted = [*others, *ids]

    found = IdIndex(text(*ids)[start:]).rows(text(*wanted)[other_start:])

    assert found.dtype == np.int64
    assert found.tolist() == rows_by_dict(ids[start:], wanted[other_start:])


@given(IDS)
def test_an_index_finds_the_same_wherever_it_is_unpickled(ids: Sequence[str | None]) -> None:
    index = IdIndex(text(*ids))

    received = pickle.loads(pickle.dumps(index, protocol=5))

    assert received.rows(text(*ids)).tolist() == index.rows(text(*ids)).tolist()


def test_each_index_has_hashes_of_its_own() -> None:
    first, second = (IdIndex(text("customer 7", "customer 8")) for _ in range(2))

    assert first._table.tolist() != second._table.tolist()
