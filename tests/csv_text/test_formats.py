"""Files of other formats are named in one line, with what turns them into CSV."""

from __future__ import annotations

import io
import lzma
import shlex
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
from pyarrow import feather, orc, parquet

from pipeline.csv_text.files import TextFile
from pipeline.csv_text.headers import open_source
from pipeline.errors import UsageError
from pipeline.settings import Dialect

TABLE = pa.table({"id": ["007", None], "n": ["19.90", "1"]})
TEXT = b"id,n\n007,19.90\n"
TWO = {"a.csv": TEXT, "b.csv": TEXT}
WORKBOOK = {"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<workbook/>"}


def avro() -> bytes:
    """Return an Avro file without records."""
    schema = b'{"type": "record", "name": "t", "fields": [{"name": "id", "type": "string"}]}'
    pair = b"\x16avro.schema" + bytes([2 * len(schema) % 128 + 128, 2 * len(schema) // 128])
    return b"Obj\x01\x02" + pair + schema + b"\0" + b"0123456789abcdef"


def sqlite(folder: Path) -> bytes:
    path = folder / "made.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE t (id TEXT, n TEXT)")
    database.commit()
    database.close()
    return path.read_bytes()


def written(write: Callable[[pa.Table, str], None], folder: Path) -> bytes:
    path = folder / "made"
    write(TABLE, str(path))
    return path.read_bytes()


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def packed(codec: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(TEXT)
    return bytes(sink.getvalue())


def tarred(mode: Literal["w", "w:gz"]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        member = tarfile.TarInfo("sales/t.csv")
        member.size = len(TEXT)
        archive.addfile(member, io.BytesIO(TEXT))
    return file.getvalue()


def refusal(path: Path, encoding: str = "utf-8") -> str:
    with pytest.raises(UsageError) as caught, TextFile(str(path), Dialect(encoding=encoding)):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (
            lambda folder: written(parquet.write_table, folder),
            "a Parquet file, not CSV; convert it",
        ),
        (lambda folder: written(orc.write_table, folder), "an ORC file, not CSV; convert it first"),
        (lambda folder: written(feather.write_feather, folder), "an Arrow file, not CSV; convert "),
        (lambda _: avro(), "an Avro file, not CSV; convert it first with DuckDB's read_avro"),
        (sqlite, "a SQLite database, not CSV; export a table first: sqlite3 -header -csv "),
        (
            lambda _: zipped(
                {"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<workbook/>"}
            ),
            "an Excel workbook or another Office file, not CSV; save its",
        ),
        (
            lambda _: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504),
            "an old Office file, not CSV; save its sheet as CSV first",
        ),
        (
            lambda _: zipped({"a.csv": TEXT, "b.csv": TEXT}),
            "a zip archive with 2 files (a.csv, b.csv), not CSV; unpack it, and use its CSV files "
            "or their folder",
        ),
        (
            lambda _: zipped(dict.fromkeys("abcd", TEXT)),
            "a zip archive with 4 files (a, b, c, …), not CSV; unpack it, and use its CSV files",
        ),
        (lambda _: zipped({}), "a zip archive with 0 files, not CSV; unpack it, and use its CSV"),
        (
            lambda _: lzma.compress(TEXT, lzma.FORMAT_ALONE),
            "an lzma file, not CSV; unpack it first: xz -dc --format=lzma '",
        ),
        (lambda _: packed("lz4"), "an lz4 file, not CSV; unpack it first: lz4 -dc '"),
        (
            lambda _: b"\x1f\x9d\x90id",
            "a file made by compress, not CSV; unpack it first: gzip",
        ),
        (lambda _: b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z archive, not CSV; unpack it first (7z x '"),
        (lambda _: b"Rar!\x1a\x07\x01\0", "a RAR archive, not CSV; unpack it first (unrar x '"),
        (lambda _: b"<!DOCTYPE html>\n<p>Sign in", "a web page, not CSV; download the file itself"),
        (lambda _: b"\r\n<html lang='en'><p>", "a web page, not CSV; download the file itself"),
        (
            lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
            "a Git LFS pointer, not CSV; fetch the file first: git lfs pull",
        ),
        (lambda _: tarred("w"), "a tar archive, not CSV; unpack it first (tar -xf '"),
        (lambda _: tarred("w:gz"), "a tar archive, not CSV; unpack it first (tar -xf '"),
    ],
)
def test_another_format_is_named_with_a_way_to_csv(
    make: Callable[[Path], bytes], what: str, encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / "sales.csv"
    path.write_bytes(make(tmp_path))

    assert refusal(path, encoding).startswith(f"{path}: is {what}")


@pytest.mark.parametrize("write", [parquet.write_table, orc.write_table, feather.write_feather])
def test_the_way_to_csv_is_a_command_that_works(
    write: Callable[[pa.Table, str], None], tmp_path: Path
) -> None:
    path = tmp_path / "sales"
    write(TABLE, str(path))

    _, command = refusal(path).split("convert it first: ")
    python, *words = shlex.split(command)

    assert python == "python"
    subprocess.run([sys.executable, *words], check=True)
    source = open_source("sales", [f"{path}.csv"], {"id": "--id-column"}, Dialect())
    assert source.columns == ("id", "n")
    assert (tmp_path / "sales.csv").read_text() == '"id","n"\n"007","19.90"\n,"1"\n'


def test_another_format_is_seen_through_its_compression(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv.zip"
    path.write_bytes(zipped({"sales": written(parquet.write_table, tmp_path)}))

    assert "is a Parquet file, not CSV" in refusal(path)


def test_brotli_is_known_by_its_ending(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.br"
    path.write_bytes(packed("brotli"))
    assert ": is a Brotli file, not CSV; unpack it first: brotli -dc '" in refusal(path)

    path.write_bytes("id,preço\n1,São\n".encode("cp1252"))  # of Brazil
    with TextFile(str(path), Dialect(encoding="cp1252")) as file:
        assert file.is_plain


@pytest.mark.parametrize("text", [b"ORCID,name\n1,x\n", b"ORC\n", b"PK,name\n", b"Obj,n\n1,2\n"])
def test_text_that_begins_as_another_format_is_text(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text)

    with TextFile(str(path), Dialect()) as file:
        assert (file.read(100), file.is_plain) == (text, True)


def test_the_folders_in_a_zip_archive_and_those_of_macos_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    path.write_bytes(zipped({"sales/": b"", "sales/t.csv": TEXT, "__MACOSX/sales/._t.csv": b"x"}))

    with TextFile(str(path), Dialect()) as file:
        assert (file.read(100), file.is_plain) == (TEXT, False)


def test_a_zip_archive_with_a_password_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    data = bytearray(zipped({"t.csv": TEXT}))
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(header) + flags] |= 1
    path.write_bytes(data)

    assert refusal(path).endswith(
        "is a zip archive with a password, not CSV; unpack it, and use the CSV file in it"
    )
