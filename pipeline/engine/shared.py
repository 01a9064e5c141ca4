"""State that the threads of one process share during a run."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

# A worker may live for many runs, some of them concurrent; ended runs are forgotten.
_KEPT = 8
_states: dict[str, OrderedDict[Hashable, Any]] = {}  # by kind
_ended = deque[Hashable](maxlen=1_000)  # the runs that were forgotten last
_lock = Lock()


def shared(name: Hashable, make: Callable[[], T], *, kind: str = "", kept: int = _KEPT) -> T:
    """Return what `make()` returned when this process first asked for `name`.

    Of each `kind`, the `kept` values that were last asked for are kept. The value may be lost (the
    process ends, or other runs came between): the calling code must be correct without it.
    """
    with _lock:
        if _run_of(name) in _ended:  # for a task that has outlived its run
            return make()
        states = _states.setdefault(kind, OrderedDict())
        if name not in states:
            states[name] = make()
        states.move_to_end(name)
        while len(states) > kept:
            states.popitem(last=False)
        state: T = states[name]
        return state


def forget(run: Hashable, kind: str) -> None:
    """Free what `shared` keeps for a run: under that name, or a tuple that begins with it.

    Values that have a method `close` are closed. Nothing is kept for that run from then on.
    """
    with _lock:
        _ended.append(run)
        states = _states.setdefault(kind, OrderedDict())
        freed = [states.pop(name) for name in list(states) if _run_of(name) == run]
    for state in freed:
        if hasattr(state, "close"):
            state.close()


def _run_of(name: Hashable) -> Hashable:
    return name[0] if isinstance(name, tuple) and name else name
