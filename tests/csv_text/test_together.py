"""Texts of several files that are read together give what each gives by itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledgers import source

from pipeline.csv_text.parse import Parsed, parse_texts
from pipeline.csv_text.ranges import cut_into_ranges
from pipeline.csv_text.rejects import list_rejects
from pipeline.csv_text.sources import FileText, Source, SourceFile
from pipeline.settings import Dialect
from pipeline.storage.versions import Version

(FILE,) = source("sales", a=1).files
TEXTS = st.lists(
    st.lists(
        st.sampled_from(
            [b"1,2\n", b"3,4\r\n", b"5,6\r", b'7,"8"\n', b'9,"a\nb"\n', b'"', b"\n", b'1,"open\n',
             b"\\", b",", b"\0", b"\xe9", b"a,b\n", b"y" * 70]
        ),
        max_size=6,
    ).map(b"".join),
    min_size=1,
    max_size=5,
)  # fmt: skip


@given(TEXTS, st.sampled_from(['"', ""]), st.sampled_from(["", "\\"]), st.sampled_from(["", "2"]))
def test_texts_are_read_each_by_itself(
    texts: list[bytes], quote: str, escape: str, null: str
) -> None:
    dialect = Dialect(",", quote=quote, escape=escape, null=null)
    for encoding in ("utf-8", "cp1252", "shift_jis"):
        file = replace(FILE, columns=("a", "b"), encoding=encoding, dialect=dialect, header=b"a,b")
        drawn = [FileText(file, 5, text) for text in texts]

        together = parse_texts(drawn)

        alone = [parse_texts([one]) for one in drawn]
        assert together.lines == tuple(one.lines[0] for one in alone)
        for name in ("a", "b"):
            columns = [one.fields.column(name) for one in alone]
            assert together.fields.column(name).equals(pa.concat_arrays(columns))
        lines = [one.fields.lines(["b", "a"], False) for one in alone]
        assert together.fields.lines(["b", "a"], False).equals(pa.concat_arrays(lines))
        assert together.text_total() == sum(one.text_total() for one in alone)
        assert list_rejects(together.rejected) == [
            reject._replace(file=place)
            for place, one in enumerate(alone)
            for reject in list_rejects(one.rejected)
        ]
        assert lines_in(together) == [
            (place, line) for place, one in enumerate(alone) for _, line in lines_in(one)
        ]


def test_lines_of_no_columns_are_empty() -> None:
    file = replace(FILE, columns=("a", "b"), dialect=Dialect(","), header=b"a,b")
    lines = parse_texts([FileText(file, 5, b"1,2\n" * 100)]).fields.lines([], False)

    lines.validate(full=True)
    assert lines.to_pylist() == ["\n"] * 100


def lines_in(parsed: Parsed) -> list[tuple[int, int]]:
    return parsed.lines_of(range(len(parsed.fields)))


def table(*files: SourceFile) -> Source:
    paths = (f"/{place}" for place in range(len(files)))
    return Source(
        "sales",
        FILE.columns,
        tuple(replace(file, path=path) for file, path in zip(files, paths, strict=True)),
    )


def sized(size: int) -> SourceFile:
    return replace(FILE, version=Version(size))


def test_thousands_of_small_files_are_a_few_blocks() -> None:
    for is_plain in (True, False):
        blocks = cut_into_ranges(table(*3000 * [replace(FILE, is_plain=is_plain)]), 8 << 20).blocks

        assert len(blocks) == 12
        assert [file.path for block in blocks for file in block.files] == [
            f"/{place}" for place in range(3000)
        ]
        assert all(one.next_number == two.number for one, two in pairwise(blocks))


@pytest.mark.parametrize(
    ("files", "together"),
    [
        ([sized(400), sized(600), sized(500)], [[400, 600], [500]]),
        ([sized(500), sized(1001), sized(300)], [[500], [1001], [300]]),
        ([sized(20), sized(300), sized(20)], [[300]]),  # headers only
        ([sized(300), replace(sized(100), encoding="cp1252")], [[300], [100]]),
        ([sized(300), replace(sized(100), columns=("n", "customer_id"))], [[300], [100]]),
        ([replace(sized(100), is_plain=False), sized(300)], [[100], [300]]),
        ([replace(sized(200), is_plain=False)] * 2, [[200], [200]]),  # as large once unpacked
        ([replace(sized(100), is_plain=False)] * 2, [[100, 100]]),
    ],
)
def test_neighbours_share_a_block_if_they_fit_into_it_and_are_alike(
    files: list[SourceFile], together: list[list[int]]
) -> None:
    blocks = cut_into_ranges(table(*files), 1000).blocks

    found: dict[str, list[int]] = {}
    for block in blocks:
        found[block.file.path] = [file.size for file in block.files]
    assert list(found.values()) == together
