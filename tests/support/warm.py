"""Runs the command in forks of a process that has everything imported, which saves its start.

What is run is the real command in a real process, but it draws no chart. Tests of how a process
starts (environment, signals, limits) start one themselves.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from support.paths import TESTS_PATH

# Reads lists of FOLDER, ARGUMENTS and ENVIRONMENT, which come with two files, for standard output
# and standard error; runs the command in a fork, and answers with its exit code.
SERVER = """
import gc, json, os, signal, socket, sys
from contextlib import nullcontext, suppress

import distributed.deploy.local
import pipeline.job
from pipeline.cli import command
from pipeline.kernels.jit import compile_all
from support.runs import blank_chart

with suppress(ImportError):
    import botocore.session
    import s3fs
compile_all()
command.painter = lambda: nullcontext(blank_chart)
gc.freeze()

asked = socket.socket(fileno=0)
while True:
    words, files, _, _ = socket.recv_fds(asked, 1 << 20, 2)
    if not words:
        os._exit(0)
    child = os.fork()
    if child == 0:
        break
    for file in files:
        os.close(file)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    asked.sendall(f"{code}\\n".encode())

asked.close()
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
for file, target in zip(files, (1, 2)):
    os.dup2(file, target)
    os.close(file)
folder, arguments, environment = json.loads(words)
os.environ.clear()
os.environ.update(environment)
os.chdir(folder)
os.environ["PWD"] = folder
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["pipeline", *arguments]
command.main(prog_name="python -m pipeline")
"""


def run_command(
    folder: Path,
    *options: str,
    stdout: IO[str] | None = None,
    stderr: IO[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command with these options in a folder; return its exit code and what it said.

    What it says goes to `stdout` and `stderr` where they are given. `environment` is added to that
    of these tests; what is looked up by an import, as Dask's configuration is, has no effect.
    """
    with TemporaryFile("w+") as out, TemporaryFile("w+") as messages:
        files = (stdout or out).fileno(), (stderr or messages).fileno()
        words = [str(folder), options, {**os.environ, **(environment or {})}]
        socket.send_fds(_server(), [json.dumps(words).encode()], files)
        code = int(_server().recv(100))
        out.seek(0)
        messages.seek(0)
        return subprocess.CompletedProcess(options, code, out.read(), messages.read())


@cache
def _server() -> socket.socket:
    """Start the process, once for these tests; it ends with them."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=there.fileno(),
            env={**os.environ, "PYTHONPATH": TESTS_PATH},
        )
    atexit.register(process.wait)
    atexit.register(here.close)  # before: this ends it
    return here
