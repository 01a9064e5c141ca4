"""Killed, interrupted, without room: the outputs are those of the run before, or of this one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytest
from distributed import Client
from support.disks import mounted
from support.driver import Driver
from support.paths import REPOSITORY
from support.processes import INTERRUPTIBLE, wait_until
from support.scale import scaled
from support.warm import run_command

from pipeline.errors import StorageError
from pipeline.job import run
from pipeline.outputs.names import COMBINED, FAILED, OUTPUTS, REJECTED, REPORT
from pipeline.settings import Settings
from pipeline.steps.chart import draw_chart

KILLS = scaled("kills at any moment", 6, 20)


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two sets of inputs with different results; only the first has a bad record."""
    folders = {}
    for word, price, bad in (("old", "1.00", "1,bad\n"), ("new", "2.00", "")):
        folder = tmp_path_factory.mktemp(word)
        (folder / "customers.csv").write_text(
            "customer_id,first_name,last_name,age\n"
            + "".join(f"{number},{word},Name,{number % 90}\n" for number in range(100))
        )
        (folder / "purchases.csv").write_text(
            "customer_id,product,price\n"
            + bad
            + "".join(f"{number % 120},{word},{price}\n" for number in range(1000))
        )
        folders[word] = folder
    return folders


@pytest.fixture(scope="module")
def finished(
    driver: Driver, inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The outputs of an undisturbed run on each of the inputs."""
    folders = {word: tmp_path_factory.mktemp(f"{word}-outputs") for word in inputs}
    for word, folder in folders.items():
        assert driver.run(folder, inputs[word]) == 0
    assert (folders["old"] / REJECTED).exists()
    assert not (folders["new"] / REJECTED).exists()
    return folders


def state(folder: Path) -> dict[str, str]:
    """Return what the outputs of a run hold, but for what the time changes."""
    found = {}
    for name in OUTPUTS:
        path = folder / name
        if path.exists():
            found[name] = path.read_bytes().hex()
    if REPORT in found:
        report = json.loads((folder / REPORT).read_text())
        assert report["status"] == "complete"
        found[REPORT] = json.dumps([report["totals"], report["checks"]])
    return found


def as_before(folder: Path, finished: dict[str, Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(finished["old"], folder)


def check(folder: Path, finished: dict[str, Path]) -> str:
    """Check that outputs with a report are all of one run; return of which."""
    found = state(folder)
    if REPORT not in found:
        return "none"
    word = next((word for word, one in finished.items() if state(one) == found), "mixed")
    assert word != "mixed", f"{sorted(found)} are of several runs"
    return word


@pytest.mark.timeout(300)
def test_a_kill_at_any_moment_leaves_one_complete_run(
    driver: Driver, inputs: dict[str, Path], finished: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "outputs"
    as_before(folder, finished)
    durations = []
    for _ in range(3):
        start = time.monotonic()
        assert driver.run(folder, inputs["new"]) == 0
        durations.append(time.monotonic() - start)
    rng = random.Random(2024)
    # One in each part of the run: spread over its whole life.
    delays = [min(durations) * (part + rng.random()) / KILLS for part in range(KILLS)]
    rng.shuffle(delays)

    left, ended = [], []
    for delay in delays:
        as_before(folder, finished)
        ended.append(driver.run(folder, inputs["new"], delay=delay))
        left.append(check(folder, finished))

        if len(left) % max(KILLS // 5, 3) == 0:  # the next run clears what was left, and completes
            assert driver.run(folder, inputs["new"]) == 0
            assert check(folder, finished) == "new"
            assert {path.name for path in folder.iterdir()} == set(state(folder))

    assert ended.count(-signal.SIGKILL) >= KILLS // 4
    assert set(ended) <= {0, -signal.SIGKILL}
    assert left.count("old") >= KILLS // 4


def words(folder: Path, inputs: Path, *options: str) -> list[str]:
    """Return the options of a job."""
    return [
        *("--dashboard-address", "127.0.0.1:0", "--output-dir", str(folder)),
        *("--customers", str(inputs / "customers.csv")),
        *("--purchases", str(inputs / "purchases.csv"), *options),
    ]


def job(
    folder: Path, inputs: Path, *options: str, stdout: int | IO[bytes] = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start the job as a user would."""
    return subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, "-m", "pipeline", *words(folder, inputs, *options)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "512k") as folder:
        yield folder


@pytest.mark.parametrize(
    "compressed", [False, pytest.param(True, marks=pytest.mark.slow("compressed inputs"))]
)
def test_a_full_disk_is_one_line_and_changes_nothing(
    small_disk: Path,
    inputs: dict[str, Path],
    finished: dict[str, Path],
    tmp_path: Path,
    compressed: bool,
) -> None:
    folder = small_disk / "outputs"
    as_before(folder, finished)
    shutil.copytree(inputs["new"], tmp_path / "large")
    with (tmp_path / "large" / "purchases.csv").open("a") as file:
        file.writelines(f"{number},Lamp,19.90\n" for number in range(100_000))
    if compressed:  # there is no room for the unpacked file
        subprocess.run(["gzip", str(tmp_path / "large" / "purchases.csv")], check=True)
        (tmp_path / "large" / "purchases.csv.gz").rename(tmp_path / "large" / "purchases.csv")

    ended = run_command(REPOSITORY, *words(folder, tmp_path / "large", "--quiet"))

    assert (ended.returncode, ended.stdout) == (4, "")
    assert len(ended.stderr.splitlines()) == 1
    assert str(folder) in ended.stderr
    assert "No space left on device" in ended.stderr
    assert state(folder) == state(finished["old"])
    assert {path.name for path in folder.iterdir()} == {*OUTPUTS, FAILED}


def test_a_disk_that_fills_under_the_client_is_named(
    small_disk: Path, inputs: dict[str, Path], finished: dict[str, Path], client: Client
) -> None:
    folder = small_disk / "outputs"
    as_before(folder, finished)

    def fill_and_draw(*chart: Any) -> None:
        with suppress(OSError), (small_disk / "large").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        draw_chart(*chart)

    with pytest.raises(StorageError) as caught:
        run(settings(folder, inputs["new"]), client, draw=fill_and_draw)

    assert str(caught.value) == (
        f"{folder}: outputs cannot be written here: No space left on device; "
        "choose another folder with --output-dir"
    )
    assert state(folder) == state(finished["old"])


def test_a_folder_that_vanishes_under_the_client_is_named(
    inputs: dict[str, Path], tmp_path: Path, client: Client
) -> None:
    folder = tmp_path / "outputs"

    def remove_and_draw(*chart: Any) -> None:
        shutil.rmtree(folder)
        draw_chart(*chart)

    with pytest.raises(StorageError) as caught:
        run(settings(folder, inputs["new"]), client, draw=remove_and_draw)

    assert str(caught.value).startswith(
        f"{folder}: outputs cannot be written here: No such file or directory ({folder}/"
    )
    assert str(caught.value).endswith(
        "did something delete or unmount the folder? Run the job again"
    )
    assert not folder.exists()


def settings(folder: Path, inputs: Path) -> Settings:
    return Settings(
        customers=(str(inputs / "customers.csv"),),
        purchases=(str(inputs / "purchases.csv"),),
        output_dir=str(folder),
    )


def test_a_folder_that_cannot_be_written_is_one_line(
    small_disk: Path, inputs: dict[str, Path], finished: dict[str, Path]
) -> None:
    folder = small_disk / "outputs"
    as_before(folder, finished)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    ended = run_command(REPOSITORY, *words(folder, inputs["new"], "--quiet"))

    assert (ended.returncode, ended.stdout) == (4, "")
    assert ended.stderr == (
        f"error: {folder}: outputs cannot be written here: Read-only file system ({folder}/.lock); "
        "choose another folder with --output-dir\n"
    )
    assert state(folder) == state(finished["old"])


@pytest.mark.parametrize(
    "sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow("other signals"))]
)
def test_an_interrupt_in_the_middle_of_the_work_leaves_no_litter(
    inputs: dict[str, Path], finished: dict[str, Path], tmp_path: Path, sent: signal.Signals
) -> None:
    folder, large = tmp_path / "outputs", tmp_path / "large"
    as_before(folder, finished)
    shutil.copytree(inputs["new"], large)
    with (large / "purchases.csv").open("a") as file:
        file.writelines(f"{number},Lamp,19.90\n" for number in range(200_000))

    process = job(folder, large, "--block-size", "64KiB")
    # The header is written: the work runs.
    while not any(file.stat().st_size for file in folder.glob(f".unfinished-*/{COMBINED}")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.send_signal(sent)
    _, messages = process.communicate(timeout=60)

    assert process.returncode == 130
    assert messages.splitlines()[-1] == "error: interrupted; the outputs are unchanged"
    assert state(folder) == state(finished["old"])
    assert {path.name for path in folder.iterdir()} == {*OUTPUTS, FAILED}
    assert json.loads((folder / FAILED).read_text())["error"] == "KeyboardInterrupt"


def test_an_interrupt_after_the_commit_says_that_the_outputs_are_complete(
    inputs: dict[str, Path], finished: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "outputs"
    reader, writer = full_pipe()  # the run waits as it prints its results
    with os.fdopen(writer, "wb") as pipe:
        process = job(folder, inputs["new"], "--block-size", "4096", stdout=pipe)
    with process:
        assert process.stderr
        with os.fdopen(reader, "rb"):
            wait_until(lambda: (folder / REPORT).exists(), process)
            process.send_signal(signal.SIGINT)
            line = next(line for line in process.stderr if line.startswith("error: "))
        assert process.stderr.read() == ""

    assert process.returncode == 130
    assert line == "error: interrupted after the outputs were published; they are complete\n"
    assert state(folder) == state(finished["new"])
    assert {path.name for path in folder.iterdir()} == set(state(folder))


def full_pipe() -> tuple[int, int]:
    """Return the ends of a pipe that has no room left."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(1 << 16))
    os.set_blocking(writer, True)
    return reader, writer


def test_a_second_run_into_the_same_folder_is_refused(
    inputs: dict[str, Path], finished: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "outputs"
    as_before(folder, finished)
    # The first run is stopped as it holds the folder, and goes on when the second has ended.
    first = job(folder, inputs["new"], "--quiet", "--block-size", "4096")
    while not list(folder.glob(".unfinished-*")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)
    second = job(folder, inputs["new"], "--quiet")
    out, messages = second.communicate(timeout=60)
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=60)

    assert (second.returncode, out) == (2, "")
    assert messages == (
        f"error: {folder}: another run is writing its outputs here; wait for it, or choose another "
        "folder with --output-dir\n"
    )
    assert first.returncode == 0
    assert state(folder) == state(finished["new"])
