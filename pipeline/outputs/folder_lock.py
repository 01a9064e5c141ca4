"""Keeps two runs from writing into one folder.

The lock is `flock` on a file, which the kernel releases when the process dies. On a file system
without `flock`, a run creates the file exclusively and writes its host name into it. A socket keeps
out other runs on that host, and the kernel frees it when the process dies: if a file names this
host but no socket is bound, a dead run left it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.outputs.names import LOCK
from pipeline.outputs.signals import defer_interrupts

# The errors of a file system without `flock`.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def lock_folder(folder: Path, warn: Callable[[str], None]) -> Iterator[None]:
    """Keep other runs out of `folder` during the block; create the folder if it is missing.

    `warn` receives a message if the file system has no locks. Raises UsageError if another run
    holds the folder, OSError if the file system fails.
    """
    with suppress(FileExistsError):  # if it is a file, opening the lock fails
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    with ExitStack() as held:
        handle = _lock(path, held, warn)
        try:
            yield
        finally:
            with defer_interrupts(), suppress(OSError):
                if _is_at(path, handle):
                    path.unlink()


def _lock(path: Path, held: ExitStack, warn: Callable[[str], None]) -> int:
    """Lock the file at `path`, and return its descriptor; `held` frees the lock.

    The file must be open for writing: on NFS, Linux locks only such files on the server, for all
    hosts.
    """
    guard = held.enter_context(socket.socket(socket.AF_UNIX))
    while True:
        handle, is_new = _open(path)
        held.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _refusal(path) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _claim(path, handle, is_new, guard)
            warn(
                f"{path.parent}: file locking is unsupported ({error.strerror}); the file {path} "
                "keeps other runs out, and remains if this run is killed"
            )
        if _is_at(path, handle):  # else the run that held the lock removed the file meanwhile
            return handle


def _open(path: Path) -> tuple[int, bool]:
    """Open a lock file; also return whether this call created it."""
    while True:
        with suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        with suppress(FileNotFoundError):  # removed meanwhile
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW), False


def _is_at(path: Path, handle: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(handle))
    return False


def _claim(path: Path, handle: int, is_new: bool, guard: socket.socket) -> None:
    """Claim a lock file for this host, and bind `guard` to keep out other runs on it.

    Raises UsageError if another run may hold the file.
    """
    holder, folder = os.pread(handle, 1000, 0).decode(errors="replace"), path.parent.stat()
    with ExitStack() as failed:
        if is_new:
            failed.callback(path.unlink)
        try:
            if not guard.getsockname():
                guard.bind(f"\0{LOCK} {folder.st_dev} {folder.st_ino}")
        except OSError as error:
            raise _refusal(path, "this host") from error
        if is_new:
            os.write(handle, _host().encode())
        elif holder != _host():
            raise _refusal(path, holder.partition(" ")[0] or "an unknown host")
        failed.pop_all()


def _host() -> str:
    # Containers may share a host name, but not sockets.
    with suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/net')}"
    return socket.gethostname()


def _refusal(path: Path, host: str = "") -> UsageError:
    where = f" (on {host})" if host else ""
    remedy = f"; if that run is dead, delete {path}" if host else ""
    return UsageError(
        f"{path.parent}: another run is writing its outputs here{where}; wait for it, or choose "
        f"another folder with --output-dir{remedy}"
    )
