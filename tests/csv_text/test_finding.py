"""Which files are read: of a folder, of a glob, and why there is none at a path."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import fsspec
import pytest

from pipeline.csv_text.finding import Files, find_files
from pipeline.csv_text.headers import open_source
from pipeline.errors import UsageError
from pipeline.settings import Dialect

TABLE = b"id,n\n1,2\n"


def found(*paths: Path | str) -> Files:
    return find_files("sales", map(str, paths))


def names(*paths: Path | str) -> list[str]:
    return [Path(file).name for file in found(*paths)]


def refusal(*paths: Path | str) -> str:
    with pytest.raises(UsageError) as caught:
        found(*paths)
    return str(caught.value)


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(TABLE) if name.lower().endswith("gz") else TABLE)
    return folder


def test_a_folder_gives_tables_in_any_case_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    make(tmp_path, "jan.csv", "FEB.CSV", "apr.tsv", "May.Csv.GZ", "_SUCCESS", ".x.csv", "_y.csv")
    make(tmp_path, "mar.txt", "2024/may.csv", "a.csv/part.csv", "~$jan.csv", "z.csv.bak")

    assert names(tmp_path) == ["FEB.CSV", "May.Csv.GZ", "apr.tsv", "jan.csv"]
    assert found(tmp_path).left_out == tuple(
        f"{tmp_path}/{name}" for name in ("2024/", "a.csv/", "mar.txt", "z.csv.bak")
    )


def test_a_glob_passes_over_hidden_files_unless_they_are_written_out(tmp_path: Path) -> None:
    make(tmp_path, "jan.csv", ".jan.csv", "_SUCCESS", "_feb.csv", "deep/x.csv", ".git/y.csv")
    make(tmp_path, "_raw/z.csv")

    assert names(tmp_path / "*") == ["jan.csv"]
    assert names(tmp_path / "_*.csv") == ["_feb.csv"]
    assert names(tmp_path / ".j*") == [".jan.csv"]
    assert names(tmp_path / "**" / "*.csv") == ["x.csv", "jan.csv"]
    assert names(tmp_path / "_raw" / "*.csv") == ["z.csv"]
    assert names(tmp_path / "_r*" / "*.csv") == ["z.csv"]
    assert names(tmp_path / "_SUCCESS") == ["_SUCCESS"]


@pytest.mark.parametrize("path", ["", "*"])
@pytest.mark.parametrize(
    ("other", "glob"), [("a.csv.gz", "*.csv"), ("a.tsv", "*.csv"), ("a.CSV", "*.CSV")]
)
def test_two_forms_of_a_table_are_refused(tmp_path: Path, path: str, other: str, glob: str) -> None:
    make(tmp_path, "a.csv", "b.csv", other)

    message = refusal(tmp_path / path)

    assert "whose records would count twice" in message
    assert message.endswith(
        f"to read one of them, use a glob such as '{tmp_path}/{glob}'; to read both, list each file"
    )
    assert len(names(tmp_path / "a.csv", tmp_path / other)) == 2
    names(tmp_path / glob)


def test_a_link_in_a_folder_is_the_same_file_twice(tmp_path: Path) -> None:
    make(tmp_path, "jan.csv")
    (tmp_path / "latest.csv").symlink_to("jan.csv")

    assert refusal(tmp_path).endswith("is named twice; its records would count twice")


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        (
            ["0.part", "1.part", "x.txt"],
            "; it has 0.part, 1.part, x.txt; to read such files, use '{0}/*.part'",
        ),
        (["000000000000"], "; it has 000000000000; to read such files, use '{0}/*'"),
        (["y=1/m=1/a.csv"], "; it has y=1/; to read the files in its folders, use '{0}/**/*.csv'"),
        (["y=1/a.txt"], "; it has y=1/"),
        (["_SUCCESS"], ""),
    ],
)
def test_a_folder_of_other_names_says_which_glob_takes_them(
    tmp_path: Path, files: list[str], hint: str
) -> None:
    make(tmp_path, *files)

    message = refusal(tmp_path)

    assert message.startswith(f"no *.csv file in the folder '{tmp_path}'{hint.format(tmp_path)}")
    if "takes" in hint:
        assert names(message.split("'")[3])


def test_a_pipe_is_refused_with_a_way_that_works(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    way = "write its text into a file first: COMMAND > sales.csv, then --sales sales.csv"
    assert way in refusal(tmp_path / "pipe")
    assert way in refusal("-")
    assert way in refusal("/dev/null")


def test_a_pipe_in_a_folder_is_refused_too(tmp_path: Path) -> None:
    """To open it may wait for ever."""
    os.mkfifo(tmp_path / "a.csv")

    with pytest.raises(UsageError, match=r"a\.csv' is a pipe or a device"):
        find_files("purchases", [str(tmp_path)])


def test_brackets_in_a_path_are_explained(tmp_path: Path) -> None:
    make(tmp_path, "sales [2024]/a.csv")

    assert names(tmp_path / "sales [2024]") == ["a.csv"]
    assert names(tmp_path / "sales [2024]" / "a.csv") == ["a.csv"]
    message = refusal(tmp_path / "sales [2024]" / "*.csv")
    assert "'[' begins a set of characters in a glob: write '" in message
    assert names(message.split("'")[-2]) == ["a.csv"]


def test_a_glob_of_folders_is_explained(tmp_path: Path) -> None:
    make(tmp_path, "2024/a.csv", "2025/b.csv")

    message = refusal(tmp_path / "20*")

    assert message.endswith(f"it matches only folders: write '{tmp_path}/20*/*.csv'")
    assert names(message.split("'")[-2]) == ["a.csv", "b.csv"]


def test_a_name_with_colons_is_a_name(tmp_path: Path) -> None:
    make(tmp_path, "a::b.csv")

    assert names(tmp_path / "a::b.csv") == ["a::b.csv"]
    assert "no file at" in refusal("c::d.csv")


@pytest.mark.parametrize("name", ["locked/a.csv", "locked/*.csv", "locked"])
def test_a_folder_that_nobody_may_read_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "stat", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    assert refusal(tmp_path / name).endswith("cannot be read: Permission denied")


def test_folders_in_a_store_are_read_alike() -> None:
    for name in ("B.CSV", "a.tsv", "_SUCCESS", "x.txt", "deep/c.csv"):
        with fsspec.open(f"memory://mixed/{name}", "wb") as file:
            file.write(TABLE)

    files = found("memory://mixed")

    assert files.paths == ("memory:///mixed/B.CSV", "memory:///mixed/a.tsv")
    assert files.left_out == ("memory://mixed/deep/", "memory://mixed/x.txt")
    assert names("memory://mixed/**/*.csv") == ["c.csv"]


def test_parts_without_any_text_are_empty(tmp_path: Path) -> None:
    make(tmp_path, "2.csv")
    (tmp_path / "1.csv").write_bytes(b"")
    (tmp_path / "3.csv.gz").write_bytes(gzip.compress(b""))

    source = open_source("sales", found(tmp_path), {"id": "--id-column"}, Dialect())

    assert [file.columns for file in source.files] == [("id", "n")] * 3
    with pytest.raises(UsageError, match="is empty; it needs a header that names the columns"):
        open_source("sales", [str(tmp_path / "1.csv")], {}, Dialect())


def test_a_file_that_is_packed_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(gzip.compress(TABLE)))

    with pytest.raises(UsageError, match=r"unpacks to gzip data; unpack it once, and pass"):
        open_source("sales", found(tmp_path), {}, Dialect())
