"""State that the threads of one process share during a run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

# A worker may live for many runs, some of them concurrent; ended runs are forgotten.
_KEPT = 8
_states: dict[str, OrderedDict[Hashable, Any]] = {}  # by kind
_lock = Lock()


def shared(name: Hashable, make: Callable[[], T], *, kind: str = "", kept: int = _KEPT) -> T:
    """Return what `make()` returned when this process first asked for `name`.

    Of each `kind`, the `kept` values that were last asked for are kept. The value may be lost (the
    process ends, or other runs came between): the calling code must be correct without it.
    """
    with _lock:
        states = _states.setdefault(kind, OrderedDict())
        if name not in states:
            states[name] = make()
        states.move_to_end(name)
        while len(states) > kept:
            states.popitem(last=False)
        state: T = states[name]
        return state


def forget(name: Hashable, kind: str) -> None:
    """Free what `shared` keeps under this name."""
    with _lock:
        _states.setdefault(kind, OrderedDict()).pop(name, None)
