"""Many small files are read together, a few tasks for all, and give what each gives by itself."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from distributed import Client
from support.runs import run
from support.store import Prefix

from pipeline import Settings
from pipeline.engine.progress import Progress
from pipeline.errors import InputChangedError
from pipeline.outputs.names import COMBINED, REJECTED, REPORT

HEADER = b"customer_id,product,price\n"
CUSTOMERS = [(number, f"N{number}", "B", 18 + number) for number in range(40)]
# Records of files that end in all ways, and what is wrong with them.
ODD = [
    b'1,"a\nb",2.5\r\n2,x,3',
    b"",
    b'3,"open,4\n4,y,5\n',
    b'5,"6"" tall",x\r6,z,7\r',
    b"\n\n7,only two\n8,z,1\n",
    b"999,nobody,1\n",
]
WRONG = {  # by the place in `ODD`: line, byte behind the header, reason
    2: (2, 0, "unclosed quote"),
    4: (4, 2, "too few fields"),
}


class Counting(Progress):
    """Counts the blocks of purchases."""

    blocks = 0

    def advance(self, table: str, size: int, records: int) -> None:
        """Count one."""
        self.blocks += table == "purchases"


def bodies(files: int) -> list[bytes]:
    plain = [f"{number % 40},P{number},{number}.25\n".encode() for number in range(files)]
    return [ODD[place // 10] if place % 10 == 5 else body for place, body in enumerate(plain)]


def settings(folder: Path, purchases: str, output: str, **how: Any) -> Settings:
    with (folder / "customers.csv").open("w") as file:
        csv.writer(file).writerows([("customer_id", "first_name", "last_name", "age"), *CUSTOMERS])
    files = (str(folder / "customers.csv"),), (purchases,)
    return Settings(*files, str(folder / output), fsync=False, **how)


def combined(folder: Path) -> list[list[str]]:
    with (folder / "out" / COMBINED).open(newline="") as file:
        return list(csv.reader(file, strict=True))[1:]


def in_folder(folder: Path, name: str, pack: Callable[[bytes], bytes]) -> str:
    (folder / "p").mkdir()
    for place, body in enumerate(bodies(60)):
        (folder / "p" / name.format(place)).write_bytes(pack(HEADER + body))
    return str(folder / "p")


def in_memory(folder: Path, name: str, pack: Callable[[bytes], bytes]) -> str:
    for place, body in enumerate(bodies(60)):
        with fsspec.open(f"memory://{folder}/{name.format(place)}", "wb") as file:
            file.write(pack(HEADER + body))
    return f"memory://{folder}"


@pytest.mark.parametrize("join", ["broadcast", "shuffle"])
@pytest.mark.parametrize(
    ("put", "name", "pack"),
    [
        (in_folder, "{:02}.csv", bytes),
        (in_folder, "{:02}.csv.gz", gzip.compress),
        (in_memory, "{:02}.csv", bytes),
        (in_memory, "{:02}.csv.gz", gzip.compress),
    ],
    ids=["plain", "gzip", "in a store", "gzip in a store"],
)
def test_many_small_files_are_one_block(
    client: Client,
    tmp_path: Path,
    put: Callable[[Path, str, Callable[[bytes], bytes]], str],
    name: str,
    pack: Callable[[bytes], bytes],
    join: Any,
) -> None:
    purchases = put(tmp_path, name, pack)
    heard = Counting()

    report = run(settings(tmp_path, purchases, "out", join=join, verify=True), client, heard)

    (tmp_path / "one.csv").write_bytes(
        HEADER + b"".join(body if body.endswith(b"\n") else body + b"\n" for body in bodies(60))
    )
    run(settings(tmp_path, str(tmp_path / "one.csv"), "one", join=join), client)
    out, one = (
        (tmp_path / folder / COMBINED).read_bytes().splitlines() for folder in ("out", "one")
    )
    assert out == one if join == "broadcast" else sorted(out) == sorted(one)
    assert heard.blocks == 1
    with (tmp_path / "out" / REJECTED).open(newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [
        (Path(row["file"]).name, int(row["line"]), int(row["byte_offset"]), row["reason"])
        for row in rows
    ] == [
        (name.format(10 * place + 5), line, len(HEADER) + offset, reason)
        for place, (line, offset, reason) in WRONG.items()
    ]
    (bad,) = report.totals.purchases.value_examples
    assert (Path(bad["file"]).name, bad["line"], bad["value"]) == (name.format(35), 2, "x")
    (unmatched,) = (warning for warning in report.warnings if "no customer has" in warning)
    assert "first: '999', " in unmatched
    assert f"/{name.format(55)} line 2; " in unmatched


def test_files_that_are_not_alike_are_read_each_in_its_way(client: Client, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for name, data in {
        "1.csv": b"customer_id,price\n1,2\n",
        "2.csv": b"price,customer_id\n3,4\n",
        "3.csv": b"customer_id;price\n5;6\n",
        "4.csv": "customer_id,price\n7,8\n".encode("utf-16"),
        "5.csv.gz": gzip.compress(b"customer_id,price\n9,10\n"),
        "6.csv": b"\xef\xbb\xbfcustomer_id,price\r\n11,12\r\n",
        "7.csv": b"customer_id,price\n13,14",
    }.items():
        (tmp_path / "p" / name).write_bytes(data)
    heard = Counting()

    run(settings(tmp_path, str(tmp_path / "p"), "out"), client, heard)

    rows = combined(tmp_path)[:7]
    assert [(row[0], row[-1]) for row in rows] == [
        *(("1", "2"), ("4", "3"), ("5", "6"), ("7", "8"), ("9", "10"), ("11", "12"), ("13", "14"))
    ]
    assert heard.blocks == 5  # the last two share one, and those that are unpacked or recoded


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_in_a_store_are_read_together(
    client: Client, tmp_path: Path, prefix: Prefix, pack: Callable[[bytes], bytes]
) -> None:
    for place in range(12):
        body = f"{place},Lamp,{place}.5\n".encode()
        prefix.write(f"p/{place:02}.csv", pack(HEADER + body))
    heard = Counting()

    run(settings(tmp_path, f"{prefix.url}/p", "out"), client, heard)

    assert [row[-1] for row in combined(tmp_path)] == [f"{place}.5" for place in range(12)] + [
        ""
    ] * 28
    assert heard.blocks == 1
    inputs = json.loads((tmp_path / "out" / REPORT).read_text())["inputs"]["purchases"]
    assert len(inputs) == 12


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_one_of_them_that_changes_is_noticed(
    client: Client, tmp_path: Path, prefix: Prefix, pack: Callable[[bytes], bytes]
) -> None:
    for place in range(3):
        prefix.write(f"p/{place}.csv", pack(HEADER + b"1,Lamp,2\n"))

    class Changing(Progress):
        """Replaces one file before it is read."""

        def say(self, message: str) -> None:
            if message.startswith("customers: "):  # the plan
                prefix.write("p/1.csv", pack(HEADER + b"1,Lamp,3\n"))

    with pytest.raises(InputChangedError, match=r"p/1\.csv: changed during the run: "):
        run(settings(tmp_path, f"{prefix.url}/p", "out"), client, Changing())
