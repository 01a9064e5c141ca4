"""Tables as other tools write them: whoever obeys the job's own hints needs two steps at most."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from support.warm import run_command

from pipeline.outputs.names import REPORT

CUSTOMERS = "customer_id,first_name,last_name,age\n1,Ada,Byron,36\n2,Bo,Chu,20\n3,Cy,Day,50\n"
OPTION = re.compile(
    r"--(?:delimiter|quote|escape|null|encoding|decimal|thousands|skip-lines|column-names|"
    r"\w+(?:-\w+)*-column)(?: (?:'[^']*'|[^\s;)'])+)?"
)


@dataclass(frozen=True)
class Export:
    """Purchases as a tool writes them: files by name, what to name, and what they come to.

    `names` are the values that only a user knows, by option. `steps` is how many it takes.
    """

    tool: str
    files: dict[str, bytes]
    total: str
    records: int
    steps: int
    names: dict[str, str] = field(default_factory=dict)
    rejected: int = 0


def cp1252(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("cp1252")


EXPORTS = [
    Export(
        "Excel, German",
        {"p.csv": cp1252("Kundennr;Größe;Betrag\n1;groß;1.234,50\n2;klein;3,00\n3;;-2,25\n")},
        *("1235.25", 3, 2),
        {"--id-column": "purchases=Kundennr", "--amount-column": "Betrag"},
    ),
    Export(
        "Excel, US",
        {
            "p.csv": b"\xef\xbb\xbf"
            + cp1252('customer_id,product,price\n1,Lamp,"1,234.50"\n2,C,3\n')
        },
        *("1237.50", 2, 1),
    ),
    Export(
        "Excel, German, without cents",
        {"p.csv": cp1252("Kundennr;Betrag\n" + "".join(f"1;1.{n}\n" for n in range(100, 112)))},
        *("13266", 12, 2),
        {"--id-column": "purchases=Kundennr", "--amount-column": "Betrag"},
    ),
    Export(
        "Excel, US, with its own names",
        {"p.csv": cp1252('Customer ID,Product,Price\n1,Lamp,"1,234.50"\n2,C,3\n')},
        *("1237.50", 2, 2),
    ),
    Export(
        "Excel for Excel",
        {"p.csv": cp1252("sep=;\ncustomer_id;product;price\n1;Lamp;2.5\n2;a, b;3\n")},
        *("5.5", 2, 0),
    ),
    Export(
        "pandas with its index",
        {"p.csv": b",customer_id,product,price\n0,1,Lamp,2.5\n1,2,,\n2,3,Cup,1e2\n"},
        *("102.5", 3, 0),
    ),
    Export(
        "R with row names",
        {"p.csv": b'"","customer_id","product","price"\n"1",1,"Lamp",2.5\n"2",2,NA,NA\n'},
        *("2.5", 2, 1),
    ),
    Export(
        "R, write.table",
        {"p.txt": b'"customer_id" "price"\n"1" 1 2.5\n"2" 2 4\n'},
        *("6.5", 2, 1),
    ),
    Export(
        "Spark",
        {
            "sales/_SUCCESS": b"",
            "sales/._SUCCESS.crc": b"crc\0",
            "sales/part-00000-1b.csv": b'customer_id,product,price\n1,"a \\"b\\", c",2.5\n',
            "sales/part-00001-1b.csv": b"customer_id,product,price\n2,Cup,3\n",
            "sales/part-00002-1b.csv": b"",
        },
        *("5.5", 2, 1),
    ),
    Export(
        "Hive",
        {"000000_0": b"1\x01Lamp\x012.5\n2\x01\\N\x01\\N\n3\x01Cup\x014\n"},
        *("6.5", 3, 2),
        {"NAME,NAME,NAME": "customer_id,product,price"},
    ),
    Export(
        "MySQL, INTO OUTFILE",
        {"p.txt": b'1\tLamp 24"\t2.5\n2\ta\\\tb\t3\n3\t"x\\\ny\t\\N\n'},
        *("5.5", 3, 2),
        {"NAME,NAME,NAME": "customer_id,product,price"},
    ),
    Export(
        "Postgres, COPY",
        {"p.tsv": b"1\tLamp\t2.5\n2\t\\N\t\\N\n3\tCup\t4\n"},
        *("6.5", 3, 2),
        {"NAME,NAME,NAME": "customer_id,product,price"},
    ),
    Export(
        "psql",
        {"p.csv": b"customer_id|product|price\n1|Lamp|2.5\n2|Cup|3\n(2 rows)\n"},
        *("5.5", 2, 0),
        rejected=1,
    ),
    Export(
        "Shopify",
        {
            "p.csv": b'Name,Email,"Customer ID",Total,"Lineitem name"\n'
            b'#1,a@b.c,1,"1,200.00","a, b"\n#2,,2,3.00,"24"" x"\n#2,,2,,Cup\n'
        },
        *("1203.00", 3, 2),
        {"--id-column": "'purchases=Customer ID'", "--amount-column": "Total"},
    ),
    Export(
        "SAP",
        {
            "p.txt": cp1252(
                "Umsätze nach Kunden\nBuchungskreis\t1000\n\nKunde\tText\tBetrag\n"
                "1\tgroß\t1.234,50\n2\tklein\t3,00\n"
            )
        },
        *("1237.50", 2, 2),
        {
            "--id-column": "purchases=Kunde",
            "--amount-column": "Betrag",
            "--skip-lines": "purchases=3",
        },
    ),
    Export(
        "a bank",
        {
            "p.csv": cp1252(
                '"Kontoauszug";"DE00"\n"Zeitraum";"2024"\n\n'
                '"Buchung";"customer_id";"price"\n"01.02.2024";"1";"-1.234,50"\n"x";"2";"3,00"\n'
            )
        },
        *("-1231.50", 2, 2),
    ),
    Export(
        "a bank, with its own names",
        {
            "p.csv": cp1252(
                "Kontoauszug;DE00\n\nBuchung;Customer-ID;Zweck;Price\n"
                "01.02.2024;1;Miete März;-1.234,50\n02.02.2024;2;x;3,00\n"
            )
        },
        *("-1231.50", 2, 2),
    ),
]


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.tool)
def test_who_obeys_the_hints_needs_two_steps(tmp_path: Path, export: Export) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    for name, data in export.files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    first, *_ = export.files
    files = ["--customers", "c.csv", "--purchases", first.partition("/")[0], "--output-dir", "out"]
    options: dict[str, str] = {}
    said = []
    for step in range(3):
        given = [word for option in options.items() for word in option]
        ended = run_command(tmp_path, *files, *given)
        said.append(ended.stderr)
        hints = hinted(ended.stderr, export)
        if not hints.keys() - options.keys():
            break
        options |= hints
        assert step < 2, said

    assert ended.returncode == 0, said
    assert step == export.steps, said
    totals = json.loads((tmp_path / "out" / REPORT).read_text())["totals"]["purchases"]
    assert Decimal(totals["total"]) == Decimal(export.total), said
    assert (totals["records"], totals["rejected"]) == (export.records, export.rejected), said


def hinted(said: str, export: Export) -> dict[str, str]:
    """Return the options that are named, with the values that only the user knows filled in."""
    found: dict[str, str] = {}
    for words in map(shlex.split, OPTION.findall(said)):
        option, *values = words
        known = export.names.get(option)
        if known is not None:
            found[option] = shlex.split(known)[0]
        elif values and not values[0].endswith("=N"):
            # A comma behind a longer value is that of the sentence.
            value = re.sub(r"(?<==)(..+),$", r"\1", values[0])
            for unknown, meant in export.names.items():
                value = value.replace(unknown, meant)
            found[option] = value
    return found
