"""Random single faults: one value of a dataframe changes, or two change places."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.columns.arrow import to_arrow, to_dictionary, to_number, to_text
from pipeline.engine.ledger import entry_of, with_totals

_faults: dict[int, Fault] = {}


def exchanged(values: list[Any], row: int, draw: random.Random) -> None:
    """Exchange a value with that of another row, which may be the same."""
    other = draw.randrange(len(values))
    values[row], values[other] = values[other], values[row]


def changed(value: Any, draw: random.Random) -> Any:
    """Return another value, or none in its place."""
    if isinstance(value, str) and value:
        place = draw.randrange(len(value))
        sign = draw.choice("0123456789xé")
        return draw.choice(
            [
                value[:place] + sign + value[place + 1 :],
                value[:place] + value[place + 1 :],
                value[:place] + value[place : place + 2][::-1] + value[place + 2 :],
                value + sign,
            ]
        )
    if isinstance(value, Decimal):
        return draw.choice([value + 1, -value, value.scaleb(-1).quantize(value), None])
    return "7" if value is None else value


def damaged(column: pd.Series, row: int, draw: random.Random) -> pd.Series:
    """Return a column with one value changed, or two exchanged."""
    exchange = draw.random() < 0.4
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = column.cat.codes.tolist()
        if exchange:
            exchanged(codes, row, draw)
        else:
            codes[row] = draw.randrange(len(column.cat.categories))
        return pd.Series(pd.Categorical.from_codes(codes, dtype=column.dtype))
    array = to_arrow(column) if not isinstance(column.dtype, np.dtype) else None
    if array is None or isinstance(array, pa.DictionaryArray):
        numbers = (column.to_numpy() if array is None else array.indices.to_numpy()).copy()
        other = draw.randrange(len(numbers))
        if exchange:
            numbers[[row, other]] = numbers[[other, row]]
        elif array is None:
            numbers[row] ^= numbers.dtype.type(1 << draw.randrange(40))
        else:
            numbers[row] = draw.randrange(len(array.dictionary))
        return pd.Series(numbers) if array is None else to_dictionary(numbers, array.dictionary)
    values = array.to_pylist()
    if exchange:
        exchanged(values, row, draw)
    else:
        values[row] = changed(values[row], draw)
        if values[row] == "7" and pa.types.is_decimal(array.type):
            values[row] = Decimal(7)
    found = pa.array(values, array.type)
    return to_text(found) if pa.types.is_large_string(array.type) else to_number(found)


class Fault:
    """Damages one value in one of the first calls of a function, and remembers where.

    A copy that travels through a cluster in this process is the same fault.
    """

    def __init__(
        self, function: Callable[..., pd.DataFrame], draw: random.Random, seed: int
    ) -> None:
        self._function, self._draw, self._seed = function, draw, seed
        self._left = draw.randrange(2)
        self._lock = Lock()
        self.where = ""
        _faults[seed] = self

    def __reduce__(self) -> tuple:
        return _fault, (self._seed,)

    def __call__(self, frame: pd.DataFrame, *args: Any) -> pd.DataFrame:
        """Call the function with its first argument damaged, if it is time."""
        with self._lock:
            if len(frame) and not self.where:
                if not self._left:
                    frame = self._damage(frame)
                self._left -= 1
        return self._function(frame, *args)

    def _damage(self, frame: pd.DataFrame) -> pd.DataFrame:
        name: str = self._draw.choice(list(frame))
        row = self._draw.randrange(len(frame))
        self.where = name
        wrong = damaged(frame[name], row, self._draw)
        return with_totals(frame.assign(**{name: wrong.array}), **entry_of(frame))


def _fault(seed: int) -> Fault:
    return _faults[seed]
