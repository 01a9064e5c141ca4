"""Every choice of a run is checked once, and what cannot be meant is a UsageError."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.settings import AgeGroups, ClusterSettings, Columns, Dialect, Settings, parse_size
from pipeline.settings.limits import Limit, Limits, TableLimits

UNITS = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "k": 10**3,
    "KiB": 2**10,
    "MB": 10**6,
    "MiB": 2**20,
    "m": 10**6,
    "GB": 10**9,
    "GiB": 2**30,
    "tib": 2**40,
}


def test_default_age_groups_are_those_of_the_challenge() -> None:
    groups = AgeGroups()

    assert groups == AgeGroups.parse("Young=18,Middle-aged=30,Senior=45")
    assert groups.closed == "left"
    assert groups.all_labels == ("Under 18", "Young", "Middle-aged", "Senior", "Unknown")


def test_age_groups_are_read_with_blanks_and_fractions() -> None:
    groups = AgeGroups.parse(" Pupil = 6.5 , Adult=18 ", "right")

    assert groups == AgeGroups(("Pupil", "Adult"), (Decimal("6.5"), Decimal(18)), "right")
    assert groups.all_labels == ("Under 6.5", "Pupil", "Adult", "Unknown")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is not LABEL=AGE"),
        ("Young", "'Young' is not LABEL=AGE"),
        ("Young=18,", "'' is not LABEL=AGE"),
        ("=18", "'=18' is not LABEL=AGE"),
        ("Young=", "'' is not an age"),
        ("Young=abc", "'abc' is not an age"),
        ("Young=18=20", "'18=20' is not an age"),
        ("Young=nan", "'nan' is not an age"),
        ("Young=inf", "'inf' is not an age"),
        ("Young=18,Old=18", "the ages do not increase from group to group"),
        ("Old=45,Young=18", "the ages do not increase from group to group"),
        ("Unborn=-1", "an age is not between 0 and 130"),
        ("Ancient=131", "an age is not between 0 and 130"),
        ("Same=18,Same=30", "a label is used twice ('Unknown' and 'Under 18' are reserved)"),
        ("Unknown=18", "a label is used twice ('Unknown' and 'Under 18' are reserved)"),
        ("Under 18=18", "a label is used twice ('Unknown' and 'Under 18' are reserved)"),
    ],
)
def test_bad_age_groups_say_what_is_wrong_and_how_to_write_them(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        AgeGroups.parse(text)

    assert str(caught.value).startswith("age groups '")
    assert str(caught.value).endswith(
        f": {why}; write them youngest first, such as Young=18,Middle-aged=30"
    )


def test_a_bound_finer_than_the_ages_it_is_compared_with_is_refused() -> None:
    with pytest.raises(UsageError, match="age groups"):
        AgeGroups.parse(f"Young=18.{'0' * 18}1")


def test_no_group_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="no group is given"):
        AgeGroups((), ())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AgeGroups(closed="both"), "closed must be 'left' or 'right', not 'both'"),  # type: ignore[arg-type]
        (lambda: Columns(id="age"), "two columns have the same name"),
        (lambda: Columns(amount="customer_id"), "two columns have the same name"),
        (lambda: Columns(first_name="name", last_name="name"), "two columns have"),
        (lambda: both(customers=()), "customers must be a list of one or more paths, not ()"),
        (lambda: both(purchases="s.csv"), "must be a list of one or more paths, not 's.csv'"),
        (lambda: both(purchases=Path("s")), "must be a list of one or more paths, not Posix"),
        (lambda: both(customers=[""]), "--customers: the path is empty"),
        (lambda: both(customers=["a\0b"]), r"--customers: 'a\x00b' contains a NUL"),
        (lambda: Settings(customers=("c.csv",)), "--purchases is missing; pass it as well as"),
        (lambda: Settings(purchases=("p.csv",)), "--customers is missing; pass it as well as"),
        (lambda: Settings(output_dir=" "), "--output-dir: the path is empty"),
        (lambda: Settings(output_dir="s3://"), "--output-dir: 's3://' names no bucket"),
        (lambda: Settings(output_dir="S3://"), "--output-dir: 's3://' names no bucket"),
        (lambda: Settings(output_dir="S3:/b"), "write it as s3://b, or as ./S3:/b if it is a path"),
        (lambda: Settings(output_dir="file:/b/c"), "write it as file:///b/c, or as ./file:/b/c"),
        (lambda: Settings(output_dir="~nobody-here"), "the home folder '~nobody-here' is unknown"),
        (lambda: Settings(join="merge"), "join must be 'auto', 'broadcast' or"),  # type: ignore[arg-type]
        (lambda: Settings(block_size=1023), "at least 1 KiB, not 1023 bytes"),
        (lambda: Settings(output_dir="gs://bucket/out"), "cannot write to 'gs://bucket/out'"),
        (lambda: Settings(block_size=2**30 + 1), "at most 1 GiB, not 1073741825 bytes"),
        (
            lambda: ClusterSettings(workers=0),
            "--workers and --threads-per-worker must be at least 1",
        ),
        (
            lambda: ClusterSettings(threads_per_worker=-1),
            "--workers and --threads-per-worker must be at least 1",
        ),
        (lambda: ClusterSettings(memory_limit="much"), "--memory-limit: 'much' is not a size"),
        (lambda: ClusterSettings(memory_limit="255MiB"), "'255MiB' is less than the 256 MiB that"),
        (lambda: ClusterSettings(dashboard_address=""), "'' is not HOST:PORT, with a name or"),
        (lambda: ClusterSettings(dashboard_address="8787"), "'8787' is not HOST:PORT, with a"),
        (lambda: ClusterSettings(dashboard_address="h:65536"), "'h:65536' is not HOST:PORT, with"),
        (lambda: ClusterSettings(wait_for_workers=0), "a number of seconds greater than 0"),
        (
            lambda: ClusterSettings(wait_for_workers=float("nan")),
            "a number of seconds greater than 0",
        ),
        (lambda: Dialect(delimiter=",,"), "--delimiter: ',,' must be one ASCII character"),
        (lambda: Dialect(skip_lines=-1), "the number of lines to skip must be 0 or more, not -1"),
        (
            lambda: Dialect(delimiter='"'),
            "--quote: '\"' is also the delimiter; choose another delimiter",
        ),
        (lambda: Dialect(delimiter="\n"), "must be one ASCII character"),
        (lambda: Dialect(delimiter="\0"), "must be one ASCII character"),
        (lambda: Dialect(",", quote=","), "--quote: ',' is also the delimiter"),
        (
            lambda: Dialect(quote=","),
            "--quote: ',' is also the delimiter; choose another delimiter",
        ),
        (lambda: Dialect("|", escape="|"), "--escape: '|' is also the delimiter"),
        (
            lambda: Dialect(escape='"'),
            "--escape: '\"' is also the quote character; doubled quotes",
        ),
        (lambda: Dialect(quote="''"), "--quote: '''' must be one ASCII character"),
        (lambda: Dialect(",", null="a,b"), "--null: 'a,b' must be ASCII text without delimiters"),
        (lambda: Dialect(null="a,b"), "--null: 'a,b' must be ASCII text without delimiters"),
        (lambda: Dialect(delimiter="→"), "--delimiter: '→' must be one ASCII character"),
        (lambda: Dialect(encoding="klingon"), "'klingon' is not a text encoding that Python knows"),
        (lambda: Dialect(encoding="base64"), "'base64' is not a text encoding that Python knows"),
        (lambda: Dialect(encoding="idna"), "'idna' is not a text encoding that Python knows"),
        (
            lambda: Dialect(decimal=",", thousands=","),
            "--thousands: ',' is also the decimal point; choose",
        ),
        (
            lambda: Dialect(thousands="."),
            "--thousands: '.' is also the decimal point; choose another",
        ),
        (lambda: Dialect(decimal=""), "--decimal: '' is not a single character, such as ','"),
        (lambda: Dialect(thousands="5"), "--thousands: '5' cannot be a separator in numbers"),
        (
            lambda: Dialect(decimal="e"),
            "--decimal: 'e' cannot be a separator in numbers; use one such as ','",
        ),
        (lambda: Dialect(decimal=";"), "--decimal: ';' cannot be a separator in numbers"),
        (lambda: Columns(amount=""), "--amount-column: the column name is empty"),
        (lambda: Dialect(max_record_size=1), "from 2 bytes"),
        (lambda: Dialect(max_record_size=2**28 + 1), "from 2 bytes to 256 MiB"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()

    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_amount_may_have_the_name_of_a_customers_column() -> None:
    assert Columns(amount="age").of_purchases == {
        "customer_id": "--id-column",
        "age": "--amount-column",
    }


def both(**paths: Any) -> Settings:
    """Return settings that name both tables."""
    return Settings(**{"customers": ("c.csv",), "purchases": ("p.csv",), **paths})


def test_a_run_that_names_neither_table_reads_the_sample() -> None:
    assert Settings().customers == ("data/customers.csv",)
    assert Settings().purchases == ("data/purchases.csv",)
    assert replace(Settings(), output_dir="out").purchases == ("data/purchases.csv",)


def test_paths_become_text() -> None:
    settings = both(customers=[Path("a.csv"), "b.csv"], output_dir=Path("out"))

    assert (settings.customers, settings.output_dir) == (("a.csv", "b.csv"), "out")


def test_a_tilde_is_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    settings = both(
        customers=("~/c.csv", "./~c.csv"),
        purchases=("s3://b/~/p.csv",),
        output_dir=Path("~/out"),
        performance_report="~/page.html",
    )

    assert settings.customers == ("/home/ada/c.csv", "./~c.csv")
    assert settings.purchases == ("s3://b/~/p.csv",)
    assert (settings.output_dir, settings.performance_report) == (
        "/home/ada/out",
        "/home/ada/page.html",
    )
    assert Settings(output_dir="~root/out").output_dir == f"{Path('~root').expanduser()}/out"
    assert ClusterSettings("~/scheduler.json").scheduler == "/home/ada/scheduler.json"


def test_the_scheme_of_a_url_may_have_capitals() -> None:
    settings = Settings(customers=("FILE:///A/C.csv",), purchases=("S3://Bucket/P.csv",))

    assert settings.customers == ("file:///A/C.csv",)
    assert settings.purchases == ("s3://Bucket/P.csv",)


def test_no_limit_of_memory_can_be_meant() -> None:
    assert ClusterSettings(memory_limit="0").memory_limit == "0"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().block_size = 1  # type: ignore[misc]


@given(st.integers(0, 2**20), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " "]))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str, blank: str) -> None:
    assert parse_size(f"{number}{blank}{unit}", "--block-size") == number * UNITS[unit]


@pytest.mark.parametrize(
    ("text", "size"), [("1.5MiB", 3 << 19), ("0.5k", 500), (" 8MIB ", 8 << 20), ("1.5", 1)]
)
def test_a_size_may_have_a_fraction(text: str, size: int) -> None:
    assert parse_size(text, "--block-size") == size


@pytest.mark.parametrize(
    "text", ["", "B", "MiB", "-8MiB", "8MiBs", "8,5MB", "0x10", ".5k", "inf", "nan", "1e999"]
)
def test_what_is_no_size_is_refused_with_the_name_of_its_option(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text, "--block-size")

    expected = f"--block-size: '{text}' is not a size; write it as 8MiB, 500MB or 2GiB"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("0", Limit(count=0), "0"),
        ("100", Limit(count=100), "100"),
        ("0.5%", Limit(share=Decimal("0.005")), "0.5%"),
        ("5 %", Limit(share=Decimal("0.05")), "5%"),
        ("100%", Limit(share=Decimal(1)), "100%"),
    ],
)
def test_limit(text: str, limit: Limit, shown: str) -> None:
    assert Limit.parse(text, "--max-rejected") == limit
    assert str(limit) == shown
    assert limit.allows_all == (text == "100%")


@pytest.mark.parametrize(
    "text", ["", "%", "-1", "-1%", "1.5", "many", "nan", "inf%", "5%%", "100.1%", "sales=1"]
)
def test_what_is_not_a_limit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is neither a count nor a percentage; write"):
        Limit.parse(text, "--max-unusable")


@pytest.mark.parametrize(
    ("limit", "bad", "among", "allowed"),
    [
        ("0", 0, 10, True),
        ("0", 1, 10, False),
        ("2", 2, 10, True),
        ("2", 3, 10, False),
        ("10%", 1, 10, True),
        ("10%", 1, 9, False),
        ("0%", 0, 0, True),
        ("0%", 1, 1, False),
        ("0.5%", 1, 200, True),
        ("0.5%", 1, 199, False),
        ("100%", 5, 5, True),
    ],
)
def test_a_limit_allows_so_many(limit: str, bad: int, among: int, allowed: bool) -> None:
    assert Limit.parse(limit, "--max-rejected").allows(bad, among) == allowed


def test_a_limit_is_for_both_tables_or_for_one() -> None:
    limits = Limits.parse(rejected=["customers=5", "1%"], unusable=["purchases=0"], unmatched=["7"])

    assert limits == Limits(
        customers=TableLimits(rejected=Limit(5)),
        purchases=TableLimits(
            rejected=Limit(share=Decimal("0.01")), unusable=Limit(0), unmatched=Limit(7)
        ),
    )


@pytest.mark.parametrize("texts", [["1", "2"], ["customers=1", "customers=2"]])
def test_a_limit_given_twice_is_refused(texts: list[str]) -> None:
    with pytest.raises(UsageError, match=r"^--max-rejected is given twice; "):
        Limits.parse(rejected=texts)


def test_customers_without_purchases_have_no_limit() -> None:
    with pytest.raises(UsageError, match=r"^--max-unmatched limits only purchases; "):
        Limits.parse(unmatched=["customers=1"])


@pytest.mark.parametrize(
    ("scheduler", "is_address"),
    [
        ("tcp://10.0.0.5:8786", True),
        ("tls://host:8786", True),
        ("host:8786", True),
        ("scheduler.json", False),
        ("/shared/scheduler.json", False),
        ("shared/a:1/scheduler.json", False),
    ],
)
def test_a_scheduler_is_an_address_or_a_file(scheduler: str, is_address: bool) -> None:
    assert ClusterSettings(scheduler).is_address == is_address
