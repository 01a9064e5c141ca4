"""Compile all kernels, so that no run waits for it: python -m pipeline.kernels."""

from __future__ import annotations

import sys
import time

from pipeline.kernels.cache import cache_folder
from pipeline.kernels.jit import KERNELS, compile_all

begin = time.perf_counter()
compile_all()
compiled = sum(not kernel.was_cached for kernel in KERNELS)
print(
    f"{compiled} of {len(KERNELS)} kernels compiled in {time.perf_counter() - begin:.1f} s; "
    f"they are kept in {cache_folder() or 'no folder: none can be written'}",
    file=sys.stderr,
)
