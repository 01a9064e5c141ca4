"""Threads of a process share what a run made first; runs that have ended are forgotten."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from pipeline.engine.shared import forget, shared


def test_threads_share_what_was_made_once() -> None:
    name, made = uuid4().hex, []

    def make() -> object:
        made.append(object())
        return made[-1]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: shared(name, make), range(100)))

    assert found == [made[0]] * 100


def test_what_many_others_came_after_is_made_anew() -> None:
    name = uuid4().hex
    first = shared(name, object)

    assert shared(name, object) is first
    for _ in range(300):
        shared(uuid4().hex, object)
    assert shared(name, object) is not first


class Closable:
    """Counts how often it is closed."""

    closed = 0

    def close(self) -> None:
        """Count."""
        self.closed += 1


def test_what_a_run_shared_is_closed_at_its_end() -> None:
    run, other = uuid4().hex, uuid4().hex
    ended = [shared((run, number), Closable) for number in range(3)]
    kept = shared((other, 0), Closable)

    forget(run)

    assert [one.closed for one in (*ended, kept)] == [1, 1, 1, 0]
    assert shared((other, 0), Closable) is kept


def test_a_task_that_outlives_its_run_leaves_nothing_behind() -> None:
    run = uuid4().hex
    forget(run)

    late = weakref.ref(shared((run, 0), Closable))

    assert late() is None


def test_what_is_forgotten_is_made_anew() -> None:
    first = shared("forgotten", object)

    forget("forgotten")
    forget("never made")

    assert shared("forgotten", object) is not first
