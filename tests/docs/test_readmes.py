"""The READMEs: examples run, links resolve, and what they name is there."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.cases import CASES
from support.paths import REPOSITORY
from support.warm import run_command

from pipeline.cli.command import command

READMES = {
    str(path.relative_to(REPOSITORY)): path.read_text("utf-8")
    for path in sorted(REPOSITORY.rglob("README.md"))
    if not any(part.startswith(".") for part in path.relative_to(REPOSITORY).parts)
}
FRONT = READMES["README.md"]
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)

# What stands before the options of the job.
OF_THE_JOB = ("python -m pipeline", "scripts/run", "docker compose run --rm job")
ELSEWHERE = ("://", "/shared")


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks in one language."""
    return [code for name, code in BLOCK.findall(text) if name == language]


def commands(text: str) -> Iterator[str]:
    """Yield the commands in blocks of shell, each on one line."""
    for code in blocks(text, "sh"):
        yield from re.sub(r" *\\\n *", " ", code).splitlines()


def spans(text: str) -> list[str]:
    """Return what stands in backticks, each on one line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", BLOCK.sub("", text))]


def options_of_the_job(line: str) -> list[str] | None:
    """Return the words behind the job's name, or None: the line starts something else."""
    for start in OF_THE_JOB:
        if line == start or line.startswith(f"{start} "):
            return shlex.split(line[len(start) :], comments=True)
    return None


RUNS = sorted(
    {
        shlex.join(options)
        for text in READMES.values()
        for line in commands(text)
        if (options := options_of_the_job(line)) is not None
        and not any(word in line for word in ELSEWHERE)
    }
)


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder that has the sample in data/, as a clone of this repository has."""
    (folder / "data").symlink_to(REPOSITORY / "data")
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("options", RUNS)
def test_an_example_runs(options: str, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    done = run_command(tmp_path, *shlex.split(options))
    assert done.returncode == 0, done.stderr
    assert ("--dry-run" in options) != (tmp_path / "outputs" / "run_report.json").exists()
    if not options:
        assert f"```\n{done.stdout}```\n" in FRONT


def test_there_are_examples() -> None:
    assert "" in RUNS
    assert len(RUNS) >= 4


@pytest.mark.slow("more workers")
def test_the_python_example_runs(tmp_path: Path) -> None:
    (example,) = blocks(READMES["pipeline/README.md"], "python")
    (tmp_path / "example.py").write_text(example)
    done = run("example.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Middle-aged" in done.stdout


def test_the_front_page_is_short() -> None:
    assert len(FRONT.split()) <= 1300


def headings(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    found = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in found}


@pytest.mark.parametrize("name", READMES)
def test_every_link_leads_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", READMES[name]))
    for target in targets:
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (REPOSITORY / name).parent / file if file else REPOSITORY / name
        assert path.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in headings(path.read_text("utf-8")), f"{name}: {target}"


def test_every_readme_is_linked() -> None:
    linked = {
        str(((REPOSITORY / name).parent / target).resolve().relative_to(REPOSITORY))
        for name, text in READMES.items()
        for target in re.findall(r"\]\(([^)\s#:]+README\.md)", text)
    }
    assert linked >= set(READMES) - {"README.md"}


def options_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the options that are named, each with what it is an option of: a path, or ''."""
    for line in [*commands(text), *spans(text)]:
        words = line.split()
        if options_of_the_job(line) is not None:
            of, rest = "pipeline", options_of_the_job(line) or []
        elif words and words[0].startswith("scripts/"):
            of, rest = words[0], words[1:]
        elif words and words[0].startswith("--"):
            of, rest = "", words
        else:  # of a program that is not ours
            continue
        yield from ((of, word) for word in rest if re.fullmatch(r"--[a-z][a-z-]*", word))


def known_options(of: str) -> set[str]:
    """Return the options of the job or of a script; of all of them where it is not said whose."""
    if of == "pipeline":
        return {name for option in command.params for name in option.opts} | {"--help"}
    if not of:
        scripts = [path for path in (REPOSITORY / "scripts").iterdir() if path.suffix == ""]
        every = [f"scripts/{path.name}" for path in scripts if path.is_file()]
        return set().union(*map(known_options, ["pipeline", *every]))
    source = REPOSITORY / of
    text = source.read_text("utf-8")
    # A script of shell starts one of Python, which has the options.
    for python in re.findall(r"[\w/]+\.py", text):
        if (REPOSITORY / python).exists():
            text += (REPOSITORY / python).read_text("utf-8")
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


@pytest.mark.parametrize("name", READMES)
def test_every_option_exists(name: str) -> None:
    for of, option in options_in(READMES[name]):
        assert option in known_options(of), f"{name}: {option} of {of or 'anything here'}"


def test_options_are_found() -> None:
    assert len({option for _, option in options_in(FRONT)}) > 10


def test_every_package_is_described() -> None:
    packages = {path.parent.name for path in (REPOSITORY / "pipeline").glob("*/__init__.py")}
    hierarchy = next(code for code in blocks(FRONT, "") if code.startswith("pipeline/"))
    inside = hierarchy[: hierarchy.index("\ntests/")]
    assert set(re.findall(r"^  (\w+)/", inside, re.MULTILINE)) == packages
    assert (
        set(re.findall(r"^\| \[(\w+)\]", READMES["pipeline/README.md"], re.MULTILINE)) == packages
    )
    for folder in re.findall(r"^(\w+)/", hierarchy, re.MULTILINE):
        assert (REPOSITORY / folder).is_dir()


def test_every_module_is_in_the_table_of_its_room() -> None:
    _, *tables = re.split(r"^\| in \[(\w+)\]", READMES["pipeline/README.md"], flags=re.MULTILINE)
    for room, table in zip(tables[::2], tables[1::2], strict=True):
        files = {path.name for path in (REPOSITORY / "pipeline" / room).glob("[!_]*.py")}
        named = re.findall(r"`(\w+\.py)`", table.partition("\n\n")[0])
        assert sorted(name for name in named if name[0] != "_") == sorted(files), room


def test_the_front_pages_figures_are_those_of_the_benchmark() -> None:
    table = FRONT[FRONT.index("## How fast it is") : FRONT.index("## Approach")]
    figures = re.findall(r"\d+\.\d+ (?:s|GB)\b", table)
    assert len(figures) >= 10
    assert set(figures) <= set(
        re.findall(r"\d+\.\d+ (?:s|GB)\b", READMES["scripts/bench/README.md"])
    )


def test_the_files_for_other_clusters_are_well_formed() -> None:
    folder = REPOSITORY / "scripts" / "cluster"
    for path in folder.glob("*.py"):
        ast.parse(path.read_text("utf-8"))
    assert set(yaml.safe_load((folder / "values.yaml").read_text())) >= {"scheduler", "worker"}


def test_the_number_of_cases_is_that_of_the_table() -> None:
    assert f"[{len(CASES)} cases](support/cases.py)" in READMES["tests/README.md"]
