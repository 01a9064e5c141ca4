#!/usr/bin/env python3
"""Show where the time of a run goes: run its steps one after the other, on one core, without Dask.

    scripts/breakdown --data FOLDER    # customers.csv and purchases.csv there

A whole run on one core takes longer than the sum: the rest is start-up, scheduling and the chart.
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

from pipeline.columns.arrow import to_arrow
from pipeline.columns.totals import Checksum
from pipeline.csv_text import fields
from pipeline.csv_text.headers import open_source
from pipeline.csv_text.ranges import cut_into_ranges
from pipeline.csv_text.sources import Source
from pipeline.settings import AgeGroups, Columns, Dialect
from pipeline.steps import join, read, spending, write
from pipeline.steps.lookup import Lookup
from pipeline.steps.matched import put_marks
from pipeline.steps.read import ID, read_block, wanted_of_customers, wanted_of_purchases
from pipeline.steps.render import layout, render_customers
from pipeline.steps.transform import add_age_group, add_full_name
from pipeline.storage.places import Folder

_COLUMNS, _DIALECT = Columns(), Dialect()
_COPIED = 1 << 28  # bytes

# The parts of reading, timed from the inside; their time does not count for their callers.
_READING = [
    (read, "parse_texts", "find records and fields"),
    (fields.Fields, "column", "take id and amount as text"),
    (fields.Fields, "lines", "take the rest of the line"),
    (fields.Fields, "text_total", "the total of all text"),
    (read, "parse_with_places", "text to exact numbers"),
]


class Clock:
    """Adds up the CPU seconds of each step, without those of steps within it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._within = [0.0]

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block."""
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
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder with customers.csv and purchases.csv.",
)
@click.option("--block-size", default=8 << 20, help="Bytes in a block.")
def main(data: Path, block_size: int) -> None:
    """Time each step of a run on one core, without Dask; print a Markdown table."""
    with tempfile.TemporaryDirectory() as folder:
        customers, purchases = (
            _source(name, data, block_size) for name in ("customers", "purchases")
        )
        texts = layout(customers.columns, purchases.columns, _COLUMNS)
        clock = Clock()
        with clock.step("customers: read, transform, render, make the lookup"):
            lookup = _lookup(customers, texts.no_customer)
        for place in _READING:
            clock.watch(*place)
        count, size = _purchases(clock, purchases, lookup, texts.no_purchase, Path(folder))
    moved = customers.size + purchases.size + size
    click.echo(_table(clock.seconds, count))
    click.echo(
        f"\n{moved / 1e6:,.0f} MB in and out; copying as much within memory takes "
        f"{moved * _seconds_to_copy():.2f} s"
    )


def _source(name: str, data: Path, block_size: int) -> Source:
    required = _COLUMNS.of_customers if name == "customers" else _COLUMNS.of_purchases
    source = open_source(name, [str(data / f"{name}.csv")], required, _DIALECT)
    return cut_into_ranges(source, block_size)


def _lookup(customers: Source, no_customer: str) -> Lookup:
    wanted = wanted_of_customers(_COLUMNS, escape=False)
    rendered = []
    for block in customers.blocks:
        records = read_block(block, "customers", customers.columns, wanted)
        rendered.append(render_customers(add_age_group(add_full_name(records), AgeGroups())))
    return Lookup.build(pd.concat(rendered), no_customer)


def _purchases(
    clock: Clock, purchases: Source, lookup: Lookup, no_purchase: str, folder: Path
) -> tuple[int, int]:
    """Run all blocks of purchases through every step; return the records and bytes written."""
    wanted = wanted_of_purchases(_COLUMNS, escape=False)
    matched = Folder(str(folder)).below("matched")
    count = size = 0
    with (folder / "combined").open("wb", buffering=0) as file:
        for block in purchases.blocks:
            with clock.step("read the file, count its lines, make a frame"):
                records = read_block(block, "purchases", purchases.columns, wanted)
            with clock.step("find the customers"):
                rows = lookup.rows(to_arrow(records[ID]))
            with clock.step("mark the matches"):
                put_marks(matched, block.number, rows, len(lookup))
            with clock.step("put them beside the purchases, with their control totals"):
                combined = join.paired(records, rows, lookup)
            with clock.step("sum by age group"):
                spending._sum_purchases(combined)
            texts = write.Lines(combined, no_purchase, escape=False).texts()
            while True:
                with clock.step("assemble the lines"):
                    _, text = next(texts, (0, None))
                if text is None:
                    break
                with clock.step("their checksum"):
                    Checksum.of(text)
                with clock.step("write them (system time)"):
                    size += file.write(text)
            count += len(records)
    return count, size


def _seconds_to_copy() -> float:
    """Return the CPU seconds to copy one byte, averaged over a large copy."""
    source = os.urandom(1 << 20) * (_COPIED >> 20)
    target = bytearray(source)
    begin = time.thread_time()
    memoryview(target)[:] = source
    return (time.thread_time() - begin) / len(source)


def _table(seconds: dict[str, float], count: int) -> str:
    lines = ["| step | seconds on one core | ns per purchase |", "| --- | --- | --- |"]
    rows = [*seconds.items(), ("all", sum(seconds.values()))]
    lines += [f"| {name} | {taken:.2f} | {taken / count * 1e9:.0f} |" for name, taken in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
