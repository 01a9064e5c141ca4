"""The table of cases: files of one table, and what reading them must give.

The tables have the columns `a`, the id, and `b`, the number that is computed with; some have more.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
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


RFC_4180 = [
    Case("RFC 4180", "plain records", PLAIN, FOUR),
    Case("RFC 4180", "no line end at the end", "a,b\n1,2\n3,4", FOUR),
    Case("RFC 4180", "CR LF", "a,b\r\n1,2\r\n3,4\r\n", FOUR),
    Case("RFC 4180", "every field quoted", '"a","b"\n"1","2"\n"3","4"\n', FOUR),
    Case("RFC 4180", "a delimiter in quotes", 'a,b\n1,"x,y"\n', [("1", "x,y")]),
    Case("RFC 4180", "LF in quotes", 'a,b\n1,"x\ny"\n2,z\n', ROWS),
    Case("RFC 4180", "CR LF in quotes", 'a,b\r\n1,"x\r\ny"\r\n', [("1", "x\r\ny")]),
    Case("RFC 4180", "CR in quotes", 'a,b\n1,"x\ry"\n', [("1", "x\ry")]),
    Case("RFC 4180", "a doubled quote", 'a,b\n1,"x""y"\n', [("1", 'x"y')]),
    Case("RFC 4180", "quotes alone", 'a,b\n1,""""\n2,""""""\n', [("1", '"'), ("2", '""')]),
    Case("RFC 4180", "an empty quoted field", 'a,b\n1,""\n"",2\n', [("1", None), (None, "2")]),
    Case(
        "RFC 4180",
        "a quoted field that looks like records",
        'a,b\n1,"x""\n2,y\n""3,z"\n4,w\n',
        [("1", 'x"\n2,y\n"3,z'), ("4", "w")],
    ),
    Case("RFC 4180", "blanks are part of a field", "a,b\n 1 ,\t2 \n", [(" 1 ", "\t2 ")]),
    Case("RFC 4180", "a quote within a field", 'a,b\n24",x"y"z\n', [('24"', 'x"y"z')]),
    Case("RFC 4180", "a quoted field at the end", 'a,b\n1,"x\n"', [("1", "x\n")]),
    Case(
        "RFC 4180",
        "a quoted line end before each end",
        'a,b\n"\n","\n"\n"\n\n",""\n',
        [("\n", "\n"), ("\n\n", None)],
    ),
    Case(
        "RFC 4180", "a header in quotes, of two lines", '"a","b","c\n"\n1,2,3\n', [("1", "2", "3")]
    ),
]

LINE_ENDS = [
    Case("Line ends", "CR alone", "a,b\r1,2\r3,4\r", FOUR),
    Case("Line ends", "CR alone, none at the end", "a,b\r1,2\r3,4", FOUR),
    Case("Line ends", "mixed", "a,b\r\n1,2\n3,4\r5,6\n\r7,8", [*FOUR, ("5", "6"), ("7", "8")]),
    Case("Line ends", "blank lines", "a,b\n\n1,2\n\n\n3,4\n\n", FOUR),
    Case("Line ends", "blank lines, CR LF", "a,b\r\n\r\n1,2\r\n\r\n\r\n3,4\r\n\r\n", FOUR),
    Case("Line ends", "blank lines, CR", "a,b\r\r1,2\r\r\r3,4\r\r", FOUR),
    Case("Line ends", "blank lines before the header", "\n\r\na,b\n1,2\n3,4\n", FOUR),
    Case(
        "Line ends", "a line of delimiters is a record", "a,b\n,\n1,2\n", [(None, None), ("1", "2")]
    ),
    Case(
        "Line ends",
        "other separators are text",
        "a,b\n1\x0b2,\x0c\x1c\u2028\u0085\n",
        [("1\x0b2", "\x0c\x1c\u2028\u0085")],
    ),
    Case("Line ends", "a header alone", "a,b\n", []),
    Case("Line ends", "a header alone, no line end", "a,b", []),
    Case("Line ends", "a header and blank lines", "a,b\n\n\r\n\r", []),
]

TEXT = [
    Case("Text stays text", "no word is a missing value", "a,b\nNull,NA\nNaN,None\nn/a,-\n",
         [("Null", "NA"), ("NaN", "None"), ("n/a", "-")]),
    Case("Text stays text", "numbers as they came", "a,b\n007,19.90\n9007199254740993,1e3\n",
         [("007", "19.90"), ("9007199254740993", "1e3")]),
    Case("Text stays text", "booleans and dates", "a,b\nTRUE,2024-01-02\nFalse,01/02/2024\n",
         [("TRUE", "2024-01-02"), ("False", "01/02/2024")]),
    Case("Dialects", "a data line equal to the header", "a,b\n1,2\na,b\n3,4\n",
         [("1", "2"), ("3", "4")], [(3, 8, "the header again")]),
    Case("Dialects", "a first line equal to the header", "a,b\na,b\n1,2\n",
         [("1", "2")], [(2, 4, "the header again")]),
    Case("Dialects", "files put together, with their byte order marks",
         b'\xef\xbb\xbfa,b\r\n1,"\r\na,b"\r\n\xef\xbb\xbfa,b\r\n3,4\r\na,b',
         [("1", "\r\na,b"), ("3", "4")],
         [(4, 19, "the header again"), (6, 32, "the header again")]),
    Case("Dialects", "lines that begin or end as the header", "a,b\na,bb\naa,b\na,c\nab\n",
         [("a", "bb"), ("aa", "b"), ("a", "c")], [(5, 18, "too few fields")]),
    Case("Text stays text", "a block begins with a byte order mark", "a,b\n\ufeff1,2\n\ufeff3,4\n",
         [("\ufeff1", "2"), ("\ufeff3", "4")]),
    Case("Text stays text", "a comment sign", "a,b\n#1,2\n//3,4\n", [("#1", "2"), ("//3", "4")]),
    Case("Text stays text", "a backslash escapes nothing", 'a,b\n1\\,"x\\"\n', [("1\\", "x\\")]),
    Case("Text stays text", "single quotes", "a,b\n'1,2'\n", [("'1", "2'")]),
    Case("Text stays text", "emoji and combining signs", "a,b\n😀,e\u0301\n", [("😀", "e\u0301")]),
]  # fmt: skip

ENCODINGS = [
    Case("Encodings", "UTF-8 with a byte order mark", codecs.BOM_UTF8 + "a,b\né,ü\n".encode(),
         [("é", "ü")]),
    Case("Encodings", "a byte order mark and a quoted header", codecs.BOM_UTF8 + b'"a","b"\n1,2\n',
         [("1", "2")]),
    Case("Encodings", "a byte order mark against --encoding",
         codecs.BOM_UTF8 + "a,b\né,ü\n".encode(),
         [("é", "ü")], dialect=Dialect(encoding="utf-16-le")),
    Case("Encodings", "UTF-16 LE", codecs.BOM_UTF16_LE + 'a,b\né,"ü\n"\n'.encode("utf-16-le"),
         [("é", "ü\n")]),
    Case("Encodings", "UTF-16 BE", codecs.BOM_UTF16_BE + 'a,b\né,"ü\n"\n'.encode("utf-16-be"),
         [("é", "ü\n")]),
    Case("Encodings", "UTF-16 without a mark", "a,b\né,ü\n".encode("utf-16-be"), [("é", "ü")],
         dialect=Dialect(encoding="utf-16-be")),
    Case("Encodings", "UTF-16, bytes of quotes and line ends in other characters",
         codecs.BOM_UTF16_LE + "a,b\n∢ⰀĊ,ഢ\n".encode("utf-16-le"), [("∢ⰀĊ", "ഢ")]),
    Case("Encodings", "UTF-16, half a surrogate pair",
         codecs.BOM_UTF16_LE + "a,b\n1,x".encode("utf-16-le") + b"\x00\xd8"
         + "\n3,4\n".encode("utf-16-le"), [("3", "4")], [(2, 4, "not UTF-8")]),
    Case("Encodings", "UTF-16, half a character at the end",
         codecs.BOM_UTF16_LE + "a,b\n1,2\n3,4".encode("utf-16-le") + b"\x41",
         [("1", "2")], [(3, 8, "not UTF-8")]),
    Case("Encodings", "UTF-32", codecs.BOM_UTF32_LE + "a,b\né,ü\n".encode("utf-32-le"),
         [("é", "ü")]),
    Case("Encodings", "cp1252", "a,b\n€,é\n".encode("cp1252"), [("€", "é")],
         dialect=Dialect(encoding="cp1252")),
    Case("Encodings", "cp1252, a byte that means nothing", b"a,b\n1,\x81\n\x80,3\n", [("€", "3")],
         [(2, 4, "not CP1252")], dialect=Dialect(encoding="cp1252")),
    Case("Encodings", "latin-1", b"a,b\n\x80,\xe9\n", [("\x80", "é")],
         dialect=Dialect(encoding="latin-1")),
    Case("Encodings", "Shift JIS", 'a,b\n表,"ソ\n"\n'.encode("shift_jis"), [("表", "ソ\n")],
         dialect=Dialect(encoding="shift_jis")),
    Case("Encodings", "Shift JIS, the delimiter's byte in a character",
         "a|b\nポ|ゼ\n".encode("shift_jis"), [("ポ", "ゼ")],
         dialect=Dialect(encoding="shift_jis", delimiter="|")),
    Case("Encodings", "ISO-2022-JP, quotes in characters", "a,b\nあ,い\n".encode("iso2022_jp"),
         [("あ", "い")], dialect=Dialect(encoding="iso2022_jp")),
    Case("Encodings", "undecodable bytes",
         b"a,b\n1,2\n\xff,2\n1,\xc3\n5,\xed\xa0\x80\n6,\xc0\x80\n3,4\n", FOUR,
         [(3, 8, "not UTF-8"), (4, 12, "not UTF-8"), (5, 16, "not UTF-8"), (6, 22, "not UTF-8")]),
    Case("Encodings", "undecodable bytes in quotes", b'a,b\n1,"\n\xff"\n3,4\n', [("3", "4")],
         [(2, 4, "not UTF-8")]),
]  # fmt: skip

DELIMITERS = [
    Case("Delimiters", "semicolon", 'a;b\n1,5;"x;y"\n', [("1,5", "x;y")],
         dialect=Dialect(delimiter=";")),
    Case("Delimiters", "tab", 'a\tb\n1,5\t"x\ty"\n', [("1,5", "x\ty")],
         dialect=Dialect(delimiter="\t")),
    Case("Delimiters", "pipe", 'a|b\n1,5|"x|y"\n', [("1,5", "x|y")],
         dialect=Dialect(delimiter="|")),
    Case("Delimiters", "a sign with a meaning in patterns", "a^b\n1^2\n3^4\n", FOUR,
         dialect=Dialect(delimiter="^")),
    Case("Delimiters", "decimal comma", 'a;b\n1;19,90\n2;1.234,50\n3;1,234.50\n4;12.34,5\n5;€5\n',
         [("1", "19,90"), ("2", "1.234,50"), ("3", "1,234.50"), ("4", "12.34,5"), ("5", "€5")],
         dialect=Dialect(delimiter=";", decimal=",", thousands="."),
         numbers=["19.90", "1234.50", None, None, None]),
    Case("Delimiters", "thousands in quotes", 'a,b\n1,"1,234.50"\n2,"12,34"\n',
         [("1", "1,234.50"), ("2", "12,34")], dialect=Dialect(thousands=","),
         numbers=["1234.50", None]),
]  # fmt: skip

COMPRESSION = [
    Case("Compression", "gzip", {"t.csv.gz": gzip.compress(TABLE)}, ROWS),
    Case("Compression", "bzip2", {"t.csv.bz2": bz2.compress(TABLE)}, ROWS),
    Case("Compression", "xz", {"t.csv.xz": lzma.compress(TABLE)}, ROWS),
    Case("Compression", "zstd", {"t.csv.zst": zstd(TABLE)}, ROWS),
    Case("Compression", "gzip in two members",
         {"t.csv.gz": gzip.compress(TABLE[:9]) + gzip.compress(TABLE[9:])}, ROWS),
    Case("Compression", "zstd in two frames",
         {"t.csv.zst": zstd(TABLE[:9]) + zstd(TABLE[9:])}, ROWS),
    Case("Compression", "no ending, but the magic bytes", {"t.csv": gzip.compress(TABLE)}, ROWS),
    Case("Compression", "the ending of another", {"t.csv.gz": zstd(TABLE)}, ROWS),
    Case("Compression", "plain and compressed files mixed",
         {"1.csv": b"a,b\n1,2\n", "2.csv.gz": gzip.compress(b"a,b\n3,4\n"),
          "3.csv.bz2": bz2.compress(b"b,a\n6,5\n"), "4.csv.xz": lzma.compress(b"a,b\n7,8\n"),
          "5.csv.zst": zstd(b"a,b\n9,0\n")},
         [*FOUR, ("5", "6"), ("7", "8"), ("9", "0")]),
    Case("Compression", "UTF-16 within gzip",
         {"t.csv.gz": gzip.compress("a,b\né,2\n".encode("utf-16"))},
         [("é", "2")]),
    Case("Compression", "a bad record within gzip", {"t.csv.gz": gzip.compress(b"a,b\n1\n3,4\n")},
         [("3", "4")], [(2, 4, "too few fields")]),
    Case("Compression", "an ending that lies", {"t.csv.gz": b"a,b\n1,2\n"},
         error="t.csv.gz: ends in .gz, but is not gzip data"),
    Case("Compression", "a truncated file", {"t.csv.gz": gzip.compress(TABLE)[:-6]},
         error="t.csv.gz: cannot be read: the gzip member that begins at byte 0 is cut off at byte "
         f"{len(gzip.compress(TABLE)) - 6}, the end of the file; copy the file again"),
]  # fmt: skip

FILES = [
    Case("Several files", "columns in another order",
         {"1.csv": b"a,b,c\n1,2,3\n", "2.csv": b"c,a,b\n6,4,5\n"},
         [("1", "2", "3"), ("4", "5", "6")]),
    Case("Several files", "one of them without records",
         {"1.csv": b"a,b\n1,2\n", "2.csv": b"a,b\n", "3.csv": b"a,b\n3,4"}, FOUR),
    Case("Several files", "no line end at the end of the first",
         {"1.csv": b"a,b\n1,2", "2.csv": b"a,b\n3,4\n"}, FOUR),
    Case("Several files", "an open quote at the end of the first stays there",
         {"1.csv": b'a,b\n1,2\n9,"x\n', "2.csv": b'a,b\n3,4\n5\n'}, FOUR,
         [(3, 8, "unclosed quote"), (3, 8, "too few fields")]),
    Case("Several files", "other dialects of line end and mark",
         {"1.csv": b"a,b\r1,2\r", "2.csv": codecs.BOM_UTF8 + b"a,b\r\n3,4\r\n"}, FOUR),
    Case("Several files", "a column less", {"1.csv": b"a,b,c\n1,2,3\n", "2.csv": b"a,b\n1,2\n"},
         error="2.csv: its columns differ from those of 1.csv: it lacks 'c'"),
    Case("Several files", "other columns",
         {"1.csv": b"a,b,c\n1,2,3\n", "2.csv": b"a,b,d,e\n1,2,3,4\n"},
         error="2.csv: its columns differ from those of 1.csv: it lacks 'c'; also has 'd', 'e'"),
]  # fmt: skip

BAD_RECORDS = [
    Case("Bad records", "too few fields", "a,b\n1,2\n1\n3,4\n", FOUR, [(3, 8, "too few fields")]),
    Case("Bad records", "too many fields", "a,b\n1,2\n1,2,3\n3,4\n", FOUR,
         [(3, 8, "too many fields")]),
    Case("Bad records", "a field too many in the first record", "a,b\n1,2,3\n1,2\n3,4\n", FOUR,
         [(2, 4, "too many fields")]),
    Case("Bad records", "a delimiter behind the last field", "a,b\n1,2,\n1,2\n3,4\n", FOUR,
         [(2, 4, "too many fields")]),
    Case("Bad records", "a line of blanks", "a,b\n1,2\n  \n3,4\n", FOUR,
         [(3, 8, "too few fields")]),
    Case("Bad records", "an empty quoted line", 'a,b\n1,2\n""\n3,4\n', FOUR,
         [(3, 8, "too few fields")]),
    Case("Bad records", "too few fields, over two lines", 'a,b\n1,2\n"x\ny"\n3,4\n', FOUR,
         [(3, 8, "too few fields")]),
    Case("Bad records", "an unclosed quote", 'a,b\n1,2\n5,"x\n3,4\n', FOUR,
         [(3, 8, "unclosed quote")]),
    Case("Bad records", "an unclosed quote in the last line", 'a,b\n1,2\n3,4\n5,"x', FOUR,
         [(4, 12, "unclosed quote")]),
    Case("Bad records", "an unclosed quote, closed by a later one", 'a,b\n1,2\n5,"x\n3,4\n6,"y"\n',
         [*FOUR, ("6", "y")], [(3, 8, "unclosed quote")]),
    Case("Bad records", "unclosed quotes in each line",
         'a,b\n"1,2\n"1,2\n"1,2\n3,4\n', [("3", "4")],
         [(2, 4, "unclosed quote"), (3, 9, "unclosed quote"), (4, 14, "unclosed quote")]),
    Case("Bad records", "text after a closing quote", 'a,b\n1,2\n5,"x"y\n3,4\n', FOUR,
         [(3, 8, "text after a closing quote")]),
    Case("Bad records", "a blank after a closing quote", 'a,b\n1,2\n"x" ,5\n3,4\n', FOUR,
         [(3, 8, "text after a closing quote")]),
    Case("Bad records", "an escaping backslash", 'a,b\n1,2\n5,"x\\"y"\n3,4\n', FOUR,
         [(3, 8, "text after a closing quote")]),
    Case("Bad records", "text after a closing quote, over two lines",
         'a,b\n1,2\n5,"x\n6,y"z\n3,4\n', [("1", "2"), ("6", 'y"z'), ("3", "4")],
         [(3, 8, "unclosed quote")]),
    Case("Bad records", "a NUL byte", b"a,b\n1,2\n5,\0\n3,4\n", FOUR, [(3, 8, "NUL byte")]),
    Case("Bad records", "a NUL byte in quotes", b'a,b\n1,2\n5,"\n\0"\n3,4\n', FOUR,
         [(3, 8, "NUL byte")]),
    Case("Bad records", "a record too long", "a,b\n1,2\n5,12345678\n3,4\n", FOUR,
         [(3, 8, "record too long")], dialect=Dialect(max_record_size=10)),
    Case("Bad records", "a record of the largest size", "a,b\n5,1234567\n6,12345678",
         [("5", "1234567"), ("6", "12345678")], dialect=Dialect(max_record_size=10)),
    Case("Bad records", "a record too long by the LF of its CR LF",
         "a,b\r\n5,1234567\r\n3,4\r\n6,123456\r\n", [("3", "4"), ("6", "123456")],
         [(2, 5, "record too long")], dialect=Dialect(max_record_size=10)),
    Case("Bad records", "a quote open for too long", 'a,b\n1,2\n5,"2345678"\n3,4\n', FOUR,
         [(3, 8, "unclosed quote")], dialect=Dialect(max_record_size=10)),
    Case("Bad records", "a quote closed at the largest size",
         'a,b\n1,2\n5,"23456"\n6,"234567"\n3,4\n',
         [("1", "2"), ("5", "23456"), ("3", "4")], [(4, 18, "record too long")],
         dialect=Dialect(max_record_size=10)),
    Case("Bad records", "a long quoted field costs its first line only",
         'a,b\n1,2\n5,"x\n3,4\n7,8\n9,0"\n', [*FOUR, ("7", "8"), ("9", '0"')],
         [(3, 8, "unclosed quote")], dialect=Dialect(max_record_size=10)),
    Case("Bad records", "nothing but bad records", 'a,b\n1\n2,"\n\xff\n',
         rejects=[(2, 4, "too few fields"), (3, 6, "unclosed quote"), (4, 10, "too few fields")]),
    Case("Bad records", "a headless file with a quoted line end in the middle",
         'a,b\n1,"2\n",3\n3,4\n', [("3", "4")], [(2, 4, "too many fields")]),
]  # fmt: skip

FIRST_LINE = "the first line should name the columns"
HEADERS = [
    Case("Headers", "an empty file",
         "", error="t.csv: is empty; its first line should name the columns"),
    Case("Headers", "blank lines alone", "\n\r\n\r",
         error="t.csv: is empty; its first line should name the columns"),
    Case("Headers", "a missing column", "a,c\n1,2\n",
         error="t.csv: purchases need a column 'b'; it has: a, c; name it with --amount-column"),
    Case("Headers", "a column in another case", "A,b\n1,2\n",
         error="t.csv: purchases need a column 'a'; it has: A, b; column names must match exactly: "
         "rename 'A', or give --id-column purchases=A"),
    Case("Headers", "a column with other signs between its words", "b,_A-. \n1,2\n",
         error="t.csv: purchases need a column 'a'; it has: b, _A-. ; column names must match "
         "exactly: rename '_A-. ', or give --id-column 'purchases=_A-. '"),
    Case("Headers", "two columns that may be meant", "A,_a,b\n1,2,3\n",
         error="t.csv: purchases need a column 'a'; it has: A, _a, b; "
         "name it with --id-column purchases=NAME"),
    Case("Headers", "a column with invisible characters", "\ufeffa\u200b,b\xa0\n1,2\n",
         error="t.csv: purchases need a column 'a'; it has: a\\u200b, b\\u00a0; 'a\\u200b' has "
         "invisible characters; column names must match exactly: rename 'a\\u200b' and "
         "'b\\u00a0', or give --id-column $'purchases=a\\u200b' --amount-column $'b\\u00a0'"),
    Case("Headers", "a byte order mark in the middle", "c,\ufeffa,b\n1,2,3\n",
         error="t.csv: purchases need a column 'a'; it has: c, \\ufeffa, b; '\\ufeffa' has "
         "invisible characters; column names must match exactly: rename '\\ufeffa', or give "
         "--id-column $'purchases=\\ufeffa'"),
    Case("Headers", "a padded column", "a, b\n1,2\n",
         error="t.csv: purchases need a column 'b'; it has: a,  b; column names must match "
         "exactly: rename ' b', or give --amount-column ' b'"),
    Case("Headers", "a column twice", "a,b,b\n1,2,3\n",
         error="t.csv: column 'b' appears twice in the header"),
    Case("Dialects", "a column without a name", "a,b,\n1,2,3\n",
         [("1", "2", "3")]),
    Case("Dialects", "a needed column without a name", ",b\n1,2\n",
         error="t.csv: purchases need a column 'a'; it has: column_1, b; "
         "name it with --id-column purchases=NAME"),
    Case("Dialects", "another delimiter", "a;b;c\n1;2;3\n", [("1", "2", "3")]),
    Case("Dialects", "a delimiter that is set, and another one", "a;b;c\n1;2;3\n",
         dialect=Dialect(","), error="t.csv: purchases need a column 'a'; it has: a;b;c; "
         "its columns are found with --delimiter 'purchases=;'"),
    Case("Dialects", "other columns with another delimiter", "a;c\n1;2\n",
         error="t.csv: purchases need a column 'b'; it has: a, c; name it with --amount-column"),
    Case("Dialects", "the comma goes first", "a,b,a;b\n1,2,3\n", [("1", "2", "3")]),
    Case("Dialects", "a quote that is a delimiter elsewhere", "a,|b|\n1,|2;\n|\n",
         [("1", "2;\n")], dialect=Dialect(quote="|")),
    Case("Dialects", "a line for Excel", "sep=;\r\na;b\r\n1;2\r\n", [("1", "2")]),
    Case("Dialects", "a line for Excel, in quotes", '\ufeff"sep=\t"\na\tb\n1\t2\n', [("1", "2")]),
    Case("Dialects", "a line for Excel that is wrong", "sep=;\na,b\n1,2\nx\n", [("1", "2")],
         [(4, 14, "too few fields")], dialect=Dialect(",")),
    Case("Dialects", "a line for Excel that names the wrong delimiter", "sep=;\na,b\n1,2\n",
         error="t.csv: purchases need a column 'a'; it has: a,b; "
         "the columns are on line 2: --skip-lines purchases=1"),
    Case("Dialects", "a delimiter for which the file is recoded",
         "a|b\nあ|い\nア\n".encode("shift_jis"), [("あ", "い")], [(3, 12, "too few fields")],
         dialect=Dialect(encoding="shift_jis")),
    Case("Dialects", "a delimiter for which a packed file is recoded",
         {"t.csv.gz": gzip.compress("x\na|b\nあ|い\n".encode("shift_jis"))}, [("あ", "い")],
         dialect=Dialect(encoding="shift_jis", skip_lines=1)),
    Case("Dialects", "a line for Excel in UTF-16", "sep=\t\r\na\tb\r\n1\té\r\n".encode("utf-16"),
         [("1", "é")]),
    Case("Dialects", "packed, behind a line for Excel",
         {"t.csv.gz": gzip.compress(b"sep=^\na^b\n1^2\n")}, [("1", "2")]),
    Case("Dialects", "lines before it", "Report\n\n'x,\r\na,b\n1,2\n1\n", [("1", "2")],
         [(6, 21, "too few fields")], dialect=Dialect(skip_lines=3)),
    Case("Dialects", "lines before it, not skipped", "Report\n,,\n\na;b\n1;2\n",
         error="t.csv: purchases need a column 'a'; it has: Report; "
         "the columns are on line 4: --skip-lines purchases=3"),
    Case("Dialects", "a line for Excel that names no delimiter", 'sep="\na;b\n1;2\n', [("1", "2")]),
    Case("Dialects", "no column that is needed, and rare signs", "c,d\n",
         dialect=Dialect(quote="~", escape="^", null=":"),
         error="t.csv: purchases need a column 'a'; it has: c, d; "
         "name it with --id-column purchases=NAME, and 'b' with --amount-column"),
    Case("Dialects", "lines before it, and padded names", "x\na|B  |\n", dialect=Dialect("|"),
         error="t.csv: purchases need a column 'a'; it has: x; "
         "the columns are on line 2: --skip-lines purchases=1 --amount-column 'B  '"),
    Case("Dialects", "lines before it, in another encoding", "x;1\na;b;größe\n".encode("cp1252"),
         error="t.csv: purchases need a column 'a'; it has: x, 1; "
         "the columns are on line 2: --skip-lines purchases=1 --encoding purchases=cp1252"),
    Case("Dialects", "a rare delimiter", '"a" "b"\n1 2\n',
         error="t.csv: its first line is not a CSV header in utf-8: text after a closing quote; "
         "its columns are found with --delimiter 'purchases= '"),
    Case("Dialects", "a rare delimiter, and names that are nearly right", "_a B\n1 2\n",
         error="t.csv: purchases need a column 'a'; it has: _a B; its columns are found with "
         "--delimiter 'purchases= ' --id-column purchases=_a --amount-column B"),
    Case("Dialects", "names of rows, as R writes them", '"a" "b"\n"1" 1 2\n',
         error="t.csv: its first line is not a CSV header in utf-8: text after a closing quote; "
         "its columns are found with --delimiter 'purchases= ' --skip-lines purchases=1 "
         "--column-names purchases=column_3,a,b"),
    Case("Dialects", "other quotes around the names", "'a','b'\n'1','2'\n",
         error="t.csv: purchases need a column 'a'; it has: 'a', 'b'; its columns are found with "
         "--quote \"purchases='\""),
    Case("Dialects", "a delimiter of Hive", "a\x01b\n1\x012\n",
         error="t.csv: purchases need a column 'a'; it has: a\\x01b; "
         "its columns are found with --delimiter 'purchases=\\x01'"),
    Case("Dialects", "a headless file of Hive", "1\x01b\n",
         error="t.csv: purchases need a column 'a'; it has: 1\\x01b; "
         "is its delimiter an invisible character? --delimiter 'purchases=\\x01'; "
         "if that is a record, name its 2 columns: --column-names purchases=NAME,NAME"),
    Case("Dialects", "no column that is needed", "c,d\n",
         error="t.csv: purchases need a column 'a'; it has: c, d; "
         "name it with --id-column purchases=NAME, and 'b' with --amount-column"),
    Case("Dialects", "too many lines skipped", "a,b\n1,2\n3,4\n", dialect=Dialect(skip_lines=2),
         error="t.csv: purchases need a column 'a'; it has: 3, 4; "
         "the columns are on line 1: --skip-lines purchases=0"),
    Case("Dialects", "all lines skipped", "a,b\n1,2\n", dialect=Dialect(skip_lines=9),
         error="t.csv: is empty after 9 lines; its first line should name the columns"),
    Case("Dialects", "lines before it that are no CSV", '"Report" of x\na,b\n1,2\n',
         error="t.csv: its first line is not a CSV header in utf-8: text after a closing quote; "
         "the columns are on line 2: --skip-lines purchases=1"),
    Case("Dialects", "names for a file without", "\n1;2;x\n3;4\n", [("1", "2", "x")],
         [(3, 7, "too few fields")], dialect=Dialect(column_names=("a", "b", ""))),
    Case("Dialects", "names for a file that has some", "a;b\n1;2\n", [("1", "2")],
         [(1, 0, "the header again")], dialect=Dialect(column_names=("a", "b"))),
    Case("Dialects", "too few names for a file without", "1;2;x\n",
         dialect=Dialect(column_names=("b", "c")),
         error="t.csv: purchases need a column 'a'; it has: b, c; "
         "name it with --id-column purchases=NAME"),
    Case("Headers", "a headless file", "1,2\n3,4\n",
         error="t.csv: purchases need a column 'a'; it has: 1, 2; "
         "if that is a record, name its 2 columns: --column-names purchases=NAME,NAME"),
    Case("Headers", "UTF-16 without a mark", "a,b\n1,2\n".encode("utf-16-le"),
         error="t.csv: its first line is not a CSV header in utf-8: NUL byte; "
         "its columns are found with --encoding purchases=utf-16-le"),
    Case("Headers", "in another encoding", "a,b,größe\n1,2,3\n".encode("latin-1"),
         error="t.csv: its first line is not a CSV header in utf-8: invalid start byte "
         "at byte 6; with --encoding purchases=cp1252, it is 'a,b,größe'"),
    Case("Headers", "other columns in another encoding", "x,größe\n1,2\n".encode("latin-1"),
         error="t.csv: its first line is not a CSV header in utf-8: invalid start byte at byte 4; "
         "with --encoding purchases=cp1252, it is 'x,größe'; name it with --id-column "
         "purchases=NAME, and 'b' with --amount-column"),
    Case("Headers", "two names that are nearly right", "A , B,c\n1,2,3\n",
         error="t.csv: purchases need a column 'a'; it has: A ,  B, c; column names must match "
         "exactly: rename 'A ' and ' B', or give --id-column 'purchases=A ' --amount-column "
         "' B'"),
    Case("Headers", "many lines before it", b",,\n" * 25 + b"a,b,c\n1,2,3\n",
         error="t.csv: purchases need a column 'a'; its first line is ',,'; name it with "
         "--id-column purchases=NAME, and 'b' with --amount-column; or skip the lines before the "
         "header: --skip-lines purchases=N"),
    Case("Headers", "very many columns", ",".join(f"c{n}" for n in range(999)) + "\n",
         error="t.csv: purchases need a column 'a'; it has: "
         + ", ".join(f"c{n}" for n in range(99))[:300] + "…; name it with --id-column "
         "purchases=NAME, and 'b' with --amount-column"),
    Case("Headers", "not in this encoding", "a,b\n1,2\n", dialect=Dialect(encoding="cp037"),
         error="t.csv: purchases need a column 'a'; it has: /\\x8cÂ\\x8e\\x91\\x8c\\x16\\x8e; "
         "is its encoding not cp037?"),
    Case("Headers", "an unclosed quote", 'a,"b\n1,2\n',
         error=f"t.csv: its first line is not a CSV header in utf-8: unclosed quote; {FIRST_LINE}"),
    Case("Headers", "text after a closing quote", 'a,"b"x\n1,2\n',
         error="t.csv: its first line is not a CSV header in utf-8: text after a closing quote; "
         f"{FIRST_LINE}"),
    Case("Headers", "a header too long", "a,b,cccccc\n1,2,3\n", dialect=Dialect(max_record_size=10),
         error="t.csv: its first line is not a CSV header in utf-8: record too long; "
         "is it text? a header has at most 10 bytes"),
    Case("Headers", "a header that the largest size would cut", "a,bb\n1,2\n",
         dialect=Dialect(max_record_size=3),
         error="t.csv: its first line is not a CSV header in utf-8: record too long; "
         "is it text? a header has at most 3 bytes"),
    Case("Headers", "a quote within a name", 'a,b,24"\n1,2,3\n', [("1", "2", "3")]),
]  # fmt: skip

MYSQL = Dialect(quote="", escape="\\", null="\\N")
SPARK = Dialect(escape="\\")
OTHER_DIALECTS = [
    Case("Dialects", "no quotes", 'a,b\n1,"Deluxe\n2,24"\n', [("1", '"Deluxe'), ("2", '24"')],
         dialect=Dialect(quote="")),
    Case("Dialects", "other quotes", "a,b\n'1','x,''y'''\n2,\"z\n", [("1", "x,'y'"), ("2", '"z')],
         dialect=Dialect(quote="'")),
    Case("Dialects", "a text for missing fields", 'a,b\nNA,x\n1,NA\n2,"NA"\n3,NAN\n',
         [(None, "x"), ("1", None), ("2", "NA"), ("3", "NAN")], dialect=Dialect(null="NA")),
    Case("Dialects", "as MySQL exports",
         "a,b\n1,\\N\n2,a\\,b\n3,x\\\ny\n\\N,\\\\\n4,\\\r\nz\n",
         [("1", None), ("2", "a,b"), ("3", "x\ny"), (None, "\\"), ("4", "\r\nz")], dialect=MYSQL),
    Case("Dialects", "as MySQL exports, too few fields", "a,b\n1\\,\n2,x\n3\\\n,y\n",
         [("2", "x"), ("3\n", "y")], [(2, 4, "too few fields")], dialect=MYSQL),
    Case("Dialects", "as Spark exports", 'a,b\n1,"say \\"hi\\", x"\n2,"24\\""\n3,"x\\\\"\n',
         [("1", 'say "hi", x'), ("2", '24"'), ("3", "x\\")], dialect=SPARK),
    Case("Dialects", "an escaped quote does not close", 'a,b\n1,"x\\"\n2,y\n3,z\n',
         [("2", "y"), ("3", "z")], [(2, 4, "unclosed quote")], dialect=SPARK),
    Case("Dialects", "an escape character at the end", "a,b\n1,x\\", [("1", "x\\")],
         dialect=SPARK),
]  # fmt: skip

CASES = [
    *RFC_4180,
    *LINE_ENDS,
    *TEXT,
    *ENCODINGS,
    *DELIMITERS,
    *COMPRESSION,
    *FILES,
    *BAD_RECORDS,
    *HEADERS,
    *OTHER_DIALECTS,
]
