"""Random single faults: one value changes in what workers send or keep, or two change places."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import copy
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from distributed import Client, Future

from pipeline import job
from pipeline.columns.arrow import to_arrow, to_text
from pipeline.steps.join import build_lookup
from pipeline.steps.lookup import Lookup
from support.kept import TABLES, Cells, in_file, in_frames, in_marks, in_pieces, of_cells
from support.planting import in_lookup

Plant: TypeAlias = Callable[[random.Random, pytest.MonkeyPatch], None]


def changed(value: Any, type: pa.DataType, draw: random.Random) -> Any:
    """Return another value of the type, or none in its place."""
    if value is None:
        return Decimal(7) if pa.types.is_decimal(type) else "7"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        few = pa.types.is_int8(type)  # codes of age groups
        return draw.randrange(4) if few else value ^ 1 << draw.randrange(40)
    if isinstance(value, Decimal):
        return draw.choice([value + 1, -value, value.scaleb(-1).quantize(value), None])
    place, sign = draw.randrange(len(value) + 1), draw.choice("0123456789xé")
    return draw.choice(
        [
            value[:place] + sign + value[place + 1 :],
            value[:place] + value[place + 1 :],
            value[:place] + value[place : place + 2][::-1] + value[place + 2 :],
            value + sign,
        ]
    )


def damaged(values: pa.Array, draw: random.Random) -> pa.Array:
    """Return an array with one value changed, or two exchanged."""
    found = values.to_pylist()
    row, other = draw.randrange(len(found)), draw.randrange(len(found))
    if draw.random() < 0.4:
        found[row], found[other] = found[other], found[row]
    else:
        found[row] = changed(found[row], values.type, draw)
    return pa.array(found, values.type)


def damaged_customers(customers: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return rendered customers with a fault."""
    draw = random.Random(seed)
    name: str = draw.choice(list(customers))
    column = customers[name]
    if isinstance(column.dtype, pd.CategoricalDtype):
        return customers.assign(**{name: _damaged_groups(column.array, draw)})
    if isinstance(column.dtype, np.dtype):
        return customers.assign(**{name: damaged(pa.array(column), draw).to_numpy()})
    return customers.assign(**{name: to_text(damaged(to_arrow(column), draw))})


def _damaged_groups(groups: pd.Categorical, draw: random.Random) -> pd.Categorical:
    codes = damaged(pa.array(groups.codes), draw).to_numpy()
    return pd.Categorical.from_codes(codes, dtype=groups.dtype)


def damaged_lookup(lookup: Lookup, seed: int) -> Lookup:
    """Return a lookup with a fault that its own totals do not show."""
    draw, lookup = random.Random(seed), copy(lookup)
    name = draw.choice(["customer", "age_group", "keys"])
    if name == "customer":
        lookup.customer = damaged(lookup.customer, draw)
    elif name == "age_group":
        lookup.age_group = _damaged_groups(lookup.age_group, draw)
    else:
        lookup.keys = damaged(pa.array(lookup.keys), draw).to_numpy()
    return lookup


def damaged_cells(cells: Cells, seed: int) -> Cells:
    """Return the pieces of a block with a fault in one of those that have records."""
    draw, wrong = random.Random(seed), list(cells)
    found = [pa.ipc.open_stream(cell).read_next_batch() for cell in cells]
    place = draw.choice([at for at, piece in enumerate(found) if len(piece)])
    piece = found[place]
    name = draw.choice(piece.schema.names)
    columns = {
        column: damaged(values, draw) if column == name else values
        for column, values in zip(piece.schema.names, piece.columns, strict=True)
    }
    with pa.BufferOutputStream() as sink:
        with pa.ipc.new_stream(sink, piece.schema) as stream:
            stream.write_batch(pa.record_batch(columns, piece.schema))
        wrong[place] = sink.getvalue().to_pybytes()
    return wrong


def damaged_bytes(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with one bit of one of them changed."""
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def in_customers(draw: random.Random, patch: pytest.MonkeyPatch) -> None:
    """Damage a block of rendered customers on its way into the lookup."""

    def call(client: Client, customers: list[Future], no_customer: str) -> Future:
        block, seed = draw.randrange(len(customers)), draw.getrandbits(32)
        wrong = list(customers)
        wrong[block] = client.submit(damaged_customers, customers[block], seed)
        return build_lookup(client, wrong, no_customer)

    patch.setattr(job, "build_lookup", call)


def in_a_lookup(draw: random.Random, patch: pytest.MonkeyPatch) -> None:
    in_lookup(partial(damaged_lookup, seed=draw.getrandbits(32)))(patch)


def in_a_mark(draw: random.Random, patch: pytest.MonkeyPatch) -> None:
    def change(marks: Path) -> None:
        path = draw.choice(sorted(marks.iterdir()))
        path.write_bytes(damaged_bytes(path.read_bytes(), draw))

    in_marks(change)(patch)


def in_a_piece(draw: random.Random, patch: pytest.MonkeyPatch) -> None:
    change = partial(damaged_cells, seed=draw.getrandbits(32))
    in_pieces(draw.choice(TABLES), change)(patch)


def in_a_piece_by_network(draw: random.Random, patch: pytest.MonkeyPatch) -> None:
    change = partial(damaged_cells, seed=draw.getrandbits(32))
    in_frames(draw.choice(TABLES), of_cells(change))(patch)


def in_the_file(draw: random.Random, patch: pytest.MonkeyPatch) -> None:
    def change(data: bytearray, _: list[int]) -> None:
        data[:] = damaged_bytes(bytes(data), draw)

    in_file(change)(patch)


FAULTS: dict[str, list[Plant]] = {
    "broadcast": [in_customers, in_a_lookup, in_a_mark, in_the_file],
    "shuffle": [in_a_piece, in_a_piece_by_network, in_the_file],
}
