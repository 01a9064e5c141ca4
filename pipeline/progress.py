"""What a run tells while it works: plain lines, and a moving bar on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from distributed import Client, Future
from distributed.diagnostics.progressbar import TextProgressBar

_LINE_EVERY = 10.0  # seconds, off a terminal
_WIDTH = 30


class Progress:
    """Tells nothing."""

    def say(self, message: str) -> None:
        """Tell what begins or has ended."""

    @contextmanager
    def following(self, client: Client, futures: Sequence[Future]) -> Iterator[None]:
        """Tell how many of the tasks that `futures` need are done, while the block runs."""
        yield


class ConsoleProgress(Progress):
    """Tells on a text stream; moves only where that is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._moving = stream.isatty()
        self._next_line = 0.0

    def say(self, message: str) -> None:
        """Write a line."""
        self._stream.write(f"{message}\n")
        self._stream.flush()

    @contextmanager
    def following(self, client: Client, futures: Sequence[Future]) -> Iterator[None]:
        """Draw a bar, or write a line every ten seconds."""
        self._next_line = time.monotonic() + _LINE_EVERY
        bar = _Bar(futures, self._draw)
        client.loop.add_callback(bar.listen)
        try:
            yield
        finally:
            bar.close()
            if self._moving:
                self._stream.write("\r\033[K")
                self._stream.flush()

    def _draw(self, done: int, total: int) -> None:
        share = done / total if total else 1.0
        if self._moving:
            bar = ("#" * int(_WIDTH * share)).ljust(_WIDTH, ".")
            self._stream.write(f"\r[{bar}] {share:4.0%}  {done} of {total} tasks")
            self._stream.flush()
        elif time.monotonic() > self._next_line:
            self._next_line += _LINE_EVERY
            self.say(f"{share:.0%} done: {done} of {total} tasks")


class _Bar(TextProgressBar):
    """Dask's progress bar, drawn by `draw`, not waited for at the end."""

    def __init__(self, futures: Sequence[Future], draw: Callable[[int, int], None]) -> None:
        super().__init__(futures, start=False)
        self._draw: Callable[[int, int], None] | None = draw

    def close(self) -> None:
        """Draw no more."""
        self._draw = None

    def _draw_bar(self, remaining: int, all: int, **_: Any) -> None:
        if self._draw:
            self._draw(all - remaining, all)

    def _draw_stop(self, **_: Any) -> None:
        pass
