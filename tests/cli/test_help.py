"""The help, and options that cannot be meant: neither waits for Dask."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pkgutil import resolve_name

import click
import pytest
from click.testing import CliRunner
from support.paths import REPOSITORY

from pipeline import __version__
from pipeline import errors as all_errors
from pipeline.cli import command as cli
from pipeline.cli.command import command
from pipeline.cli.options import OPTIONS as THEMES
from pipeline.errors import PipelineError
from pipeline.outputs.names import CHART, COMBINED, REPORT, SPENDING

OPTIONS = [param for param in command.params if isinstance(param, click.Option)]


def test_help_has_a_line_for_every_option() -> None:
    result = CliRunner().invoke(command, ["--help"], terminal_width=100)

    assert result.exit_code == 0
    for option in OPTIONS:
        assert option.help, f"{option.opts[0]} has no help text"
        assert option.opts[0] in result.output
    for name in (COMBINED, SPENDING, CHART, REPORT):
        assert name in result.output.replace("\n ", "")
    assert max(map(len, result.output.splitlines())) <= 100


def test_help_shows_the_options_by_theme() -> None:
    _, *sections = re.split(r"^(\S.*):$", help_text(), flags=re.MULTILINE)
    shown = dict(zip(sections[::2], sections[1::2], strict=True))

    assert list(shown) == list(THEMES)
    for theme, options in THEMES.items():
        named = re.findall(r"^  .*?(--[a-z-]+)", shown[theme], re.MULTILINE)
        of_every_command = ["--version", "--help"] if theme == "General" else []
        assert named == [option.opts[-1] for option in options] + of_every_command


def test_the_help_and_the_page_tell_every_exit_code() -> None:
    errors = (error for error in vars(all_errors).values() if isinstance(error, type))
    failures = {error.exit_code for error in errors if issubclass(error, PipelineError)}
    page = (REPOSITORY / "pipeline" / "README.md").read_text("utf-8")
    table = page[page.index("| exit code |") :].partition("\n\n")[0]

    for told in (
        re.findall(r"(?:^|  )  (\d+)  ", help_text(), re.MULTILINE),
        re.findall(r"^\| (\d+) \|", table, re.MULTILINE),
    ):
        assert set(map(int, told)) == {0, *failures, cli.FAULT, cli.INTERRUPTED}


def help_text() -> str:
    return CliRunner().invoke(command, ["--help"], terminal_width=100).output


def test_the_installed_command_is_this_one() -> None:
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    _, target = setup["options.entry_points"]["console_scripts"].split(" = ")

    assert resolve_name(target) is cli.main


@pytest.mark.parametrize("options", [["--help"], ["-h"], ["--version"], ["--join", "merge"]])
def test_help_and_wrong_options_wait_for_no_heavy_import(options: list[str]) -> None:
    script = (
        "import atexit, sys\n"
        "from pipeline.cli.command import main\n"
        "def tell():\n"
        "    heavy = {'dask', 'distributed', 'pandas', 'numpy', 'pyarrow', 'matplotlib'}\n"
        "    print('imported:', sorted(heavy & set(sys.modules)))\n"
        "atexit.register(tell)\n"
        "main()\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script, *options], capture_output=True, text=True, check=False
    )

    assert ended.stdout.splitlines()[-1] == "imported: []"
    assert ended.returncode == (2 if "--join" in options else 0)


def test_version() -> None:
    result = CliRunner().invoke(command, ["--version"])

    assert result.output == f"age-group-spending, version {__version__}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--age-groups", "Young"],
            "age groups 'Young': 'Young' is not LABEL=AGE; "
            "write them youngest first, such as Young=18,Middle-aged=30",
        ),
        (
            ["--age-groups", "Old=45,Young=18"],
            "age groups 'Old=45,Young=18': the ages do not increase from group to group; "
            "write them youngest first, such as Young=18,Middle-aged=30",
        ),
        (
            ["--block-size", "much"],
            "--block-size: 'much' is not a size; write it as 8MiB, 500MB or 2GiB",
        ),
        (
            ["--memory-limit", "much"],
            "--memory-limit: 'much' is not a size; write it as 8MiB, 500MB or 2GiB",
        ),
        (["--block-size", "1kB"], "the block size must be at least 1 KiB, not 1000 bytes"),
        (["--workers", "0"], "--workers and --threads-per-worker must be at least 1"),
        (
            ["--age-column", "customer_id"],
            "two columns have the same name; id, first name, last name and age must differ, "
            "and so must id and amount",
        ),
    ],
)
def test_options_that_cannot_be_meant(options: list[str], message: str) -> None:
    error = CliRunner().invoke(command, options).exception

    assert isinstance(error, PipelineError)
    assert (str(error), error.exit_code) == (message, 2)
