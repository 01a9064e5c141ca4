"""Inputs that are too large to be kept in the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.paths import REPOSITORY


def make_data(folder: Path, customers: int, purchases: int, odd: float = 0.0) -> None:
    """Write `customers.csv` and `purchases.csv` with so many records, some of them odd."""
    script = str(REPOSITORY / "scripts" / "generate_data.py")
    sizes = [f"--customers={customers}", f"--purchases={purchases}", f"--odd={odd}"]
    subprocess.run(
        [sys.executable, script, *sizes, "--to", str(folder)],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
