"""Files that are not CSV, recognized by their first bytes, and how to convert them to CSV."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

from pipeline.errors import UsageError

# Arrow is needed anyway, and keeps every value exact.
_ARROW = (
    'convert it first: python -c "from pyarrow import csv, {0}; '
    "csv.write_csv({0}.read_table('{{0}}'), '{{0}}.csv')\""
)
# Bytes of the last record of a zip archive, without and with the longest comment.
_RECORD, _LONGEST_RECORD = 22, 22 + 0xFFFF
_SAVE = "save its sheet as CSV first"
# A format's first bytes, its name, and how to convert it to CSV.
_FORMATS = (
    (rb"PAR1", "a Parquet file", _ARROW.format("parquet")),
    # Text may begin with these letters too (`ORCID,name`); what follows them in ORC is not text.
    (rb"ORC[^\0-\x08]{0,60}[\0-\x08]", "an ORC file", _ARROW.format("orc")),
    (rb"ARROW1\0\0", "an Arrow file", _ARROW.format("feather")),
    (rb"Obj\x01", "an Avro file", "convert it first, with read_avro of DuckDB"),
    (
        rb"SQLite format 3\0",
        "a SQLite database",
        "export a table first: sqlite3 -header -csv '{0}' 'SELECT * FROM t' > t.csv",
    ),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a file of an old Office", _SAVE),
)


def refuse_other_formats(name: str, begins: bytes) -> None:
    """Raise UsageError if the file `name` does not begin like text but like a known format."""
    for magic, kind, way in _FORMATS:
        if re.match(magic, begins, re.DOTALL):
            raise _refusal(name, kind, way)


def open_zip(name: str, stream: Any, start: int) -> tuple[Any, int]:
    """Return the only file in a zip archive as a stream, and where the archive ends.

    Raises UsageError for other archives, ValueError if the archive does not begin at byte `start`,
    BadZipFile or NotImplementedError if it cannot be read.
    """
    archive = zipfile.ZipFile(stream)
    # By the place of its directory, which is at the end: other data may come before the members.
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
        raise _refusal(name, "an Excel workbook or another file of Office", _SAVE)
    if len(members) != 1:
        raise _refusal(
            name, f"a zip archive of {len(members)} files", "unpack it, and name its CSV"
        )
    if members[0].flag_bits & 1:
        raise _refusal(name, "a zip archive with a password", "unpack it, and name its CSV")
    return archive.open(members[0]), _end_of_zip(stream)


def _end_of_zip(stream: Any) -> int:
    """Return where a zip archive ends, by its last record and the comment in it."""
    place = max(0, stream.seek(0, io.SEEK_END) - _LONGEST_RECORD)
    stream.seek(place)
    data = stream.read()
    record = data.rfind(b"PK\5\6")
    comment = int.from_bytes(data[record + _RECORD - 2 : record + _RECORD], "little")
    return int(place + record + _RECORD + comment)


def _refusal(name: str, kind: str, way: str) -> UsageError:
    return UsageError(f"{name}: is {kind}, no CSV; {way.format(name)}")
