"""Recognizes files that are not CSV by their first bytes, and says how to convert them.

`compression` has the formats that a run unpacks itself.
"""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

from pipeline.csv_text.messages import counted, printable
from pipeline.errors import UsageError

# Arrow is installed anyway, and keeps every value exact.
_ARROW = (
    'convert it first: python -c "from pyarrow import csv, {0}; '
    "csv.write_csv({0}.read_table('{{0}}'), '{{0}}.csv')\""
)
# The size of the last record of a zip archive, without and with the longest comment.
_RECORD, _LONGEST_RECORD = 22, 22 + 0xFFFF
_NAMED = 3  # files of an archive that a message names
_SAVE = "save its sheet as CSV first"
_DOWNLOAD = "download the file itself, which may need a sign-in"
_UNPACK = "unpack it first: {0} '{{0}}' > '{{0}}.csv'"
_EXTRACT = "unpack it first ({0} '{{0}}'), and use the CSV file in it"
# A format's first bytes, its name, and how to convert it to CSV.
_FORMATS = (
    (rb"PAR1", "a Parquet file", _ARROW.format("parquet")),
    # Text may begin with these letters too (`ORCID,name`); what follows them in ORC is not text.
    (rb"ORC[^\0-\x08]{0,60}[\0-\x08]", "an ORC file", _ARROW.format("orc")),
    (rb"ARROW1\0\0", "an Arrow file", _ARROW.format("feather")),
    (rb"Obj\x01", "an Avro file", "convert it first with DuckDB's read_avro"),
    (
        rb"SQLite format 3\0",
        "a SQLite database",
        "export a table first: sqlite3 -header -csv '{0}' 'SELECT * FROM t' > t.csv",
    ),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file", _SAVE),
    (rb"\x5d\0\0", "an lzma file", _UNPACK.format("xz -dc --format=lzma")),
    (rb"\x04\x22\x4d\x18|\x02\x21\x4c\x18", "an lz4 file", _UNPACK.format("lz4 -dc")),
    (rb"\x1f\x9d", "a file made by compress", _UNPACK.format("gzip -dc")),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _EXTRACT.format("7z x")),
    (rb"Rar!\x1a\x07", "a RAR archive", _EXTRACT.format("unrar x")),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)\b", "a web page", _DOWNLOAD),
    (rb"version https://git-lfs\.", "a Git LFS pointer", "fetch the file first: git lfs pull"),
    (rb"(?=[^\0]{1,107}\0).{257}ustar", "a tar archive", _EXTRACT.format("tar -xf")),
)
HEAD_SIZE = 512  # bytes that are enough to recognize a format
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")


def refuse_other_formats(name: str, head: bytes) -> None:
    """Raise UsageError if a file is in another format.

    `name` is what messages call it; `head` holds its first `HEAD_SIZE` plain bytes.
    """
    for magic, kind, remedy in _FORMATS:
        if re.match(magic, head, re.DOTALL):
            raise _refusal(name, kind, remedy)
    # Brotli has no magic bytes, only a suffix.
    if name.lower().endswith(".br") and _CONTROL.search(head):
        raise _refusal(name, "a Brotli file", _UNPACK.format("brotli -dc"))


def open_zip(name: str, stream: Any, start: int) -> tuple[Any, int]:
    """Return the only file in a zip archive as a stream, and where the archive ends.

    Raises UsageError if there is not exactly one readable file, ValueError if the archive does not
    begin at byte `start`, BadZipFile or NotImplementedError if it cannot be read.
    """
    archive = zipfile.ZipFile(stream)
    # zipfile finds the directory from the end, so other data may come before the members.
    begins = min((member.header_offset for member in archive.infolist()), default=start)
    if begins != start:
        raise ValueError(f"the members in its directory begin at byte {begins:,}")
    members = [
        member
        for member in archive.infolist()
        # macOS adds a folder of its own.
        if not (member.is_dir() or member.filename.startswith("__MACOSX/"))
    ]
    if any(member.filename == "[Content_Types].xml" for member in members):
        raise _refusal(name, "an Excel workbook or another Office file", _SAVE)
    if len(members) != 1:
        names = [printable(member.filename) for member in members[:_NAMED]]
        names += ["…"] if len(members) > _NAMED else []
        listed = f" ({', '.join(names)})" if members else ""
        raise _refusal(
            name,
            f"a zip archive with {counted(len(members), 'file')}{listed}",
            "unpack it, and use its CSV files or their folder",
        )
    if members[0].flag_bits & 1:
        raise _refusal(
            name, "a zip archive with a password", "unpack it, and use the CSV file in it"
        )
    return archive.open(members[0]), _end_of_zip(stream)


def _end_of_zip(stream: Any) -> int:
    """Return where a zip archive ends: after the comment in its last record."""
    start = max(0, stream.seek(0, io.SEEK_END) - _LONGEST_RECORD)
    stream.seek(start)
    data = stream.read()
    record = data.rfind(b"PK\5\6")
    comment = int.from_bytes(data[record + _RECORD - 2 : record + _RECORD], "little")
    return int(start + record + _RECORD + comment)


def _refusal(name: str, kind: str, remedy: str) -> UsageError:
    return UsageError(f"{name}: is {kind}, not CSV; {remedy.format(name)}")
