"""A client for each kind of cluster, and what is said where there is none."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from distributed import Client, Security, Worker
from distributed.comm import CommClosedError
from distributed.core import Status
from support.paths import REPOSITORY
from support.processes import Processes, free_port, wait_until

from pipeline import Settings, run
from pipeline.engine.cluster import connect, no_workers_timeout
from pipeline.errors import ClusterError, PipelineError, UsageError
from pipeline.outputs.names import CHART, COMBINED, FAILED, SPENDING
from pipeline.settings import ClusterSettings

SAME_BYTES = (COMBINED, SPENDING, CHART)


@pytest.fixture(scope="module")
def settings() -> Settings:
    """The repository's own data in several blocks."""
    return Settings(
        (str(REPOSITORY / "data" / "customers.csv"),),
        (str(REPOSITORY / "data" / "purchases.csv"),),
        block_size=16 << 10,
        fsync=False,
    )


@pytest.fixture(scope="module")
def local(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The outputs of a run on a local cluster."""
    folder = tmp_path_factory.mktemp("local")
    return run_on(ClusterSettings(dashboard_address="127.0.0.1:0"), settings, folder)


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """A scheduler and two workers, which run in another folder than this process."""
    with Processes(tmp_path_factory.mktemp("machines")) as processes:
        processes.start_scheduler()
        processes.start_worker()
        processes.start_worker()
        yield processes


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of certificates, each of an authority of its own, in `ours` and `theirs`."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ours", "theirs"):
        make_certificates(folder / name)
    return folder


def make_certificates(folder: Path) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "scripts" / "cluster" / "make_certificates"
    return subprocess.run([script, folder], capture_output=True, text=True)


def run_on(cluster: ClusterSettings, settings: Settings, folder: Path) -> dict[str, bytes]:
    """Run a job that writes into `folder`; return the outputs that are the same in each run."""
    settings = Settings(**{**vars(settings), "output_dir": str(folder)})
    with connect(cluster) as client:
        run(settings, client)
    return {name: (folder / name).read_bytes() for name in SAME_BYTES}


def refusal(kind: type[PipelineError], scheduler: str) -> str:
    """Return the one line with which a cluster is refused."""
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(kind) as caught,
        connect(ClusterSettings(scheduler)),
    ):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.cluster
@pytest.mark.parametrize("by", ["address", "file"])
def test_any_scheduler_gives_the_bytes_of_a_local_run(
    by: str,
    processes: Processes,
    settings: Settings,
    local: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # a relative path is this process's, not the workers'
    where = processes.address if by == "address" else str(processes.file)
    assert run_on(ClusterSettings(where), settings, Path("outputs")) == local


@pytest.mark.cluster
def test_a_connection_that_is_cut_is_a_failure_of_the_cluster(processes: Processes) -> None:
    with (
        pytest.raises(ClusterError) as caught,
        connect(ClusterSettings(processes.address)),
    ):
        raise CommClosedError("in <TCP>: BrokenPipeError")
    assert str(caught.value) == (
        f"the connection to the scheduler at '{processes.address}' was lost: "
        "in <TCP>: BrokenPipeError; run the job again"
    )


@pytest.mark.cluster
def test_the_command_line_takes_the_scheduler_from_the_environment(
    processes: Processes, tmp_path: Path
) -> None:
    done = job(tmp_path, env={"DASK_SCHEDULER_ADDRESS": processes.address})
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("dashboard: http://127.0.0.1:")
    assert "age group" in done.stdout


def test_a_scheduler_that_does_not_run_is_named() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    message = refusal(ClusterError, address)
    # Dask tries again until its time is up, which may be during an attempt.
    why = r"(\[Errno 111\] Connection refused|Timed out trying to connect to \S+ after 1 s)"
    assert re.match(
        f"no scheduler answered at '{address}' within 1 s: {why}; check that it is running, ",
        message,
    )


def test_a_server_that_keeps_silent_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "tcp://{}:{}".format(*server.getsockname())
        begin = time.monotonic()
        message = refusal(ClusterError, address)
    assert time.monotonic() - begin < 10
    assert "within 1 s; check that it is running, " in message


@pytest.mark.parametrize(
    ("scheduler", "what"),
    [
        ("foo://127.0.0.1:8786", "unknown address scheme 'foo'"),
        ("tcp://127.0.0.1", "missing port number"),
        ("tls://127.0.0.1:8786", "needs certificates; set them with distributed.comm.tls"),
        ("nowhere.json", "nor a scheduler file: No such file or directory"),
    ],
)
def test_what_is_no_address_is_a_wrong_option(scheduler: str, what: str) -> None:
    message = refusal(UsageError, scheduler)
    assert f"'{scheduler}'" in message
    assert what in message


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}'])
def test_a_file_that_is_no_scheduler_file_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(text)
    assert refusal(UsageError, str(file)).startswith(f"--scheduler '{file}' is not a file that")


@pytest.mark.cluster
@pytest.mark.slow("TLS")
def test_tls_lets_in_none_but_those_with_a_certificate(
    certificates: Path,
    settings: Settings,
    local: dict[str, bytes],
    tmp_path: Path,
) -> None:
    ours, theirs = certificates / "ours", certificates / "theirs"
    security = Security(
        tls_ca_file=str(ours / "ca.pem"),
        tls_client_cert=str(ours / "client.pem"),
        tls_client_key=str(ours / "client-key.pem"),
    )

    def options(folder: Path, role: str) -> list[str]:
        files = ("ca-file", "ca"), ("cert", role), ("key", f"{role}-key")
        return [word for name, file in files for word in (f"--tls-{name}", f"{folder / file}.pem")]

    folder = tmp_path / "machines"
    folder.mkdir()
    with Processes(folder, security) as processes:
        processes.start_scheduler("--protocol", "tls", *options(ours, "scheduler"))
        processes.start_worker(*options(ours, "worker"))
        address = processes.address
        assert address.startswith("tls://")
        with certificates_of(ours / "client", ours / "ca.pem"):
            assert run_on(ClusterSettings(address), settings, tmp_path / "outputs") == local
            with connect(ClusterSettings(str(processes.file))) as client:
                assert len(Processes.workers(client)) == 1

        # Then it trusts the scheduler, but the scheduler does not trust it.
        for authority in (theirs, ours):
            with certificates_of(theirs / "client", authority / "ca.pem"):
                message = refusal(ClusterError, address)
            assert "do not trust each other's certificates" in message
            assert "DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in message
        assert "needs certificates" in refusal(UsageError, address)
        message = refusal(ClusterError, address.replace("tls://", "tcp://"))
        assert "that the scheme, tcp:// or tls://, is right" in message


def certificates_of(client: Path, authority: Path) -> dask.config.set:
    """Name a client's certificates as people do, in Dask's configuration, for a `with` block."""
    files = {
        "ca-file": str(authority),
        "client.cert": f"{client}.pem",
        "client.key": f"{client}-key.pem",
    }
    return dask.config.set({f"distributed.comm.tls.{key}": file for key, file in files.items()})


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nothing")
    for file, what in (("missing.pem", "No such file or directory"), ("bad.pem", "")):
        with certificates_of(tmp_path / "client", tmp_path / file):
            message = refusal(UsageError, "tls://127.0.0.1:8786")
        assert message.startswith(
            f"no certificates could be read from {tmp_path / file}, {tmp_path}/client.pem, "
        )
        assert what in message
        assert "; set them with distributed.comm.tls.ca-file, " in message
        assert message.endswith("COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY")


def test_certificates_are_their_owners_alone_and_never_overwritten(certificates: Path) -> None:
    ours = certificates / "ours"
    names = ["ca.pem"]
    for role in ("client", "scheduler", "worker"):
        names += [f"{role}-key.pem", f"{role}.pem"]
    assert sorted(file.name for file in ours.iterdir()) == sorted(names)
    assert {file.stat().st_mode & 0o777 for file in ours.iterdir()} == {0o600}
    before = {file: file.read_bytes() for file in ours.iterdir()}
    again = make_certificates(ours)
    assert again.returncode == 2
    assert (
        again.stderr == f"error: {ours}: already holds certificates; remove it to make new ones\n"
    )
    assert {file: file.read_bytes() for file in ours.iterdir()} == before


def test_how_long_a_run_waits_for_workers(client: Client) -> None:
    key = "distributed.scheduler.no-workers-timeout"
    with dask.config.set({key: None}):
        assert no_workers_timeout() == ClusterSettings().wait_for_workers
    with dask.config.set({key: "2 minutes"}):
        assert no_workers_timeout() == 120


def is_reading(client: Client) -> bool:
    """Tell whether a worker is at a block of the inputs: the checks before the start are done."""
    return any("read-" in str(key) for keys in client.processing().values() for key in keys)


@pytest.mark.cluster
def test_workers_lost_for_good_end_the_job_and_leave_the_outputs(
    settings: Settings, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    before = {name: f"{name} of an earlier run".encode() for name in SAME_BYTES}
    for name, data in before.items():
        (outputs / name).write_bytes(data)
    folder = tmp_path / "machines"
    folder.mkdir()
    many = Settings(**{**vars(settings), "block_size": 4096})
    with Processes(folder) as processes:
        processes.start_scheduler()
        workers = [processes.start_worker(), processes.start_worker()]
        lost: list[float] = []

        def kill() -> None:
            with processes.client() as client:
                wait_until(lambda: is_reading(client))
            for process in workers:
                process.send_signal(signal.SIGKILL)
            lost.append(time.monotonic())

        killer = threading.Thread(target=kill)
        killer.start()
        cluster = ClusterSettings(processes.address, wait_for_workers=2)
        with pytest.raises(ClusterError) as caught:
            run_on(cluster, many, outputs)
        killer.join()
        assert time.monotonic() - lost[0] < 20
    what = "all workers were lost, and none came back within 2 s"
    assert what in str(caught.value)
    after = {file.name: file.read_bytes() for file in outputs.iterdir()}
    assert what in after.pop(FAILED).decode()
    assert after == before


@pytest.mark.cluster
@pytest.mark.slow("lost clusters")
def test_workers_that_pause_for_good_end_the_job(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Otherwise the worker would look at its memory, and go on.
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE", "False")
    folder = tmp_path / "machines"
    folder.mkdir()

    def pause(machines: Processes) -> None:
        def pause(dask_worker: Worker) -> None:
            dask_worker.status = Status.paused

        with machines.client() as client:
            wait_until(lambda: is_reading(client))
            client.run(pause)

    with Processes(folder) as machines:
        machines.start_scheduler()
        machines.start_worker()
        pauser = threading.Thread(target=pause, args=[machines])
        pauser.start()
        with pytest.raises(ClusterError) as caught:
            run_on(
                ClusterSettings(machines.address, wait_for_workers=2),
                Settings(**{**vars(settings), "block_size": 1024}),
                tmp_path / "outputs",
            )
        pauser.join()
    assert str(caught.value) == (
        "all workers were paused for 2 s, because they used too much memory; raise the memory "
        "limit of the workers, "
        "or lower --block-size or the threads per worker; --join shuffle needs less memory "
        "than a broadcast"
    )


def job(
    folder: Path, *options: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command on the repository's data; write into `folder`."""
    command = [sys.executable, "-m", "pipeline", "--output-dir", str(folder), *options]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
