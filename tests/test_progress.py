"""What a run tells: lines anywhere, a moving bar on a terminal only."""

from __future__ import annotations

import io
import re
from threading import Event as Flag
from uuid import uuid4

import pytest
from distributed import Client, Event

from pipeline import progress as progress_module
from pipeline.progress import ConsoleProgress, Progress


class Screen(io.StringIO):
    """A text stream that is a terminal or none, and tells when something was written."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal
        self.written = Flag()

    def isatty(self) -> bool:  # noqa: D102
        return self._is_terminal

    def write(self, text: str) -> int:  # noqa: D102
        count = super().write(text)
        self.written.set()
        return count


def wait_for(name: str) -> int:
    Event(name).wait()
    return 1


def follow(client: Client, progress: Progress, screen: Screen, until_written: bool) -> int:
    """Follow a task that ends when something was written, or at once; return its result."""
    name = uuid4().hex
    future = client.submit(wait_for, name)
    try:
        with progress.following(client, [future]):
            if until_written:
                assert screen.written.wait(timeout=30)
            Event(name, client=client).set()
            return future.result()
    finally:
        future.release()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_lines_are_written_at_once(is_terminal: bool) -> None:
    screen = Screen(is_terminal)
    progress = ConsoleProgress(screen)

    progress.say("customers: 2 files")
    progress.say("join: broadcast")

    assert screen.getvalue() == "customers: 2 files\njoin: broadcast\n"


def test_a_bar_moves_on_a_terminal_and_is_gone_at_the_end(client: Client) -> None:
    screen = Screen(is_terminal=True)

    result = follow(client, ConsoleProgress(screen), screen, until_written=True)

    text = screen.getvalue()
    assert result == 1
    assert re.match(r"\r\[\.{30}\]   0%  0 of 1 tasks", text)
    assert text.endswith("\r\033[K")
    assert "\n" not in text


def test_off_a_terminal_short_work_writes_nothing(client: Client) -> None:
    screen = Screen(is_terminal=False)

    result = follow(client, ConsoleProgress(screen), screen, until_written=False)

    assert result == 1
    assert screen.getvalue() == ""


def test_off_a_terminal_long_work_writes_a_line_now_and_then(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "_LINE_EVERY", 0.0)
    screen = Screen(is_terminal=False)

    follow(client, ConsoleProgress(screen), screen, until_written=True)

    lines = screen.getvalue().splitlines()
    assert lines[0] == "0% done: 0 of 1 tasks"
    assert "\r" not in screen.getvalue()


def test_a_failure_passes_through_and_clears_the_bar(client: Client) -> None:
    screen = Screen(is_terminal=True)
    future = client.submit(int, "no number")

    with pytest.raises(ValueError), ConsoleProgress(screen).following(client, [future]):
        future.result()

    assert screen.getvalue().endswith("\r\033[K")


def test_quiet_progress_tells_nothing(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.say("hello")

    follow(client, progress, Screen(is_terminal=True), until_written=False)

    assert capsys.readouterr() == ("", "")
