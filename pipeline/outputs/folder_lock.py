"""Keeps two runs from writing into one folder.

The lock is `flock` on a file, which the kernel releases when a process dies. A file system without
it gets a lock file instead: created exclusively, with the host, process and start of its run in it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

from pipeline.errors import UsageError
from pipeline.outputs.signals import uninterrupted

LOCK = ".lock"

_CLAIM = ".lock-after-"
# What a file system without `flock` answers.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def locked(folder: Path, warn: Callable[[str], None]) -> Iterator[None]:
    """Keep other runs out of `folder` during the block; create it if it is missing.

    `warn` gets a message if the file system has no locks. Raises UsageError if another run holds
    the folder, OSError if the file system fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    handle = _lock(path, warn)
    try:
        yield
    finally:
        with uninterrupted():
            with suppress(OSError):
                if _is_at(path, handle):
                    path.unlink()
            os.close(handle)


def _lock(path: Path, warn: Callable[[str], None]) -> int:
    """Lock the file at `path`, and return its descriptor.

    It must be a file opened for writing: on NFS, Linux locks only those at the server, for all
    hosts.
    """
    while True:
        handle, is_new = _open(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, handle):
                return handle
            os.close(handle)  # the run that held the lock has removed the file since
        except BlockingIOError:
            os.close(handle)
            raise UsageError(
                f"{path.parent}: another run writes its outputs here; wait for it, or name another "
                "folder with --output-dir"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(handle)
                raise
            if is_new:
                _sign(path, handle)
            else:
                os.close(handle)
                handle = _take_over(path)
            for left in path.parent.glob(f"{_CLAIM}*"):  # by a run that was killed as it took over
                left.unlink(missing_ok=True)
            warn(
                f"{path.parent}: this file system has no locks ({error.strerror}); the file {path} "
                "keeps other runs out, and stays if this run is killed"
            )
            return handle


def _open(path: Path) -> tuple[int, bool]:
    """Open a lock file; also return whether this call has created it."""
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            with suppress(FileNotFoundError):  # removed meanwhile
                try:
                    return os.open(path, os.O_RDWR | os.O_NOFOLLOW), False
                except OSError as error:
                    if error.errno not in (errno.ELOOP, errno.EISDIR):
                        raise
                    what = "a link" if error.errno == errno.ELOOP else "a folder"
                    raise UsageError(
                        f"{path}: is {what}, where a run puts a file of its own; delete it, or "
                        "name another folder with --output-dir"
                    ) from error


def _is_at(path: Path, handle: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(handle))
    return False


def _sign(path: Path, handle: int) -> None:
    """Write into a new lock file whose it is."""
    holder = {
        "id": uuid4().hex,
        "host": _host(),
        "process": os.getpid(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        os.write(handle, json.dumps(holder).encode())
    except OSError:
        path.unlink()
        os.close(handle)
        raise


def _take_over(path: Path) -> int:
    """Replace the lock file of a dead process of this host; raise UsageError for any other."""
    holder = _read(path)
    if not holder or holder.get("host") != _host() or _is_alive(holder.get("process")):
        _refuse(path, holder)
    # Only one run at a time can claim this dead lock. If the lock is still there then, no other run
    # has replaced it before.
    claim = path.with_name(f"{_CLAIM}{holder['id']}")
    try:
        handle = os.open(claim, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        _refuse(path, holder)
    _sign(claim, handle)
    if _read(path) != holder:
        claim.unlink(missing_ok=True)
        os.close(handle)
        _refuse(path, _read(path))
    claim.replace(path)
    return handle


def _read(path: Path) -> dict[str, Any]:
    """Return the holder that a lock file names; empty if it names none."""
    with suppress(FileNotFoundError, ValueError):
        holder = json.loads(path.read_text(errors="replace"))
        if isinstance(holder, dict) and str(holder.get("id")).isalnum():
            return holder
    return {}


def _host() -> str:
    # Containers may share a host name, but not their numbers of processes.
    with suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _is_alive(process: object) -> bool:
    if not isinstance(process, int):
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user, or no number of a process
        return True
    return True


def _refuse(path: Path, holder: dict[str, Any]) -> NoReturn:
    by = (
        f"process {holder.get('process')} on {str(holder.get('host')).partition(' ')[0]}, "
        f"since {holder.get('time')}"
        if holder
        else "an unknown process"
    )
    raise UsageError(
        f"{path.parent}: another run writes its outputs here ({by}); wait for it, or name another "
        f"folder with --output-dir; if that run is dead, delete {path}"
    )
