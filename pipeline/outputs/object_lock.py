"""Keeps two runs from writing below one prefix of an object store."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread

from pipeline.errors import StorageError, UsageError
from pipeline.outputs.names import LOCK
from pipeline.storage.objects import ObjectFolder

_BEAT = 5.0  # seconds between two renewals of the lock
_DEAD = 30.0  # seconds without a renewal, after which a run counts as dead


class ObjectLock:
    """An object that says who writes below a prefix, renewed every few seconds."""

    def __init__(self, folder: ObjectFolder, run_id: str) -> None:
        self._folder, self._run_id = folder, run_id
        self._etag = ""
        self._beats = 0
        self._beating = Lock()

    def take(self) -> None:
        """Take the lock; raise UsageError if another run holds it and is alive."""
        if not self._put():
            self._put(instead_of=self._wait_for_death())
        if not self._etag:
            raise self._refusal()

    def renew(self) -> None:
        """Renew the lock; raise StorageError if another run took it."""
        with self._beating:
            if not self._put(instead_of=self._etag):
                raise StorageError(
                    f"{self._folder}: this run could not renew its lock for {_DEAD:g} s, and "
                    "another run began to write its outputs here; run the job again, or choose "
                    "another prefix with --output-dir"
                )

    def release(self) -> None:
        """Delete the lock, unless another run took it."""
        with self._beating:
            found = self._folder.stat(LOCK)
            if found and found.etag == self._etag:
                self._folder.delete([LOCK])

    def _put(self, instead_of: str | None = None) -> bool:
        self._beats += 1
        about = {"run": self._run_id, "host": socket.gethostname(), "process": os.getpid()}
        text = json.dumps({**about, "beats": self._beats}).encode()
        try:
            self._etag = self._folder.put(LOCK, text, new=instead_of is None, instead_of=instead_of)
        except FileExistsError:  # another run was faster
            return False
        except FileNotFoundError:
            if instead_of is None:  # there is no such bucket
                raise
            return False
        return True

    def _wait_for_death(self) -> str | None:
        """Return the ETag of the lock once it has been unchanged for `_DEAD` s; None if it is gone.

        Raises UsageError if the lock changes.
        """
        first = found = self._folder.stat(LOCK)
        while found and (found.now - found.put).total_seconds() < _DEAD:
            time.sleep(1)
            found = self._folder.stat(LOCK)
            if found and first and found.etag != first.etag:
                raise self._refusal()
        return found.etag if found else None

    def _refusal(self) -> UsageError:
        return UsageError(
            f"{self._folder}: another run is writing its outputs here; wait for it, or choose "
            "another prefix with --output-dir"
        )


@contextmanager
def lock_prefix(folder: ObjectFolder, run_id: str) -> Iterator[ObjectLock]:
    """Keep other runs from writing into a folder during the block, and yield the lock.

    A run that was killed no longer renews its lock, so the next run takes it over.
    """
    lock, ended = ObjectLock(folder, run_id), Event()
    lock.take()

    def beat() -> None:
        while not ended.wait(_BEAT):
            try:
                lock.renew()
            except StorageError:  # `renew` raises it again before anything is published
                return
            except OSError:  # the store may come back
                continue

    heart = Thread(target=beat, name="lock", daemon=True)
    heart.start()
    try:
        yield lock
    finally:
        ended.set()
        heart.join()
        with suppress(OSError):  # then the next run sees that this one is dead
            lock.release()
