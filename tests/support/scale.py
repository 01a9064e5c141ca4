"""How much the tests do: by default what a few minutes allow, with --all everything."""

from __future__ import annotations

from hypothesis import settings

# What each call of `scaled` gave and could have given, for the summary.
numbers: dict[str, tuple[float, float]] = {}
_everything = False


def set_scale(everything: bool) -> None:
    """Choose for this process; call it before any test module is imported."""
    global _everything
    _everything = everything
    # No deadline: how long an example takes says more of the machine than of the code.
    examples = scaled("examples of a property", 25, 100)
    settings.register_profile("pipeline", deadline=None, max_examples=examples)
    settings.load_profile("pipeline")


def scaled(what: str, quick: int, everything: int) -> int:
    """Return how many of `what` a test takes, such as kills or drawn tables."""
    number = everything if _everything else quick
    numbers[what] = number, everything
    return number
