"""Dask's own configuration, checked before a cluster starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any

import dask
from dask.utils import parse_bytes, parse_timedelta

from pipeline.errors import UsageError

_Default = str | float


def _number(value: object) -> object:
    """Return a number, with or without a unit. False counts as one: it turns some settings off."""
    return value if isinstance(value, Real) else parse_bytes(value)


# What a setting can be: the first kind that fits its default.
_KINDS: tuple[tuple[str, Callable[[Any], object]], ...] = (
    ("a number", _number),
    ("a time", parse_timedelta),
)


def check_dask_settings() -> None:
    """Check that every time, size and number of `distributed` in Dask's configuration is one.

    Dask reads most of them late, and deep within a cluster that starts or loses its workers. The
    kind of a setting is that of its default; one without a default is not checked, nor are those of
    other packages, which may mean anything. Raises UsageError with the name of the first setting
    that is wrong.
    """
    for defaults in dask.config.defaults:
        for name, default in _flatten(defaults):
            if not name.startswith("distributed.") or ".pre-spawn-environ." in name:
                continue  # the latter are environment variables of other programs
            value = dask.config.get(name, None)
            kind = None if value is None else _wrong_kind(value, default)
            if kind:
                raise UsageError(
                    f"Dask's setting {name} must be {kind}, such as its default {default}, not "
                    f"'{value}'; correct it in {_variable(name)} or in Dask's configuration files"
                )


def _wrong_kind(value: object, default: _Default) -> str | None:
    """Return the kind that `value` should have; None if it may be right."""
    for kind, parse in _KINDS:
        if _parses(default, parse):
            return None if _parses(value, parse) else kind
    return None


def _parses(value: object, parse: Callable[[Any], object]) -> bool:
    try:
        parse(value)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def _flatten(settings: dict[str, object], prefix: str = "") -> Iterator[tuple[str, _Default]]:
    """Yield the full name and the default of each setting that is a string or a number."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", value


def _variable(name: str) -> str:
    return "DASK_" + name.upper().replace(".", "__").replace("-", "_")
