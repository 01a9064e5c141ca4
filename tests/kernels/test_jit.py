"""A kernel is compiled once, for the types it names; set-up compiles all that a run needs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from support.paths import REPOSITORY

from pipeline.kernels.ids import hash_ids
from pipeline.kernels.jit import KERNELS

TEXT = np.frombuffer(b"778", np.uint8)
BEGIN, END = np.array([0, 1], np.int64), np.array([1, 3], np.int64)
SEEDS = np.array([1 << 40, 3 << 50, 5 << 30, 7 << 20], np.uint64)

# A broadcast, a shuffle, and a lookup that came at odd addresses, in one process.
RUNS = """
import pickle, sys
from pathlib import Path
from distributed import Client
from pipeline import Settings, run
from pipeline.engine.cluster import connect
from pipeline.kernels.jit import KERNELS
from pipeline.settings import ClusterSettings
from pipeline.steps.lookup import Lookup

def received(lookup):
    buffers = []
    sent = pickle.dumps(lookup, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(sent, buffers=[memoryview(b"x" + b.raw().tobytes())[1:] for b in buffers])

rows = Lookup.rows
Lookup.rows = lambda lookup, ids: rows(received(lookup), ids)
with connect(ClusterSettings(threads_per_worker=2, dashboard_address="127.0.0.1:0")) as client:
    for how in ("broadcast", "shuffle"):
        data = {name: (f"data/{name}.csv",) for name in ("customers", "purchases")}
        run(Settings(**data, output_dir=f"{sys.argv[1]}/{how}", join=how, fsync=False), client)
print({kernel.was_cached for kernel in KERNELS})
"""


def hashed(text: np.ndarray, begin: np.ndarray, end: np.ndarray) -> list[int]:
    found = np.empty(2, np.uint64)
    hash_ids(text, begin, end, SEEDS, found)
    return found.tolist()


def at_an_odd_address(array: np.ndarray) -> np.ndarray:
    data = np.frombuffer(b"x" + array.tobytes(), np.uint8)[1:]
    return np.ndarray(array.shape, array.dtype, data)


def test_arrays_may_be_read_only_and_anywhere_in_memory() -> None:
    expected = hashed(TEXT, BEGIN, END)

    assert not TEXT.flags.writeable
    assert hashed(TEXT.copy(), BEGIN, END) == expected
    assert hashed(TEXT, at_an_odd_address(BEGIN), at_an_odd_address(END)) == expected


@pytest.mark.parametrize(
    "begin", [BEGIN.astype(np.int32), BEGIN.astype(float), np.array([0, 9, 1, 9])[::2], BEGIN[None]]
)
def test_an_array_of_another_type_is_an_error(begin: np.ndarray) -> None:
    with pytest.raises(TypeError):
        hashed(TEXT, begin, END)


def test_a_result_cannot_be_written_into_a_read_only_array() -> None:
    with pytest.raises(TypeError):
        hash_ids(TEXT, BEGIN, END, SEEDS, np.frombuffer(bytes(16), np.uint64))


def test_a_kernel_is_pickled_by_its_name() -> None:
    for module in (pickle, cloudpickle):
        assert module.loads(module.dumps(hash_ids)) is hash_ids


def test_threads_compile_a_kernel_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        compiled = {id(one) for one in pool.map(lambda _: hash_ids.compile(), range(32))}

    assert len(compiled) == 1


def run_python(arguments: list[str], cache: Path) -> str:
    env = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.cluster
@pytest.mark.slow("compiling")
def test_nothing_is_compiled_after_set_up(tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    first = run_python(["-m", "pipeline.kernels"], cache)
    second = run_python(["-m", "pipeline.kernels"], cache)
    runs = run_python(["-c", RUNS, str(tmp_path)], cache)

    count = first.split()[0]
    assert int(count) >= len(KERNELS)
    assert first.startswith(f"{count} of {count} kernels compiled in ")
    assert second.startswith(f"0 of {count} kernels compiled in ")
    were_cached = runs.splitlines()[-1]  # None: these runs did not need it
    assert "True" in were_cached
    assert "False" not in were_cached


def test_the_help_does_not_wait_for_numba() -> None:
    code = "import pipeline.cli.command, sys; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
