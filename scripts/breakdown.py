#!/usr/bin/env python3
"""Where the time of a run goes: its steps one after the other, on one core and without Dask.

    scripts/breakdown --data folder-with-customers.csv-and-purchases.csv

What a whole run takes on one core beyond the sum of its steps is start-up, scheduling and chart.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click
import pandas as pd

from pipeline import fields, join, read, spending, write
from pipeline.columns import text_bytes, weight
from pipeline.lookup import Lookup
from pipeline.read import NumberColumn, Wanted, read_block
from pipeline.render import layout, render_customers
from pipeline.settings import AgeGroups, Columns, Dialect
from pipeline.sources import Source, cut, open_source
from pipeline.transform import add_age_group, add_full_name

_COLUMNS, _DIALECT = Columns(), Dialect()
_COPIED = 1 << 28  # bytes

# The parts of reading, from the inside: what each takes is not counted in what calls it.
_READING = [
    (read, "parse", "find delimiters and line ends"),
    (fields.PlainFields, "column", "take id and amount as text"),
    (fields.PlainFields, "lines", "take the rest of the line"),
    (read, "parse_numbers", "text to exact numbers"),
]


class Clock:
    """Adds up the seconds of CPU that steps take, without those of steps within them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._within = [0.0]

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what happens here."""
        begin = time.thread_time()
        self._within.append(0.0)
        yield
        taken = time.thread_time() - begin
        self.seconds[name] += taken - self._within.pop()
        self._within[-1] += taken

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Time every call of a function from here on."""
        function: Callable[..., Any] = getattr(owner, attribute)

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.step(name):
                return function(*args, **kwargs)

        setattr(owner, attribute, timed)


@click.command(context_settings={"show_default": True})
@click.option("--data", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--block-size", default=8 << 20, help="Bytes.")
def main(data: Path, block_size: int) -> None:
    """Print a Markdown table: seconds of one core, and nanoseconds for each purchase."""
    with tempfile.TemporaryDirectory() as folder:
        customers, purchases = (
            _source(name, data, block_size, Path(folder)) for name in ("customers", "purchases")
        )
        texts = layout(customers.columns, purchases.columns, _COLUMNS)
        clock = Clock()
        with clock.step("customers: read, transform, render, make the lookup"):
            lookup = _lookup(customers, texts.no_customer)
        for place in _READING:
            clock.watch(*place)
        count, size = _purchases(clock, purchases, lookup, texts.no_purchase, Path(folder, "out"))
    moved = customers.size + purchases.size + size
    click.echo(_table(clock.seconds, count))
    click.echo(
        f"\n{moved / 1e6:,.0f} MB in and out; to copy as much within memory: "
        f"{moved * _seconds_to_copy():.2f} s"
    )


def _source(name: str, data: Path, block_size: int, folder: Path) -> Source:
    required = _COLUMNS.of_customers if name == "customers" else _COLUMNS.of_purchases
    source = open_source(name, [str(data / f"{name}.csv")], required, _DIALECT)
    return cut(source, _DIALECT, block_size, folder)


def _lookup(customers: Source, no_customer: str) -> Lookup:
    names = {"first_name": _COLUMNS.first_name, "last_name": _COLUMNS.last_name}
    wanted = Wanted(_COLUMNS.id, NumberColumn(_COLUMNS.age), names)
    rendered = []
    for block in customers.blocks:
        records = read_block(block, customers.columns, wanted, _DIALECT).records
        records = add_age_group(add_full_name(records), AgeGroups())
        rendered.append(render_customers(records))
    return Lookup.build(pd.concat(rendered), no_customer)


def _purchases(
    clock: Clock, purchases: Source, lookup: Lookup, no_purchase: str, path: Path
) -> tuple[int, int]:
    """Take all blocks of purchases through every step; return the records and bytes written."""
    wanted = Wanted(_COLUMNS.id, NumberColumn(_COLUMNS.amount))
    count = size = 0
    with path.open("wb", buffering=0) as file:
        for block in purchases.blocks:
            with clock.step("read the file, count its lines, make a frame"):
                records = read_block(block, purchases.columns, wanted, _DIALECT).records
            with clock.step("find the customers"):
                found = join._find_customers(records, lookup)
            with clock.step("count who was found, for the books"):
                join._seen(found, lookup)
                join._matched(found, lookup)
            with clock.step("sum by age group"):
                spending._sum_purchases(found)
            with clock.step("take what goes into a line, and its size"):
                parts = write._fields(found, no_purchase, escape=False)
                write._size(parts, lookup)
            lines = write._lines(parts, lookup)
            while True:
                with clock.step("put the lines together"):
                    some = next(lines, None)
                if some is None:
                    break
                with clock.step("weigh the lines, for the books"):
                    weight(some)
                with clock.step("write them (the kernel's share)"):
                    size += file.write(text_bytes(some).data)
            count += len(records)
    return count, size


def _seconds_to_copy() -> float:
    """Return what it takes to copy a byte, from many of them."""
    source = os.urandom(1 << 20) * (_COPIED >> 20)
    target = bytearray(source)
    begin = time.thread_time()
    memoryview(target)[:] = source
    return (time.thread_time() - begin) / len(source)


def _table(seconds: dict[str, float], count: int) -> str:
    lines = ["| step | seconds of one core | ns a purchase |", "| --- | --- | --- |"]
    rows = [*seconds.items(), ("all", sum(seconds.values()))]
    lines += [f"| {name} | {taken:.2f} | {taken / count * 1e9:.0f} |" for name, taken in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
