"""What a run tells: lines anywhere, a moving bar on a terminal only."""

from __future__ import annotations

import io
import re

import pytest

from pipeline.engine import progress as progress_module
from pipeline.engine.progress import ConsoleProgress, Progress


class Screen(io.StringIO):
    """A text stream that is a terminal or none."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:  # noqa: D102
        return self._is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_lines_are_written_at_once(is_terminal: bool) -> None:
    screen = Screen(is_terminal)
    progress = ConsoleProgress(screen)

    progress.say("customers: 2 files")
    progress.say("join: broadcast")

    assert screen.getvalue() == "customers: 2 files\njoin: broadcast\n"


BLOCK = "purchases", 5_000_000, 1_000  # what was read: its table, bytes and records


def test_a_bar_moves_on_a_terminal_and_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_DRAW_EVERY", 0.0)
    screen = Screen(is_terminal=True)
    progress = ConsoleProgress(screen)

    with progress.step("purchases", 20_000_000):
        for _ in range(3):
            progress.advance(*BLOCK)

    first, *drawn, gone = screen.getvalue().split("\r\033[K")[1:]
    assert first == f"[{24 * '.'}] purchases"
    number = r"[\d,]+"
    assert [
        bool(
            re.fullmatch(
                rf"\[#{{{6 * done}}}\.{{{24 - 6 * done}}}\] purchases: {5 * done}.0 of 20.0 MB, "
                rf"{number} records/s, {number} s left",
                text,
            )
        )
        for done, text in enumerate(drawn, start=1)
    ] == [True] * 3
    assert gone == ""
    assert "\n" not in screen.getvalue()


def test_off_a_terminal_short_work_writes_nothing() -> None:
    screen = Screen(is_terminal=False)
    progress = ConsoleProgress(screen)

    with progress.step("purchases", 20_000_000):
        progress.advance(*BLOCK)

    assert screen.getvalue() == ""


def test_off_a_terminal_long_work_writes_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_module, "_LINE_EVERY", 0.0)
    screen = Screen(is_terminal=False)
    progress = ConsoleProgress(screen)

    with progress.step("purchases", 20_000_000):
        progress.advance(*BLOCK)
        progress.advance("purchases", 0, 0)

    lines = screen.getvalue().splitlines()
    assert lines[0] == "purchases"
    assert lines[1].startswith("purchases: 5.0 of 20.0 MB, ")
    assert len(lines) == 3
    assert "\r" not in screen.getvalue()


def test_steps_without_bytes_are_named() -> None:
    screen = Screen(is_terminal=True)
    progress = ConsoleProgress(screen)

    with progress.step("assemble", 0):
        progress.advance("purchases", 0, 1_000)

    assert "assemble" in screen.getvalue()


def test_a_failure_passes_through_and_clears_the_bar() -> None:
    screen = Screen(is_terminal=True)

    with pytest.raises(ValueError), ConsoleProgress(screen).step("purchases", 1):
        raise ValueError

    assert screen.getvalue().endswith("\r\033[K")


def test_quiet_progress_tells_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.say("hello")
    with progress.step("purchases", 1):
        progress.advance(*BLOCK)

    assert capsys.readouterr() == ("", "")
