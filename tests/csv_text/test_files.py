"""Files as plain bytes, whatever their compression and encoding; what cannot be read says why."""

from __future__ import annotations

import bz2
import codecs
import errno
import gzip
import io
import lzma
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.case import zstd

from pipeline.csv_text.files import TextFile, cuts_at_bytes, shown
from pipeline.errors import StorageError, UsageError
from pipeline.settings import Dialect

TEXT = b"a,b\n" + b"1,2\n" * 1000


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", data)
    return file.getvalue()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
    ".zip": zipped,
}


def contents(path: Path, dialect: Dialect | None = None) -> bytes:
    with TextFile(str(path), dialect or Dialect()) as file:
        return file.read(1 << 30)


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("name", ["t.csv{}", "t.csv", "T.CSV{}"])
def test_compression_is_seen_by_the_magic_bytes(tmp_path: Path, ending: str, name: str) -> None:
    path = tmp_path / name.format(ending.upper() if name.isupper() else ending)
    path.write_bytes(COMPRESS[ending](TEXT))

    assert contents(path) == TEXT
    with TextFile(str(path), Dialect()) as file:
        assert not file.is_plain


@pytest.mark.parametrize("ending", COMPRESS)
def test_what_is_named_as_compressed_but_is_not_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t.csv{ending}"
    path.write_bytes(TEXT)

    with pytest.raises(UsageError, match=r"t.csv\.\w+: ends in \.\w+, but is not \w+ data$"):
        contents(path)


@pytest.mark.parametrize("ending", COMPRESS)
def test_damaged_files_are_one_line_or_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t.csv{ending}"
    whole = COMPRESS[ending](TEXT)
    rng = random.Random(7)
    damaged = [whole[:length] for length in range(12, len(whole), 7)]
    for _ in range(200):
        place = rng.randrange(12, len(whole))
        damaged.append(whole[:place] + bytes([rng.randrange(256)]) + whole[place + 1 :])
    messages = []
    for data in damaged:
        path.write_bytes(data)
        messages.append(refusal(path))
    refused = [message for message in messages if message]
    assert len(refused) > len(damaged) // 3  # what has no checksum may read as other text
    assert all(message.startswith(f"{path}: ") for message in refused)
    assert not any("\n" in message for message in refused)


def refusal(path: Path) -> str:
    try:
        contents(path)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_truncated_file_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t.csv{ending}"
    path.write_bytes(COMPRESS[ending](TEXT)[:-9])

    with pytest.raises(UsageError, match="cannot be read"):
        contents(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.csv", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=f"{path}: cannot be read: {why}"):
            contents(path)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_file_system_that_fails_is_no_wrong_path(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "t.csv").write_bytes(TEXT)
    with TextFile(str(tmp_path / "t.csv"), Dialect()) as file:
        monkeypatch.setattr(file, "_stream", type("Broken", (), {"read": fail}))
        with pytest.raises(StorageError) as caught:
            file.read(1)

    assert str(caught.value) == (
        f"{tmp_path / 't.csv'}: cannot be read: {os.strerror(number)}; "
        "check its disk or file server, then run again"
    )


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
@pytest.mark.parametrize("given", ["utf-8", "cp1252", "utf-16", "utf-32-be"])
def test_a_byte_order_mark_counts_more_than_the_option(
    tmp_path: Path, mark: bytes, encoding: str, given: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(mark + "é,ü\n".encode(encoding))

    assert contents(path, Dialect(encoding=given)).removeprefix(codecs.BOM_UTF8) == "é,ü\n".encode()


def test_a_file_that_can_be_cut_stays_in_its_encoding(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("é,ü\n".encode("cp1252"))

    with TextFile(str(path), Dialect(encoding="cp1252")) as file:
        assert (file.is_plain, file.encoding) == (True, "cp1252")
        assert file.read(100) == path.read_bytes()


def test_long_text_in_another_encoding_arrives_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    text = "é,😀\n" * 400_000  # more than one chunk, and cut within characters
    path.write_bytes(b"\xff\xfe" + text.encode("utf-16-le"))

    assert contents(path) == text.encode()


def test_what_is_no_text_is_no_utf_8_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(codecs.BOM_UTF16_LE + "a\n".encode("utf-16-le") + b"\x00\xd8" + b"\n\x00\x41")

    first, second, third = contents(path).split(b"\n")

    assert first == b"a"
    for broken in (second, third):
        with pytest.raises(UnicodeDecodeError):
            broken.decode()


@pytest.mark.parametrize(
    ("encoding", "comma", "pipe"),
    [
        ("utf-8", True, True),
        ("ascii", True, True),
        ("cp1252", True, True),
        ("iso8859-15", True, True),
        ("shift_jis", True, False),
        ("gb18030", True, False),
        ("big5", True, False),
        ("utf-16", False, False),
        ("utf-7", False, False),
        ("iso2022_jp", False, False),
        ("hz", False, False),
        ("cp037", False, False),
        ("mac-arabic", False, False),
    ],
)
def test_which_encodings_can_be_cut_at_a_byte(encoding: str, comma: bool, pipe: bool) -> None:
    name = Dialect(encoding=encoding).encoding

    assert (cuts_at_bytes(name, ","), cuts_at_bytes(name, "|")) == (comma, pipe)


def test_files_are_named_from_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert shown(str(tmp_path / "sales" / "t.csv")) == "sales/t.csv"
    assert shown("s3://bucket/t.csv") == "s3://bucket/t.csv"
    assert shown("/elsewhere/t.csv") == "/elsewhere/t.csv"
