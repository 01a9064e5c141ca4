#!/usr/bin/env python3
"""Generate tables of any size, customers and purchases; the same arguments give the same bytes.

    python scripts/generate_data.py                               # the sample in data/
    python scripts/generate_data.py --customers 1000000 --purchases 10000000 --odd 0 --to /tmp/m

Needs the packages of the project, and about 500 MB of memory at any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import TEXT, text_bytes
from pipeline.columns.keys import key_hashes
from pipeline.csv_text.quoting import quote

CHUNK = 1_000_000
FIRST = """
    Ada Ben Chloé Daniel Elif Femi Grace Hugo Ines Jonas Kofi Lena Mateo Nora Omar Priya
    Quentin Rosa Sven Tariq Uma Viktor Wen Ximena Yusuf Zoë
""".split()
LAST = """
    Adeyemi Bauer Costa Dubois Eriksson Fischer García Haddad Ivanov Jensen Kowalski Lindqvist
    Moreau Novák Okafor Patel Quispe Rossi Silva Tanaka Uddin Varga Weber Xu Yilmaz Zhang
""".split()
PRODUCTS = """
    Camera Desktop Drone Headphones Keyboard Laptop Microphone Monitor Mouse Phone Printer
    Router Speaker Tablet Webcam
""".split()

# A share of the records (--odd) gets one of these values, to exercise the edge cases.
ODD_CUSTOMERS = {
    "customer_id": ["", "", "{id} ", "00{id}"],
    "first_name": ["", " Ana", "Null", '"Bo"', "Jean, Jr."],
    "last_name": ["", "O'Neil", "de la Cruz", "Line\nBreak"],
    "age": ["", "abc", "-1", "29.5", " 30", "131", "17", "45"],
}
ODD_PURCHASES = {
    "customer_id": ["", "unknown-1", " {id}", "00{id}", "3f2b8c1e-7d4a-4f6e-9b1a-5c2d8e7f6a90"],
    "product": ["", 'Monitor 24"', "Cable, 2 m", "NA", "=1+1"],
    "price": ["", "abc", "-3", "1e3", "7.5", " 20.00"],
}

# One customer has 30% of the purchases; Zipf's law with exponent 1.2; 30% of the purchases have no
# id; no purchase has a known customer; every id has two customer records.
SKEWS = ("hot", "zipf", "missing", "unknown", "twice")

# What tools write: CR LF; a column in quotes; a comma within quotes in a tenth of the purchases;
# ids such as C-801513; UUIDs; prices with one place or two; another encoding; semicolons and
# decimal commas.
SHAPES = (
    *("plain", "crlf", "quoted", "commas", "text-ids", "uuids", "decimals", "cp1252"),
    "semicolons",
)


@click.command(context_settings={"show_default": True})
@click.option("--customers", default=2_000, help="Number of customers.")
@click.option("--purchases", default=10_000, help="Number of purchases.")
@click.option("--files", default=1, help="Split each table into this many files in a folder.")
@click.option("--odd", default=0.02, help="Share of records with an unusual value.")
@click.option("--skew", type=click.Choice(SKEWS), help="Distribute purchases or ids unevenly.")
@click.option("--shape", type=click.Choice(SHAPES), default="plain", help="Kind of files.")
@click.option("--seed", default=2024, help="Random seed.")
@click.option(
    "--to",
    "folder",
    default="data",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder to write to.",
)
def main(
    customers: int,
    purchases: int,
    files: int,
    odd: float,
    skew: str | None,
    shape: str,
    seed: int,
    folder: Path,
) -> None:
    """Generate customers.csv and purchases.csv, or folders of such files, in FOLDER."""
    people = np.random.default_rng([seed, 1])
    sales = np.random.default_rng([seed, 2])
    # Spending depends on age, so the results show a pattern.
    ages = np.clip(people.normal(40, 14, customers), 16, 90).astype(np.int16)

    def customer_rows(start: int, stop: int) -> pa.Table:
        first, last = (_pick(people, names, stop - start) for names in (FIRST, LAST))
        mail = pc.ascii_lower(pc.binary_join_element_wise(first, last, _one(".")))
        table = pa.table(
            {
                "customer_id": _text(np.arange(start, stop) // (2 if skew == "twice" else 1) + 1),
                "first_name": first,
                "last_name": last,
                "email": pc.binary_join_element_wise(mail, _one("example.com"), _one("@")),
                "age": _text(ages[start:stop]),
            }
        )
        table = _with_odd(people, table, ODD_CUSTOMERS, odd)
        return _with_duplicates(people, table, odd / 10)

    def purchase_rows(start: int, stop: int) -> pa.Table:
        buyer = sales.integers(0, customers, stop - start) if customers else np.zeros(stop - start)
        # A fifth of the customers buy nothing; others get their purchases.
        buyer = buyer - (buyer % 5 == 4) * (1 + sales.integers(0, 4, stop - start))
        mean = 40 + 3 * np.minimum(ages[buyer], 60) if customers else 100
        cents = np.maximum(sales.gamma(2.0, mean * 50.0, stop - start), 100).astype(np.int64)
        whole = _text(cents // 100)
        places = pc.utf8_lpad(_text(cents % 100), 2, "0")
        table = pa.table(
            {
                "customer_id": _skewed(sales, buyer, customers, skew),
                "product": _pick(sales, PRODUCTS, stop - start),
                "price": pc.binary_join_element_wise(whole, places, _one(".")),
            }
        )
        return _with_odd(sales, table, ODD_PURCHASES, odd)

    for name, count, rows in (
        ("customers", customers, customer_rows),
        ("purchases", purchases, purchase_rows),
    ):
        for path, start, stop in _files(folder, name, files, count):
            _write(path, rows, start, stop, shape)
            click.echo(f"{path}: {stop - start:,} records, {path.stat().st_size:,} bytes", err=True)


def _skewed(
    rng: np.random.Generator, buyer: np.ndarray, customers: int, skew: str | None
) -> pa.Array:
    """Return the ids of the buyers; `buyer` has customers' numbers from 0, evenly spread."""
    if skew == "zipf":
        buyer = (rng.zipf(1.2, len(buyer)) - 1) % customers
    elif skew == "unknown":
        buyer = buyer + customers
    some = rng.random(len(buyer)) < 0.3 if skew in ("hot", "missing") else False
    ids = _text(np.where(some, 0, buyer) + 1)
    return pc.if_else(pa.array(some), pa.scalar("", TEXT), ids) if skew == "missing" else ids


def _files(folder: Path, name: str, files: int, count: int) -> Iterator[tuple[Path, int, int]]:
    for number in range(files):
        path = folder / f"{name}.csv" if files == 1 else folder / name / f"part-{number:04}.csv"
        yield path, count * number // files, count * (number + 1) // files


def _write(
    path: Path, rows: Callable[[int, int], pa.Table], start: int, stop: int, shape: str
) -> None:
    delimiter, end = ";" if shape == "semicolons" else ",", "\r\n" if shape == "crlf" else "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(f"{delimiter.join(rows(0, 0).column_names)}{end}".encode())
        for first in range(start, stop, CHUNK):
            table = rows(first, min(first + CHUNK, stop))
            columns = _shaped(table, shape)
            records = pc.binary_join_element_wise(*columns, _one(delimiter))
            lines = text_bytes(pc.binary_join_element_wise(records, _one(""), _one(end)))
            if shape == "cp1252":
                file.write(lines.tobytes().decode().encode("cp1252", "replace"))
            else:
                file.write(lines.data)


def _shaped(table: pa.Table, shape: str) -> list[pa.Array]:
    """Return the columns of a table as CSV fields in a shape; the same rows each time."""
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    rows, ids = np.arange(len(table)), columns["customer_id"]
    if shape == "text-ids":
        columns["customer_id"] = pc.binary_join_element_wise(_one("C-"), ids, _one(""))
    elif shape == "uuids":
        columns["customer_id"] = _uuids(ids)
    if "price" in columns:
        price, product = columns["price"], columns["product"]
        if shape == "decimals":
            columns["price"] = pc.binary_slice(price.cast(pa.large_binary()), 0, -1).cast(TEXT)
            odd = pa.array(rows % 3 == 0)
            columns["price"] = pc.if_else(odd, price, columns["price"])
        elif shape == "semicolons":
            columns["price"] = pc.replace_substring(price, ".", ",")
        elif shape == "commas":
            more = pc.binary_join_element_wise(product, _one("2 m"), _one(", "))
            columns["product"] = pc.if_else(pa.array(rows % 10 == 0), more, product)
    return [
        _in_quotes(column)
        if shape == "quoted" and name in ("product", "email")
        else column
        if shape == "semicolons"
        else quote(column)
        for name, column in columns.items()
    ]


def _uuids(ids: pa.Array) -> pa.Array:
    """Return a text of 36 characters for each id, the same for the same id."""
    hashes = key_hashes(ids)
    high, low = (pc.utf8_lpad(_text(part), 20, "0") for part in (hashes, ~hashes))
    digits = pc.binary_join_element_wise(high, low, _one(""))
    edges = pairwise((0, 8, 12, 16, 20, 32))
    pieces = [pc.utf8_slice_codeunits(digits, start, stop) for start, stop in edges]
    return pc.binary_join_element_wise(*pieces, _one("-"))


def _in_quotes(text: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(_one('"'), text, _one('"'), _one(""))


def _text(numbers: np.ndarray) -> pa.Array:
    return pc.cast(pa.array(numbers), TEXT)


def _one(text: str) -> pa.Scalar:
    return pa.scalar(text, TEXT)


def _pick(rng: np.random.Generator, words: list[str], count: int) -> pa.Array:
    return pa.array(words, TEXT).take(pa.array(rng.integers(0, len(words), count)))


def _with_odd(
    rng: np.random.Generator, table: pa.Table, odd: dict[str, list[str]], share: float
) -> pa.Table:
    """Replace one value in a share of the rows."""
    rows = np.flatnonzero(rng.random(len(table)) < share)
    values = {name: table[name].to_pylist() for name in odd} if len(rows) else {}
    for row in rows.tolist():
        name = list(odd)[rng.integers(len(odd))]
        value = odd[name][rng.integers(len(odd[name]))]
        values[name][row] = value.format(id=values["customer_id"][row]) or None
    for name, column in values.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(column, TEXT))
    return table


def _with_duplicates(rng: np.random.Generator, table: pa.Table, share: float) -> pa.Table:
    """Give a share of the rows the id of the previous row."""
    again = rng.random(len(table)) < share
    before = np.maximum(np.arange(len(table)) - again, 0)
    ids = table["customer_id"].take(pa.array(before))
    return table.set_column(0, "customer_id", ids)


if __name__ == "__main__":
    main()
