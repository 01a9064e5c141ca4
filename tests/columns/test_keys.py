"""Ids are compared as text without the whitespace around it, in a kernel and in Arrow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from support.frames import text
from support.oracle import WHITESPACE

from pipeline.columns.keys import TrimmedIds, key_hashes, trimmed

IDS = st.lists(
    st.none() | st.text(st.sampled_from(f"7aé\u200c\ufefe{WHITESPACE}"), max_size=6), max_size=20
)


def as_compared(ids: Sequence[str | None]) -> list[str | None]:
    return [(one or "").strip(WHITESPACE) or None for one in ids]


@given(IDS, st.integers(0, 20))
def test_ids_are_trimmed_as_python_does(ids: Sequence[str | None], start: int) -> None:
    assert trimmed(text(*ids)[start:]).to_pylist() == as_compared(ids)[start:]


@given(IDS, st.integers(0, 20))
def test_trimmed_ids_are_found_in_the_text_of_any_part_of_a_column(
    ids: Sequence[str | None], start: int
) -> None:
    found = TrimmedIds(text(*ids)[start:])

    data = found.text.tobytes()
    places = zip(found.begin.tolist(), found.end.tolist(), strict=True)
    expected = as_compared(ids)[start:]
    assert [data[begin:end].decode() or None for begin, end in places] == expected
    assert found.are_missing().tolist() == [one is None for one in expected]
    assert found.shorter == sum(
        (after or "") != (before or "") for after, before in zip(expected, ids[start:], strict=True)
    )


def test_a_missing_id_has_no_text_whatever_lies_below_it() -> None:
    column = text("7", "8", "9")
    _, offsets, data = column.buffers()
    hidden = pa.Array.from_buffers(column.type, 3, [pa.py_buffer(b"\x05"), offsets, data])

    assert hidden.to_pylist() == ["7", None, "9"]
    assert TrimmedIds(hidden).are_missing().tolist() == [False, True, False]


@given(IDS)
def test_hashes_are_equal_where_ids_are(ids: Sequence[str | None]) -> None:
    keys = as_compared(ids)
    for hashes in (TrimmedIds(text(*ids)).hashes(), key_hashes(text(*ids))):
        assert len(set(hashes.tolist())) == len(set(keys))


def test_the_hashes_of_an_id_share_nothing() -> None:
    ids = text(*map(str, range(1000)))

    different = TrimmedIds(ids).hashes() ^ key_hashes(ids)

    counts = [int(one).bit_count() for one in different]
    assert 31 < np.mean(counts) < 33
