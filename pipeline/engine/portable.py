"""Objects and tasks that any process can receive, even one without this package.

Dask unpickles what a task needs in the streams between processes. An object that cannot be
unpickled there stops the worker for good (dask/distributed#6705), whoever else uses it.
"""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable
from functools import cache, partial
from inspect import getsource
from typing import Any


class Portable:
    """An object that stays pickled where its class cannot be imported, and can be passed on there.

    Its arrays travel out of band, without a copy. Slots are not supported.
    """

    def __reduce_ex__(self, protocol: Any) -> Any:
        if protocol < 5:  # a copy within this process
            return super().__reduce_ex__(protocol)
        buffers: list[pickle.PickleBuffer] = []
        made = partial(_restore, type(self), self.__dict__)
        data = pickle.dumps(made, protocol, buffer_callback=buffers.append)
        return operator.call, (_OPEN_OBJECT, data, buffers)


def _restore(kind: type, state: dict[str, Any]) -> Any:
    made: Any = object.__new__(kind)
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
    else:
        made.__dict__.update(state)
    return made


def open_object(data: bytes, buffers: list[Any]) -> Any:
    """Return the object that was pickled; if it cannot be unpickled here, one to pass on.

    This function travels as its source, which it finds in the global name `source`.
    """
    import operator
    import pickle

    try:
        return pickle.loads(data, buffers=buffers)()
    except Exception:  # whatever differs there
        text = globals()["source"]

    class Opener:
        def __reduce__(self) -> tuple[Any, ...]:
            names = {"source": text, "names": {"source": text}}
            return eval, ("exec(source, names) or names['open_object']", names)

    class Sealed:
        def __reduce__(self) -> tuple[Any, ...]:
            return operator.call, (Opener(), data, [pickle.PickleBuffer(one) for one in buffers])

        def __sizeof__(self) -> int:
            return len(data) + sum(memoryview(one).nbytes for one in buffers)

    return Sealed()


def open_task(data: bytes, fitness: bytes, source: str) -> Any:
    """Unpickle and return a task; in a process that cannot run it, give it back to Dask.

    Such a process is not fit (`fitness` is a pickled `Fitness` or None), or has a different
    `source`, so that it cannot unpickle the task. This function travels as its source.
    """
    import pickle
    import time

    from distributed import Reschedule

    try:
        task, required = pickle.loads(data), pickle.loads(fitness)
        is_fit = required is None or required.fault() is None
    except Exception:
        try:
            from pipeline.engine.package import source_digest

            is_same = source_digest() == source
        except Exception:
            is_same = False
        if is_same:
            raise
        is_fit = False
    if is_fit:
        return task
    time.sleep(0.2)  # an idle worker may get the same task back at once
    raise Reschedule


@cache
def function_of(source: str, name: str) -> Any:
    """Return the function of that name, made from its source, which is one of its globals."""
    names = {"source": source}
    exec(source, names)
    return names[name]


class _AsSource:
    """A function that travels as its source, and needs only what it imports itself.

    Bytecode would not do: another version of Python may crash on it. A process that has this module
    compiles each source once, as that takes longer than everything else in opening an object.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.source = f"from __future__ import annotations\n{getsource(function)}"
        self.name = function.__name__

    def __reduce__(self) -> tuple[Any, ...]:
        names = {"source": self.source, "name": self.name, "names": {"source": self.source}}
        return eval, (_FUNCTION, names)


_FUNCTION = f"""getattr(
    __import__("sys").modules.get("{__name__}"),
    "{function_of.__name__}",
    lambda *_: exec(source, names) or names[name],
)(source, name)"""
_OPEN_OBJECT = _AsSource(open_object)
OPEN_TASK = pickle.dumps(_AsSource(open_task))
