"""Servers that tests need and that not every machine has."""

from __future__ import annotations

import os
import re
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, NoReturn, Self

import pytest


def no_server(reason: str) -> NoReturn:
    """Skip the test; fail it where REQUIRE_SERVERS is set, as on a build server."""
    if os.environ.get("REQUIRE_SERVERS"):
        pytest.fail(f"{reason} (REQUIRE_SERVERS is set)", pytrace=False)
    pytest.skip(reason)


class _Server:
    """A web server at `address`, which runs within the `with` block; `end` is set at its end."""

    def __init__(self, handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        self.end = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self._server.shutdown()
        self._server.server_close()


class WebServer(_Server):
    """A web server of one file, at `url`.

    It sends ranges unless told not to, and `headers` with every answer. `faults` are what it does
    to the next GETs: a status, `drop` (it breaks off in the middle) or `silence` (it never
    answers). With a `refusal`, it answers every request with this status. `sent` counts the bytes
    it has sent.
    """

    def __init__(self, data: bytes, ranges: bool = True) -> None:
        super().__init__(partial(_Handler, self))
        self.data, self.ranges = data, ranges
        self.headers: dict[str, str] = {}
        self.refusal = 0
        self.faults: deque[str] = deque()
        self.sent = 0
        self.url = f"{self.address}/purchases.csv"


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, server: WebServer, *args: Any) -> None:
        self._of = server
        super().__init__(*args)

    def do_HEAD(self) -> None:
        if self._of.refusal:
            self.send_error(self._of.refusal)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self._of.data)))
        self._end_headers()

    def do_GET(self) -> None:
        if self._of.refusal:
            self.send_error(self._of.refusal)
            return
        data, status = self._of.data, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and self._of.ranges and int(asked[1]) >= len(data):
            self.send_error(416)
            return
        if asked and self._of.ranges:
            start, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
            place, data, status = f"bytes {start}-{last}/{len(data)}", data[start : last + 1], 206
        fault = self._of.faults.popleft() if self._of.faults else ""
        if fault.isdigit():
            self.send_error(int(fault))
            return
        if fault == "silence":
            self._of.end.wait()
            return
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", place)
        self.send_header("Content-Length", str(len(data)))
        self._end_headers()
        try:
            self.wfile.write(data[: len(data) // 2] if fault == "drop" else data)
            self._of.sent += len(data)
        except OSError:  # the client has heard enough
            pass

    def _end_headers(self) -> None:
        for name, value in self._of.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Refusing(_Server):
    """A store that gives its `answers`, a status and a code each.

    Status 0 is no answer at all. `asked` counts the requests.
    """

    def __init__(self) -> None:
        super().__init__(partial(_Refusal, self))
        self.answers: list[tuple[int, str]] = []
        self.asked = 0


class _Refusal(BaseHTTPRequestHandler):
    def __init__(self, server: Refusing, *args: Any) -> None:
        self._of = server
        super().__init__(*args)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, code = self._of.answers[self._of.asked]
        self._of.asked += 1
        if not status:
            self._of.end.wait()
            return
        text = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
        self.send_response(status)
        self.send_header("ETag", '"etag"')
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


class Proxy:
    """Passes connections on to another server, within the `with` block; it can hang or be lost."""

    def __init__(self, host: str, target: tuple[str, int]) -> None:
        self._target = target
        self._server = socket.create_server((host, 0))
        self.url = f"http://{host}:{self._server.getsockname()[1]}"
        self._pass = Event()
        self._pass.set()
        self._open: list[socket.socket] = []
        self.passed = 0  # bytes, from client to server

    def __enter__(self) -> Proxy:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.lose()

    def hang(self) -> None:
        """Pass nothing on until `go_on`."""
        self._pass.clear()

    def go_on(self) -> None:
        """Pass on what has come meanwhile."""
        self._pass.set()

    def lose(self) -> None:
        """Break all connections off, and accept no more."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        self._pass.set()

    def cut(self) -> None:
        """Break all connections off."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._server.accept()
                there = socket.create_connection(self._target)
                self._open += [here, there]
                for pair in ((here, there), (there, here)):
                    Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._pass.wait()
                target.sendall(data)
                self.passed += len(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        source.close()
