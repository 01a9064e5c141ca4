"""Names of files and folders that are not valid UTF-8: the command reads, writes and shows them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import REPOSITORY

from pipeline.csv_text.files import shown
from pipeline.csv_text.messages import printable
from pipeline.outputs.names import COMBINED, FAILED, REJECTED, REPORT

CUSTOMERS, PURCHASES = os.fsdecode(b"kund\xe9.csv"), os.fsdecode(b"caf\xe9.csv")
LINES = "two\nlines\r\x1b[2J"
SALES, OUTPUTS = os.fsdecode(b"jos\xe9"), os.fsdecode(b"r\xe9sultat")
LOCALES = (
    {"LC_ALL": "C.UTF-8"},
    {"LC_ALL": "C"},
    # Python takes neither for UTF-8 then.
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)


SLOW = pytest.mark.slow("locales")


@pytest.fixture(
    params=[
        *(pytest.param(one, marks=pytest.mark.slow("locales")) for one in LOCALES[:2]),
        LOCALES[2],
    ],
    ids=["UTF-8", "C", "ASCII"],
)
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    return {**os.environ, **request.param}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with customers, and with a folder of purchases, one of which is no record."""
    data = REPOSITORY / "data"
    shutil.copy(data / "customers.csv", tmp_path / CUSTOMERS)
    (tmp_path / SALES).mkdir()
    (tmp_path / SALES / PURCHASES).write_bytes((data / "purchases.csv").read_bytes() + b"x,y\n")
    return tmp_path


def run(folder: Path, environment: dict[str, str], *options: str) -> tuple[int, str, str]:
    """Run the command; return its exit code, and its output and messages, which are valid UTF-8."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline", "--customers", CUSTOMERS, "--purchases", SALES),
            *("--output-dir", OUTPUTS, "--dashboard-address", "127.0.0.1:0", *options),
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=100,
    )
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


def test_any_name_is_read_written_and_shown(folder: Path, environment: dict[str, str]) -> None:
    code, _, said = run(folder, environment, "--max-rejected", "1")

    assert code == 0, said
    outputs = folder / OUTPUTS
    expected = REPOSITORY / "outputs" / COMBINED
    assert (outputs / COMBINED).read_bytes() == expected.read_bytes()
    assert (
        (outputs / REJECTED).read_text().splitlines()[1].startswith(r"jos\xe9/caf\xe9.csv,10002,")
    )
    report = json.loads((outputs / REPORT).read_text(encoding="utf-8"))
    assert report["settings"]["purchases"] == [r"jos\xe9"]
    assert report["inputs"]["customers"][0]["file"] == r"kund\xe9.csv"
    assert r"purchases: jos\xe9/caf\xe9.csv, 0.2 MB" in said
    assert rf"r\xe9sultat/{COMBINED}" in said


def test_an_error_shows_any_name(folder: Path, environment: dict[str, str]) -> None:
    code, out, said = run(folder, environment, "--max-rejected", "purchases=0")

    assert (code, out) == (1, "")
    error = said.splitlines()[-1].removeprefix("error: ")
    assert r"jos\xe9/caf\xe9.csv" in error
    failed = json.loads((folder / OUTPUTS / FAILED).read_text(encoding="utf-8"))
    assert failed["error"] == error


def test_a_name_of_two_lines_is_shown_on_one(folder: Path) -> None:
    for name, option in ((LINES, "--customers"), (f"no/{LINES}", "--output-dir")):
        (folder / "no").touch()
        code, out, said = run(folder, dict(os.environ), "--quiet", option, name)

        assert (code, out) == (2, "")
        assert r"two\nlines\r\x1b[2J" in said
        assert said.count("\n") == 1


def test_a_plan_shows_any_name(folder: Path, environment: dict[str, str]) -> None:
    code, out, said = run(folder, environment, "--dry-run")

    assert code == 0, said
    assert r"jos\xe9/caf\xe9.csv: 188,233 bytes" in out
    assert (
        r"outputs in r\xe9sultat: " in out or "outputs in r?sultat: " in out
    )  # click's, for ASCII


def test_the_printable_form_of_a_name() -> None:
    assert printable(os.fsdecode(b"caf\xe9 \xc3\xa9.csv")) == r"caf\xe9 é.csv"
    assert shown(os.fsdecode(os.fsencode(os.getcwd()) + b"/caf\xe9.csv")) == r"caf\xe9.csv"
    assert printable(f"{LINES}\u2028\x9b") == r"two\nlines\r\x1b[2J\u2028\x9b"
    assert shown(os.fsdecode(b"https://me:secret@host/caf\xe9.csv")) == r"https://host/caf\xe9.csv"
