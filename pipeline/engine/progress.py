"""Reports the progress of a run: plain lines, and a progress bar on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_LINE_EVERY = 10.0  # seconds, off a terminal
_DRAW_EVERY = 0.1  # seconds, on a terminal
_WIDTH = 24


class Progress:
    """Reports nothing. `published` says whether the outputs of the run are in place."""

    published = False

    def say(self, message: str) -> None:
        """Report what begins, or what is done."""

    @contextmanager
    def step(self, name: str, total: int) -> Iterator[None]:
        """Report on a step with `total` bytes to process, while the block runs."""
        yield

    def advance(self, table: str, size: int, records: int) -> None:
        """Add a block of a table that was read: its bytes, as stored, and its records."""


class ConsoleProgress(Progress):
    """Reports on a text stream, with a moving bar only if that is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._moving = stream.isatty()

    def say(self, message: str) -> None:
        """Write a line."""
        self._stream.write(f"{message}\n")
        self._stream.flush()

    @contextmanager
    def step(self, name: str, total: int) -> Iterator[None]:
        """Draw a bar, or write a line every ten seconds."""
        self._name, self._total = name, total
        self._bytes = self._records = 0
        self._begin = time.monotonic()
        self._next = self._begin + (0.0 if self._moving else _LINE_EVERY)
        try:
            self._tell()
            yield
        finally:
            if self._moving:
                self._stream.write("\r\033[K")
                self._stream.flush()

    def advance(self, table: str, size: int, records: int) -> None:
        """Add a block that was read, and redraw if it is time to."""
        self._bytes += size
        self._records += records
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        if self._moving:
            self._next = now + _DRAW_EVERY
            share = min(1.0, self._bytes / self._total) if self._total else 0.0
            bar = ("#" * int(_WIDTH * share)).ljust(_WIDTH, ".")
            self._stream.write(f"\r\033[K[{bar}] {self._text(now)}")
            self._stream.flush()
        else:
            self._next = now + _LINE_EVERY
            self.say(self._text(now))

    def _text(self, now: float) -> str:
        """Return how much is done, how fast, and how long the rest will take."""
        done, total, seconds = self._bytes, self._total, now - self._begin
        if not done or not total:
            return self._name
        left = seconds * max(total - done, 0) / done
        return (
            f"{self._name}: {done / 1e6:,.1f} of {total / 1e6:,.1f} MB, "
            f"{self._records / seconds:,.0f} records/s, {left:.0f} s left"
        )
