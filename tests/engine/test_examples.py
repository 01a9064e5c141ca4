"""What the README of the engine says of Dask is still so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import REPOSITORY

TEXT = (REPOSITORY / "pipeline" / "engine" / "README.md").read_text("utf-8")
EXAMPLE = re.compile(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.DOTALL | re.M
)
EXAMPLES = {title: (code, output) for title, code, output in EXAMPLE.findall(TEXT)}


def test_each_section_has_an_example() -> None:
    assert list(EXAMPLES) == re.findall(r"^## (.+)$", TEXT, re.M)


@pytest.mark.slow("examples of Dask")
@pytest.mark.parametrize("title", EXAMPLES)
def test_dask_still_does_it(title: str, tmp_path: Path) -> None:
    code, output = EXAMPLES[title]
    (tmp_path / "example.py").write_text(code)

    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.stdout == output, f"'{title}' can go, and what it works around:\n{done.stderr}"


@pytest.mark.parametrize("title", EXAMPLES)
def test_what_is_done_instead_is_there(title: str) -> None:
    section = TEXT[TEXT.index(f"## {title}\n") :]
    here = section[section.index("- **Here**") : section.index("- **Proposal**")]
    folder = REPOSITORY / "pipeline" / "engine"
    code = "".join((folder / file).read_text() for file in re.findall(r"\]\(([^)]+)\)", here))
    names = set(re.findall(r"`(\w+)\b", here))
    assert names
    assert names <= set(re.findall(r"\w+", code))
