"""Run a command whose file systems have no `flock`: the kernel refuses it, by a seccomp filter.

python -m support.no_flock ENOLCK COMMAND...
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

FLOCK = {"x86_64": 73, "aarch64": 32}  # the number of the system call

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2  # of prctl
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # of the classic BPF
_ERROR, _ALLOW = 0x00050000, 0x7FFF0000


def refuse_flock(number: int) -> None:
    """Have `flock` fail with an error number in this process and all that it starts.

    Raises OSError if this kernel cannot do that.
    """
    call = FLOCK.get(platform.machine())
    if call is None:
        raise OSError(errno.ENOSYS, "the number of flock is not known here")
    lines = [
        (_LOAD, 0, 0, 0),  # the number of the call
        (_JUMP_IF_EQUAL, 0, 1, call),
        (_RETURN, 0, 0, _ERROR | number),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(struct.pack("HL", len(lines), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or prctl(_SET_SECCOMP, _FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp filters here")


if __name__ == "__main__":
    try:
        refuse_flock(getattr(errno, sys.argv[1]))
    except OSError as error:
        sys.exit(f"no seccomp: {error}")
    os.execvp(sys.argv[2], sys.argv[2:])
