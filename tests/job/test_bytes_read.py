"""The client reads headers; the workers read each byte once, or twice where there are quotes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dask.dataframe as dd
import pytest
from distributed import Client
from support.paths import REPOSITORY
from support.processes import two_workers
from support.scale import scaled

from pipeline import Settings, run
from pipeline.steps.combined_file import CombinedFile
from pipeline.steps.write import Written

SIZE = scaled("MB whose reads are counted", 8, 50) * 1_000_000
FILES = 2
SLOW = pytest.mark.slow("counted reads")
COUNTERS = Path("/proc/self/io")
pytestmark = pytest.mark.skipif(not COUNTERS.exists(), reason="only Linux counts what is read")


def bytes_read() -> int:
    """Return how many bytes this process has read from files so far."""
    counters = dict(line.split(": ") for line in COUNTERS.read_text().splitlines())
    return int(counters["rchar"])


@pytest.fixture(scope="module")
def processes() -> Iterator[Client]:
    """Two worker processes, beside that of the client."""
    with two_workers() as client:
        yield client


def plain(line: Callable[[int], str], folder: Path) -> list[Path]:
    paths = [folder / f"purchases-{number}.csv" for number in range(FILES)]
    text = "".join(map(line, range(10_000)))
    for path in paths:
        with path.open("w") as file:
            file.write("customer_id,product,price\n")
            for _ in range(SIZE // FILES // len(text) + 1):
                file.write(text)
    return paths


def compressed(line: Callable[[int], str], folder: Path) -> list[Path]:
    paths = plain(line, folder)
    for path in paths:
        path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    return [path.with_suffix(".csv.gz") for path in paths]


def simple(row: int) -> str:
    return f"{row % 500},A lamp that is number {row},{row % 977}.25\n"


def quoted(row: int) -> str:
    return f'{row % 500},"A lamp, that is ""number {row}""",{row % 977}.25\n'


def no_chart(*_: object) -> None:
    """Draw nothing: matplotlib reads fonts."""


@pytest.mark.parametrize(
    ("make", "line", "times"),
    [
        (plain, simple, 1.05),
        pytest.param(plain, quoted, 2.1, marks=SLOW),
        pytest.param(compressed, simple, 1.05, marks=SLOW),
    ],
    ids=["no quotes", "quotes", "gzip"],
)
def test_each_byte_is_read_as_often_as_it_has_to_be(
    make: Callable[[Callable[[int], str], Path], list[Path]],
    line: Callable[[int], str],
    times: float,
    processes: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied: list[int] = []
    assemble = CombinedFile.assemble

    def note_copied(target: CombinedFile, written: Sequence[Written]) -> list[dd.DataFrame]:
        copied[:] = [block.bytes for block in written if block.offset is None]
        return assemble(target, written)

    monkeypatch.setattr(CombinedFile, "assemble", note_copied)
    customers = tmp_path / "customers.csv"
    known = "".join(f"{number},Ada,Byron,36\n" for number in range(500))
    customers.write_text(f"customer_id,first_name,last_name,age\n{known}")
    paths = make(line, tmp_path)
    small = tmp_path / "small.csv"
    small.write_text("customer_id,product,price\n" + "1,Lamp,19.90\n" * 5_000)

    def job(*purchases: Path, block_size: int | None = None) -> tuple[int, int]:
        """Return what client and workers read of the input."""
        settings = Settings(
            (str(customers),),
            tuple(map(str, purchases)),
            str(tmp_path / "outputs"),
            block_size=block_size,
            fsync=False,
        )
        before = bytes_read(), sum(processes.run(bytes_read).values())
        run(settings, processes, draw=no_chart)
        report = json.loads((tmp_path / "outputs" / "run_report.json").read_text())
        read = bytes_read() - before[0], sum(processes.run(bytes_read).values()) - before[1]
        # The output is read back once, and part files when they are copied into it.
        return read[0], read[1] - report["totals"]["bytes_written"] - sum(copied)

    job(small, block_size=1024)  # all workers import what they need
    of_client, of_workers = job(*paths)

    assert of_client <= 1_000_000
    # Each worker that takes part reads the source of this package, to compare it with the client's.
    source = 2 * sum(path.stat().st_size for path in (REPOSITORY / "pipeline").rglob("*.py"))
    size = sum(path.stat().st_size for path in paths)
    assert of_workers <= times * size + source + 500_000
