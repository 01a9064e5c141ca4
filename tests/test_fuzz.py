"""A short run of the fuzz test; scripts/fuzz runs it for longer."""

from __future__ import annotations

from fuzzing import fuzz


def test_any_text_is_read_without_loss_wherever_it_is_cut() -> None:
    found = fuzz(seconds=20, first_seed=0)

    assert found["texts"] >= 100
    assert found["records"] > 0
    assert found["rejected"] > 0
    assert found["clean"] > 0
