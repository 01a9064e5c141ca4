"""The README's examples run, and what it lists is what there is."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import command

README = Path("README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
RUNS = [
    line
    for language, text in BLOCKS
    if language == "sh"
    for line in text.splitlines()
    if line.startswith("python -m pipeline") and "://" not in line
]


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder that has the sample in data/, as a clone of this repository has."""
    (folder / "data").symlink_to(Path("data").absolute())
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("line", RUNS)
def test_a_command_of_the_readme_runs(line: str, tmp_path: Path) -> None:
    done = run(*shlex.split(line)[1:], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("--dry-run" in line) != (tmp_path / "outputs" / "run_report.json").exists()


def test_the_python_example_runs(tmp_path: Path) -> None:
    (example,) = (text for language, text in BLOCKS if language == "python")
    (tmp_path / "example.py").write_text(example)
    done = run("example.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Middle-aged" in done.stdout


def test_the_result_in_the_readme_is_that_of_the_sample(tmp_path: Path) -> None:
    done = run("-m", "pipeline", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"```\n{done.stdout}```\n" in README


def test_every_option_in_the_readme_exists() -> None:
    known = {name for option in command.params for name in option.opts}
    section = README[README.index("## Options") : README.index("## From Python")]
    named = set(re.findall(r"--[a-z][a-z-]+", section)) - {"--help"}
    assert named <= known
    assert len(named) > 10


def test_every_module_is_in_the_picture_of_the_architecture() -> None:
    listed = set(re.findall(r"^  (\w+\.py) ", README, re.MULTILINE))
    assert listed == {file.name for file in Path("pipeline").glob("*.py")} - {"_version.py"}
