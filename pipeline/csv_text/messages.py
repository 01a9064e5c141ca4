r"""Turns names, values and numbers into text for messages, reports and tables.

A file's name need not be valid UTF-8. Python represents its invalid bytes as lone surrogates, which
cannot be encoded. Here such a byte becomes `\xff`, and a control character, such as a newline,
becomes what Python writes for it: `\n`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

from pipeline.settings.shell import HIDDEN, escape_hidden

PRINTABLE = "pipeline-printable"  # an error handler for encoding text
_NAMED = 3
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str) -> str:
    """Return text on one line: escape control characters, and bytes that are not valid UTF-8."""
    text = text.encode("utf-8", PRINTABLE).decode()
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible(text: str) -> str:
    """Return text on one line, and escape invisible characters, too."""
    return printable(escape_hidden(text))


def without_hidden(text: str) -> str:
    """Return text without invisible characters."""
    return HIDDEN.sub("", text)


def quoted(text: str, most: int = 80) -> str:
    """Return the first `most` characters of a text on one line, in quotes."""
    return f"'{visible(text[:most])}{'…' if len(text) > most else ''}'"


def list_names(names: Iterable[str]) -> str:
    """Return the first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _NAMED:,} more" if len(listed) > _NAMED else ""
    return f"{', '.join(printable(name) for name in listed[:_NAMED])}{more}"


def counted(number: int, noun: str) -> str:
    """Return `1 block` or `1,234 blocks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def agreeing(number: int, singular: str, plural: str) -> str:
    """Return the text that agrees with a number, such as "is" for 1 and "are" for 2."""
    return singular if number == 1 else plural


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].encode("utf-8", "surrogateescape")
    return text.decode("ascii", "backslashreplace"), error.end


codecs.register_error(PRINTABLE, _escape)
