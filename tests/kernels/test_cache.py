"""Compiled kernels are kept where no other user can write, and used only if they are current."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.paths import REPOSITORY

FOLDER = "from pipeline.kernels.cache import cache_folder; print(cache_folder())"
COMPILE = """
import numpy as np
from pipeline.kernels.ids import hash_ids
found = np.empty(1, np.uint64)
edges, seeds = np.arange(2), np.arange(9, 13).astype(np.uint64)
hash_ids(np.frombuffer(b"7", np.uint8), edges[:1], edges[1:], seeds, found)
print(hash_ids.was_cached, found[0])
"""
IS_EMPTY = "from pipeline.kernels.cache import is_cache_empty; print(is_cache_empty())"
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))" + COMPILE


class Installed:
    """A copy of the package, as it is installed somewhere, and the environment of a user of it."""

    def __init__(self, folder: Path) -> None:
        self.package = folder / "site" / "pipeline"
        shutil.copytree(
            REPOSITORY / "pipeline", self.package, ignore=shutil.ignore_patterns("__pycache__")
        )
        self.beside = self.package / "kernels" / "__pycache__"
        self.home = folder / "home"
        self.temporary = folder / "tmp"
        for made in (self.home, self.temporary):
            made.mkdir()
        self.env = {
            **{name: os.environ[name] for name in ("PATH",) if name in os.environ},
            "PYTHONPATH": str(self.package.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
        }

    def close_to_writing(self) -> None:
        """Have nothing written beside the sources, as on a read-only file system."""
        self.beside.write_text("")

    def start(self, code: str, **env: str) -> subprocess.Popen[str]:
        """Start Python with this code, as this user."""
        return subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=self.home,
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, **env: str) -> str:
        """Return what this code prints."""
        return printed_by([self.start(code, **env)])[0]

    def folder(self, **env: str) -> Path:
        """Return the folder that the package uses."""
        return Path(self.run(FOLDER, **env))


def printed_by(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    printed = []
    for process in processes:
        out, error = process.communicate()
        assert (process.returncode, error) == (0, "")
        printed.append(out.strip())
    return printed


SLOW = pytest.mark.slow("caches")


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    # Not in pytest's own folder of the user, which any system may have made writable for others.
    return Installed(tmp_path_factory.mktemp("installed"))


def mode_of(folder: Path) -> int:
    return folder.stat().st_mode & 0o777


def test_kernels_are_kept_beside_the_sources(installed: Installed) -> None:
    assert installed.folder().parent == installed.beside


def test_a_named_folder_is_obeyed(installed: Installed, tmp_path: Path) -> None:
    folder = installed.folder(NUMBA_CACHE_DIR=str(tmp_path / "named"))

    assert folder.parent == tmp_path / "named"
    assert mode_of(folder) == 0o700


def test_the_cache_is_empty_until_a_kernel_is_compiled(installed: Installed) -> None:
    before = installed.run(IS_EMPTY)
    installed.run(COMPILE)
    after = installed.run(IS_EMPTY)

    assert (before, after) == ("True", "False")


def test_a_read_only_package_is_compiled_into_the_users_own_cache(installed: Installed) -> None:
    installed.close_to_writing()

    in_home = installed.folder()
    in_cache = installed.folder(XDG_CACHE_HOME=str(installed.home / "other"))
    with_relative_path = installed.folder(XDG_CACHE_HOME="other")

    assert in_home.parent == installed.home / ".cache" / "age-group-spending"
    assert in_cache.parent == installed.home / "other" / "age-group-spending"
    assert with_relative_path == in_home
    assert {mode_of(folder) for folder in (in_home, in_home.parent, in_cache)} == {0o700}


def test_a_missing_home_is_no_error(installed: Installed) -> None:
    installed.close_to_writing()

    folder = installed.folder(HOME="/nowhere")

    assert folder.parent == installed.temporary / f"age-group-spending-{os.geteuid()}"
    assert mode_of(folder) == 0o700
    assert not Path("/nowhere").exists()


@pytest.mark.parametrize("place", ["itself", pytest.param("parent", marks=SLOW)])
def test_a_folder_that_others_can_write_is_not_used(installed: Installed, place: str) -> None:
    installed.close_to_writing()
    folder = installed.folder(HOME="/nowhere")
    (folder if place == "itself" else folder.parent).chmod(0o777)

    assert installed.run(FOLDER, HOME="/nowhere") == "None"
    assert installed.run(COMPILE, HOME="/nowhere").startswith("False ")
    assert list(folder.iterdir()) == []


def test_a_link_to_a_folder_is_not_used(installed: Installed) -> None:
    installed.close_to_writing()
    folder = installed.folder(HOME="/nowhere")
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))

    assert installed.run(FOLDER, HOME="/nowhere") == "None"


def test_what_was_compiled_for_all_is_copied_for_a_user_who_cannot_write_there(
    installed: Installed,
) -> None:
    first = installed.run(COMPILE)
    beside = installed.folder()
    # Neither root nor the owner of the other files can write there, in the eyes of the package.
    os.chown(beside, 12345, -1) if os.geteuid() == 0 else beside.chmod(0o555)

    second, own = installed.run(COMPILE), installed.folder()

    assert (first.split()[0], second.split()[0]) == ("False", "True")
    assert own.parent == installed.home / ".cache" / "age-group-spending"
    assert mode_of(own) == 0o700
    assert [path.name for path in own.parent.iterdir()] == [own.name]


def test_an_edit_of_any_kernel_file_compiles_again(installed: Installed) -> None:
    """Here of a function in another file, which numba would miss."""
    first, again = installed.run(COMPILE), installed.run(COMPILE)
    source = installed.package / "kernels" / "machine.py"
    edited = source.read_text().replace("_multiply(first, second)", "_multiply(first, second + 2)")
    source.write_text(edited)

    after = installed.run(COMPILE)

    assert [one.split()[0] for one in (first, again, after)] == ["False", "True", "False"]
    assert first.split()[1] == again.split()[1] != after.split()[1]


def test_checked_bounds_have_a_cache_of_their_own(installed: Installed) -> None:
    assert installed.folder() != installed.folder(NUMBA_BOUNDSCHECK="1")


@pytest.mark.parametrize("suffix", [".nbi", pytest.param(".nbc", marks=SLOW)])
def test_a_damaged_cache_is_compiled_again(installed: Installed, suffix: str) -> None:
    installed.run(COMPILE)
    (file,) = installed.folder().glob(f"*{suffix}")
    file.write_bytes(file.read_bytes()[:-10])

    assert installed.run(COMPILE).startswith("False ")
    assert installed.run(COMPILE).startswith("True ")


@SLOW
def test_a_full_disk_is_no_error(installed: Installed) -> None:
    assert installed.run(LIMITED).startswith("False ")
    assert installed.run(COMPILE).startswith("False ")


@SLOW
def test_one_of_several_processes_compiles(installed: Installed) -> None:
    printed = printed_by([installed.start(COMPILE) for _ in range(3)])

    assert sorted(one.split()[0] for one in printed) == ["False", "True", "True"]
