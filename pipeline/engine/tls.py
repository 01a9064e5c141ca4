"""Keeps one broken TLS connection from breaking others.

OpenSSL keeps a thread's errors in a queue that must be empty before each call. Python does not
empty it (https://github.com/python/cpython/issues/148594). So after one connection breaks, the next
read of a healthy one fails with "Broken pipe", and a process that loses the scheduler this way
ends. This was seen while clusters started with Python 3.13, and never with 3.11.

This module is a Dask preload for schedulers and workers; the job calls `keep_apart`.
"""

from __future__ import annotations

import _ssl
import ctypes
import ssl
from collections.abc import Callable
from functools import cache, wraps
from typing import Any


@cache
def keep_apart() -> None:
    """Empty OpenSSL's error queue before each of this process's calls that reads or writes."""
    library = ctypes.PyDLL(getattr(_ssl, "__file__", None))
    try:
        clear = library.ERR_clear_error
    except AttributeError:  # Python's OpenSSL does not export its functions
        return
    for name in ("do_handshake", "recv_into", "send"):  # what Tornado calls
        setattr(ssl.SSLSocket, name, _clear_first(getattr(ssl.SSLSocket, name), clear))


def _clear_first(method: Callable[..., Any], clear: Callable[[], Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **options: Any) -> Any:
        clear()
        return method(*args, **options)

    return call


def dask_setup(_: object) -> None:
    """Call `keep_apart` in a process that Dask starts with this module as its preload."""
    keep_apart()
