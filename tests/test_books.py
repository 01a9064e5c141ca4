"""The books catch errors that are planted in the code under test: a test of the check itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from distributed import Client

from pipeline import Settings, fields, join, run, spending, write
from pipeline import job as job_module
from pipeline.columns import NUMBER, to_arrow, to_number
from pipeline.counting import Counted
from pipeline.errors import DataError
from pipeline.publish import REPORT

Join = Literal["broadcast", "shuffle"]
Change = Callable[[Any], Any]
CENT = Decimal("0.01")

WRITTEN = "records written, purchases + customers without purchases: "
IN_GROUPS = "purchases in the age groups, purchases read: "
CUSTOMERS = "customers in the age groups, customers read: "
SUM = "sum over the age groups, sum over the purchases: "
WEIGHT = "weight of the text written, weight of the text read and joined: "
BYTES = "bytes in the combined table, bytes written: "


def marked(frame: pd.DataFrame) -> pd.Series:
    """Tell which row is the marked purchase: one of all, so that one row goes wrong in a run."""
    return frame["purchase"].fillna("").str.contains("marked")


def dropped(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[~marked(frame)].reset_index(drop=True)


def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.loc[frame.index.repeat(1 + marked(frame))].reset_index(drop=True)


def cent_in_amount(frame: pd.DataFrame) -> pd.DataFrame:
    wrong = zip(to_arrow(frame["amount"]).to_pylist(), marked(frame), strict=True)
    amounts = [amount + CENT if found else amount for amount, found in wrong]
    return frame.assign(amount=to_number(pa.array(amounts, NUMBER)))


def cent_in_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(purchase=frame["purchase"].str.replace("marked,10.00", "marked,10.01"))


def cent_in_slices(lines: pa.Array) -> pa.Array:
    return pc.replace_substring(lines, "marked,10.00", "marked,10.01")


def last_dropped(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[:-1]


def last_doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[-1:]], ignore_index=True)


def moved(end: pd.Series) -> pd.Series:
    return end + (end > 5000)


def cent_in_total(frame: pd.DataFrame) -> pd.DataFrame:
    column = "total" if "total" in frame else "total_spending"
    return frame.assign(**{column: [frame[column].iloc[0] + CENT, *frame[column].iloc[1:]]})


def line_dropped(lines: pa.Array) -> pa.Array:
    return lines.filter(pc.invert(pc.match_substring(lines, "marked")))


def line_doubled(lines: pa.Array) -> pa.Array:
    return pa.concat_arrays([lines, lines.filter(pc.match_substring(lines, "marked"))])


def group_dropped(summary: pd.DataFrame) -> pd.DataFrame:
    return summary[summary["age_group"] != "Unknown"].reset_index(drop=True)


def behind(function: Callable[..., Any], change: Change) -> Callable[..., Any]:
    """Return `function` with its result changed, but for the empty one that Dask asks for."""

    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        return change(result) if len(result) else result

    return call


def before(function: Callable[..., Any], change: Change) -> Callable[..., Any]:
    """Return `function` with its first argument changed."""

    def call(first: Any, *args: Any, **kwargs: Any) -> Any:
        return function(change(first) if len(first) else first, *args, **kwargs)

    return call


def each(function: Callable[..., Any], change: Change) -> Callable[..., Any]:
    """Return `function`, which yields some at a time, with each of them changed."""

    def call(*args: Any) -> Any:
        return map(change, function(*args))

    return call


def before_frame(function: Callable[..., Any], change: Change) -> Callable[..., Any]:
    """Return `function` with the frame of its first argument, a partition, changed."""

    def call(part: Counted, *args: Any) -> Any:
        return function(replace(part, frame=change(part.frame)), *args)

    return call


PLANTED = [
    ("join", behind, join, "_find_customers", dropped, WRITTEN),
    ("join", behind, join, "_find_customers", doubled, WRITTEN),
    ("join", behind, join, "_find_customers", cent_in_amount, SUM),
    ("join", behind, join, "_find_customers", cent_in_text, WEIGHT),
    ("join", behind, join, "_without_purchases", last_dropped, WRITTEN),
    ("join", behind, join, "_without_purchases", last_doubled, WRITTEN),
    ("sum", before, spending, "_sum_purchases", dropped, IN_GROUPS),
    ("sum", before, spending, "_sum_purchases", doubled, IN_GROUPS),
    ("sum", before, spending, "_sum_purchases", cent_in_amount, SUM),
    ("sum", behind, spending, "_sum_purchases", cent_in_total, SUM),
    ("sum", behind, spending, "_merge", last_dropped, CUSTOMERS),
    ("sum", behind, spending, "_merge", cent_in_total, SUM),
    ("sum", before, spending, "_count_customers", last_dropped, CUSTOMERS),
    ("sum", before, spending, "_count_customers", last_doubled, CUSTOMERS),
    ("sum", behind, job_module, "summarize", cent_in_total, SUM),
    ("sum", behind, job_module, "summarize", group_dropped, IN_GROUPS),
    ("sum", before, job_module, "write_spending", cent_in_total, SUM),
    ("write", before, write, "_fields", dropped, WRITTEN),
    ("write", before, write, "_fields", doubled, WRITTEN),
    ("write", before, write, "_fields", cent_in_text, WEIGHT),
    ("write", behind, write, "_fields", dropped, WRITTEN),
    ("write", behind, write, "_fields", doubled, WRITTEN),
    ("write", behind, write, "_fields", cent_in_text, WEIGHT),
    ("read", behind, fields.PlainFields, "lines", cent_in_slices, WEIGHT),
    ("write", before_frame, write, "_write_before", dropped, WRITTEN),
    ("write", before_frame, write, "_write_before", doubled, WRITTEN),
    ("write", before_frame, write, "_write_before", cent_in_text, WEIGHT),
    ("write", each, write, "_lines", line_dropped, WRITTEN),
    ("write", each, write, "_lines", line_doubled, WRITTEN),
    ("write", each, write, "_lines", cent_in_slices, WEIGHT),
    ("write", behind, write, "_end", moved, BYTES),
]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Tables of several blocks; one purchase is marked."""
    (tmp_path / "customers.csv").write_text(
        "customer_id,first_name,last_name,age\n"
        + "".join(f"{number},First{number},Last,{number % 90}\n" for number in range(120))
    )
    # Some customers have no purchases, and some purchases no customer.
    ids = [number % 100 if number % 10 else number + 1000 for number in range(300)]
    rows = [f"{customer},thing,{number}.25\n" for number, customer in enumerate(ids)]
    rows[170] = "7,marked,10.00\n"
    (tmp_path / "purchases.csv").write_text("customer_id,product,price\n" + "".join(rows))
    return tmp_path


def run_on(inputs: Path, client: Client, how: Join) -> None:
    settings = Settings(
        customers=(str(inputs / "customers.csv"),),
        purchases=(str(inputs / "purchases.csv"),),
        output_dir=str(inputs / "outputs"),
        block_size=1024,
        join=how,
        fsync=False,
    )
    run(settings, client)


@pytest.mark.parametrize("how", ["broadcast", "shuffle"])
def test_without_an_error_the_books_balance(inputs: Path, client: Client, how: Join) -> None:
    run_on(inputs, client, how)

    assert (inputs / "outputs" / REPORT).exists()


@pytest.mark.parametrize("how", ["broadcast", "shuffle"])
@pytest.mark.parametrize(
    ("place", "module", "name", "change", "line"),
    [planted[1:] for planted in PLANTED],
    ids=[f"{step}-{name}-{change.__name__}" for step, _, _, name, change, _ in PLANTED],
)
def test_a_planted_error_is_caught(
    inputs: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    place: Callable[..., Any],
    module: Any,
    name: str,
    change: Change,
    line: str,
    how: Join,
) -> None:
    monkeypatch.setattr(module, name, place(getattr(module, name), change))

    with pytest.raises(DataError) as caught:
        run_on(inputs, client, how)

    assert "the books do not balance" in str(caught.value)
    assert line in str(caught.value)
    assert list((inputs / "outputs").iterdir()) == []
