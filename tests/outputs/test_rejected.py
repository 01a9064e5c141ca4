"""Records that could not be read are written with their place, and too many of them end the run."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from distributed import Client
from support.ledgers import block_read, ledger, reject, source
from support.runs import run

from pipeline import Settings
from pipeline.csv_text.rejects import Reject, tabulate_rejects
from pipeline.engine.ledger import Entry, Ledger
from pipeline.engine.progress import Progress
from pipeline.errors import StorageError
from pipeline.outputs.names import COMBINED, OUTPUTS, REJECTED
from pipeline.outputs.rejected import write_rejected
from pipeline.steps import read
from pipeline.storage.places import Folder


def test_rejected_records_are_written_with_their_place_in_the_file(
    client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "rejected.csv"
    some = [reject(0, 0, b"1\n"), reject(5, 90, b'"a\r\n', "1 where the header has 4")]
    more = [reject(2, 10, b"Zo\xc3\xab,\xff\r\n")]
    read = ledger(
        block_read("/data/a.csv", start=20, lines=4),
        block_read("/data/c.csv", "customers", start=20, lines=7, rejected=some),
        block_read("/data/b.csv", start=20, rejected=[reject(1, 8, b"a,b\nc")]),
        block_read("/data/c.csv", "customers", start=320, rejected=more),
    )
    tables = source("customers", c=2), source("purchases", a=1, b=1)

    write_rejected(path, client, read, tables, Folder(str(tmp_path)))

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, strict=True))
    assert rows == [
        ["file", "line", "byte_offset", "length", "reason", "detail", "raw"],
        ["c.csv", "3", "20", "1", "too few fields", "", "1"],
        ["c.csv", "8", "110", "2", "too few fields", "1 where the header has 4", '"a'],
        ["c.csv", "12", "330", "6", "too few fields", "", "Zoë,\\xff"],
        ["b.csv", "3", "28", "5", "too few fields", "", "a,b\nc"],
    ]


def test_without_rejected_records_there_is_no_file(client: Client, tmp_path: Path) -> None:
    read, tables = ledger(block_read("/data/a.csv")), [source("purchases", a=1)]
    write_rejected(tmp_path / "rejected.csv", client, read, tables, Folder(str(tmp_path)))

    assert list(tmp_path.iterdir()) == []


def test_of_many_rejects_the_client_holds_a_few(client: Client, tmp_path: Path) -> None:
    """Workers keep the others, and write their lines."""
    bad = [f"{number},{number}\n" if number % 3 else f'{number},"é\n' for number in range(3000)]
    header = "customer_id,first_name,last_name,age"
    (tmp_path / "customers.csv").write_text(f"{header}\n1,Ada,Byron,36\n")
    text = "customer_id,product,price\n" + "1,Lamp,2.50\n" * 1000 + "".join(bad)
    (tmp_path / "purchases.csv").write_text(text)
    held: list[int] = []

    def hold(ledger: Ledger, entry: Entry) -> None:
        held.append(len(pickle.dumps(entry)))
        ledger.entries.append(entry)

    results = []
    for few in (20, 5000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(read, "MAX_EXAMPLES", few)
            patch.setattr(Ledger, "add", hold)
            settings = Settings(
                (str(tmp_path / "customers.csv"),),
                (str(tmp_path / "purchases.csv"),),
                str(tmp_path / str(few)),
                block_size=8192,
                fsync=False,
            )
            run(settings, client)
        results.append(((tmp_path / str(few) / REJECTED).read_bytes(), max(held)))
        held.clear()

    (some, small), (whole, large) = results
    assert some == whole
    assert some.count(b"purchases.csv") >= 1000
    assert small < large / 3
    assert {path.name for path in (tmp_path / "20").iterdir()} == set(OUTPUTS)


def in_arrow(table: pa.Table) -> bytes:
    target = pa.BufferOutputStream()
    with pa.ipc.new_stream(target, table.schema) as stream:
        stream.write_table(table)
    written: bytes = target.getvalue().to_pybytes()
    return written


class Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.path, "ran")


@pytest.mark.parametrize(
    "planted",
    [
        lambda path: pickle.dumps(Planted(path)),
        lambda path: pickle.dumps([Planted(path)], protocol=0),
        lambda _: b"",
        lambda _: b"\xff",
        lambda _: in_arrow(pa.table({"line": [1]})),
        lambda _: in_arrow(tabulate_rejects([Reject(1, 2, 3, "too few fields", "", b"1")]))[:-20],
        lambda _: in_arrow(tabulate_rejects([reject(1, 2, b"1")._replace(detail=None)])),  # type: ignore[arg-type]
        lambda _: in_arrow(tabulate_rejects([reject(1, 2, b"1")])).replace(
            b"too few", b"too \xff\xff\xff"
        ),
    ],
)
def test_what_others_write_where_rejects_are_kept_is_not_run(
    client: Client, tmp_path: Path, planted: Callable[[Path], bytes]
) -> None:
    bad = "".join(f"{number}\n" for number in range(100))
    (tmp_path / "customers.csv").write_text("customer_id,first_name,last_name,age\n1,A,B,30\n")
    text = "customer_id,product,price\n1,Lamp,2.50\n" + bad
    (tmp_path / "purchases.csv").write_text(text)
    outputs, ran = tmp_path / "outputs", tmp_path / "ran"
    replaced: list[Path] = []

    class Planting(Progress):
        """Replaces all that workers have kept of rejects, once everything is read."""

        @contextmanager
        def step(self, name: str, total: int) -> Iterator[None]:
            """Plant it before the outputs are assembled."""
            if name == "assemble":
                replaced.extend(path for path in outputs.rglob("rejects/*") if path.is_file())
                for path in replaced:
                    path.write_bytes(planted(ran))
            yield

    paths = (str(tmp_path / "customers.csv"),), (str(tmp_path / "purchases.csv"),)
    with pytest.raises(StorageError, match="the rejected records that a worker wrote there are d"):
        run(Settings(*paths, str(outputs), fsync=False), client, Planting())

    assert [path.name for path in replaced] == ["purchases-0.arrow"]
    assert not ran.exists()
    assert not (outputs / REJECTED).exists()


@pytest.mark.parametrize("few", [20, 2])
@pytest.mark.parametrize("escape", [True, False])
def test_formulas_are_escaped_in_rejects_and_headers(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, escape: bool, few: int
) -> None:
    monkeypatch.setattr(read, "MAX_EXAMPLES", few)
    monkeypatch.chdir(tmp_path)
    Path("customers.csv").write_text("customer_id,first_name,last_name,age,+tel\n1,A,B,30,x\n")
    text = 'customer_id,=cmd,price\n1,Lamp,2.50\n=cmd()\n"=a""b\n-1\n@x\n'
    Path("=purchases.csv").write_text(text)

    run(
        Settings(
            ("customers.csv",), ("=purchases.csv",), "out", fsync=False, escape_formulas=escape
        ),
        client,
    )

    mark = "'" if escape else ""
    with (tmp_path / "out" / REJECTED).open(newline="") as file:
        rows = [(row["file"], row["raw"]) for row in csv.DictReader(file, strict=True)]
    assert [raw for _, raw in rows] == [f"{mark}=cmd()", '"=a""b', "-1", f"{mark}@x"]
    assert {file for file, _ in rows} == {f"{mark}=purchases.csv"}
    header = (tmp_path / "out" / COMBINED).read_text().splitlines()[0]
    assert header == (
        f"customer_id,first_name,last_name,age,{mark}+tel,full_name,age_group,{mark}=cmd,price"
    )


def test_a_long_record_is_cut_and_its_length_kept(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "customers.csv").write_text("customer_id,first_name,last_name,age\n1,A,B,30\n")
    head = b"customer_id,product,price\n1,Lamp,2.50\n"
    long = b"x" * 3_000_000
    (tmp_path / "purchases.csv").write_bytes(
        head + long + b"\r\n" + b"1,Cup,1\n" + bytes(2_000_000)
    )
    sizes: list[int] = []
    add = Ledger.add

    def weigh(ledger: Ledger, entry: Entry) -> None:
        """Weigh what comes to the client of each block."""
        sizes.append(len(pickle.dumps(entry)))
        add(ledger, entry)

    monkeypatch.setattr(Ledger, "add", weigh)
    for block_size in (1 << 30, 1 << 20):
        settings = Settings(
            (str(tmp_path / "customers.csv"),),
            (str(tmp_path / "purchases.csv"),),
            str(tmp_path / "outputs"),
            block_size=block_size,
            fsync=False,
        )
        run(settings, client)

        with (tmp_path / "outputs" / REJECTED).open(newline="") as file:
            csv.field_size_limit(1 << 24)
            rows = [
                (int(row["line"]), int(row["byte_offset"]), int(row["length"]), row["raw"])
                for row in csv.DictReader(file, strict=True)
            ]
        limit = Settings().dialect.max_record_size
        assert rows == [
            (3, len(head), len(long), "x" * limit),
            (5, len(head) + len(long) + 10, 2_000_000, "\0" * limit),
        ]
        assert max(sizes) < limit + 10_000
