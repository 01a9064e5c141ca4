"""Inputs that change while a real run reads them: it fails, or its result is that of the plan."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from support.paths import REPOSITORY
from support.runs import run
from support.servers import WebServer
from support.store import Prefix

from pipeline import Settings
from pipeline.engine.progress import Progress
from pipeline.errors import InputChangedError, StorageError
from pipeline.outputs.names import COMBINED, FAILED, OUTPUTS, REPORT, SPENDING
from pipeline.storage import remote

DATA = REPOSITORY / "data"
BLOCK = 65_536
AGAIN = "nothing was published; run the job again once no program is writing to it"


class Changing(Progress):
    """Makes a change once, at a moment of the run."""

    def __init__(self, moment: str, change: Callable[[], object]) -> None:
        self._moment, self._change = moment, change
        self.said: list[str] = []

    def say(self, message: str) -> None:
        """Come to the moment `planned` when the plan is reported."""
        self.said.append(message)
        self._come(message.startswith("customers: ") and "planned")

    @contextmanager
    def step(self, name: str, total: int) -> Iterator[None]:
        """Come to the moment of this name, when inputs have been read."""
        self._come(name != "purchases" and name)
        yield

    def advance(self, table: str, size: int, records: int) -> None:
        """Come to the moment named after a table, when some of it has been read."""
        self._come(table)

    def _come(self, moment: object) -> None:
        if moment == self._moment:
            self._moment = ""
            self._change()


def cut_to_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def append(path: Path) -> None:
    more = b"1,Lamp,1000000\n"
    with path.open("ab") as file:
        file.write(gzip.compress(more) if path.suffix == ".gz" else more)


def rewrite(path: Path) -> None:
    """Exchange digits, so that a mixture would go unnoticed; or damage a compressed file."""
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.write(data[:1000] + data[1000:].translate(bytes.maketrans(b"12", b"21")))


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    shutil.copy(path, other)
    rewrite(other)
    other.rename(path)


MOMENTS = ("planned", "purchases", "assemble", "read back")
# A file is opened, and a server asked, anew for every block.
BETWEEN_BLOCKS = ("customers", "purchases", "read back")
CHANGES = (cut_to_half, cut_to_nothing, append, rewrite, replace)
SLOW = pytest.mark.slow("inputs that change")
QUICK = {
    *(("purchases.csv", change, "purchases") for change in CHANGES),
    ("purchases.csv", replace, "read back"),
    ("purchases.csv.gz", cut_to_half, "purchases"),
}


def moments(*quick: str) -> list[Any]:
    """Return the moments of a change; all but the quick ones are only tried with --all."""
    return [pytest.param(name, marks=() if name in quick else SLOW) for name in BETWEEN_BLOCKS]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with both inputs, plain and compressed, and the outputs of an earlier run."""
    (tmp_path / "outputs").mkdir()
    for name in OUTPUTS:
        (tmp_path / "outputs" / name).write_text(f"earlier {name}")
    for name in ("customers.csv", "purchases.csv"):
        shutil.copy(DATA / name, tmp_path)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((DATA / name).read_bytes(), 1))
    return tmp_path


def settings(folder: Path, purchases: Path | str, **more: Any) -> Settings:
    files = (str(folder / "customers.csv"),), (str(purchases),)
    return Settings(*files, str(folder / "outputs"), block_size=BLOCK, **more)


def has_failed(folder: Path, message: str) -> bool:
    """Tell whether the outputs are the earlier ones, and the error says so in one line."""
    files = {path.name: path.read_text() for path in (folder / "outputs").iterdir()}
    told = json.loads(files.pop(FAILED))["error"]
    return told == message.splitlines()[0] and files == {
        name: f"earlier {name}" for name in OUTPUTS
    }


def is_the_sample(folder: Path) -> bool:
    """Tell whether the outputs are those of the inputs as they were."""
    found, sample = folder / "outputs", REPOSITORY / "outputs"
    names = COMBINED, SPENDING
    return all((found / name).read_bytes() == (sample / name).read_bytes() for name in names)


@pytest.mark.parametrize(
    ("name", "change", "moment"),
    [
        pytest.param(*case, marks=() if case in QUICK else SLOW)
        for case in product(("purchases.csv", "purchases.csv.gz"), CHANGES, MOMENTS)
    ],
)
def test_a_file_that_changes(
    client: Client, inputs: Path, name: str, change: Callable[[Path], None], moment: str
) -> None:
    how = settings(inputs, inputs / name)
    progress = Changing(moment, lambda: change(inputs / name))

    if (change, name) == (append, "purchases.csv"):
        size = (inputs / name).stat().st_size
        run(how, client, progress)
        warning = (
            f"{inputs / name} grew by 15 bytes during the run; only its first {size:,} bytes were "
            "read"
        )
        assert progress.said[-1] == f"warning: {warning}"
        report = json.loads((inputs / "outputs" / REPORT).read_bytes())
        assert report["warnings"][-1] == warning
        assert report["inputs"]["purchases"][0]["bytes"] == size
        assert is_the_sample(inputs)
        return

    with pytest.raises(InputChangedError) as caught:
        run(how, client, progress)

    message = str(caught.value)
    assert message.startswith(f"{inputs / name}: changed during the run: ")
    assert message.endswith(AGAIN)
    assert has_failed(inputs, message)


@pytest.mark.parametrize("join", ["broadcast", pytest.param("shuffle", marks=SLOW)])
@pytest.mark.parametrize(
    ("change", "name"), [(cut_to_half, "customers.csv"), (rewrite, "customers.csv.gz")]
)
def test_customers_that_change(
    client: Client, inputs: Path, name: str, change: Callable[[Path], None], join: Any
) -> None:
    files = (str(inputs / name),), (str(inputs / "purchases.csv"),)
    how = Settings(*files, str(inputs / "outputs"), block_size=BLOCK, join=join)

    with pytest.raises(InputChangedError, match=f"^{inputs / name}: changed during") as caught:
        run(how, client, Changing("customers", lambda: change(inputs / name)))

    assert has_failed(inputs, str(caught.value))


def grow_within_a_record(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"000\n")


def write_more(path: Path) -> None:
    data = path.read_bytes()
    with path.open("r+b") as file:  # without a moment at which it is shorter
        file.write(data.replace(b"1,", b"2,") + data)


@pytest.mark.parametrize(
    ("end", "change"), [(b"", grow_within_a_record), (b"\n", write_more)], ids=["end", "begin"]
)
def test_a_file_that_grew_in_another_way_has_changed(
    client: Client, inputs: Path, end: bytes, change: Callable[[Path], None]
) -> None:
    path = inputs / "purchases.csv"
    path.write_bytes(path.read_bytes().rstrip(b"\r\n") + end)

    with pytest.raises(InputChangedError, match=r": it had [\d,]+ bytes when the"):
        run(settings(inputs, path), client, Changing("purchases", lambda: change(path)))


def into_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "why"),
    [(Path.unlink, "No such file or directory"), (into_a_folder, "Is a directory")],
)
@pytest.mark.parametrize("name", ["purchases.csv", pytest.param("purchases.csv.gz", marks=SLOW)])
@pytest.mark.parametrize("moment", moments("customers"))
def test_a_file_that_is_gone(
    client: Client, inputs: Path, name: str, moment: str, change: Callable[[Path], None], why: str
) -> None:
    with pytest.raises(StorageError) as caught:
        run(
            settings(inputs, inputs / name), client, Changing(moment, lambda: change(inputs / name))
        )

    assert str(caught.value) == (
        f"{inputs / name}: can no longer be read: {why}; nothing was published; check the file or "
        "its server, then run again"
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(remote, "_WAITS", (0, 0))


@pytest.fixture(params=["purchases.csv", pytest.param("purchases.csv.gz", marks=SLOW)])
def server(request: pytest.FixtureRequest, inputs: Path) -> Iterator[WebServer]:
    with WebServer((inputs / request.param).read_bytes()) as server:
        server.headers = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "ETag": '"1"'}
        yield server


def cut_there(server: WebServer) -> None:
    server.data = server.data[:5000]


def lengthen_there(server: WebServer) -> None:
    server.data += server.data


def date_there(server: WebServer) -> None:
    server.headers["Last-Modified"] = "Thu, 01 Jan 2026 00:00:01 GMT"


def tag_there(server: WebServer) -> None:
    server.headers["ETag"] = '"2"'


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("moment", moments("customers"))
@pytest.mark.parametrize("change", [cut_there, lengthen_there, date_there, tag_there])
def test_a_file_of_a_web_server_that_changes(
    client: Client,
    inputs: Path,
    server: WebServer,
    change: Callable[[WebServer], None],
    moment: str,
) -> None:
    with pytest.raises(
        InputChangedError, match=f"{server.url}: changed during the run: "
    ) as caught:
        run(settings(inputs, server.url), client, Changing(moment, lambda: change(server)))

    assert str(caught.value).endswith(AGAIN)
    assert has_failed(inputs, str(caught.value))


@pytest.mark.usefixtures("quick")
def test_the_time_of_a_web_file_is_in_the_report(
    client: Client, inputs: Path, server: WebServer
) -> None:
    run(settings(inputs, server.url), client)

    (file,) = json.loads((inputs / "outputs" / REPORT).read_bytes())["inputs"]["purchases"]
    assert file == {
        "file": server.url,
        "bytes": len(server.data),
        "modified": "2026-01-01T00:00:00+00:00",
    }


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("moment", moments("customers"))
@pytest.mark.parametrize("status", [404, pytest.param(503, marks=SLOW)])
def test_a_web_server_that_refuses_in_the_middle(
    client: Client, inputs: Path, server: WebServer, status: int, moment: str
) -> None:
    def refuse() -> None:
        server.refusal = status

    with pytest.raises(
        StorageError, match=f"{server.url}: can no longer .* status {status}; nothing"
    ):
        run(settings(inputs, server.url), client, Changing(moment, refuse))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("status", [403, pytest.param(404, marks=SLOW)])
def test_a_web_server_that_refuses_only_the_workers(
    client: Client, inputs: Path, server: WebServer, status: int
) -> None:
    """They have other rights, or the server lets nobody read for a moment."""

    def refuse() -> None:
        server.faults.extend([str(status)] * 1000)  # not to the client's HEAD

    with pytest.raises(
        StorageError, match=rf"^{server.url}: .*the server responded with status {status}"
    ):
        run(settings(inputs, server.url), client, Changing("customers", refuse))


@pytest.mark.parametrize("name", ["purchases.csv", pytest.param("purchases.csv.gz", marks=SLOW)])
@pytest.mark.parametrize("moment", moments("customers", "read back"))
def test_an_object_that_is_overwritten(
    client: Client, inputs: Path, prefix: Prefix, name: str, moment: str
) -> None:
    data = (inputs / name).read_bytes()
    prefix.write(name, data)
    other = data.translate(bytes.maketrans(b"12", b"21"))
    url = f"{prefix.url}/{name}"

    how = settings(inputs, url)
    with pytest.raises(InputChangedError, match=f"^{url}: changed during the run: ") as caught:
        run(how, client, Changing(moment, lambda: prefix.write(name, other)))

    assert str(caught.value).endswith(AGAIN)


def test_an_object_that_is_put_again_as_it_was(
    client: Client, inputs: Path, prefix: Prefix
) -> None:
    data = (inputs / "purchases.csv").read_bytes()
    prefix.write("purchases.csv", data)
    how = settings(inputs, f"{prefix.url}/purchases.csv")

    progress = Changing("customers", lambda: prefix.write("purchases.csv", data))
    run(how, client, progress)

    assert is_the_sample(inputs)
    assert not any("grew" in said for said in progress.said)


def test_an_object_that_is_deleted(client: Client, inputs: Path, prefix: Prefix) -> None:
    prefix.write_inputs(inputs)
    url = f"{prefix.url}/purchases.csv"

    with pytest.raises(StorageError, match=f"^{url}: can no longer be read: there is no such file"):
        run(
            settings(inputs, url),
            client,
            Changing("customers", lambda: prefix.delete("purchases.csv")),
        )


def test_workers_read_only_the_planned_version_of_an_object(inputs: Path, prefix: Prefix) -> None:
    prefix.write("t.csv", b"1,2\n" * 100)
    url = f"{prefix.url}/t.csv"
    version = remote.version_of_url(url)
    assert remote.read_range(url, 4, 12, version) == b"1,2\n1,2\n"

    prefix.write("t.csv", b"1,3\n" * 100)

    with pytest.raises(InputChangedError, match=f"^{url}: changed during the run: the store has"):
        remote.read_range(url, 4, 12, version)
