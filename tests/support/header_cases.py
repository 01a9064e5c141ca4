"""The cases of headers, and of the first lines of files."""

from __future__ import annotations

import gzip

from pipeline.settings import Dialect
from support.case import Case

REMEDY = "it should name the columns"
HEADERS = [
    Case("Headers", "an empty file",
         "", error="t.csv: is empty; it needs a header that names the columns"),
    Case("Headers", "blank lines alone", "\n\r\n\r",
         error="t.csv: is empty; it needs a header that names the columns"),
    Case("Headers", "a missing column", "a,c\n1,2\n",
         error="t.csv: purchases need a column 'b'; found: a, c; name it with --amount-column"),
    Case("Headers", "a column in another case", "A,b\n1,2\n",
         error="t.csv: purchases need a column 'a'; found: A, b; column names must match exactly: "
         "rename 'A', or use --id-column purchases=A"),
    Case("Headers", "a column with other signs between its words", "b,_A-. \n1,2\n",
         error="t.csv: purchases need a column 'a'; found: b, _A-. ; column names must match "
         "exactly: rename '_A-. ', or use --id-column 'purchases=_A-. '"),
    Case("Headers", "two columns that may be meant", "A,_a,b\n1,2,3\n",
         error="t.csv: purchases need a column 'a'; found: A, _a, b; "
         "name it with --id-column purchases=NAME"),
    Case("Headers", "a column with invisible characters", "\ufeffa\u200b,b\xa0\n1,2\n",
         error="t.csv: purchases need a column 'a'; found: a\\u200b, b\\u00a0; 'a\\u200b' has "
         "invisible characters; column names must match exactly: rename 'a\\u200b' and "
         "'b\\u00a0', or use --id-column $'purchases=a\\u200b' --amount-column $'b\\u00a0'"),
    Case("Headers", "a byte order mark in the middle", "c,\ufeffa,b\n1,2,3\n",
         error="t.csv: purchases need a column 'a'; found: c, \\ufeffa, b; '\\ufeffa' has "
         "invisible characters; column names must match exactly: rename '\\ufeffa', or use "
         "--id-column $'purchases=\\ufeffa'"),
    Case("Headers", "a padded column", "a, b\n1,2\n",
         error="t.csv: purchases need a column 'b'; found: a,  b; column names must match "
         "exactly: rename ' b', or use --amount-column ' b'"),
    Case("Headers", "a column twice", "a,b,b\n1,2,3\n",
         error="t.csv: column 'b' appears twice in the header"),
    Case("Dialects", "a column without a name", "a,b,\n1,2,3\n",
         [("1", "2", "3")]),
    Case("Dialects", "a needed column without a name", ",b\n1,2\n",
         error="t.csv: purchases need a column 'a'; found: column_1, b; "
         "name it with --id-column purchases=NAME"),
    Case("Dialects", "another delimiter", "a;b;c\n1;2;3\n", [("1", "2", "3")]),
    Case("Dialects", "a delimiter that is set, and another one", "a;b;c\n1;2;3\n",
         dialect=Dialect(","), error="t.csv: purchases need a column 'a'; found: a;b;c; "
         "its columns are found with --delimiter 'purchases=;'"),
    Case("Dialects", "other columns with another delimiter", "a;c\n1;2\n",
         error="t.csv: purchases need a column 'b'; found: a, c; name it with --amount-column"),
    Case("Dialects", "the comma goes first", "a,b,a;b\n1,2,3\n", [("1", "2", "3")]),
    Case("Dialects", "a quote that is a delimiter elsewhere", "a,|b|\n1,|2;\n|\n",
         [("1", "2;\n")], dialect=Dialect(quote="|")),
    Case("Dialects", "a line for Excel", "sep=;\r\na;b\r\n1;2\r\n", [("1", "2")]),
    Case("Dialects", "a line for Excel, in quotes", '\ufeff"sep=\t"\na\tb\n1\t2\n', [("1", "2")]),
    Case("Dialects", "a line for Excel that is wrong", "sep=;\na,b\n1,2\nx\n", [("1", "2")],
         [(4, 14, "too few fields")], dialect=Dialect(",")),
    Case("Dialects", "a line for Excel that names the wrong delimiter", "sep=;\na,b\n1,2\n",
         error="t.csv: purchases need a column 'a'; found: a,b; "
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
         error="t.csv: purchases need a column 'a'; found: Report; "
         "the columns are on line 4: --skip-lines purchases=3"),
    Case("Dialects", "a line for Excel that names no delimiter", 'sep="\na;b\n1;2\n', [("1", "2")]),
    Case("Dialects", "no column that is needed, and rare signs", "c,d\n",
         dialect=Dialect(quote="~", escape="^", null=":"),
         error="t.csv: purchases need a column 'a'; found: c, d; "
         "name it with --id-column purchases=NAME, and 'b' with --amount-column"),
    Case("Dialects", "lines before it, and padded names", "x\na|B  |\n", dialect=Dialect("|"),
         error="t.csv: purchases need a column 'a'; found: x; "
         "the columns are on line 2: --skip-lines purchases=1 --amount-column 'B  '"),
    Case("Dialects", "lines before it, in another encoding", "x;1\na;b;größe\n".encode("cp1252"),
         error="t.csv: purchases need a column 'a'; found: x, 1; "
         "the columns are on line 2: --skip-lines purchases=1 --encoding purchases=cp1252"),
    Case("Dialects", "a rare delimiter", '"a" "b"\n1 2\n',
         error="t.csv: its header cannot be read as CSV in utf-8: text after a closing quote; "
         "its columns are found with --delimiter 'purchases= '"),
    Case("Dialects", "a rare delimiter, and names that are nearly right", "_a B\n1 2\n",
         error="t.csv: purchases need a column 'a'; found: _a B; its columns are found with "
         "--delimiter 'purchases= ' --id-column purchases=_a --amount-column B"),
    Case("Dialects", "names of rows, as R writes them", '"a" "b"\n"1" 1 2\n',
         error="t.csv: its header cannot be read as CSV in utf-8: text after a closing quote; "
         "its columns are found with --delimiter 'purchases= ' --skip-lines purchases=1 "
         "--column-names purchases=column_3,a,b"),
    Case("Dialects", "other quotes around the names", "'a','b'\n'1','2'\n",
         error="t.csv: purchases need a column 'a'; found: 'a', 'b'; its columns are found with "
         "--quote \"purchases='\""),
    Case("Dialects", "a delimiter of Hive", "a\x01b\n1\x012\n",
         error="t.csv: purchases need a column 'a'; found: a\\x01b; "
         "its columns are found with --delimiter 'purchases=\\x01'"),
    Case("Dialects", "a headless file of Hive", "1\x01b\n",
         error="t.csv: purchases need a column 'a'; found: 1\\x01b; "
         "is its delimiter an invisible character? --delimiter 'purchases=\\x01'; "
         "if that is a record, name its 2 columns: --column-names purchases=NAME,NAME"),
    Case("Dialects", "no column that is needed", "c,d\n",
         error="t.csv: purchases need a column 'a'; found: c, d; "
         "name it with --id-column purchases=NAME, and 'b' with --amount-column"),
    Case("Dialects", "too many lines skipped", "a,b\n1,2\n3,4\n", dialect=Dialect(skip_lines=2),
         error="t.csv: purchases need a column 'a'; found: 3, 4; "
         "the columns are on line 1: --skip-lines purchases=0"),
    Case("Dialects", "all lines skipped", "a,b\n1,2\n", dialect=Dialect(skip_lines=9),
         error="t.csv: is empty after 9 lines; it needs a header that names the columns"),
    Case("Dialects", "lines before it that are no CSV", '"Report" of x\na,b\n1,2\n',
         error="t.csv: its header cannot be read as CSV in utf-8: text after a closing quote; "
         "the columns are on line 2: --skip-lines purchases=1"),
    Case("Dialects", "names for a file without", "\n1;2;x\n3;4\n", [("1", "2", "x")],
         [(3, 7, "too few fields")], dialect=Dialect(column_names=("a", "b", ""))),
    Case("Dialects", "names for a file that has some", "a;b\n1;2\n", [("1", "2")],
         [(1, 0, "the header again")], dialect=Dialect(column_names=("a", "b"))),
    Case("Dialects", "too few names for a file without", "1;2;x\n",
         dialect=Dialect(column_names=("b", "c")),
         error="t.csv: purchases need a column 'a'; found: b, c; "
         "name it with --id-column purchases=NAME"),
    Case("Headers", "a headless file", "1,2\n3,4\n",
         error="t.csv: purchases need a column 'a'; found: 1, 2; "
         "if that is a record, name its 2 columns: --column-names purchases=NAME,NAME"),
    Case("Headers", "UTF-16 without a mark", "a,b\n1,2\n".encode("utf-16-le"),
         error="t.csv: its header cannot be read as CSV in utf-8: NUL byte; "
         "its columns are found with --encoding purchases=utf-16-le"),
    Case("Headers", "in another encoding", "a,b,größe\n1,2,3\n".encode("latin-1"),
         error="t.csv: its header cannot be read as CSV in utf-8: invalid start byte "
         "at byte 6; with --encoding purchases=cp1252, it is 'a,b,größe'"),
    Case("Headers", "other columns in another encoding", "x,größe\n1,2\n".encode("latin-1"),
         error="t.csv: its header cannot be read as CSV in utf-8: invalid start byte at byte 4; "
         "with --encoding purchases=cp1252, it is 'x,größe'; name it with --id-column "
         "purchases=NAME, and 'b' with --amount-column"),
    Case("Headers", "two names that are nearly right", "A , B,c\n1,2,3\n",
         error="t.csv: purchases need a column 'a'; found: A ,  B, c; column names must match "
         "exactly: rename 'A ' and ' B', or use --id-column 'purchases=A ' --amount-column "
         "' B'"),
    Case("Headers", "many lines before it", b",,\n" * 25 + b"a,b,c\n1,2,3\n",
         error="t.csv: purchases need a column 'a'; its header is ',,'; name it with "
         "--id-column purchases=NAME, and 'b' with --amount-column; or skip the lines before the "
         "header: --skip-lines purchases=N"),
    Case("Headers", "very many columns", ",".join(f"c{n}" for n in range(999)) + "\n",
         error="t.csv: purchases need a column 'a'; found: "
         + ", ".join(f"c{n}" for n in range(99))[:300] + "…; name it with --id-column "
         "purchases=NAME, and 'b' with --amount-column"),
    Case("Headers", "not in this encoding", "a,b\n1,2\n", dialect=Dialect(encoding="cp037"),
         error="t.csv: purchases need a column 'a'; found: /\\x8cÂ\\x8e\\x91\\x8c\\x16\\x8e; "
         "is its encoding really cp037?"),
    Case("Headers", "an unclosed quote", 'a,"b\n1,2\n',
         error=f"t.csv: its header cannot be read as CSV in utf-8: unclosed quote; {REMEDY}"),
    Case("Headers", "text after a closing quote", 'a,"b"x\n1,2\n',
         error="t.csv: its header cannot be read as CSV in utf-8: text after a closing quote; "
         f"{REMEDY}"),
    Case("Headers", "a header too long", "a,b,cccccc\n1,2,3\n", dialect=Dialect(max_record_size=10),
         error="t.csv: its header cannot be read as CSV in utf-8: record too long; "
         "is it text? a header has at most 10 bytes"),
    Case("Headers", "a header that the largest size would cut", "a,bb\n1,2\n",
         dialect=Dialect(max_record_size=3),
         error="t.csv: its header cannot be read as CSV in utf-8: record too long; "
         "is it text? a header has at most 3 bytes"),
    Case("Headers", "a quote within a name", 'a,b,24"\n1,2,3\n', [("1", "2", "3")]),
]  # fmt: skip
