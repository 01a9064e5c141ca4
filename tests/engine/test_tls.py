"""A TLS connection is not ended by what went wrong in another one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.paths import REPOSITORY

# Whatever went wrong in this thread before, a connection without data says: come again.
SCRIPT = """
import _ssl, ctypes, socket, ssl, sys
from concurrent.futures import ThreadPoolExecutor
from pipeline.engine.tls import dask_setup

dask_setup(None)
openssl = ctypes.PyDLL(_ssl.__file__)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/scheduler.pem", sys.argv[1] + "/scheduler-key.pem")
anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
here, there = socket.socketpair()
with ThreadPoolExecutor() as pool:
    server = pool.submit(context.wrap_socket, there, server_side=True)
    connection = anyone.wrap_socket(here)
connection.setblocking(False)
for _ in range(2):  # the first reads what the server sends after its handshake
    openssl.ERR_new()
    openssl.ERR_set_error(2, 32, None)  # the system's "Broken pipe"
    try:
        connection.recv_into(bytearray(1))
    except OSError as error:
        print(type(error).__name__)
"""


def test_an_error_of_another_connection_ends_none(tmp_path: Path) -> None:
    make = REPOSITORY / "scripts" / "cluster" / "make_certificates"
    subprocess.run([make, tmp_path / "certificates"], check=True, capture_output=True)

    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "certificates"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.stdout, ended.stderr) == ("SSLWantReadError\n" * 2, "")
