"""An interrupt ends the command also where Python drops exceptions."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.processes import INTERRUPTIBLE, UNINTERRUPTIBLE

SCRIPT = """
import signal, sys, threading
from pipeline.cli.interrupts import accept_interrupts

accept_interrupts()

class Future:
    def __del__(self):
        signal.raise_signal(getattr(signal, sys.argv[1]))

try:
    future = Future()
    del future
    threading.Event().wait(100)
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(
    ("started", "sent"),
    [(INTERRUPTIBLE, "SIGINT"), (INTERRUPTIBLE, "SIGTERM"), (UNINTERRUPTIBLE, "SIGTERM")],
    ids=["SIGINT", "SIGTERM", "SIGTERM where SIGINT is ignored"],
)
def test_an_interrupt_in_a_destructor_is_not_lost(started: tuple[str, ...], sent: str) -> None:
    ended = subprocess.run(
        [*started, sys.executable, "-c", SCRIPT, sent], capture_output=True, text=True, timeout=50
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "interrupted\n", "")


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
def test_an_interrupt_at_the_very_end_changes_no_exit_code(sent: str) -> None:
    """Once Python has begun to end, a signal would kill; and threads would be waited for."""
    script = f"""
import atexit, signal, sys, threading
from pipeline.cli.interrupts import accept_interrupts, leave

accept_interrupts()
atexit.register(signal.raise_signal, signal.{sent})
threading.Thread(target=threading.Event().wait).start()
sys.stdout.write("said")
leave(7)
"""
    ended = subprocess.run(
        [*INTERRUPTIBLE, sys.executable, "-c", script], capture_output=True, text=True, timeout=50
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "said", "")


def test_other_exceptions_of_a_destructor_are_told() -> None:
    script = SCRIPT.replace("signal.raise_signal", "raise ValueError").replace(
        "wait(100)", "wait(0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, "SIGINT"], capture_output=True, text=True, timeout=50
    )

    assert (ended.returncode, ended.stdout) == (0, "not interrupted\n")
    assert "ValueError" in ended.stderr
