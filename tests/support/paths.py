"""Where this repository lies."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# PYTHONPATH of a process that imports the package and `support`.
TESTS_PATH = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
