"""A case: files of one table, and what reading them must give.

The tables have the columns `a`, the id, and `b`, the number that is computed with; some have more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.settings import Dialect

Row = tuple[str | None, ...]
Place = tuple[int, int, str]


@dataclass(frozen=True)
class Case:
    """Files by name, and the records and rejects (line, byte offset, reason) to be read.

    A string in place of files is one file, `t.csv`, in UTF-8. `rejects` are of the last file
    where there are several. `error`: what the message must be in place of any records.
    """

    group: str
    name: str
    files: str | bytes | dict[str, bytes]
    records: list[Row] = field(default_factory=list)
    rejects: list[Place] = field(default_factory=list)
    error: str = ""
    dialect: Dialect = field(default_factory=Dialect)
    numbers: list[str | None] | None = None

    @property
    def contents(self) -> dict[str, bytes]:
        """The bytes of each file, by its name."""
        if isinstance(self.files, dict):
            return self.files
        return {"t.csv": self.files.encode() if isinstance(self.files, str) else self.files}

    @property
    def id(self) -> str:
        """The name of the case as a test's."""
        return f"{self.group}: {self.name}"


TABLE = b'a,b\n1,"x\ny"\n2,z\n'
ROWS: list[Row] = [("1", "x\ny"), ("2", "z")]
PLAIN = "a,b\n1,2\n3,4\n"
FOUR: list[Row] = [("1", "2"), ("3", "4")]


def zstd(data: bytes) -> bytes:
    """Compress without the size in the header, as a stream does."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())
