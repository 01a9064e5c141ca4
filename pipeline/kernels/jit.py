"""Compiles kernels: all settings of numba are here.

A kernel is a function of arrays and integers whose parameters are annotated with the types below.
It is compiled for these types alone, when it is first called or by `compile_all`, and releases the
interpreter's lock. An argument of another type raises TypeError; it is not compiled again.

With NUMBA_DISABLE_JIT=1, kernels run as plain Python; with NUMBA_BOUNDSCHECK=1, an index out of
bounds raises IndexError instead of crashing. The tests run kernels in both of these ways, too.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from contextlib import closing
from functools import update_wrapper, wraps
from threading import Lock
from typing import Annotated, Any, get_type_hints

import numba
import numpy as np
from numba import config, types

from pipeline.kernels.cache import KernelCache, cache_folder


def _array(dtype: Any, *, is_input: bool) -> Any:
    # Arrow's buffers are read-only, and those received from another process may be unaligned.
    return types.Array(dtype, 1, "C", readonly=is_input, aligned=not is_input)


# Arrays that a kernel reads, which may be read-only, and those that it fills; all are contiguous.
Bytes = Annotated[np.ndarray, _array(types.uint8, is_input=True)]
Int8s = Annotated[np.ndarray, _array(types.int8, is_input=True)]
Int16s = Annotated[np.ndarray, _array(types.int16, is_input=True)]
Int32s = Annotated[np.ndarray, _array(types.int32, is_input=True)]
Int64s = Annotated[np.ndarray, _array(types.int64, is_input=True)]
UInt64s = Annotated[np.ndarray, _array(types.uint64, is_input=True)]
BytesOut = Annotated[np.ndarray, _array(types.uint8, is_input=False)]
Int8sOut = Annotated[np.ndarray, _array(types.int8, is_input=False)]
Int32sOut = Annotated[np.ndarray, _array(types.int32, is_input=False)]
Int64sOut = Annotated[np.ndarray, _array(types.int64, is_input=False)]
UInt64sOut = Annotated[np.ndarray, _array(types.uint64, is_input=False)]
Int64 = Annotated[int, types.int64]
UInt64 = Annotated[int, types.uint64]

_SETTINGS = {"nogil": True, "error_model": "numpy", "fastmath": False, "_nrt": False}

KERNELS: list[Kernel] = []


class Kernel:
    """A compiled function; see `kernel`."""

    __name__: str

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self._function = function
        self._compiled: Callable[..., Any] | None = None
        self._lock = Lock()
        self.was_cached: bool | None = None  # None: not compiled yet
        KERNELS.append(self)

    def __call__(self, *args: Any) -> Any:
        """Run it; its docstring is that of the function."""
        return (self._compiled or self.compile())(*args)

    def __reduce__(self) -> str:
        return self.__name__  # its name in its module

    def compile(self) -> Callable[..., Any]:
        """Return the compiled function, from the cache if it is there."""
        with self._lock:
            if self._compiled is None:
                self._compiled = self._interpreted() if config.DISABLE_JIT else self._machine_code()
            return self._compiled

    def _machine_code(self) -> Callable[..., Any]:
        compiled = numba.njit(**_SETTINGS)(self._function)
        folder = cache_folder()
        if folder is None:
            compiled.compile(self._signature())
        else:
            with closing(KernelCache(self._function)) as compiled._cache:
                compiled.compile(self._signature())
        compiled.disable_compile()
        self.was_cached = bool(compiled.stats.cache_hits)
        return compiled

    def _signature(self) -> Any:
        hints = get_type_hints(self._function, include_extras=True)
        result = hints.pop("return")
        (numba_result,) = getattr(result, "__metadata__", (types.void,))
        return numba_result(*(hint.__metadata__[0] for hint in hints.values()))

    def _interpreted(self) -> Callable[..., Any]:
        function = self._function

        @wraps(function)
        def call(*args: Any) -> Any:
            with np.errstate(over="ignore"):  # hashes wrap around
                return function(*args)

        return call


def kernel(function: Callable[..., Any]) -> Kernel:
    """Turn a module-level function into a kernel: Python code calls it, other kernels do not."""
    return Kernel(function)


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that kernels call; it is inlined."""
    compiled: Callable[..., Any] = numba.njit(**_SETTINGS, forceinline=True)(function)
    return compiled


def rare(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that kernels seldom call; inlined, it would slow them down."""
    compiled: Callable[..., Any] = numba.njit(**_SETTINGS)(function)
    return compiled


def compile_all() -> None:
    """Compile all kernels of the package that are not in the cache, and load the others."""
    package = sys.modules[__package__]
    for module in pkgutil.iter_modules(package.__path__):
        if module.name != "__main__":
            importlib.import_module(f"{package.__name__}.{module.name}")
    for one in KERNELS:
        one.compile()
