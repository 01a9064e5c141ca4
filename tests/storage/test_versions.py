"""One version of a file is told from another, and what ends too early is never taken for whole."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.csv_text.files import TextFile, read_bytes, version_of
from pipeline.errors import InputChangedError
from pipeline.settings import Dialect
from pipeline.storage.versions import Version, read_on


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,2\n")
    return tmp_path / "t.csv"


def later(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def replaced(path: Path) -> None:
    status, other = path.stat(), path.with_name("other")
    other.write_bytes(b"a,b\n1,3\n")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (later, "it was written to"),
        (replaced, "another file of the same size took its place"),
        (lambda path: os.truncate(path, 5), "it had 8 bytes when the run began, and has 5"),
    ],
)
def test_a_change_is_seen(path: Path, change: Callable[[Path], object], difference: str) -> None:
    before = version_of(str(path))
    assert version_of(str(path)) == before

    change(path)

    now = version_of(str(path))
    assert now != before
    assert before.difference(now) == difference


def test_the_time_is_that_of_the_file(path: Path) -> None:
    os.utime(path, (0, 1_700_000_000.25))
    assert version_of(str(path)).modified == "2023-11-14T22:13:20.250000+00:00"


def test_a_read_that_returns_less_goes_on() -> None:
    data = bytes(range(100))
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return data[start : min(stop, start + 7)]

    assert read_on(10, 40, read) == data[10:40]
    assert asked == [(10, 40), (17, 40), (24, 40), (31, 40), (38, 40)]
    assert read_on(90, 101, read) == data[90:]


def test_a_part_is_whole_or_an_error(path: Path) -> None:
    assert read_bytes(str(path), 2, 8) == b"b\n1,2\n"
    assert read_bytes(str(path), 8, 8) == b""
    with pytest.raises(InputChangedError, match=r"t\.csv: .* it ends before byte 9;"):
        read_bytes(str(path), 2, 9)


def test_an_open_file_ends_where_its_version_does(path: Path) -> None:
    with TextFile(str(path), Dialect(), version=Version(4)) as file:
        assert file.read(100) == b"a,b\n"


def test_a_zip_archive_ends_where_its_version_does(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("t.csv", b"a,b\n")
    version = version_of(str(path))
    with path.open("ab") as more:
        more.write(b"more")

    with TextFile(str(path), Dialect(), version=version) as file:
        assert file.read(100) == b"a,b\n"


def test_an_open_file_that_ends_early_is_an_error(path: Path) -> None:
    with (
        pytest.raises(InputChangedError, match=r"t\.csv: .* it ends before byte 9;"),
        TextFile(str(path), Dialect(), version=Version(9)) as file,
    ):
        file.read(100)
