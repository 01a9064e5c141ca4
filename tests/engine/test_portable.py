"""What cannot be unpickled somewhere does no harm there."""

from __future__ import annotations

import pickle
import subprocess
import sys
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Reschedule
from support.processes import bare_python

from pipeline.engine.package import source_digest
from pipeline.engine.portable import OPEN_TASK, Portable


class Numbers(Portable):
    """An array."""

    def __init__(self, count: int) -> None:
        self.array = np.arange(count)


def test_it_arrives_with_its_arrays_out_of_band() -> None:
    buffers: list[Any] = []
    data = pickle.dumps(Numbers(10_000), 5, buffer_callback=buffers.append)

    assert len(data) < 2_000
    assert pickle.loads(data, buffers=buffers).array.tolist() == list(range(10_000))
    assert copy(Numbers(3)).array.tolist() == [0, 1, 2]


def opened(python: str, expression: str, *values: bytes) -> str:
    """Evaluate an expression of the pickled `values` in another Python."""
    script = f"import pickle, sys; values = pickle.load(sys.stdin.buffer); print({expression})"
    done = subprocess.run(
        [python, "-c", script], input=pickle.dumps(values), capture_output=True, check=True
    )
    return done.stdout.decode().strip()


def test_an_object_is_passed_on_where_its_class_is_missing() -> None:
    """Through two processes, and with what else is sent along."""
    data = pickle.dumps([Numbers(3), "kept"], 5)
    for _ in range(2):
        data = bytes.fromhex(
            opened(sys.executable, "pickle.dumps(pickle.loads(values[0]), 5).hex()", data)
        )

    numbers, kept = pickle.loads(data)
    assert (numbers.array.tolist(), kept) == ([0, 1, 2], "kept")


def test_a_process_compiles_the_source_once() -> None:
    assert pickle.loads(OPEN_TASK) is pickle.loads(OPEN_TASK)


def test_a_task_is_given_back_only_where_the_source_is_another(tmp_path: Path) -> None:
    open_task = pickle.loads(OPEN_TASK)
    unknown = pickle.dumps(Numbers).replace(b"Numbers", b"Nothing")

    fitness = pickle.dumps(None)
    assert open_task(pickle.dumps(Numbers), fitness, source_digest()) is Numbers
    with pytest.raises(AttributeError, match="Nothing"):
        open_task(unknown, fitness, source_digest())
    with pytest.raises(Reschedule):
        open_task(unknown, fitness, "0" * 64)

    bare = bare_python(tmp_path / "bare")
    call = "type(pickle.loads(values[0])).__name__"
    assert opened(bare, call, OPEN_TASK) == "function"
