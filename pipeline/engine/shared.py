"""State that the threads of one process share during a run."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

# A worker may live for many runs, some of them concurrent. Each run has a value for every file that
# is being unpacked, and a few others.
_KEPT = 256
_states = OrderedDict[Hashable, Any]()  # the last one used is at the end
_ended = deque[Hashable](maxlen=1_000)  # the last runs that were forgotten
_lock = Lock()


def shared(name: Hashable, make: Callable[[], T]) -> T:
    """Return what `make()` returned when this process first asked for `name`.

    `name` is a run, or a tuple that begins with one. The value may be lost, when the process ends
    or many other values come after it: the caller must not depend on it.
    """
    with _lock:
        if _run_of(name) in _ended:  # for a task that has outlived its run
            return make()
        if name not in _states:
            _states[name] = make()
        _states.move_to_end(name)
        while len(_states) > _KEPT:
            _states.popitem(last=False)
        state: T = _states[name]
        return state


def forget(run: Hashable) -> None:
    """Free what `shared` keeps for a run, and keep nothing more for it.

    Closes values that have a method `close`.
    """
    with _lock:
        _ended.append(run)
        freed = [_states.pop(name) for name in list(_states) if _run_of(name) == run]
    for state in freed:
        if hasattr(state, "close"):
            state.close()


def _run_of(name: Hashable) -> Hashable:
    return name[0] if isinstance(name, tuple) and name else name
