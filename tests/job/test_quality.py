"""A result is judged before it is published: what is useless, too much, or worth a warning."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from distributed import Client
from support.runs import run

from pipeline import Settings
from pipeline.engine.progress import Progress
from pipeline.errors import DataError
from pipeline.outputs.names import COMBINED, FAILED, REPORT, SPENDING
from pipeline.settings.limits import Limits

CUSTOMERS = "customer_id,first_name,last_name,age\n1001,Ada,Byron,36\n1002,Bo,Chu,20\n"
PURCHASES = "customer_id,product,price\n1001,Lamp,19.90\n1002,Cup,10.00\n"
JOINS: list[Literal["broadcast", "shuffle"]] = ["broadcast", "shuffle"]


class Heard(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        """Keep a message."""
        self.lines.append(message)


def tables(folder: Path, customers: str = CUSTOMERS, purchases: str = PURCHASES) -> Settings:
    """Return the settings of a run on two tables."""
    (folder / "customers.csv").write_text(customers)
    (folder / "purchases.csv").write_text(purchases)
    return Settings(
        customers=(str(folder / "customers.csv"),),
        purchases=(str(folder / "purchases.csv"),),
        output_dir=str(folder / "outputs"),
        block_size=1024,
        fsync=False,
    )


def limited(settings: Settings, **limits: list[str]) -> Settings:
    return replace(settings, limits=Limits.parse(**limits))


def report_of(settings: Settings, name: str = REPORT) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(Path(settings.output_dir, name).read_text())
    return report


@pytest.mark.parametrize(
    "join", ["broadcast", pytest.param("shuffle", marks=pytest.mark.slow("useless results"))]
)
@pytest.mark.parametrize(
    ("changed", "accepted", "message"),
    [
        (
            {"purchases": "customer_id,price\n1001.0,5\n,6\n1002.0,7\n"},
            {"unmatched": ["100%"]},
            "no purchase matches a customer: 2 of 3 have an id that no customer has, and 1 has "
            "none (first: '1001.0', {0}/purchases.csv line 2; customers have ids such as '1001'; "
            "2 of 2 sampled ids would match without a trailing '.0')",
        ),
        (
            {"customers": "customer_id,first_name,last_name,age\n"},
            {"unmatched": ["100%"]},
            "no purchase matches a customer: 2 of 2 have an id that no customer has (first: "
            "'1001', {0}/purchases.csv line 2; no sampled customer has an id)",
        ),
        (
            {"purchases": "customer_id,price\n\n"},
            {"unmatched": ["100%"]},
            "there are no purchases: 0 records in 1 file",
        ),
        (
            {"purchases": "customer_id,price\n,5\n ,6\n"},
            {"unmatched": ["100%"]},
            "no purchase matches a customer: 0 of 2 have an id that no customer has, and 2 have "
            "none",
        ),
        (
            {"customers": CUSTOMERS.replace("36", "").replace("20", "")},
            {"unusable": ["customers=100%"]},
            "no value of age in 2 customers can be used: 2 are empty",
        ),
        (
            {"customers": CUSTOMERS.replace("36", "1985").replace("20", "x")},
            {"unusable": ["customers=100%"]},
            "no value of age in 2 customers can be used: 1 is not a usable number, 1 is not "
            "between 0 and 130 (first: 'x', {0}/customers.csv line 3)",
        ),
        (
            {"purchases": PURCHASES.replace(".", "..")},
            {"unusable": ["purchases=100%"]},
            "no value of price in 2 purchases can be used: 2 are not usable numbers (first: "
            "'19..90', {0}/purchases.csv line 2)",
        ),
        (
            {"purchases": "customer_id,price\n1001,1e30\n"},
            {"unusable": ["purchases=100%"]},
            "no value of price in 1 purchase can be used: 1 is not a usable number (first: '1e30', "
            "{0}/purchases.csv line 2; a number has at most 20 digits before the decimal point and "
            "18 after it)",
        ),
        (
            {"purchases": PURCHASES.replace("0\n", "0,\n")},
            {"rejected": ["purchases=100%"]},
            "none of the 2 purchases could be read (first: {0}/purchases.csv line 2: too many "
            "fields (4 where the header has 3): '1001,Lamp,19.90,'",
        ),
        (
            {"customers": CUSTOMERS.replace("\n1", '\n"a"1')},
            {"rejected": ["customers=100%"], "unmatched": ["100%"]},
            "none of the 2 customers could be read (first: {0}/customers.csv line 2: text after a "
            "closing quote: '\"a\"1001,Ada,Byron,36'",
        ),
    ],
)
def test_a_useless_result_is_refused_unless_100_percent_is_accepted(
    client: Client,
    tmp_path: Path,
    changed: dict[str, str],
    accepted: dict[str, list[str]],
    message: str,
    join: Literal["broadcast", "shuffle"],
) -> None:
    (tmp_path / "outputs").mkdir()
    before = b"of an earlier run"
    (tmp_path / "outputs" / COMBINED).write_bytes(before)
    settings = replace(tables(tmp_path, **changed), join=join)
    almost = {kind: ["99.9%" if kind != "rejected" else "1000"] for kind in accepted}

    for refused in (settings, limited(settings, **almost)):
        with pytest.raises(DataError) as caught:
            run(refused, client)
        if refused is settings:
            option = next(iter(accepted))
            assert str(caught.value).startswith(message.format(tmp_path))
            advice, _, _ = str(caught.value).partition("; also, ")
            assert advice.endswith(
                "; nothing was published; fix the files, or allow this with "
                f"--max-{option} {accepted[option][0]}"
            )
            assert report_of(settings, FAILED)["error"] == str(caught.value)
        assert (tmp_path / "outputs" / COMBINED).read_bytes() == before

    run(limited(settings, **accepted), client)
    assert (tmp_path / "outputs" / COMBINED).read_bytes() != before


MIXED = """\
customer_id,product,price
1001,Lamp,19.90
1003,"two
lines",5.00

,Cup,1.00
1002,Pen,abc
1002,Pen,2.00,
1004,Pen,3.00
"""


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("packed", [False, True])
def test_warnings_say_how_many_of_how_many_and_name_the_first(
    client: Client, tmp_path: Path, join: Literal["broadcast", "shuffle"], packed: bool
) -> None:
    customers = f"{CUSTOMERS}5,E,F,131\n6,G,H,old\n7,I,J,\n8\n"
    settings = replace(tables(tmp_path, customers, MIXED), join=join)
    if packed:
        path = tmp_path / "purchases.csv.gz"
        path.write_bytes(gzip.compress(MIXED.encode()))
        settings = replace(settings, purchases=(str(path),))
    heard = Heard()

    report = run(settings, client, heard)

    path = Path(settings.purchases[0])
    assert report.warnings == (
        f"1 of 6 customers could not be read (first: {tmp_path}/customers.csv line 7: too few "
        "fields (1 where the header has 4): '8')",
        f"1 of 4 values of age is not a usable number and counts as missing (first: 'old', "
        f"{tmp_path}/customers.csv line 5)",
        "1 of 4 values of age is not between 0 and 130 and counts as missing (first: '131', "
        f"{tmp_path}/customers.csv line 4)",
        f"1 of 6 purchases could not be read (first: {path} line 8: too many fields (4 where the "
        "header has 3): '1002,Pen,2.00,')",
        f"1 of 5 values of price is not a usable number and counts as missing (first: 'abc', "
        f"{path} line 7)",
        f"2 of 4 purchases have an id that no customer has (first: '1003', {path} line 3; "
        "customers have ids such as '1001')",
        f"1 of 5 purchases has no id (first: {path} line 6)",
    )
    assert report_of(settings)["warnings"] == list(report.warnings)
    assert [line for line in heard.lines if line.startswith("warning: ")] == [
        f"warning: {warning}" for warning in report.warnings
    ]
    assert (report.totals.purchases_unmatched, report.totals.purchases_without_id) == (2, 1)


@pytest.mark.parametrize("join", JOINS)
def test_customers_who_share_an_id_are_counted(
    client: Client, tmp_path: Path, join: Literal["broadcast", "shuffle"]
) -> None:
    more = "1001,Ada,Byron,37\n 1001,Al,B,70\n1001 ,Al,B,\n,E,F,1\n,G,H,2\n1003,I,J,5\n"
    settings = replace(tables(tmp_path, f"{CUSTOMERS}{more}"), join=join)

    report = run(settings, client)

    (warning,) = (one for one in report.warnings if "earlier" in one)
    assert warning == (
        "3 of 8 customers have the id of an earlier one, who gets the purchases (for "
        "example: '1001'; 2 are in another age group)"
    )


def test_the_first_case_is_found_in_a_later_block_of_a_packed_file(
    client: Client, tmp_path: Path
) -> None:
    paths = tmp_path / "a.csv.gz", tmp_path / "b.csv.gz"
    known, unknown = '1001,"a\nb",1.00\n', "nobody,Pen,2.00\n"
    for path, rows in zip(paths, (known * 300, known * 200 + unknown + known * 300), strict=True):
        path.write_bytes(gzip.compress(f"customer_id,product,price\n{rows}".encode()))
    settings = tables(tmp_path)

    report = run(replace(settings, purchases=tuple(map(str, paths))), client)

    assert report.warnings == (
        f"1 of 801 purchases has an id that no customer has (first: 'nobody', {paths[1]} line "
        "402; customers have ids such as '1001')",
    )


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ({"unmatched": ["2"]}, True),
        ({"unmatched": ["1"]}, False),
        ({"unmatched": ["50%"]}, True),
        ({"unmatched": ["49%"]}, False),
        ({"unusable": ["1"]}, True),
        ({"unusable": ["purchases=0"]}, False),
        ({"unusable": ["customers=0"]}, True),
        ({"unusable": ["purchases=20%", "customers=0"]}, True),
        ({"unusable": ["purchases=19%"]}, False),
        ({"rejected": ["purchases=1"]}, True),
        ({"rejected": ["0"]}, False),
    ],
)
def test_a_limit_is_kept(
    client: Client, tmp_path: Path, limits: dict[str, list[str]], allowed: bool
) -> None:
    settings = limited(tables(tmp_path, purchases=MIXED), **limits)

    if allowed:
        run(settings, client)
    else:
        kind, (text, *_) = next(iter(limits.items()))
        table = "" if kind == "unmatched" else "purchases="
        limit = text.removeprefix("purchases=")
        strict = " (or --strict)" if limit == "0" else ""
        wanted = f", more than --max-{kind} {table}{limit}{strict} allows; "
        with pytest.raises(DataError) as caught:
            run(settings, client)
        assert wanted in str(caught.value)
        assert not (tmp_path / "outputs" / SPENDING).exists()


@pytest.mark.parametrize(
    ("limits", "bad", "first"),
    [
        ({"rejected": ["3"]}, "1001,Lamp\n", "purchases.csv line 3: too few fields"),
        ({"unusable": ["3"]}, "1001,Lamp,abc\n", "'abc', {0}/purchases.csv line 3)"),
        ({"unmatched": ["3"]}, "9,Lamp,1.00\n", "'9', {0}/purchases.csv line 3; customers"),
        ({"unmatched": ["1%"]}, "9,Lamp,1.00\n", "'9', {0}/purchases.csv line 3; customers"),
    ],
)
def test_a_run_ends_as_soon_as_a_limit_is_certainly_exceeded(
    client: Client, tmp_path: Path, limits: dict[str, list[str]], bad: str, first: str
) -> None:
    rows = "1001,Lamp,1.00\n" + bad * 2_000 + "1001,Lamp,19.90\n" * 20_000
    settings = limited(tables(tmp_path, purchases=f"customer_id,product,price\n{rows}"), **limits)
    read: list[int] = []
    settings = replace(settings, block_size=8192)

    class Counting(Progress):
        def advance(self, table: str, size: int, records: int) -> None:
            read.append(records)

    with pytest.raises(DataError, match=r"^so far, .*, more than --max-") as caught:
        run(settings, client, Counting())
    assert first.format(tmp_path) in str(caught.value)

    assert sum(read) < 11_000


def test_a_customers_table_is_judged_before_any_purchase_is_read(
    client: Client, tmp_path: Path
) -> None:
    settings = tables(tmp_path, customers=CUSTOMERS.replace("36", "").replace("20", ""))
    seen: list[str] = []

    class Counting(Progress):
        def advance(self, table: str, size: int, records: int) -> None:
            seen.append(table)

    with pytest.raises(DataError, match="no value of age"):
        run(settings, client, Counting())

    assert set(seen) == {"customers"}


def test_what_half_of_the_records_have_is_said_while_the_job_runs(
    client: Client, tmp_path: Path
) -> None:
    rows = "".join(f"{1001 if number % 3 else 9},Lamp,x{number}\n" for number in range(20_000))
    heard = Heard()
    settings = tables(tmp_path, purchases=f"customer_id,product,price\n{rows}1001,Lamp,1\n")
    settings = replace(settings, block_size=4096)

    run(settings, client, heard)

    early = [line for line in heard.lines if line.startswith("warning: so far, ")]
    assert len(early) == 1
    assert early[0].endswith(" values of price are not usable numbers and count as missing")
    assert 2_000 < int(early[0].split()[3].replace(",", "")) < 6_000
