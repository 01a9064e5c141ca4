"""What a warning suggests was tried, and works if it is obeyed."""

from __future__ import annotations

import gzip
import re
import shlex
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support.warm import run_command

CUSTOMERS = "customer_id,first_name,last_name,age\n007,Ada,B,36\n1001,Bo,C,20\nC-1,Cy,D,50\n"


def run(folder: Path, purchases: str | bytes, *options: str) -> CompletedProcess[str]:
    text = purchases.encode() if isinstance(purchases, str) else purchases
    (folder / "p.csv").write_bytes(text)
    (folder / "c.csv").write_text(CUSTOMERS)
    files = "--customers", "c.csv", "--purchases", "p.csv"
    return run_command(folder, *files, "--output-dir", "out", *options)


@pytest.mark.parametrize(
    ("purchases", "options"),
    [
        (
            'customer_id,note,price\n1001,"a ""b""",1\n1001,"x \\"y\\", z",2\n1001,"\\"",3\n',
            r"--escape 'purchases=\'",
        ),
        (
            'customer_id\tnote\tprice\n1001\t24" x\t1\n1001\t"Best" chair\t2\n1001\t"Deluxe\t3\n',
            "--quote purchases=none",
        ),
        (
            'customer_id,note,price\n1001,a\\,b,1\n1001,"x\\,y,2\n1001,5,3\n',
            r"--quote purchases=none --escape 'purchases=\'",
        ),
        (
            "\ncustomer_id;price\n1001;1;\n1001;2;\n",
            "--skip-lines purchases=2 --column-names purchases=customer_id,price,column_3",
        ),
        (
            'customer_id;price\n"1";1001;1\n"2";1001;2\n',
            "--skip-lines purchases=1 --column-names purchases=column_3,customer_id,price",
        ),
        (
            'customer_id\tnote\tprice\n"1"\t1001\t"x"\t1\n"2"\t1001\t"a \\"b\\""\t2\n',
            "--skip-lines purchases=1 --column-names purchases=column_4,customer_id,note,price "
            r"--escape 'purchases=\'",
        ),
        ("customer_id,Größe,price\n1001,1,1\n".encode() + b"1001,\xfc,2\n", None),
    ],
)
def test_options_are_suggested_for_rejected_records(
    tmp_path: Path, purchases: str | bytes, options: str | None
) -> None:
    said = run(tmp_path, purchases).stderr

    if options is None:
        assert "; with --encoding purchases=cp1252, that is '1001,ü,2')" in said
        return
    assert re.search(rf"; \d of \d sampled records can be read with {re.escape(options)}\)", said)
    again = run(tmp_path, purchases, *shlex.split(options))
    assert (again.returncode, "could not be read" in again.stderr) == (0, False), again.stderr


@pytest.mark.parametrize(
    "purchases",
    [
        'customer_id,note,price\n1001,x,1\n"1001","N,"10.00"\n',  # ids would stay in quotes
        'customer_id,note,price\n1001,"x, y",1\n1001,"N"x,10.00\n',  # so would good fields
        "customer_id,product,price\n1001,mouse,1,5\n",  # the field too many holds something
        "customer_id,price\n1001,1\nend\n",
        "customer_id,price\n1,2,50\n2,3,25\n",  # decimal commas, not numbers of lines
    ],
)
def test_nothing_is_suggested_that_would_not_work(tmp_path: Path, purchases: str) -> None:
    said = run(tmp_path, purchases).stderr

    assert "could be read" in said or "could not be read" in said
    assert "sampled" not in said


@pytest.mark.parametrize(
    ("ids", "hint"),
    [
        ("1001.0 9", "1 of 2 sampled ids would match without a trailing '.0'"),
        ("7 01001", "2 of 2 sampled ids would match without leading zeros"),
        ("c-1", "1 of 1 sampled ids would match ignoring case"),
        ("'1001", "1 of 1 sampled ids would match without a leading apostrophe"),
        ("10\u200b01", "1 of 1 sampled ids would match without invisible characters"),
        ("'1001'", "1 of 1 sampled ids would match without apostrophes around them: see"),
        ("5 6", None),
    ],
)
def test_what_keeps_ids_apart_is_said(tmp_path: Path, ids: str, hint: str | None) -> None:
    records = "".join(f"{id},1\n" for id in ids.split())
    said = run(tmp_path, f"customer_id,price\n1001,1\n{records}").stderr

    assert "an id that no customer has" in said
    assert (f"; {hint}" if hint else "") in said
    assert ("sampled" in said) == (hint is not None)


def test_ids_in_another_form_of_unicode_are_named(tmp_path: Path) -> None:
    composed, decomposed = "Jos\u00e9", "Jose\u0301"
    (tmp_path / "c.csv").write_text(f"customer_id,first_name,last_name,age\n{composed},A,B,36\n")
    (tmp_path / "p.csv").write_text(f"customer_id,price\n{composed},1\n{decomposed},2\n")

    ended = run_command(
        *(tmp_path, "--customers", "c.csv", "--purchases", "p.csv", "--output-dir", "out")
    )

    assert "1 of 1 sampled ids would match in Unicode's composed form (NFC))" in ended.stderr


def test_what_keeps_one_id_apart_is_said_wherever_it_is(tmp_path: Path) -> None:
    """Neither it nor its customer is at the front of a file."""
    customers = "".join(f"K{number},A,B,36\n" for number in range(50_000))
    (tmp_path / "c.csv").write_text(f"customer_id,first_name,last_name,age\n{customers}")
    (tmp_path / "p").mkdir()
    for name, records in {"1": "K1,2\n" * 90_000, "2": "k49999,3\n"}.items():
        (tmp_path / "p" / f"{name}.csv").write_text(f"customer_id,price\n{records}")

    ended = run_command(
        *(tmp_path, "--customers", "c.csv", "--purchases", "p", "--output-dir", "out")
    )

    assert "1 of 90,001 purchases has an id that no customer has (first: 'k49999', " in ended.stderr
    assert "; 1 of 1 sampled ids would match ignoring case)" in ended.stderr


@pytest.mark.parametrize(
    ("ages", "said"),
    [
        (
            "1988 2001",
            "c.csv line 2; 2 of 2 sampled values look like years of birth, not ages)",
        ),
        (
            "36 1988 900",
            "c.csv line 3; 1 of 2 sampled values looks like a year of birth, not an age)",
        ),
    ],
)
def test_years_of_birth_are_recognized(tmp_path: Path, ages: str, said: str) -> None:
    customers = "".join(f"{id},A,B,{age}\n" for id, age in enumerate(ages.split()))
    (tmp_path / "c.csv").write_text(f"customer_id,first_name,last_name,age\n{customers}")
    (tmp_path / "p.csv").write_text("customer_id,price\n0,1\n")

    ended = run_command(
        *(tmp_path, "--customers", "c.csv", "--purchases", "p.csv", "--output-dir", "out")
    )

    assert f"(first: '1988', {said}" in ended.stderr


@pytest.mark.parametrize(
    "purchases",
    [
        "'customer_id','price'\n'1001','1.5'\n",
        "customer_id,price\n'1001','1.5'\n1001,2\n",
        "customer_id,note,price\n'1001','a, b','1.5'\n1001,\"x,2\n",
    ],
)
def test_apostrophes_as_quotes_are_recognized(tmp_path: Path, purchases: str) -> None:
    ended = run(tmp_path, purchases)

    option = '--quote "purchases=\'"'
    assert option in ended.stderr
    again = run(tmp_path, purchases, *shlex.split(option))
    assert (again.returncode, "warning" in again.stderr) == (0, False), again.stderr


def test_apostrophes_are_no_quotes_if_that_spoils_records(tmp_path: Path) -> None:
    said = run(tmp_path, "customer_id,note,price\n1001,x,'1'\n1001,'til now,2\n").stderr

    assert "(first: ''1'', p.csv line 2; " in said
    assert "--quote" not in said


@pytest.mark.parametrize("join", ["broadcast", "shuffle"])
@pytest.mark.parametrize("word", ["NULL", "\\N", "nan"])
def test_a_word_for_a_missing_id_is_named(tmp_path: Path, word: str, join: str) -> None:
    (tmp_path / "c.csv").write_text(f"{CUSTOMERS}{word},E,F,60\n")
    (tmp_path / "p.csv").write_text(f"customer_id,price\n1001,1\n{word},2\n{word},3\n")
    files = "--customers", "c.csv", "--purchases", "p.csv", "--output-dir", "out", "--join", join

    ended = run_command(tmp_path, *files)

    assert (
        f"warning: 2 of 3 purchases have the id '{word}', and so does a customer; " in ended.stderr
    )
    option = "--null", shlex.quote(word)
    assert f"; if it stands for a missing id, use {' '.join(option)}\n" in ended.stderr
    again = run_command(tmp_path, *files, "--null", word)
    assert "2 of 3 purchases have no id" in again.stderr


@pytest.mark.parametrize(
    ("purchases", "said"),
    [
        ("NULL,2\nNULL,3\n", "'NULL', p.csv line 3; customers have ids such as '007'; 2 of 2 "
         "sampled values count as missing with --null purchases=NULL)"),
        ("Total,1\n", "customers have ids such as '007'; is 'Total' a totals row? it counts as "
         "a purchase)"),
        ("C:\\n,1\n", r"(first: 'C:\n', p.csv line 3; customers have ids such as '007')"),
        ("1001\\,1,2\n", r"(3 where the header has 2): '1001\,1,2'"),
        ("1001,(2)\n", "1 of 1 sampled values is a number in parentheses, which no option reads: "
         "write '(2)' as -2)"),
    ],
)  # fmt: skip
def test_what_stands_there_is_said(tmp_path: Path, purchases: str, said: str) -> None:
    assert said in run(tmp_path, f"customer_id,price\n1001,1\n{purchases}").stderr


GROUPED = "".join(f"1001,{number}.{number * 37 % 1000:03}\n" for number in range(1, 31))


@pytest.mark.parametrize("more", ["", "1001,999\n", "1001,\n"])
def test_points_between_thousands_are_suspected(tmp_path: Path, more: str) -> None:
    ended = run(tmp_path, f"customer_id,price\n{GROUPED}{more}")

    options = "--decimal purchases=, --thousands purchases=."
    count = 30 + (more == "1001,999\n")
    assert (
        f"warning: 30 of {count} values of price have a period, always followed by three "
        "digits (first: '1.037', p.csv line 2; if that means 1037, use "
        f"{options})\n"
    ) in ended.stderr
    again = run(tmp_path, f"customer_id,price\n{GROUPED}{more}", *shlex.split(options))
    assert (again.returncode, "warning" in again.stderr) == (0, False)


@pytest.mark.parametrize("more", ["1.5", "0.999", "1459.000", "1459"])
def test_points_are_not_suspected_if_one_value_speaks_for_them(tmp_path: Path, more: str) -> None:
    said = run(tmp_path, f"customer_id,price\n{GROUPED}1001,{more}\n").stderr

    assert "warning" not in said


def test_few_points_are_not_suspected(tmp_path: Path) -> None:
    few = "".join(GROUPED.splitlines(keepends=True)[:9])

    assert "warning" not in run(tmp_path, f"customer_id,price\n{few}").stderr


TOTALS = (
    "warning: {count} of {among:,} purchases {are} of the others, like {rows}, but "
    "{counts} (first: {first}; remove it if it is a totals row)\n"
)


@pytest.mark.parametrize("join", ["broadcast", "shuffle"])
@pytest.mark.parametrize("line", [",30.75", "Total:,30.75", " grand total ,30.750", '"",30.75\n\n'])
def test_a_totals_row_is_named(tmp_path: Path, line: str, join: str) -> None:
    said = run(
        tmp_path, f"customer_id,price\n1001,10.25\n1001,20.5\n{line}\n", "--join", join
    ).stderr

    rows = "a totals row"
    assert TOTALS.format(
        count=1, among=3, are="is last in its file and the sum", rows=rows,
        counts="counts as a purchase", first="30.75, p.csv line 4",
    ) in said  # fmt: skip


@pytest.mark.parametrize(
    "purchases",
    [
        "1001,10\n1001,20\n,30.01\n",
        "1001,10\n1001,20\n1001,30\n",  # of a customer
        "1001,10\n,10\n",  # of two, one is often like the other
        "1001,10\n1001,20\n,30\n1001,0.01\n",  # not the last
        "1001,10\n1001,-10\n,0\n",
        "1001,10\n1001,20\n,\n",
    ],
)
def test_other_last_purchases_are_no_totals_rows(tmp_path: Path, purchases: str) -> None:
    assert "totals row" not in run(tmp_path, f"customer_id,price\n{purchases}").stderr


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_totals_rows_are_found_in_each_file(tmp_path: Path, ending: str) -> None:
    """In files of several blocks, and in several files that share a block."""
    (tmp_path / "p").mkdir()
    many = "1001,1.5\n" * 2_000
    texts = {
        "1": f"{many},3000\n", "2": "1001,1\n1001,2\n", "3": "1001,1\n1001,2\nSumme,3\n",
        "4": "1001,5\n" * 9, "5": "1001,1\n1001,2\n,3\n", "6": f"{many}1001,2\n,6020\n",
    }  # fmt: skip
    for name, text in texts.items():
        data = f"customer_id,price\n{text}".encode()
        packed = gzip.compress(data) if ending.endswith("gz") else data
        (tmp_path / "p" / f"{name}.{ending}").write_bytes(packed)
    (tmp_path / "c.csv").write_text(CUSTOMERS)

    ended = run_command(
        *(tmp_path, "--customers", "c.csv", "--purchases", "p", "--output-dir", "out"),
        *("--block-size", "4KiB"),
    )

    assert TOTALS.format(
        count=3, among=4_020, are="are last in their files and the sums", rows="totals rows",
        counts="count as purchases", first=f"3000, p/1.{ending} line 2,002",
    ) in ended.stderr  # fmt: skip


def test_the_sum_of_all_files_is_a_totals_row(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for name, text in {"1": "1001,10\n", "2": "1001,20\n,30\n"}.items():
        (tmp_path / "p" / f"{name}.csv").write_text(f"customer_id,price\n{text}")
    (tmp_path / "c.csv").write_text(CUSTOMERS)

    ended = run_command(tmp_path, "--customers", "c.csv", "--purchases", "p", "--output-dir", "out")

    assert "(first: 30, p/2.csv line 3; remove it if it is a totals row)" in ended.stderr
