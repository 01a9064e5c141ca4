"""Paths become files with headers, and those become blocks that end at a record's end."""

from __future__ import annotations

import gzip
from pathlib import Path

import fsspec
import pytest
from support.cutting import exactly

from pipeline.csv_text.finding import find_files
from pipeline.csv_text.headers import open_source
from pipeline.csv_text.sources import Source
from pipeline.errors import UsageError
from pipeline.settings import Dialect

REQUIRED = {"id": "--id-column", "n": "--amount-column"}
TABLE = b"id,n\n1,2\n"


def opened(*paths: Path | str) -> Source:
    return open_source("sales", find_files("sales", map(str, paths)), REQUIRED, Dialect())


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

    source = opened("memory://sales/*.csv")

    assert [file.path for file in source.files] == ["memory:///sales/t.csv"]
    blocks = exactly(source, 4)
    assert [(block.start, block.stop) for block in blocks] == [(5, 9), (9, 13)]


@pytest.mark.parametrize("path", ["none.csv", "none*.csv", "deeper/none/x.csv"])
def test_a_path_without_a_file_is_refused(folder: Path, path: str) -> None:
    with pytest.raises(UsageError) as caught:
        opened(folder / "a.csv", folder / path)

    assert str(caught.value) == (
        f"sales: no file at '{folder / path}'; use a CSV file, a glob or a folder"
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


@pytest.mark.parametrize("path", ["", "*"])
def test_a_file_beside_its_compressed_form_is_refused(folder: Path, path: str) -> None:
    (folder / "a.csv.gz").write_bytes(gzip.compress((folder / "a.csv").read_bytes()))

    with pytest.raises(UsageError, match=r"has both 'a\.csv' and 'a\.csv\.gz', whose records"):
        opened(folder / path)

    opened(folder / "a.csv", folder / "a.csv.gz")  # by hand, both are taken
    opened(folder / "*.csv")


@pytest.mark.parametrize("other", ["deeper/../a.csv", "link.csv", "linked/a.csv"])
def test_a_file_that_is_named_twice_by_other_paths_is_refused(folder: Path, other: str) -> None:
    (folder / "deeper").mkdir(exist_ok=True)
    (folder / "link.csv").symlink_to("a.csv")
    (folder / "linked").symlink_to(".")

    with pytest.raises(UsageError, match="is named twice; its records would count twice"):
        opened(folder / "a.csv", folder / other)


def test_hidden_files_and_locks_of_open_documents_are_passed_over(tmp_path: Path) -> None:
    for name in ("jan.csv", ".jan.csv", "._jan.csv", "~$jan.csv"):
        (tmp_path / name).write_bytes(TABLE)

    assert names(opened(tmp_path)) == ["jan.csv"]
    assert names(opened(tmp_path / "*.csv")) == ["jan.csv"]
    assert names(opened(tmp_path / ".j*.csv")) == [".jan.csv"]
    assert names(opened(tmp_path / "._jan.csv")) == ["._jan.csv"]


def test_a_url_that_nothing_can_open_is_wrong_usage(folder: Path) -> None:
    with pytest.raises(UsageError, match="cannot be opened: "):
        opened(f"dir://a.csv::file://{folder}")


def test_a_source_says_what_there_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    assert str(opened(folder / "a.csv")) == "sales: a.csv, 0.0 MB"
    assert str(opened(folder)).startswith("sales: 3 files, ")


def test_a_copy_under_another_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    large = TABLE + b"1,23\n" * 5_000
    for name, data in {
        "a.csv": large,
        "a (1).csv": large,
        "b.csv": large[:-2] + b"4\n",
        "c.csv.gz": gzip.compress(large, mtime=0),
        "d.csv.gz": gzip.compress(large, mtime=0),
        "e.csv": b"id,n\n",
        "f.csv": b"id,n\n",
        "g.csv.gz": gzip.compress(b"id,n\n", mtime=0),
        "h.csv.gz": gzip.compress(b"id,n\n", mtime=0),
    }.items():
        (tmp_path / name).write_bytes(data)

    assert list(opened(tmp_path).describe_copies()) == [
        "sales: 'a (1).csv' and 'a.csv' have the same size, beginning and end (as does 1 "
        "other pair); if one is a copy of the other, its records count twice"
    ]
    assert list(opened("a.csv", "b.csv", "c.csv.gz").describe_copies()) == []
