"""Code that goes to other machines by value, because they may lack this package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cloudpickle


@contextmanager
def by_value(module: str) -> Iterator[None]:
    """Pickle the functions and classes of a module by value within the block, not by name."""
    cloudpickle.register_pickle_by_value(sys.modules[module])
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[module])
