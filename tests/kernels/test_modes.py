"""Kernels also run as plain Python, and with bounds checked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import REPOSITORY

TESTED = [
    *("tests/kernels/test_machine.py", "tests/kernels/test_ids.py", "tests/kernels/test_text.py"),
    *("tests/kernels/test_scan.py", "tests/kernels/test_gather.py"),
    *("tests/kernels/test_numbers.py", "tests/kernels/test_sums.py"),
    *("tests/kernels/test_lines.py", "tests/kernels/test_moves.py"),
    *("tests/columns/test_keys.py", "tests/columns/test_id_index.py"),
]
SLOW = pytest.mark.slow("modes of kernels")

# Each reads or writes one element beyond an array.
OVERRUNS = """
import numpy as np
from pipeline.kernels.encodings import (
    find_invalid_utf8, find_undefined, recode_bytes, split_at_nuls
)
from pipeline.kernels.gather import (
    gather_fields, gather_ranges, join_fields, measure_columns
)
from pipeline.kernels.ids import enter_keys, find_ids, hash_ids, index_ids, trim_ids
from pipeline.kernels.jit import inner
from pipeline.kernels.lines import write_lines
from pipeline.kernels.machine import (
    copy, copy_short, equal_bits, high_bits, load_half, load_word
)
from pipeline.kernels.marks import count_lines_before, find_line_ends, mark_bytes
from pipeline.kernels.moves import move_texts, place_rows, sum_sizes
from pipeline.kernels.numbers import read_numbers, write_decimals
from pipeline.kernels.scan import find_record, scan_records
from pipeline.kernels.sums import count_by_code, sum_by_code, sum_joined, sum_pairs
from pipeline.kernels.text import sum_ranges

@inner
def copied(to, at, source, start, size):
    copy(to, at, source, start, size)

@inner
def copied_short(to, at, source, start, size):
    copy_short(to, at, source, start, size)

@inner
def masks(text, at):
    return equal_bits(text, at, 1), high_bits(text, at)

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
# The id of all bytes, and an entry of an index that says that it is in row 4, where there is one.
whole, entry = (inside[:1], inside[2:]), np.array([7, 9 << 48 | 5], np.uint64)

def some(size, kind=np.int64):
    return np.zeros(size, kind)

csv = np.frombuffer(b'1,2\\n"3",4\\n' + b"x" * 60, np.uint8)
bits = [some(2, np.uint64) for _ in range(4)]
mark_bytes(csv, some(64, np.uint8), 44, 34, -1, *bits, some(6))
stops, lines, quotes, needs = bits
signs, empty = (44, 34), some(0)
ends, faults = some(9, np.int32), some(16)
assert scan_records(csv, stops, lines, quotes, *signs, -1, 2, 99, empty, empty, ends, faults) == 2
plain, bounds, valid = some(99, np.uint8), some(3), some(1, np.uint8)
column = (csv, quotes, ends, 2, 2, 1, 34, -1, none)
rest = (csv, quotes, needs, ends, 2, 2, some(1), some(1) + 1, *signs, -1, none, 0)
places, codes, size = np.zeros(2, np.int8), np.zeros(2, np.int16), np.empty(1, np.int64)
rows, out, stops32 = np.array([0, 2]), np.empty(99, np.uint8), np.array([0, 8, 17], np.int32)

def write(ids=inside, rows=rows[:1], customers=inside, rests=inside, valid=none):
    write_lines(text, ids, rows, text, customers, text, rests, valid, 8, text, 0, out, size)

def joined(
    order=room, keys=hashes, traits=np.array([0, 2], np.int32), words=np.empty(4, np.int64),
    valid=none, sums=some(8, np.uint64), totals=some(2, np.uint64),
):
    sum_joined(np.array([0, 1]), order, keys, traits, words, valid, 7, sums, totals)

joined()
CALLS = [
    lambda: copied_short(np.zeros(20, np.uint8), 15, text, 0, 6),
    lambda: copied_short(np.zeros(20, np.uint8), 0, text, 12, 5),
    lambda: masks(csv, csv.size - 63),
    lambda: mark_bytes(csv, some(63, np.uint8), *signs, -1, *bits, some(6)),
    lambda: mark_bytes(csv, some(64, np.uint8), *signs, -1, *bits[:3], needs[:1], some(6)),
    lambda: scan_records(
        csv, stops[:0], lines, quotes, *signs, -1, 2, 99, empty, empty, ends, faults
    ),
    lambda: scan_records(
        csv, stops, lines, quotes, *signs, -1, 2, 99, empty, empty, ends[:5], faults
    ),
    lambda: scan_records(
        csv, stops, lines, quotes, *signs, -1, 2, 99, empty, empty, ends, faults[:5]
    ),
    lambda: find_record(csv, stops, lines[:1], quotes, *signs, -1, 99, csv.size, 1, ends),
    lambda: find_line_ends(csv, stops, lines[:1], quotes, bounds),
    lambda: count_lines_before(lines, some(1) + 999, bounds),
    lambda: measure_columns(ends, 4, 2, some(2)),
    lambda: measure_columns(ends, 2, 2, some(1)),
    lambda: gather_fields(*column, plain[:1], bounds, valid),
    lambda: gather_fields(*column, plain, bounds[:2], valid),
    lambda: gather_fields(*column, plain, bounds, valid[:0]),
    lambda: join_fields(*rest, plain[:7], bounds),
    lambda: join_fields(*rest, plain, bounds[:2]),
    lambda: gather_ranges(csv, some(1), some(1) + csv.size + 1, -1, plain, bounds),
    lambda: find_invalid_utf8(csv + np.uint8(128), lines, empty),
    lambda: find_undefined(csv + np.uint8(128), lines, some(8, np.uint8), empty),
    lambda: split_at_nuls(some(3, np.uint8), plain, bounds),
    lambda: recode_bytes(csv, some(2) + csv.size + 1 - np.array([1, 0]), none, plain, bounds),
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
    lambda: index_ids(hashes, text, edges[:1], edges[1:], np.zeros(4, np.uint64)),
    lambda: find_ids(entry[:1], text, *whole, text, *whole, entry, room[:1]),
    lambda: enter_keys(hashes, some(4, np.uint64), none),
    lambda: read_numbers(text, edges, none, 0, 46, 0, room, places),
    lambda: read_numbers(text, inside + 1, none, 0, 46, 0, room, places),
    lambda: read_numbers(text, inside, none, 0, 46, 0, room[:1], places),
    lambda: read_numbers(text, inside, text[:1], 7, 46, 0, room, places),
    lambda: write_decimals(room, places, 2, np.empty(3, np.int64), none),
    lambda: write_decimals(room[:1], places, 2, np.empty(4, np.int64), none),
    lambda: sum_by_code(room, none, 0, codes, np.zeros(4, np.int64)),
    lambda: sum_by_code(np.empty(4, np.int64), none, 0, codes + np.int16(1), np.zeros(7, np.int64)),
    lambda: joined(order=room[:1]),
    lambda: joined(keys=hashes[:1]),
    lambda: joined(traits=some(1, np.int32)),
    lambda: joined(words=room),
    lambda: joined(valid=text[:1]),
    lambda: joined(sums=some(7, np.uint64)),
    lambda: joined(totals=some(1, np.uint64)),
    lambda: count_by_code(none, 0, codes + np.int16(2), room),
    lambda: count_by_code(text[:1], 7, codes, room),
    lambda: sum_pairs(room[:1], hashes),
    lambda: sum_ranges(text, inside[:1], edges[2:]),
    lambda: sum_ranges(text, inside, edges[2:]),
    lambda: write(ids=edges[1:]),
    lambda: write(ids=inside[:1]),
    lambda: write(rows=rows[1:]),
    lambda: write(customers=edges[1:]),
    lambda: write(rests=edges[1:]),
    lambda: write(valid=text[:1]),
    lambda: place_rows(rows, np.zeros(2, np.int64), room, room),
    lambda: place_rows(rows, np.array([2, 2, 2]), room, room),
    lambda: sum_sizes(inside, rows, np.zeros(2, np.int64)),
    lambda: sum_sizes(inside[:2], rows, np.zeros(3, np.int64)),
    lambda: move_texts(text, edges, rows, rows // 2, np.zeros(3, np.int64), out, stops32),
    lambda: move_texts(text, inside, rows, rows // 2, np.zeros(3, np.int64), out[:7], stops32),
    lambda: move_texts(text, inside, rows, rows, np.zeros(3, np.int64), out, stops32),
]
for number, call in enumerate(CALLS):
    try:
        call()
    except IndexError:
        print("caught")
    else:
        print("missed", number)
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
    "mode", ["NUMBA_DISABLE_JIT", pytest.param("NUMBA_BOUNDSCHECK", marks=SLOW)]
)
def test_an_overrun_raises(mode: str, cache: Path) -> None:
    assert set(run(["-c", OVERRUNS], mode, cache).split()) == {"caught", "done"}
