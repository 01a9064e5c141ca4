"""Kernels also run as plain Python, and with bounds checked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import REPOSITORY

TESTED = [
    *("tests/kernels/test_machine.py", "tests/kernels/test_ids.py"),
    *("tests/columns/test_keys.py", "tests/columns/test_id_index.py"),
]
SLOW = pytest.mark.slow("modes of kernels")

# Each reads or writes one element beyond an array.
OVERRUNS = """
import numpy as np
from pipeline.kernels.ids import find_ids, hash_ids, index_ids, trim_ids
from pipeline.kernels.jit import inner
from pipeline.kernels.machine import copy, load_half, load_word

@inner
def copied(to, at, source, start, size):
    copy(to, at, source, start, size)

@inner
def words(text, at):
    return load_word(text, at)

@inner
def halves(text, at):
    return load_half(text, at)

text = np.arange(48, 64, dtype=np.uint8)  # digits and more
edges = np.array([0, 8, 17], np.int64)
room, hashes, seeds = np.empty(2, np.int64), np.empty(2, np.uint64), np.ones(4, np.uint64)
none, inside = np.empty(0, np.uint8), np.array([0, 8, 16], np.int64)
full = np.full(4, 2**64 - 1, np.uint64)

CALLS = [
    lambda: copied(text.copy(), 9, text, 0, 8),
    lambda: copied(text.copy(), 0, text, 9, 8),
    lambda: words(text, 9),
    lambda: halves(text, 13),
    lambda: trim_ids(text, edges, none, 0, room, room),
    lambda: trim_ids(text, inside, none, 0, np.empty(3, np.int64), np.empty(3, np.int64)),
    lambda: trim_ids(text, inside, np.empty(1, np.uint8), 7, room, room),
    lambda: hash_ids(text, edges[:-1], edges[1:], seeds, hashes),
    lambda: hash_ids(text, inside[:-1], inside[1:], seeds, hashes[:1]),
    lambda: hash_ids(text, inside[:-1], inside[1:], seeds[:3], hashes),
    lambda: index_ids(hashes, text, edges[:1], edges[1:], 2, np.zeros(4, np.uint64)),
    lambda: find_ids(
        full[:1], text, inside[:1], inside[1:2], text, inside[:1], inside[1:2], 2, full, room[:1]
    ),
]
for call in CALLS:
    try:
        call()
    except IndexError:
        print("caught")
    else:
        print("missed")
print("done")
"""


def run(arguments: list[str], mode: str, cache: Path) -> str:
    env = {**os.environ, "NUMBA_CACHE_DIR": str(cache), mode: "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is compiled with bounds checked."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    "mode", ["NUMBA_DISABLE_JIT", pytest.param("NUMBA_BOUNDSCHECK", marks=SLOW)]
)
def test_kernels_pass_their_tests(mode: str, cache: Path) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]

    printed = run(["-m", "pytest", *options, *TESTED], mode, cache)

    assert "passed" in printed
    assert "failed" not in printed


@pytest.mark.parametrize(
    "mode", [pytest.param("NUMBA_DISABLE_JIT", marks=SLOW), "NUMBA_BOUNDSCHECK"]
)
def test_an_overrun_raises(mode: str, cache: Path) -> None:
    assert set(run(["-c", OVERRUNS], mode, cache).split()) == {"caught", "done"}
