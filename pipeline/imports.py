"""Imports of Dask in less time, for a process that does one job."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import what is imported within the block without what only an interactive session needs.

    Dask writes its docstrings at import, from those of pandas and NumPy: a fifth of the time that
    its imports take. They are left out. What imports make lasts: to look for garbage in it, again
    and again, would take another tenth.
    """
    gc.disable()
    import dask.utils

    derived_from = dask.utils.derived_from
    dask.utils.derived_from = _without_docs
    try:
        yield
    finally:
        dask.utils.derived_from = derived_from
        gc.freeze()
        gc.enable()


def _without_docs(*_: Any, **__: Any) -> Callable[[Any], Any]:
    """Stand in for `dask.utils.derived_from`."""
    return lambda method: method
