"""Wherever a file is cut into ranges, its records are those that a reader from the start finds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cutting import cut, exactly
from support.reference import spans

from pipeline.csv_text import ranges
from pipeline.csv_text.files import read_bytes
from pipeline.csv_text.finding import find_files
from pipeline.csv_text.headers import open_source
from pipeline.csv_text.marks import AHEAD, find_first_ends
from pipeline.csv_text.ranges import cut_into_ranges, decide_blocks, find_records
from pipeline.csv_text.sources import Block, Source
from pipeline.errors import DataError, InputChangedError
from pipeline.settings import Dialect
from pipeline.storage.versions import Version

HEADER = b"id,n\n"
LONG = b'1,"' + b"x\n" * 500 + b'"\n'


def opened(folder: Path, body: bytes, dialect: Dialect | None = None) -> Source:
    (folder / "t.csv").write_bytes(HEADER + body)
    return open_source("sales", [str(folder / "t.csv")], {}, dialect or Dialect())


def check(folder: Path, body: bytes, dialect: Dialect, block_size: int) -> None:
    """Cut at this size: every block begins and ends between two records, and none is missing."""
    source = opened(folder, body, dialect)
    found = spans(body, b",", dialect.max_record_size)
    borders = {len(HEADER) + span.start for span in found} | {len(HEADER) + len(body)}

    blocks = exactly(source, block_size)

    assert blocks[0].start == len(HEADER)
    assert blocks[-1].stop == len(HEADER) + len(body)
    assert all(first.stop == second.start for first, second in pairwise(blocks))
    assert {block.start for block in blocks} <= borders
    if len(blocks) > 1:
        assert len({block.number for block in blocks}) == len(blocks)


PIECES = st.lists(
    st.sampled_from(
        [b"1,2\n", b"3,4\r\n", b"5,6\r", b'7,"8"\n', b'9,"a\nb"\n', b'"",""""\n', b'"', b'""',
         b"\n", b"\r", b",", b"x", b'1,"open\n', b'"a"b\n', b"y" * 20]
    ),
    max_size=25,
).map(b"".join)  # fmt: skip


@given(PIECES, st.integers(1, 40), st.sampled_from([5, 7, 16, 100, 1 << 20]))
def test_any_text_is_cut_between_records(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, block_size: int, longest: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "AHEAD", 3)  # the end of a record is often not there yet
        check(folder, body, Dialect(max_record_size=longest), block_size)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            b"1,2\n" * 5 + b'3,"' + b"a\nb" * 30 + b'"\n' + b"4,5\n" * 5, id="ten ranges long"
        ),
        pytest.param(b"1,2\r\n" * 20, id="CR LF"),
        pytest.param(b"1,2\r" * 20, id="CR"),
        pytest.param(b'"' * 61, id="quotes only"),
        pytest.param(b'"a\n","b\n"\n' * 12, id="newlines in quotes everywhere"),
        pytest.param(b'1,"open\n' * 12, id="unclosed"),
        pytest.param(b'"a"b,c\n' * 12, id="text behind a closing quote"),
        pytest.param(b"x" * 70, id="one line"),
    ],
)
def test_every_size_of_a_range(tmp_path: Path, body: bytes) -> None:
    for block_size in range(1, len(body) + 2):
        for longest in (10, 1 << 20):
            check(tmp_path, body, Dialect(max_record_size=longest), block_size)


@pytest.mark.parametrize("place", range(24))
def test_a_lone_quote_at_every_place_around_a_border(tmp_path: Path, place: int) -> None:
    body = b"10,20\n" * 4
    broken = body[:place] + b'"' + body[place:]

    for block_size in range(9, 16):
        check(tmp_path, broken, Dialect(), block_size)
        check(tmp_path, broken, Dialect(max_record_size=8), block_size)


def test_without_quotes_nothing_is_undecided_and_nothing_is_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(path: str, start: int, stop: int, version: Version) -> bytes:
        text = read_bytes(path, start, stop, version)
        read.append(len(text))
        return text

    dialect = Dialect(max_record_size=1000)
    source = cut_into_ranges(opened(tmp_path, b"1,2\n" * 20_000, dialect), 8000)
    monkeypatch.setattr(ranges, "read_bytes", counted)

    found = [find_records(block) for block in source.blocks]

    assert all(one.undecided is None for one in found)
    assert b"".join(one.texts[0].text for one in found) == b"1,2\n" * 20_000
    assert sum(read) <= 80_000 + len(source.blocks) * (AHEAD + 1)


def test_a_quote_leaves_only_its_own_range_undecided(tmp_path: Path) -> None:
    dialect = Dialect(max_record_size=100)
    body = b"1,2\n" * 100 + b'3,"4"\n' + b"1,2\n" * 100
    source = cut_into_ranges(opened(tmp_path, body, dialect), 100)

    undecided = [
        block.number for block in source.blocks if find_records(block).undecided is not None
    ]

    assert undecided == [4]


def test_a_range_that_may_begin_in_quotes_can_be_cut_in_two_ways(tmp_path: Path) -> None:
    body = b'1,"a\n","b\n"\n' * 20
    source = cut_into_ranges(opened(tmp_path, body), 40)

    undecided = [find_records(block).undecided for block in source.blocks[1:-1]]

    assert all(cuts is not None and len(cuts) == 2 for cuts in undecided)


def test_blocks_that_do_not_meet_are_a_fault(tmp_path: Path) -> None:
    source = cut_into_ranges(opened(tmp_path, b"1,2\n" * 10), 20)
    found = {block.number: ranges.Cut(block.start, block.stop) for block in source.blocks}
    found[1] = ranges.Cut(26, 45)

    with pytest.raises(
        DataError, match="a block begins at byte 26, but the previous one ends at byte 25"
    ):
        list(decide_blocks(source, found, lambda block, start: ranges.Cut(start, block.stop)))


@pytest.mark.parametrize("size", [0, 5, 300, 301, 799])
def test_a_file_that_was_cut_is_not_searched_for_ever(tmp_path: Path, size: int) -> None:
    dialect = Dialect(max_record_size=100)
    source = cut_into_ranges(opened(tmp_path, b'1,"2"\n' * 133, dialect), 100)
    with (tmp_path / "t.csv").open("r+b") as file:
        file.truncate(size)

    early = r"t\.csv: changed during the run: it ends before byte \d+; nothing"
    for block in source.blocks:
        with pytest.raises(InputChangedError, match=early):
            find_records(block)
        with pytest.raises(InputChangedError, match=early):
            ranges.cut_again(block, block.start)


def test_a_table_without_records_has_one_empty_block(tmp_path: Path) -> None:
    for name in ("1.csv", "2.csv"):
        (tmp_path / name).write_bytes(HEADER)
    source = open_source("sales", find_files("sales", [str(tmp_path)]), {}, Dialect())

    (block,) = cut(source, 1024).blocks

    assert (block.start, block.stop, block.number) == (5, 5, 0)


def test_ranges_follow_one_another_and_are_numbered_through(tmp_path: Path) -> None:
    for name, count in (("1.csv", 50), ("2.csv", 0), ("3.csv", 70)):
        (tmp_path / name).write_bytes(HEADER + b"1,23\n" * count)
    source = cut_into_ranges(
        open_source("sales", find_files("sales", [str(tmp_path)]), {}, Dialect()), 64
    )

    assert [block.number for block in source.blocks] == list(range(len(source.blocks)))
    for file in source.files:
        of_file: list[Block] = [block for block in source.blocks if block.file == file]
        assert all(first.stop == second.start for first, second in pairwise(of_file))
        assert not of_file or (of_file[0].start, of_file[-1].stop) == (file.start, file.size)


def test_a_record_longer_than_a_range_is_in_one_block(tmp_path: Path) -> None:
    source = opened(tmp_path, b"1,2\n" + LONG + b"3,4\n" * 99)

    blocks = exactly(source, 16)

    holding = [block for block in blocks if block.start <= 9 < block.stop]
    assert len(holding) == 1
    assert holding[0].stop >= 9 + len(LONG)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        (b"ab\ncd\n", (3, None)),
        (b"\nab\n", (1, None)),
        (b"a\r\nb", (3, None)),
        (b"a\rb", (2, None)),
        (b"a\r", (None, None)),
        (b"\r\nb", (2, None)),
        (b'a"b\n"c\n', (7, 4)),
        (b'"b\nc"\n', (3, 6)),
        (b"", (None, None)),
    ],
)
def test_the_first_ends_outside_and_inside_quotes(
    text: bytes, ends: tuple[int | None, int | None]
) -> None:
    assert find_first_ends(text, Dialect()) == ends
