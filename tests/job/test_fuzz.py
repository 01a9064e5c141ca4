"""A short run of the fuzz test; scripts/fuzz runs it for longer."""

from __future__ import annotations

from support.fuzzing import fuzz
from support.scale import scaled

BATCHES = scaled("batches of fuzz", 1, 3)


def test_any_text_is_read_without_loss_wherever_it_is_cut() -> None:
    found = fuzz(first_seed=0, goes_on=lambda counts: counts["batches"] < BATCHES)

    assert found["texts"] >= 30 * BATCHES
    assert found["records"] > 0
    assert found["rejected"] > 0
    assert found["clean"] > 0
