"""The whole job on real files and a real cluster, held against pandas."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.oracle import expected
from support.paths import REPOSITORY
from support.runs import run
from support.scale import scaled

from pipeline import AgeGroups, Settings, job
from pipeline.engine import compute
from pipeline.engine.cluster import connect
from pipeline.engine.progress import Progress
from pipeline.errors import DataError
from pipeline.outputs.names import CHART, COMBINED, OUTPUTS, REJECTED, REPORT, SPENDING
from pipeline.settings import ClusterSettings
from pipeline.settings.limits import Limits
from pipeline.steps import blocks

CUSTOMERS = ["customer_id", "first_name", "last_name", "email", "age"]
PURCHASES = ["customer_id", "product", "price", "email"]
SAMPLE = REPOSITORY / "outputs"
TABLES = int(os.environ.get("TABLES", "50"))  # drawn with --all

MISSING = st.none()
TEXT = st.one_of(
    MISSING,
    st.sampled_from(
        ['"', 'a "b" c', "a,b", "a\nb", "a\r\nb", "Null", "NA", "=1+1", " x ", "é😀", "\t"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
).map(lambda text: text or None)
IDS = st.one_of(
    st.integers(1, 9).map(str),
    st.sampled_from([None, "007", "7", " 7", "7 ", "07", "-7", "+7", "7.0", " ", "a,b", "é"]),
    st.sampled_from(["\ufeff7", "7\u200b", "\ufeff", "7\u200b7"]),
    st.sampled_from(["99999999999999999999", "3f2b8c1e-7d4a-4f6e-9b1a-5c2d8e7f6a90"]),
)
AGES = st.one_of(
    st.integers(-1, 132).map(str),
    st.sampled_from(
        [None, "29.5", "29.999999999999999999", " 30", "45 ", "018", "abc", "1e1", "0x1F"]
    ),
)
AMOUNTS = st.one_of(
    st.integers(-500, 100_000).map(str),
    st.decimals(-1000, 1000, places=2).map(str),
    st.sampled_from(
        [
            None,
            "19.90",
            "-3",
            "1e3",
            "abc",
            "0x10",
            " 5 ",
            "\u200b5\ufeff",
            "+.5",
            "5.",
            "1,5",
            "nan",
        ]
    ),
    st.sampled_from(["12345678901234567890", "99999999999999999999.999999999999999999", "1e20"]),
)


def table(names: list[str], columns: list[st.SearchStrategy]) -> st.SearchStrategy[pd.DataFrame]:
    """Draw a table of text with these columns."""
    # Lists drawn row by row shrink to fewer rows.
    return st.lists(st.tuples(*columns), max_size=25).map(
        lambda rows: pd.DataFrame(rows, columns=names, dtype=object)
    )


def write_parts(table: pd.DataFrame, folder: Path, parts: int) -> None:
    """Write a table as so many CSV files, some of them perhaps without records."""
    folder.mkdir(parents=True)
    for part in range(parts):
        rows = table.iloc[len(table) * part // parts : len(table) * (part + 1) // parts]
        with (folder / f"{part:04}.csv").open("w", encoding="utf-8", newline="") as file:
            # With this newline the writer quotes a lone CR as well as a lone LF.
            csv.writer(file, lineterminator="\r\n").writerows(
                [table.columns, *rows.where(rows.notna(), "").to_numpy().tolist()]
            )


def read_rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def as_rows(combined: pd.DataFrame) -> list[list[str]]:
    return [list(combined.columns), *combined.where(combined.notna(), "").to_numpy().tolist()]


def as_spending(path: Path) -> dict[str, tuple[Decimal, int, int]]:
    header, *rows = read_rows(path)
    assert header[:4] == ["age_group", "total_spending", "purchases", "customers"]
    return {row[0]: (Decimal(row[1]), int(row[2]), int(row[3])) for row in rows}


def sample(folder: Path, block_size: int | None = None) -> Settings:
    """Return the settings of a run on the committed sample that writes into `folder`."""
    return Settings(
        (str(REPOSITORY / "data" / "customers.csv"),),
        (str(REPOSITORY / "data" / "purchases.csv"),),
        str(folder),
        block_size=block_size,
    )


def check(
    folder: Path,
    client: Client,
    customers: pd.DataFrame,
    purchases: pd.DataFrame,
    *,
    parts: int = 1,
    block_size: int = 1024,
    join: Literal["auto", "broadcast", "shuffle"] = "broadcast",
    groups: AgeGroups | None = None,
) -> None:
    """Run the job on two tables and compare every row, value and total with pandas."""
    groups = groups or AgeGroups()
    write_parts(customers, folder / "customers", parts)
    write_parts(purchases, folder / "purchases", parts)
    settings = Settings(
        customers=(str(folder / "customers"),),
        purchases=(str(folder / "purchases"),),
        output_dir=str(folder / "outputs"),
        age_groups=groups,
        block_size=block_size,
        join=join,
        fsync=False,
    )
    want = expected(customers, purchases, groups)
    limits: dict[str, list[str]] = {"rejected": [], "unusable": [], "unmatched": []}
    for option in want.useless:
        # Each has to be accepted by itself, and the error names it.
        with pytest.raises(DataError, match=f"allow this with {option}100%(;|$)"):
            run(replace(settings, limits=Limits.parse(**limits)), client)
        assert not (folder / "outputs" / COMBINED).exists()
        kind, _, table = option.removeprefix("--max-").partition(" ")
        limits[kind].append(f"{table}100%")
    run(replace(settings, limits=Limits.parse(**limits)), client)
    header, *rows = read_rows(folder / "outputs" / COMBINED)
    want_header, *want_rows = as_rows(want.combined)
    assert header == want_header
    if join == "shuffle":
        rows, want_rows = sorted(rows), sorted(want_rows)
    assert rows == want_rows
    assert as_spending(folder / "outputs" / SPENDING) == want.spending
    assert not (folder / "outputs" / REJECTED).exists()


@given(
    customers=table(CUSTOMERS, [IDS, TEXT, TEXT, TEXT, AGES]),
    purchases=table(PURCHASES, [IDS, TEXT, AMOUNTS, TEXT]),
    parts=st.sampled_from([1, 1, 1, 2, 3]),
    block_size=st.sampled_from([1024, 1500, 1 << 20]),
    join=st.sampled_from(["broadcast", "shuffle"]),
    closed=st.sampled_from(["left", "right"]),
)
@settings(
    max_examples=scaled("drawn tables", 8, TABLES),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.timeout(900)
def test_any_tables_give_what_pandas_gives(
    client: Client,
    tmp_path_factory: pytest.TempPathFactory,
    customers: pd.DataFrame,
    purchases: pd.DataFrame,
    parts: int,
    block_size: int,
    join: Literal["broadcast", "shuffle"],
    closed: Literal["left", "right"],
) -> None:
    check(
        tmp_path_factory.mktemp("drawn"),
        client,
        customers,
        purchases,
        parts=parts,
        block_size=block_size,
        join=join,
        groups=AgeGroups(closed=closed),
    )


@pytest.mark.parametrize("join", ["broadcast", "shuffle"])
@pytest.mark.parametrize(
    "parts",
    [1, 2, *(pytest.param(n, marks=pytest.mark.slow("many partitions")) for n in (128, 129))],
)
def test_no_number_of_partitions_loses_a_row(
    client: Client, tmp_path: Path, parts: int, join: Literal["broadcast", "shuffle"]
) -> None:
    ids = [str(number % 97) for number in range(150)]
    customers = pd.DataFrame(
        {
            "customer_id": [*ids[:90], None, "90", "007"],
            "first_name": "A",
            "last_name": [None if number % 5 else "B" for number in range(93)],
            "email": "x@example.com",
            "age": [str(number) for number in range(93)],
        },
        dtype=object,
    )
    purchases = pd.DataFrame(
        {
            "customer_id": [*ids, None, "7"],
            "product": "P",
            "price": [f"{number}.25" for number in range(152)],
            "email": None,
        },
        dtype=object,
    )
    check(tmp_path, client, customers, purchases, parts=parts, join=join)


@pytest.mark.parametrize(
    ("closed", "totals"),
    [("left", [10843976, 13424403, 14391897]), ("right", [11735310, 13380803, 13544163])],
)
def test_the_challenge_gives_its_known_totals(
    challenge: Path,
    client: Client,
    tmp_path: Path,
    closed: Literal["left", "right"],
    totals: list[int],
) -> None:
    paths = {name: challenge / f"{name}.csv" for name in ("customers", "purchases")}
    report = run(
        Settings(
            customers=(str(paths["customers"]),),
            purchases=(str(paths["purchases"]),),
            output_dir=str(tmp_path),
            age_groups=AgeGroups(closed=closed),
            block_size=200_000,
        ),
        client,
    )
    assert report.spending["total_spending"].tolist() == totals
    customers, purchases = (
        pd.read_csv(path, dtype="object", keep_default_na=False, na_values=[""])
        for path in paths.values()
    )
    rows = read_rows(tmp_path / COMBINED)
    assert len(rows) == 68_447 + 1
    assert rows == as_rows(expected(customers, purchases, AgeGroups(closed=closed)).combined)


def test_a_run_writes_all_outputs_and_says_so(client: Client, tmp_path: Path) -> None:
    report = job.run(sample(tmp_path), client)
    assert {Path(path).name for path in report.outputs} == {COMBINED, SPENDING, CHART, REPORT}
    assert {path.name for path in tmp_path.iterdir()} == {COMBINED, SPENDING, CHART, REPORT}
    assert (tmp_path / CHART).read_bytes().startswith(b"\x89PNG")
    written = json.loads((tmp_path / REPORT).read_text())
    assert written["status"] == "complete"
    assert written["totals"]["purchases"]["records"] == 10_000
    total = sum(Decimal(group["total_spending"]) for group in written["age_groups"])
    assert total == Decimal(written["totals"]["purchases"]["total"])


def test_the_committed_outputs_are_those_of_the_sample(client: Client, tmp_path: Path) -> None:
    run(sample(tmp_path), client)
    for name in (COMBINED, SPENDING):
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes()


@pytest.mark.parametrize(
    "block_size",
    [pytest.param(1024, marks=pytest.mark.slow("many partitions")), 1 << 14],
)
def test_the_bytes_do_not_depend_on_the_block_size(
    client: Client, tmp_path: Path, block_size: int
) -> None:
    run(sample(tmp_path, block_size), client)
    assert (tmp_path / COMBINED).read_bytes() == (SAMPLE / COMBINED).read_bytes()


@pytest.mark.parametrize("block_size", [16_384, 1 << 20])
def test_progress_counts_each_byte_once(client: Client, tmp_path: Path, block_size: int) -> None:
    """A block that may begin within quotes is read a second time, when it is decided."""
    counted: list[int] = []

    class Counting(Progress):
        def advance(self, table: str, size: int, records: int) -> None:
            counted.append(size)

    wanted = sample(tmp_path, block_size)
    run(wanted, client, Counting())
    files = [Path(path) for path in (*wanted.customers, *wanted.purchases)]
    headers = sum(len(path.read_bytes().splitlines(keepends=True)[0]) for path in files)
    # Not to the byte: a range that is decided begins and ends with a record.
    assert sum(counted) == pytest.approx(
        sum(path.stat().st_size for path in files) - headers, rel=0.01
    )


def test_the_bytes_do_not_depend_on_how_many_blocks_start_at_once(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_AT_ONCE", 7)
    monkeypatch.setattr(compute, "_AHEAD", 10)
    run(sample(tmp_path, 12_000), client)
    assert (tmp_path / COMBINED).read_bytes() == (SAMPLE / COMBINED).read_bytes()


@pytest.mark.cluster
def test_two_workers_write_the_same_bytes(tmp_path: Path) -> None:
    cluster = ClusterSettings(workers=2, dashboard_address="127.0.0.1:0")
    with connect(cluster) as client:
        run(sample(tmp_path, 20_000), client)
    assert (tmp_path / COMBINED).read_bytes() == (SAMPLE / COMBINED).read_bytes()


def test_bad_records_are_set_aside_with_their_place(client: Client, tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_bytes(
        b"customer_id,first_name,last_name,email,age\n1,A,B,e,20\n2,only three\n3,C,D,e,x\n"
    )
    (tmp_path / "purchases.csv").write_bytes(
        b'customer_id,product,price\n1,"two\nlines",5\n\n1,P,abc\n1,"open,5\n2,P,7\n1,\xff,7\n'
    )
    report = run(
        Settings(
            customers=(str(tmp_path / "customers.csv"),),
            purchases=(str(tmp_path / "purchases.csv"),),
            output_dir=str(tmp_path / "outputs"),
        ),
        client,
    )
    assert as_spending(tmp_path / "outputs" / SPENDING) == {
        "Young": (Decimal(5), 2, 1),
        "Middle-aged": (Decimal(0), 0, 0),
        "Senior": (Decimal(0), 0, 0),
        "Unknown": (Decimal(7), 1, 1),
    }
    header, *rows = read_rows(tmp_path / "outputs" / REJECTED)
    assert header == ["file", "line", "byte_offset", "length", "reason", "detail", "raw"]
    assert [(Path(row[0]).name, row[1], row[4], row[6]) for row in rows] == [
        ("customers.csv", "3", "too few fields", "2,only three"),
        ("purchases.csv", "6", "unclosed quote", '1,"open,5'),
        ("purchases.csv", "8", "not UTF-8", "1,\\xff,7"),
    ]
    for row in rows:
        raw = row[6].encode().replace(rb"\xff", b"\xff")
        assert Path(row[0]).read_bytes()[int(row[2]) :][: int(row[3])] == raw
    ages, amounts = report.totals.customers, report.totals.purchases
    assert [(e["line"], e["value"]) for e in ages.value_examples] == [(4, "x")]
    assert [(e["line"], e["value"]) for e in amounts.value_examples] == [(5, "abc")]
    assert set(OUTPUTS) == {path.name for path in (tmp_path / "outputs").iterdir()}
