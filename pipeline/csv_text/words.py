"""Words that agree with a number, for messages."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return `1 block` or `1,234 blocks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def agreeing(number: int, singular: str, plural: str) -> str:
    """Return the text that agrees with a number, such as "is" for 1 and "are" for 2."""
    return singular if number == 1 else plural
