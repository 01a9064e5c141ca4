"""Files at URLs: ranges with retries, streams that read ahead, and what servers cannot do."""

from __future__ import annotations

import gzip
import io
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client
from support.paths import REPOSITORY
from support.runs import run
from support.servers import WebServer
from support.store import Prefix

from pipeline import Settings
from pipeline.csv_text.files import shown
from pipeline.errors import StorageError, UsageError
from pipeline.outputs.names import COMBINED
from pipeline.storage import remote
from pipeline.storage.remote import RemoteFile, list_versions, read_range, version_of_url

DATA = REPOSITORY / "data"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(remote, "_WAITS", (0, 0))


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer((DATA / "purchases.csv").read_bytes()) as server:
        yield server


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("faults", [[], ["500"], ["drop"], ["500", "drop"]])
def test_a_range_is_all_there_though_the_server_fails(server: WebServer, faults: list[str]) -> None:
    server.faults.extend(faults)
    assert read_range(server.url, 1000, 70_000) == server.data[1000:70_000]
    assert read_range(server.url, len(server.data) - 5, len(server.data)) == server.data[-5:]
    assert read_range(server.url, 5, 5) == b""


def test_a_server_that_keeps_silent_is_asked_once(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "ANSWER", 0.2)
    monkeypatch.setattr(remote, "_PATIENCE", 0.2)
    server.faults.extend(["silence"] * 2)

    with pytest.raises(OSError, match="does not respond, or closed the connection"):
        read_range(server.url, 1000, 70_000)

    assert len(server.faults) == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (["500"] * 3, "responded with status 500"),
        (["drop"] * 3, "does not respond, or closed the connection"),
    ],
)
def test_a_server_that_goes_on_failing_is_a_storage_fault(
    server: WebServer, client: Client, tmp_path: Path, faults: list[str], message: str
) -> None:
    server.faults.extend(faults * 9)
    with pytest.raises(StorageError, match=f"{server.url}.*{message}"):
        run(Settings((str(DATA / "customers.csv"),), (server.url,), str(tmp_path)), client)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("compressed", [False, True])
def test_the_job_reads_from_a_web_server_that_fails_now_and_then(
    server: WebServer, client: Client, tmp_path: Path, compressed: bool
) -> None:
    if compressed:
        server.data = gzip.compress(server.data)
    server.faults.extend(["", "", "", "500", "", "drop", "", "500"])
    files = (str(DATA / "customers.csv"),), (server.url,)

    run(Settings(*files, str(tmp_path), block_size=16_384), client)

    expected = (REPOSITORY / "outputs" / COMBINED).read_bytes()
    assert (tmp_path / COMBINED).read_bytes() == expected


def test_a_server_without_ranges_is_refused_and_not_read(client: Client, tmp_path: Path) -> None:
    data = (DATA / "purchases.csv").read_bytes() * 100
    with WebServer(data, ranges=False) as server:
        with pytest.raises(UsageError) as caught:
            run(Settings((str(DATA / "customers.csv"),), (server.url,), str(tmp_path)), client)
        assert server.sent < len(data)

    assert str(caught.value).startswith(
        f"{server.url}: cannot be read: the server does not support range requests"
    )
    assert str(caught.value).count("\n") == 0


def test_a_stream_reads_each_byte_once(server: WebServer) -> None:
    server.data = os.urandom(30 << 20)
    with io.BufferedReader(RemoteFile(server.url), 1 << 20) as file:
        assert file.read() == server.data
    assert server.sent == len(server.data) + 1  # that byte showed that it sends ranges


def test_a_stream_can_be_read_from_any_place(server: WebServer) -> None:
    draw = random.Random(1)
    with io.BufferedReader(RemoteFile(server.url), 1000) as file:
        for _ in range(100):
            start, size = draw.randrange(len(server.data)), draw.randrange(9000)
            file.seek(start)
            assert file.read(size) == server.data[start : start + size]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:secret@host:80/a@b.csv?X-Amz-Signature=secret", "https://host:80/a@b.csv"),
        ("s3://bucket/a b.csv", "s3://bucket/a b.csv"),
        ("https://host", "https://host"),
    ],
)
def test_messages_show_no_secret_of_a_url(url: str, expected: str) -> None:
    assert shown(url) == expected


def test_the_versions_of_many_objects_are_those_that_the_store_lists(prefix: Prefix) -> None:
    for number in range(remote._MANY):
        prefix.write(f"t/{number}.csv", b"1,2\n" * (number % 3))
    urls = [f"{prefix.url}/t/{number}.csv" for number in range(remote._MANY)]

    assert list_versions(urls) == {url: version_of_url(url) for url in urls}

    prefix.write("t/0.csv", b"3,4\n")
    prefix.delete("t/1.csv")
    assert list_versions(urls) == {url: version_of_url(url) for url in urls if url != urls[1]}
    assert list_versions(urls[1:]) == {}  # few are asked for one by one
    assert list_versions([f"{url}.gz" for url in urls]) == {}
