"""Compile all kernels, so that no run waits for it: python -m pipeline.kernels."""

from __future__ import annotations

import sys
import time

from pipeline.kernels.cache import cache_folder
from pipeline.kernels.jit import KERNELS, compile_all

begin = time.perf_counter()
compile_all()
compiled = sum(not kernel.was_cached for kernel in KERNELS)
taken, folder = time.perf_counter() - begin, cache_folder()
kept = f"kept in {folder}" if folder else "not kept: there is no safe, writable folder for them"
print(
    f"{compiled} of {len(KERNELS)} kernels compiled in {taken:.1f} s; they are {kept}",
    file=sys.stderr,
)
