"""Paths become files with headers, and those become blocks that end at a record's end."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import UsageError
from pipeline.settings import Dialect
from pipeline.sources import Source, cut, open_source

REQUIRED = {"id": "--id-column", "n": "--amount-column"}
TABLE = b"id,n\n1,2\n"


def opened(*paths: Path | str) -> Source:
    return open_source("sales", [str(path) for path in paths], REQUIRED, Dialect())


def names(source: Source) -> list[str]:
    return [Path(file.path).name for file in source.files]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three CSV files, one of them compressed, and other things."""
    for name in ("b.csv", "a.csv", "notes.txt", "d.parquet"):
        (tmp_path / name).write_bytes(TABLE)
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(TABLE))
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "e.csv").write_bytes(TABLE)
    return tmp_path


def test_a_folder_gives_its_csv_files_in_the_order_of_their_names(folder: Path) -> None:
    assert names(opened(folder)) == ["a.csv", "b.csv", "c.csv.gz"]


def test_a_glob_gives_its_files_in_the_order_of_their_names(folder: Path) -> None:
    assert names(opened(folder / "*.csv")) == ["a.csv", "b.csv"]
    assert names(opened(folder / "**" / "*.csv")) == ["a.csv", "b.csv", "e.csv"]


def test_a_list_keeps_its_order(folder: Path) -> None:
    assert names(opened(folder / "notes.txt", folder / "b.csv", folder / "a*")) == [
        "notes.txt",
        "b.csv",
        "a.csv",
    ]


def test_a_name_with_the_signs_of_a_glob_is_a_name_first(tmp_path: Path) -> None:
    (tmp_path / "t[1]*.csv").write_bytes(TABLE)
    (tmp_path / "t1.csv").write_bytes(TABLE)

    assert names(opened(tmp_path / "t[1]*.csv")) == ["t[1]*.csv"]
    assert names(opened(tmp_path / "t[12].csv")) == ["t1.csv"]


def test_a_url_is_read_as_a_path_is(tmp_path: Path) -> None:
    with fsspec.open("memory://sales/t.csv", "wb") as file:
        file.write(TABLE + b"3,4\n")

    source = cut(opened("memory://sales/*.csv"), Dialect(), 4, tmp_path)

    assert [file.path for file in source.files] == ["memory:///sales/t.csv"]
    assert [(block.start, block.stop) for block in source.blocks] == [(5, 9), (9, 13)]


@pytest.mark.parametrize("path", ["none.csv", "none*.csv", "deeper/none/x.csv"])
def test_a_path_without_a_file_is_refused(folder: Path, path: str) -> None:
    with pytest.raises(UsageError) as caught:
        opened(folder / "a.csv", folder / path)

    assert str(caught.value) == (
        f"sales: no file at '{folder / path}'; name a file, a glob or a folder of CSV"
    )


def test_a_folder_without_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        opened(tmp_path)

    assert str(caught.value) == f"no *.csv file in the folder '{tmp_path}'"


def test_a_file_that_is_named_twice_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        opened(folder / "a.csv", folder / "*.csv")

    assert str(caught.value) == (
        f"sales: '{folder / 'a.csv'}' is named twice; its records would count twice"
    )


def test_a_table_without_records_has_one_empty_block(tmp_path: Path) -> None:
    for name in ("1.csv", "2.csv"):
        (tmp_path / name).write_bytes(b"id,n\n")

    (block,) = cut(opened(tmp_path), Dialect(), 1024, tmp_path).blocks

    assert (block.start, block.stop, block.number) == (5, 5, 0)


def test_blocks_follow_one_another_and_are_numbered_through(tmp_path: Path) -> None:
    for name, count in (("1.csv", 50), ("2.csv", 0), ("3.csv", 70)):
        (tmp_path / name).write_bytes(b"id,n\n" + b'"1","2\n3"\n' * count)

    source = cut(opened(tmp_path), Dialect(), 64, tmp_path)

    assert [block.number for block in source.blocks] == list(range(len(source.blocks)))
    for file in source.files:
        blocks = [block for block in source.blocks if block.file == file]
        assert all(first.stop == second.start for first, second in pairwise(blocks))
        assert not blocks or (blocks[0].start, blocks[-1].stop) == (file.start, file.size)
        assert all(0 < block.stop - block.start <= 64 for block in blocks)


def test_a_record_longer_than_a_block_is_in_one_block(tmp_path: Path) -> None:
    record = b'1,"' + b"x\n" * 500 + b'"\n'
    (tmp_path / "t.csv").write_bytes(b"id,n\n1,2\n" + record + b"3,4\n" * 99)

    source = cut(opened(tmp_path), Dialect(), 16, tmp_path)

    sizes = [block.stop - block.start for block in source.blocks]
    assert sizes[0] == 4
    assert len(record) <= sizes[1] <= 2 * len(record)
    assert set(sizes[2:-1]) == {16}


def test_what_is_compressed_is_unpacked_once_and_keeps_its_name(folder: Path) -> None:
    before = opened(folder / "c.csv.gz")

    source = cut(before, Dialect(), 1024, folder / "deeper")

    (file,) = source.files
    assert (file.name, file.path) == (
        before.files[0].name,
        str(folder / "deeper" / "sales-0.csv"),
    )
    assert Path(file.path).read_bytes() == TABLE
    assert (file.size, file.is_plain) == (len(TABLE), True)


def test_a_source_says_what_there_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    assert str(opened(folder / "a.csv")) == "sales: a.csv, 0.0 MB"
    assert str(opened(folder)).startswith("sales: 3 files, ")
