r"""Names of files as text that can be printed and encoded.

A name need not be valid UTF-8. Python keeps its other bytes as lone surrogates, which no encoding
has. Messages, reports and tables show such a byte as `\xff`.
"""

from __future__ import annotations

import codecs

PRINTABLE = "pipeline-printable"  # for `errors` of whatever encodes text


def printable(text: str) -> str:
    """Return text with the bytes of a name that are not valid UTF-8 as `\\xff`."""
    return text.encode("utf-8", PRINTABLE).decode()


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].encode("utf-8", "surrogateescape")
    return text.decode("ascii", "backslashreplace"), error.end


codecs.register_error(PRINTABLE, _escaped)
