"""No data is lost: the full outer join, by broadcast and by shuffle, for any partitions.

A shuffle goes by files on one machine, by the network between machines; some ids may be hot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from distributed import Client, Future
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frames import in_blocks, read_purchases, rendered_customers
from support.oracle import WHITESPACE
from support.scale import scaled

from pipeline.columns.arrow import NUMBER_DTYPE, TEXT, TEXT_DTYPE
from pipeline.engine.compute import compute_entries
from pipeline.engine.ledger import Entry, Ledger
from pipeline.engine.partitions import schema
from pipeline.settings import AgeGroups
from pipeline.steps.join import (
    Broadcast,
    CustomerText,
    Matched,
    build_lookup,
)
from pipeline.steps.lookup import Lookup
from pipeline.steps.read import BlockRead
from pipeline.steps.shuffle import Shuffle
from pipeline.steps.transform import age_group_dtype
from pipeline.storage.places import Folder

TEXTS = ["customer_id", "customer", "age_group", "purchase"]
Row = tuple[str | None, ...]
SHUFFLES = ["files", "network"]
each_join = pytest.mark.parametrize("how", ["broadcast", *SHUFFLES])
MANY = pytest.mark.slow("many partitions")
each_shuffle = pytest.mark.parametrize("how", SHUFFLES)

# Ids as they come: equal texts, forms of one number, whitespace around, none.
IDS = [None, "", " ", "7", "007", " 7", "7 ", "8", "+8", "x", "X", "\u00a0x", "1" * 20]


class Result(NamedTuple):
    """A computed join: its records as (id, customer, group, purchase), and what it counted.

    `ids` are those of each partition.
    """

    rows: list[Row]
    matched: int
    size: int
    frame: pd.DataFrame
    ids: list[list[str | None]]


def joined(
    client: Client,
    purchases: Sequence[str | None],
    customers: Sequence[str | None],
    how: str,
    partitions: tuple[int, int] = (2, 2),
    labels: Sequence[str] = (),
    count: int = 3,
    hot: tuple[str, ...] = (),
) -> Result:
    """Join purchases p0, p1, … and customers c0, c1, … with the given ids.

    A shuffle has `count` partitions, and the ids in `hot` are hot.
    """
    table = in_blocks(read_purchases(purchases), partitions[0])
    rendered = in_blocks(
        rendered_customers(customers, labels or ["Young"] * len(customers)), partitions[1]
    )
    with TemporaryDirectory() as scratch:
        frames: list[pd.DataFrame] = []
        ledger = Ledger()
        lazies = (
            broadcast(client, table, rendered, Path(scratch), ledger)
            if how == "broadcast"
            else shuffled(client, table, rendered, Path(scratch), how, count, hot)
        )
        for lazy in lazies:
            kept: list[Future] = []
            compute_entries(client, [lazy], ledger.add, kept=kept)
            frames += client.gather(kept)
    frame = pd.concat(frames, ignore_index=True)
    texts = frame[TEXTS].astype(object)
    return Result(
        list(texts.where(texts.notna(), None).itertuples(index=False, name=None)),
        sum(part.customers for part in ledger.all(Matched)),
        sum(part.bytes for part in ledger.all(CustomerText)),
        frame,
        [part["customer_id"].tolist() for part in frames],
    )


def broadcast(
    client: Client,
    purchases: dd.DataFrame,
    customers: dd.DataFrame,
    scratch: Path,
    ledger: Ledger,
) -> Iterator[dd.DataFrame]:
    """Yield what a broadcast join consists of, in order; each is to be computed before the next."""
    kept: list[Future] = []
    compute_entries(client, [customers], kept=kept)
    count = sum(map(len, client.gather(kept)))
    ledger.add(Entry(BlockRead("customers", (), records=count)))
    lookup = build_lookup(client, kept, "nobody")
    nobody = Lookup.build(schema(customers), "nobody")
    join = Broadcast(lookup, [], nobody, Folder(str(scratch)), slices=2)
    yield join.join(purchases)
    matched = join.find_matched(client, ledger)
    yield join.without_purchases(matched, purchases.npartitions)


def shuffled(
    client: Client,
    purchases: dd.DataFrame,
    customers: dd.DataFrame,
    scratch: Path,
    how: str,
    count: int,
    hot: tuple[str, ...],
) -> Iterator[dd.DataFrame]:
    """Yield the lazy result of a shuffle join."""
    shuffle = Shuffle(count, hot, "nobody", schema(purchases), schema(customers))
    if how == "network":
        yield shuffle.join(shuffle.split(purchases), shuffle.split(customers))
        return
    of_purchases, of_customers = (
        shuffle.into(scratch / name) for name in ("purchases", "customers")
    )
    compute_entries(client, [of_purchases.split(purchases), of_customers.split(customers)])
    yield shuffle.join_files(of_purchases, of_customers)


def size_of(rows: list[Row]) -> int:
    """Return the bytes of the customers' side of some records."""
    return len("".join(customer or "" for _, customer, _, _ in rows).encode())


def by_hand(
    purchases: Sequence[str | None], customers: Sequence[str | None]
) -> tuple[list[Row], int]:
    """Join with a dict: the purchases in order, then the customers without purchases in order."""
    first: dict[str, int] = {}
    for row, customer_id in enumerate(customers):
        if customer_id and customer_id.strip(WHITESPACE):
            first.setdefault(customer_id.strip(WHITESPACE), row)
    rows: list[Row] = []
    seen = set()
    for number, customer_id in enumerate(purchases):
        found = first.get((customer_id or "").strip(WHITESPACE))
        seen.add(found)
        customer = ("nobody", "Unknown") if found is None else (f"c{found}", "Young")
        rows.append((customer_id, *customer, f"p{number}"))
    rows += [
        (customer_id, f"c{row}", "Young", None)
        for row, customer_id in enumerate(customers)
        if row not in seen
    ]
    return rows, len(seen - {None})


def in_any_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=repr)


@each_join
@pytest.mark.parametrize(
    ("purchases", "customers", "rows", "matched"),
    [
        pytest.param(
            ["1", "2", "1"],
            ["2", "1"],
            [("1", "c1", "Young", "p0"), ("2", "c0", "Young", "p1"), ("1", "c1", "Young", "p2")],
            2,
            id="each purchase has its customer, in the purchases' order",
        ),
        pytest.param(
            ["9", "1", "abc"],
            ["1"],
            [
                ("9", "nobody", "Unknown", "p0"),
                ("1", "c0", "Young", "p1"),
                ("abc", "nobody", "Unknown", "p2"),
            ],
            1,
            id="a purchase without a known customer stays",
        ),
        pytest.param(
            ["2"],
            ["3", "2", "1"],
            [("2", "c1", "Young", "p0"), ("3", "c0", "Young", None), ("1", "c2", "Young", None)],
            1,
            id="a customer without purchases stays, behind the purchases",
        ),
        pytest.param(
            [None, "", "  "],
            [None, "", "  "],
            [
                (None, "nobody", "Unknown", "p0"),
                ("", "nobody", "Unknown", "p1"),
                ("  ", "nobody", "Unknown", "p2"),
                (None, "c0", "Young", None),
                ("", "c1", "Young", None),
                ("  ", "c2", "Young", None),
            ],
            0,
            id="a missing id matches nothing, on either side",
        ),
        pytest.param(
            ["1", "1"],
            ["1", "1", "1"],
            [
                ("1", "c0", "Young", "p0"),
                ("1", "c0", "Young", "p1"),
                ("1", "c1", "Young", None),
                ("1", "c2", "Young", None),
            ],
            1,
            id="of several customers with one id the first takes the purchases",
        ),
        pytest.param(
            ["7", " 007", "7.0", "7 "],
            ["007", " 7"],
            [
                ("7", "c1", "Young", "p0"),
                (" 007", "c0", "Young", "p1"),
                ("7.0", "nobody", "Unknown", "p2"),
                ("7 ", "c1", "Young", "p3"),
            ],
            2,
            id="ids are trimmed texts, and stay as the purchase has them",
        ),
        pytest.param([], ["1"], [("1", "c0", "Young", None)], 0, id="no purchases"),
        pytest.param(["1"], [], [("1", "nobody", "Unknown", "p0")], 0, id="no customers"),
        pytest.param([], [], [], 0, id="nothing"),
    ],
)
def test_promises(
    client: Client,
    purchases: list[str | None],
    customers: list[str | None],
    rows: list[Row],
    matched: int,
    how: str,
) -> None:
    result = joined(client, purchases, customers, how)

    if how == "broadcast":
        assert result.rows == rows
    else:
        assert in_any_order(result.rows) == in_any_order(rows)
    assert result.matched == matched
    assert result.size == size_of(rows)
    assert (rows, matched) == by_hand(purchases, customers)


@each_join
def test_columns_are_as_they_are_promised(client: Client, how: str) -> None:
    labels = ["Senior", "Under 18", "Unknown"]

    frame = joined(client, ["3", "x", "2"], ["1", "2", "3"], how, labels=labels).frame

    assert frame.dtypes.to_dict() == {
        "customer_id": TEXT_DTYPE,
        "customer": pd.ArrowDtype(pa.dictionary(pa.int64(), TEXT)),
        "age_group": age_group_dtype(AgeGroups()),
        "purchase": TEXT_DTYPE,
        "amount": NUMBER_DTYPE,
        "order": np.dtype(np.int64),
    }
    by_id = frame.set_index("customer_id")
    groups = {"3": "Unknown", "x": "Unknown", "2": "Under 18", "1": "Senior"}
    assert by_id["age_group"].to_dict() == groups
    assert by_id["amount"].isna().to_dict() == {"3": False, "x": False, "2": False, "1": True}
    assert by_id["amount"].dropna().to_dict() == {"3": 0, "x": 1, "2": 2}


@pytest.mark.parametrize(
    "partitions",
    [(1, 1), (2, 3), *(pytest.param(n, marks=MANY) for n in ((128, 1), (129, 3), (2, 129)))],
)
def test_the_broadcast_join_is_the_same_for_any_partitions(
    client: Client, partitions: tuple[int, int]
) -> None:
    ids = [IDS[number * number % len(IDS)] for number in range(140)]

    result = joined(client, ids, IDS, "broadcast", partitions)

    assert (result.rows, result.matched) == by_hand(ids, IDS)


# Before Dask 2026.6.0 an outer merge lost rows at 128 and at 129 partitions.
@each_shuffle
@pytest.mark.parametrize(
    ("partitions", "count"),
    [
        *[((1, 1), 1), ((2, 1), 2), ((1, 2), 3), ((128, 1), 2)],
        *(pytest.param(*n, marks=MANY) for n in (((3, 129), 3), ((2, 2), 128))),
    ],
)
def test_a_shuffle_join_has_the_same_rows_for_any_partitions(
    client: Client, partitions: tuple[int, int], count: int, how: str
) -> None:
    ids = [IDS[number * number % len(IDS)] for number in range(140)]

    result = joined(client, ids, IDS, how, partitions, count=count)

    rows, matched = by_hand(ids, IDS)
    assert in_any_order(result.rows) == in_any_order(rows)
    assert result.matched == matched


def test_a_shuffle_join_has_the_same_order_for_the_same_number_of_partitions(
    client: Client,
) -> None:
    """By files and by the network; also for other blocks, if no id is hot and none is missing."""
    ids = [str(number * number % 77) for number in range(140)]
    customers = [str(number % 90) for number in range(100)]

    by_blocks = [
        [joined(client, ids, customers, how, blocks, hot=hot).rows for how in SHUFFLES]
        for blocks, hot in [((1, 1), ()), ((7, 3), ()), ((7, 3), ("1", "4"))]
    ]

    assert all(by_files == by_network for by_files, by_network in by_blocks)
    assert by_blocks[0] == by_blocks[1]
    within = [number_of(purchase) for id, _, _, purchase in by_blocks[0][0] if id == "16"]
    assert len(within) > 2
    assert within == sorted(within)


def number_of(purchase: str | None) -> int:
    assert purchase is not None
    return int(purchase[1:])


@settings(max_examples=scaled("examples of all joins", 3, 10))
@given(
    purchases=st.lists(st.sampled_from(IDS), max_size=12),
    customers=st.lists(st.sampled_from(IDS), max_size=12),
    partitions=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    count=st.integers(1, 4),
    hot=st.sets(st.sampled_from(IDS)),
)
def test_all_joins_agree_with_a_dict(
    client: Client,
    purchases: list[str | None],
    customers: list[str | None],
    partitions: tuple[int, int],
    count: int,
    hot: set[str | None],
) -> None:
    rows, matched = by_hand(purchases, customers)
    # A hot id has a purchase.
    bought = {id.strip(WHITESPACE) for id in purchases if id and id.strip(WHITESPACE) and id in hot}
    found = tuple(sorted(bought))

    by_broadcast = joined(client, purchases, customers, "broadcast", partitions)
    by_shuffle = [
        joined(client, purchases, customers, how, partitions, count=count, hot=found)
        for how in SHUFFLES
    ]

    assert by_broadcast.rows == rows
    for result in by_shuffle:
        assert in_any_order(result.rows) == in_any_order(rows)
    for result in (by_broadcast, *by_shuffle):
        assert result.matched == matched
        assert result.size == size_of(rows)


@each_shuffle
def test_the_purchases_of_a_hot_id_are_spread_over_all_partitions(client: Client, how: str) -> None:
    purchases = 30 * ["7"] + ["8", "9"]
    customers = ["9", "7", "7", "8", "6"]

    hot = joined(client, purchases, customers, how, (1, 1), hot=("7",))

    rows, matched = by_hand(purchases, customers)
    assert in_any_order(hot.rows) == in_any_order(rows)
    assert (hot.matched, hot.size) == (matched, size_of(rows))
    # And the second customer of this id.
    assert sorted(ids.count("7") for ids in hot.ids) == [10, 10, 10 + 1]
