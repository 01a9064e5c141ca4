"""Each table is read as it is written: what holds for one of them does not for the other."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pytest
from support.warm import run_command

from pipeline import Settings
from pipeline.errors import UsageError
from pipeline.outputs.names import COMBINED, REPORT
from pipeline.settings import Dialect

CUSTOMERS = 'customer_id,first_name,last_name,age\n1,Ada,"Byron, Lady",36.5\n2,Zoë,Chu,20\n'
GERMAN = "customer_id;CustomerID;price\n7;1;1.234,50\n8;2;0,25\n9;'3;3';x\n"


def run(folder: Path, *options: str, purchases: str = "p.csv") -> CompletedProcess[str]:
    return run_command(
        *(folder, "--customers", "c.csv", "--purchases", purchases, "--output-dir", "out"), *options
    )


def test_an_option_holds_for_one_table_with_its_name_before_it(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes(CUSTOMERS.encode("cp1252"))
    (tmp_path / "p.csv").write_text(GERMAN)

    ended = run(
        *(tmp_path, "--verify", "--encoding", "customers=cp1252", "--delimiter", "purchases=;"),
        *("--decimal", "purchases=,", "--thousands", "purchases=.", "--quote", "purchases='"),
        *("--null", "purchases=x", "--id-column", "purchases=CustomerID"),
    )

    assert (ended.returncode, ended.stderr.count("warning")) == (0, 1), ended.stderr
    combined = pd.read_csv(tmp_path / "out" / COMBINED, dtype=str, keep_default_na=False)
    assert list(combined) == [
        *("customer_id", "first_name", "last_name", "age", "full_name", "age_group"),
        *("customer_id_purchase", "price"),
    ]
    assert combined.to_numpy().tolist() == [
        ["1", "Ada", "Byron, Lady", "36.5", "Ada Byron, Lady", "Middle-aged", "7", "1.234,50"],
        ["2", "Zoë", "Chu", "20", "Zoë Chu", "Young", "8", "0,25"],
        ["3;3", "", "", "", "", "Unknown", "9", ""],
    ]
    settings = json.loads((tmp_path / "out" / REPORT).read_text())["settings"]
    assert (settings["dialect"]["encoding"], settings["dialect"]["decimal"]) == ("cp1252", ".")
    assert settings["purchases_dialect"]["decimal"] == ","
    assert settings["columns"]["purchase_id"] == "CustomerID"


def test_a_value_for_one_table_goes_before_that_for_both(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS.replace(",", ";").replace('"Byron; Lady"', "B"))
    (tmp_path / "p.csv").write_text("customer_id|price\n1|2.5\n")

    ended = run(tmp_path, "--delimiter", ";", "--delimiter", "purchases=|")

    assert ended.returncode == 0, ended.stderr


def test_an_option_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    ended = run(tmp_path, "--quote", "customers='", "--quote", "customers=none")

    assert ended.returncode == 2
    assert ended.stderr == ("error: --quote is given twice; use it once, or once per table\n")


@pytest.mark.parametrize("option", ["--delimiter", "--null", "--column-names", "--encoding"])
@pytest.mark.parametrize("name", ["purchase", "Purchases", "customer"])
def test_a_misspelled_table_is_no_value(tmp_path: Path, option: str, name: str) -> None:
    ended = run(tmp_path, option, f"{name}=;")

    assert (ended.returncode, ended.stderr) == (
        2,
        f"error: {option}: there is no table '{name}', only customers and purchases\n",
    )


@pytest.mark.parametrize(
    "given", ["--delimiter=purchases=", "--null=", "--quote=customers=", "--id-column=purchases="]
)
def test_an_option_without_a_value_is_refused(tmp_path: Path, given: str) -> None:
    option, _, value = given.partition("=")

    ended = run(tmp_path, given)

    assert (ended.returncode, ended.stderr) == (
        2,
        f"error: {option}: '{value}' has no value; quote shell metacharacters, as in "
        f"{option} 'purchases=;'\n",
    )


def test_none_takes_back_a_sign_for_one_table(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    (tmp_path / "p.csv").write_text("customer_id,price\n2,2.5\n")

    for option, sign in (("--quote", "'"), ("--escape", "\\"), ("--thousands", "'")):
        ended = run(tmp_path, option, sign, option, "customers=none")
        settings = json.loads((tmp_path / "out" / REPORT).read_text())["settings"]
        assert (ended.returncode, settings["dialect"][option[2:]]) == (0, ""), ended.stderr


def test_what_is_wrong_with_both_headers_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS.replace("customer_id", "id"))
    (tmp_path / "p.csv").write_bytes("Größe;Betrag;customer_id\n".encode("cp1252"))

    said = run(tmp_path).stderr

    assert said.endswith(
        "error: c.csv: customers need a column 'customer_id'; found: id, first_name, last_name, "
        "age; name it with --id-column customers=NAME; also, p.csv: its header cannot be read as "
        "CSV in utf-8: invalid start byte at byte 2; with --encoding purchases=cp1252, it is "
        "'Größe;Betrag;customer_id'; name it with --amount-column\n"
    )


def test_what_is_wrong_with_both_paths_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    ended = run_command(tmp_path, "--customers", "empty", "--purchases", "*.csv")

    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (
        2,
        "error: no *.csv file in the folder 'empty'; also, purchases: no file at '*.csv'; use a "
        "CSV file, a glob or a folder",
    )


def test_swapped_tables_are_recognized(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(CUSTOMERS)
    (tmp_path / "c.csv").write_text("customer_id;price\n1;2.5\n")

    ended = run(tmp_path)

    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (
        2,
        "error: --customers and --purchases seem to be swapped: c.csv has the columns of "
        "purchases, and p.csv those of customers",
    )
    (tmp_path / "c.csv").write_text("customer_id;costs\n1;2.5\n")
    assert "swapped" not in run(tmp_path).stderr


def test_a_german_export_takes_two_steps(tmp_path: Path) -> None:
    """Its header says what its columns are called, then its records how numbers are written."""
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    text = "Kundennr;Größe;Betrag\r\n1;groß;1.234,50\r\n2;klein;3,00\r\n1;klein;2,25\r\n"
    (tmp_path / "p.csv").write_bytes(text.encode("cp1252"))

    first = run(tmp_path).stderr
    assert "with --encoding purchases=cp1252, it is 'Kundennr;Größe;Betrag'; name it with" in first
    names = "--id-column", "purchases=Kundennr", "--amount-column", "Betrag"
    second = run(tmp_path, *names, "--encoding", "purchases=cp1252").stderr
    signs = "--decimal purchases=, --thousands purchases=."
    assert f"3 of 3 sampled values would be numbers with {signs})" in second
    ended = run(tmp_path, *names, "--encoding", "purchases=cp1252", *signs.split())

    assert (ended.returncode, "warning" in ended.stderr) == (0, False), ended.stderr


def test_what_is_wrong_with_some_records_is_said_beside_the_error(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    text = "customer_id;product;price\n1;Lämp;1.234,50\n2;Cup;3,00\n"
    (tmp_path / "p.csv").write_bytes(text.encode("cp1252"))

    said = run(tmp_path).stderr

    signs = "--decimal purchases=, --thousands purchases=."
    assert f"2 of 2 sampled values would be numbers with {signs})" in said
    assert "; also, 1 of 2 purchases could not be read (first: p.csv line 2: not UTF-8 " in said
    assert "; with --encoding purchases=cp1252, that is '1;Lämp;1.234,50')" in said
    ended = run(tmp_path, *signs.split(), "--encoding", "purchases=cp1252")
    assert (ended.returncode, "warning" in ended.stderr) == (0, False), ended.stderr


@pytest.mark.parametrize("word", ["NULL", r"\N", "NA"])
def test_words_for_missing_numbers_are_recognized(tmp_path: Path, word: str) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    (tmp_path / "p.csv").write_text(f"customer_id,price\n1,2.5\n2,{word}\n")

    ended = run(tmp_path)

    hint = shlex.quote(f"purchases={word}")
    assert f"1 of 1 sampled values counts as missing with --null {hint})" in ended.stderr
    ended = run(tmp_path, "--null", f"purchases={word}")
    assert (ended.returncode, "warning" in ended.stderr) == (0, False), ended.stderr


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_two_bytes_a_character_without_a_mark_are_recognized(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    (tmp_path / "p.csv").write_text("customer_id,price\r\n1,2.5\r\n", encoding, newline="")

    ended = run(tmp_path)

    hint = f"--encoding purchases={encoding}"
    assert ended.stderr.endswith(f"; its columns are found with {hint}\n")
    assert run(tmp_path, *hint.split()).returncode == 0


def test_a_table_with_blanks_around_its_bars_has_no_blank_as_delimiter(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    (tmp_path / "p.csv").write_text(" customer_id | price\n---+---\n 1 | 2.5\n")

    ended = run(tmp_path)

    assert "column names must match exactly: rename ' customer_id '" in ended.stderr


def test_the_hint_for_an_id_column_names_the_table(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    (tmp_path / "p.csv").write_text("Customer_ID,price\n1,2.5\n")

    assert "use --id-column purchases=Customer_ID" in run(tmp_path).stderr
    assert run(tmp_path, "--id-column", "purchases=Customer_ID").returncode == 0


def test_the_hint_for_signs_holds_for_one_table(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    (tmp_path / "p.csv").write_text("customer_id;price\n1;2.000,50\n2;1,0\n")

    hint = (
        "2 of 2 sampled values would be numbers with --decimal purchases=, --thousands purchases=."
    )
    refused = run(tmp_path, "--delimiter", "purchases=;")
    assert (refused.returncode, hint in refused.stderr) == (1, True), refused.stderr
    assert (
        run(tmp_path, "--delimiter", "purchases=;", *hint.split(" with ")[1].split()).returncode
        == 0
    )


def test_points_between_thousands_are_recognized_by_one_number_that_has_two(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    (tmp_path / "p.csv").write_text("customer_id;price\n1;1.234\n2;2.500\n1;1.234.567\n")

    ended = run(tmp_path)

    hint = "--decimal purchases=, --thousands purchases=."
    assert f"1 of 1 sampled values would be a number with {hint})" in ended.stderr
    ended = run(tmp_path, *hint.split())
    assert "warning" not in ended.stderr
    assert "1,235,801" in ended.stdout


def test_a_dialect_of_purchases_may_be_set_in_python() -> None:
    settings = Settings(dialect=Dialect(decimal=","), purchases_dialect=Dialect("|"))

    assert settings.dialect_of("customers") == Dialect(decimal=",")
    assert settings.dialect_of("purchases") == Dialect("|")
    assert Settings(dialect=Dialect("|")).dialect_of("purchases") == Dialect("|")
    with pytest.raises(UsageError):
        Dialect(delimiter=",,")


@pytest.mark.parametrize(
    ("customers", "purchases", "options"),
    [
        ("{}", "{}", []),
        ("{}", "sep=;\n{;}", []),
        ("{\t}", "{|}", []),
        ("{;}", "{,}", ["--delimiter", "customers=;"]),
        ("{\x01}", "{,}", ["--delimiter", r"customers=\x01"]),
        ("{\x01}", "{\x01}", ["--delimiter", r"\001"]),
        ("{}", "Sales\n\n{}", ["--skip-lines", "purchases=2"]),
    ],
)
def test_the_delimiter_is_that_of_each_file(
    tmp_path: Path, customers: str, purchases: str, options: list[str]
) -> None:
    of_customers = "customer_id,first_name,last_name,age\n1,Ada,B,36\n"
    of_purchases = "customer_id,product,price\n1,Lamp,2.5\n"
    for name, written, text in (
        ("c.csv", customers, of_customers),
        ("p.csv", purchases, of_purchases),
    ):
        sign = written[written.index("{") + 1].replace("}", ",")
        place = written[written.index("{") : written.index("}") + 1]
        (tmp_path / name).write_text(written.replace(place, text.replace(",", sign)))

    ended = run(tmp_path, *options)

    assert (ended.returncode, "warning" in ended.stderr) == (0, False), ended.stderr
    assert (tmp_path / "out" / COMBINED).read_text() == (
        "customer_id,first_name,last_name,age,full_name,age_group,product,price\n"
        "1,Ada,B,36,Ada B,Middle-aged,Lamp,2.5\n"
    )


def test_files_of_one_table_may_differ_in_their_delimiters(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    (tmp_path / "p2.csv").write_text("price;x, y;customer_id\n5;a, b;2\n")
    (tmp_path / "p1.csv").write_text('customer_id,price,"x, y"\n1,2.5,\n')

    ended = run(tmp_path, "--verify", purchases="p*.csv")

    assert ended.returncode == 0, ended.stderr
    found = pd.read_csv(tmp_path / "out" / COMBINED, dtype=str, keep_default_na=False)
    assert found[["customer_id", "price", "x, y"]].to_numpy().tolist() == [
        ["1", "2.5", ""],
        ["2", "5", "a, b"],
    ]


def test_a_file_without_a_header_is_read_with_names(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    (tmp_path / "p.csv").write_text("1;Lamp;2.5\n2;Cup;5\n")

    assert "--column-names purchases=NAME,NAME,NAME" in run(tmp_path).stderr
    ended = run(tmp_path, "--column-names", "purchases=customer_id,product,price")

    assert ended.returncode == 0, ended.stderr
    assert 'Ada,"Byron, Lady",36.5' in (tmp_path / "out" / COMBINED).read_text()


def test_the_hint_for_lines_before_the_header_works(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    (tmp_path / "p.csv").write_text("# shop 3.1\n#\ncustomer_id;price\n1;2.5\n")

    ended = run(tmp_path)
    assert ended.stderr.endswith("the columns are on line 3: --skip-lines purchases=2\n")
    assert run(tmp_path, *ended.stderr.split(": ")[-1].split()).returncode == 0


def test_a_header_in_the_midst_of_records_is_no_customer(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS + CUSTOMERS.replace("1,Ada", "3,Eve"))
    (tmp_path / "p.csv").write_text("customer_id,price\n1,2.5\n")

    ended = run(tmp_path)

    assert ended.returncode == 0
    assert "1 of 5 customers could not be read (first: c.csv line 4: the header again" in (
        ended.stderr
    )


def test_a_run_says_what_it_leaves_out_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CUSTOMERS)
    (tmp_path / "d").mkdir()
    for name in ("a.csv", "B.TSV", "e.txt", "f.txt", "g.txt", "h.txt", "_SUCCESS"):
        (tmp_path / "d" / name).write_text("customer_id,price\n1,2.5\n")
    (tmp_path / "d" / "empty.csv").touch()

    ended = run(tmp_path, "--verify", purchases="d")
    planned = run(tmp_path, "--dry-run", purchases="d")

    said = "purchases: 3 files, 0.0 MB; not read: d/e.txt, d/f.txt, d/g.txt and 1 more\n"
    assert (ended.returncode, said in ended.stderr) == (0, True), ended.stderr
    assert (planned.returncode, said in planned.stdout) == (0, True), planned.stdout
    totals = json.loads((tmp_path / "out" / REPORT).read_text())["totals"]
    assert totals["purchases"]["records"] == 2


def test_a_glob_that_the_shell_has_spread_is_recognized(tmp_path: Path) -> None:
    ended = run(tmp_path, "q.csv")

    assert ended.returncode == 2
    assert ended.stderr.endswith("if it comes from a glob, quote the glob: 'part-*.csv'\n")
