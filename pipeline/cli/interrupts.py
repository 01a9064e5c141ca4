"""Interrupts: SIGINT and SIGTERM end the command wherever they arrive."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import NoReturn

_AGAIN = 0.05  # seconds


def accept_interrupts() -> None:
    """Raise `KeyboardInterrupt` on SIGTERM as on SIGINT, even where Python would ignore it.

    Python prints and drops an exception that a destructor or a callback of a weak reference
    raises, and Dask's futures have both. An interrupt that arrives there is sent again.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.unraisablehook = _send_interrupts_again


def ignore_interrupts() -> None:
    """From here on, let no signal change how this process ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def leave(code: int) -> NoReturn:
    """End this process with an exit code.

    Python's own shutdown restores the default handlers, so a signal would then kill the process.
    It would also wait for threads that are still working on the tasks of a failed run.
    """
    ignore_interrupts()
    # Dask now closes what an interrupt left half started, which may fail.
    sys.unraisablehook = lambda _: None
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def _send_interrupts_again(dropped: sys.UnraisableHookArgs) -> None:
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        # If it were sent at once, it would be raised here, and dropped again.
        timer = threading.Timer(_AGAIN, _interrupt_main_thread)
        timer.daemon = True
        timer.start()
    else:
        sys.__unraisablehook__(dropped)


def _interrupt_main_thread() -> None:
    # To the thread itself: only a signal that arrives there ends its wait for a lock.
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)
