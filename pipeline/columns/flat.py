"""Objects made of a few large arrays, to be sent from one process to another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

_WORD = 8  # bytes of an offset


class Flat:
    """An object whose attributes are arrays and small values, and perhaps others of this kind.

    Dask pickles it with buffers out of band, so its arrays are not copied. Only an array that
    arrives misaligned is copied, once; NumPy would copy it at every use. `sys.getsizeof` returns
    the size of all its arrays.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: _aligned(value) for name, value in state.items()})

    def __sizeof__(self) -> int:
        return sum(map(_size, self.__dict__.values()))


def _aligned(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.require(value, requirements="A")
    if isinstance(value, pd.Categorical):
        codes = np.require(value.codes, requirements="A")
        return pd.Categorical.from_codes(codes, dtype=value.dtype, validate=False)
    if isinstance(value, pa.LargeStringArray):
        valid, offsets, data = value.buffers()
        if offsets.address % _WORD != 0:
            offsets = pa.py_buffer(np.array(offsets))
            buffers = [valid, offsets, data]
            return pa.Array.from_buffers(value.type, len(value), buffers, offset=value.offset)
    return value


def _size(value: Any) -> int:
    if isinstance(value, np.ndarray | pd.Categorical | pa.Array):
        return int(value.nbytes)
    return value.__sizeof__() if isinstance(value, Flat) else 0
