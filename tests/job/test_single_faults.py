"""One value changes between two steps: the books catch it, or the results are the same.

Each fault is drawn at random: between which steps, in which block, row and column, and how.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
from distributed import Client
from support.faults import Fault

from pipeline import Settings, run
from pipeline.errors import DataError
from pipeline.outputs.names import COMBINED, SPENDING
from pipeline.steps import join, render, shuffle, spending, transform, write

Join = Literal["broadcast", "shuffle"]
pytestmark = [pytest.mark.slow("single faults"), pytest.mark.usefixtures("small_partitions")]

FAULTS = int(os.environ.get("FAULTS", "60"))  # for each join
PARTS = 4

# The functions that steps begin with; their first argument comes from the step before.
CUSTOMERS = [(transform, "_transform"), (render, "_render")]
COMBINED_FRAMES = [(spending, "_sum_purchases"), (write, "_write")]
STEPS: dict[Join, list[tuple[Any, str]]] = {
    "broadcast": [*CUSTOMERS, *COMBINED_FRAMES, (join, "_match_customers")],
    "shuffle": [*CUSTOMERS, *COMBINED_FRAMES, (shuffle, "_split")],
}


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


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("how", ["broadcast", "shuffle"])
def test_a_single_fault_is_caught_or_harmless(
    inputs: Path, client: Client, monkeypatch: pytest.MonkeyPatch, how: Join, part: int
) -> None:
    right = results(inputs, client, how)
    caught, harmless, missed = Counter[str](), Counter[str](), []
    for seed in range(part, FAULTS, PARTS):
        draw = random.Random(seed)
        module, name = draw.choice(STEPS[how])
        fault = Fault(getattr(module, name), draw, seed)
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fault)
            try:
                found = results(inputs, client, how)
            except DataError as error:
                caught[str(error).partition("(")[2].partition(":")[0]] += 1
                continue
        if found == right:
            harmless[f"{name}: {fault.where}"] += 1
        else:
            missed.append(f"seed {seed}, {name}: {fault.where}")

    print(f"caught: {dict(caught.most_common())}; no effect: {dict(harmless.most_common())}")
    assert not missed
