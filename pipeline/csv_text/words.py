"""Words of messages that follow a number."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return `1 block` or `1,234 blocks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def agreeing(number: int, singular: str, plural: str) -> str:
    """Return which of two texts fits after a number, such as `1 is` and `2 are`."""
    return singular if number == 1 else plural
