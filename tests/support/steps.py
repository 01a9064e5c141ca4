"""Act between the steps in which a process changes folders: fail one, die, remove a folder."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

CHANGES = ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync")


class Step(NamedTuple):
    """A change of a folder: its number from 0, what it is, the path if it names one."""

    number: int
    name: str
    path: str | None


Act = Callable[[Step], object]


@contextmanager
def acting_at_steps(act: Act) -> Iterator[None]:
    """Call `act` right before each change of a folder within the block.

    What `act` raises, the change seems to raise. No file system at hand fails at one chosen change
    of many: so these functions of `os` are wrapped.
    """
    kept = {name: getattr(os, name) for name in CHANGES}
    done = {**kept, "fsync": lambda _: None}  # no test sees what it does, and it takes long
    count = iter(range(1 << 30))

    def wrapped(name: str) -> Callable[..., Any]:
        def change(*args: Any, **options: Any) -> Any:
            path = None if isinstance(args[0], int) else os.fspath(args[0])
            act(Step(next(count), name, path))
            return done[name](*args, **options)

        return change

    for name in CHANGES:
        setattr(os, name, wrapped(name))
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(os, name, function)


def failing(at: Collection[int]) -> Act:
    """Return what fails as a broken disk does, at these steps."""

    def act(step: Step) -> None:
        if step.number in at:
            raise OSError(errno.EIO, os.strerror(errno.EIO), step.path)

    return act


def dying(at: int) -> Act:
    """Return what kills the process at a step."""

    def act(step: Step) -> None:
        if step.number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return act
