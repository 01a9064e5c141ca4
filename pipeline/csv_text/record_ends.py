"""Finds the ends of records in well-formed CSV text, in a whole text at once.

A bitmap has one bit per byte of the text, 64 to a word. What depends on a byte and those before it
(is it inside quotes?) then takes a few operations per word, not one per byte.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_WORD = np.dtype("<u8")
_BITS = 64
_CHUNK = 1 << 20  # bytes that stay in the processor's cache during a scan
_ONE, _LAST, _ALL = (np.uint64(number) for number in (1, _BITS - 1, 2**_BITS - 1))
_LF, _CR, _QUOTE = b'\n\r"'


@dataclass(frozen=True)
class RecordEnds:
    """The line ends of a text outside quotes, as a bitmap; CR LF sets two bits.

    `is_open`: the text ends inside quotes.
    """

    text: bytes
    bitmap: np.ndarray
    is_open: bool

    @classmethod
    def find(cls, text: bytes, delimiter: bytes) -> RecordEnds | None:
        """Scan a text that begins with a record; return None if a quote is misplaced.

        A quote must begin a field, be doubled, or end a field. Whether a quote still open at the
        end of `text` would be closed after it is unknown.
        """
        data = np.frombuffer(text, np.uint8)
        ends = _bitmap(data, _LF)
        if b"\r" in text:
            ends |= _bitmap(data, _CR)
        if b'"' not in text:
            return cls(text, ends, is_open=False)
        quotes = _bitmap(data, _QUOTE)
        inside, is_open = _parity(quotes)
        opening, closing = quotes & inside, quotes & ~inside
        around = ends | _bitmap(data, delimiter[0])
        # A doubled quote closes the field and opens it again.
        begins, stops = around | closing, around | opening
        behind = begins << _ONE
        behind[1:] |= begins[:-1] >> _LAST
        behind[0] |= _ONE  # the text begins with a field
        before = stops >> _ONE
        before[:-1] |= stops[1:] << _LAST
        last = len(text) - 1
        before[last // _BITS] |= _ONE << np.uint64(last % _BITS)  # and ends with one
        if ((opening & ~behind) | (closing & ~before)).any():
            return None
        return cls(text, ends & ~inside, is_open)

    def last(self) -> int:
        """Return the number of bytes up to the end of the last record; 0 if none ends.

        A CR at the end of the text does not count: its LF may follow.
        """
        words = np.flatnonzero(self.bitmap)
        while len(words):
            word = int(self.bitmap[words[-1]])
            end = int(words[-1]) * _BITS + word.bit_length()
            if end < len(self.text) or self.text[-1] != _CR:
                return end
            word &= ~(1 << (end - 1) % _BITS)
            if word:
                return int(words[-1]) * _BITS + word.bit_length()
            words = words[:-1]
        return 0

    def records_fit(self, size: int) -> bool:
        """Tell whether surely no record is longer than `size`, including its line end.

        May err towards False: requires a line end in every half of that size.
        """
        if len(self.text) <= size:
            return True
        words = size // 2 // _BITS
        if not words:
            return False
        halves = len(self.text) // (words * _BITS)  # whole ones
        return bool(self.bitmap[: halves * words].reshape(halves, words).any(axis=1).all())

    def starts(self) -> np.ndarray:
        """Return where each record begins; blank lines are not records."""
        bits = np.unpackbits(self.bitmap.view(np.uint8), bitorder="little")
        stops = np.flatnonzero(bits[: len(self.text)])
        starts = np.concatenate(([0], stops + 1))
        stops = np.append(stops, len(self.text))
        return starts[starts < stops]


def first_ends(text: bytes) -> tuple[int | None, int | None]:
    """Return the positions after the first line end outside quotes and the first one inside.

    `text` is assumed to begin outside quotes; if it does not, the two swap. A quote at the first
    byte does not count. A position is None if there is no such line end, or if its LF may follow.
    """
    data = np.frombuffer(text, np.uint8)
    if b'"' not in text[1:]:
        data = data[: _first_line(text)]
    ends = np.flatnonzero((data == _LF) | (data == _CR))
    quotes = np.flatnonzero(data[1:] == _QUOTE) + 1
    inside = np.searchsorted(quotes, ends) % 2 == 1
    return _first(text, ends[~inside]), _first(text, ends[inside])


def _first(text: bytes, ends: np.ndarray) -> int | None:
    if not len(ends):
        return None
    end = int(ends[0]) + 1
    if text[end - 1] != _CR:
        return end
    return None if end == len(text) else end + (text[end] == _LF)


def _first_line(text: bytes) -> int:
    """Return the length of the first line, including its line end."""
    found = [place for place in (text.find(b"\n"), text.find(b"\r")) if place >= 0]
    return min(found, default=len(text)) + 1


def _bitmap(data: np.ndarray, byte: int) -> np.ndarray:
    bitmap = np.zeros(-(-len(data) // _BITS), _WORD)
    target = bitmap.view(np.uint8)
    for start in range(0, len(data), _CHUNK):
        packed = np.packbits(data[start : start + _CHUNK] == byte, bitorder="little")
        target[start // 8 : start // 8 + len(packed)] = packed
    return bitmap


def _parity(bitmap: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return a bitmap of the parity of all bits up to each one, and the parity of all bits."""
    odd = bitmap.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        odd ^= odd << np.uint64(shift)
    words_odd = np.logical_xor.accumulate((odd >> _LAST).astype(bool))
    odd[1:] ^= words_odd[:-1] * _ALL
    return odd, bool(words_odd[-1])
