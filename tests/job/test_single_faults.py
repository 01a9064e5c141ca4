"""One value changes in what workers send or keep: the checks catch it, or the results are the same.

Each fault is drawn at random: where, in which row and column, and how.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
from distributed import Client
from support.faults import FAULTS

from pipeline import Settings, run
from pipeline.errors import DataError
from pipeline.outputs.names import COMBINED, SPENDING

Join = Literal["broadcast", "shuffle"]
pytestmark = [pytest.mark.slow("single faults"), pytest.mark.usefixtures("small_partitions")]

COUNT = int(os.environ.get("FAULTS", "30"))  # for each join
PARTS = 2


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Tables of several blocks, with missing, unknown and repeated ids."""
    names = [f"{number},First{number},Last{number % 7},{number % 90}" for number in range(100)]
    names += ["7,Another,Seven,50", ",Nobody,Known,30"]
    (tmp_path / "customers.csv").write_text(
        "\n".join(["customer_id,first_name,last_name,age", *names, ""])
    )
    ids = [number * 31 % 80 if number % 10 else number + 1000 for number in range(200)]
    rows = [f"{one},thing{number % 5},{number}.25" for number, one in enumerate(ids)]
    (tmp_path / "purchases.csv").write_text("\n".join(["customer_id,product,price", *rows, ""]))
    return tmp_path


def results(inputs: Path, client: Client, how: Join) -> tuple[list[str], str]:
    """Run the job; return its records, in any order after a shuffle, and its table."""
    folder = inputs / "outputs"
    settings = Settings(
        customers=(str(inputs / "customers.csv"),),
        purchases=(str(inputs / "purchases.csv"),),
        output_dir=str(folder),
        block_size=1024,
        join=how,
        fsync=False,
    )
    run(settings, client, draw=lambda *_: None)
    records = (folder / COMBINED).read_text().splitlines()
    return (sorted(records) if how == "shuffle" else records), (folder / SPENDING).read_text()


def first_check(error: DataError) -> str:
    """Return the name of the first check that failed."""
    _, _, failed = str(error).partition("checks failed (")
    return failed.partition(": expected")[0] or "marks of a block"


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("how", ["broadcast", "shuffle"])
def test_a_single_fault_is_caught_or_harmless(
    inputs: Path, client: Client, monkeypatch: pytest.MonkeyPatch, how: Join, part: int
) -> None:
    right = results(inputs, client, how)
    caught, harmless, missed = Counter[str](), Counter[str](), []
    for seed in range(part, COUNT, PARTS):
        draw = random.Random(seed)
        plant = draw.choice(FAULTS[how])
        with monkeypatch.context() as patch:
            plant(draw, patch)
            try:
                found = results(inputs, client, how)
            except DataError as error:
                caught[first_check(error)] += 1
                continue
        if found == right:
            harmless[plant.__name__] += 1
        else:
            missed.append(f"seed {seed}, {plant.__name__}")

    print(f"caught: {dict(caught.most_common())}; no effect: {dict(harmless.most_common())}")
    assert not missed
