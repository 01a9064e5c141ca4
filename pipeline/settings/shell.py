"""How the value of an option is written for a shell."""

from __future__ import annotations

import re
from shlex import quote

# Whitespace other than the space, and zero-width characters.
HIDDEN = re.compile("[\xa0\xad\u061c\u180e\u2000-\u200f\u202a-\u202f\u205f-\u2064\u3000\ufeff]")


def escape_hidden(text: str) -> str:
    """Return text with invisible characters as Python and shells write them: `\\u00a0`."""
    return HIDDEN.sub(_code, text)


def for_shell(text: str) -> str:
    """Return text as a word for a shell, with invisible characters escaped."""
    if HIDDEN.search(text):
        plain = text.replace("\\", r"\\").replace("'", r"\'")
        return f"$'{escape_hidden(plain)}'"
    return f'"{text}"' if "'" in text and not set('"$`!\\') & set(text) else quote(text)


def _code(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
