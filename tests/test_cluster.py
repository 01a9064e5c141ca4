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
from distributed.core import Status
from processes import Processes, free_port, listeners, wait_until

from pipeline import Settings, run
from pipeline.cluster import connect, dashboard_link, no_workers_timeout, worker_memory
from pipeline.errors import ClusterError, PipelineError, UsageError
from pipeline.publish import CHART, COMBINED, SPENDING
from pipeline.settings import ClusterSettings

REPOSITORY = Path(__file__).parents[1]
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
    script = REPOSITORY / "scripts" / "make_certificates"
    return subprocess.run([script, folder], capture_output=True, text=True)


def run_on(cluster: ClusterSettings, settings: Settings, folder: Path) -> dict[str, bytes]:
    """Run a job that writes into `folder`; return the outputs that are the same in each run."""
    settings = Settings(**{**vars(settings), "output_dir": str(folder)})
    with connect(cluster) as client:
        run(settings, client)
    return {name: (folder / name).read_bytes() for name in SAME_BYTES}


def refusal(kind: type[PipelineError], scheduler: str, **options: str) -> str:
    """Return the one line with which a cluster is refused."""
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(kind) as caught,
        connect(ClusterSettings(scheduler, **options)),  # type: ignore[arg-type]  # untyped dict
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
def test_the_command_line_takes_the_scheduler_from_the_environment(
    processes: Processes, tmp_path: Path
) -> None:
    done = job(tmp_path, env={"DASK_SCHEDULER_ADDRESS": processes.address})
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("dashboard: http://127.0.0.1:")
    assert "age group" in done.stdout


@pytest.mark.cluster
def test_a_lost_cluster_is_one_line_and_exit_code_3(tmp_path: Path) -> None:
    done = job(
        tmp_path,
        "--scheduler",
        f"tcp://127.0.0.1:{free_port()}",
        env={"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"},
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("error: no scheduler answers at 'tcp://127.0.0.1:")
    assert done.stderr.count("\n") == 1


def test_a_scheduler_that_does_not_run_is_named() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    message = refusal(ClusterError, address)
    # Dask tries again until its time is up, which may be during an attempt.
    why = r"(\[Errno 111\] Connection refused|Timed out trying to connect to \S+ after 1 s)"
    assert re.match(f"no scheduler answers at '{address}' within 1 s: {why}; is it ", message)


def test_a_server_that_keeps_silent_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "tcp://{}:{}".format(*server.getsockname())
        begin = time.monotonic()
        message = refusal(ClusterError, address)
    assert time.monotonic() - begin < 10
    assert "within 1 s: what is there keeps silent" in message


@pytest.mark.parametrize(
    ("scheduler", "what"),
    [
        ("foo://127.0.0.1:8786", "unknown address scheme 'foo'"),
        ("tcp://127.0.0.1", "missing port number"),
        ("tls://127.0.0.1:8786", "wants certificates; name them with --tls-ca-file"),
        ("nowhere.json", "no scheduler file: No such file or directory"),
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
    assert refusal(UsageError, str(file)).startswith(f"--scheduler '{file}': not a file that")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"tls_cert": "a.pem", "tls_ca_file": "b.pem"}, "for a scheduler at tls://…, not for 'l"),
        (
            {"scheduler": "tcp://a:1", "tls_cert": "a.pem", "tls_ca_file": "b.pem"},
            "for a scheduler at tls://…, not for 'tcp://a:1'",
        ),
        ({"scheduler": "tls://a:1", "tls_cert": "a.pem"}, "TLS needs --tls-ca-file, --tls-cert"),
        ({"scheduler": "tls://a:1", "tls_key": "a.pem"}, "TLS needs --tls-ca-file, --tls-cert"),
        ({"wait_for_workers": 0}, "--wait-for-workers is a number of seconds above 0"),
        ({"wait_for_workers": float("nan")}, "--wait-for-workers is a number of seconds"),
    ],
)
def test_options_that_make_no_sense_together(options: dict[str, str], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        ClusterSettings(**options)  # type: ignore[arg-type]  # untyped dict
    assert what in str(caught.value)


@pytest.mark.cluster
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

    def own(folder: Path, authority: Path) -> dict[str, str]:
        return {
            "tls_ca_file": str(authority / "ca.pem"),
            "tls_cert": str(folder / "client.pem"),
            "tls_key": str(folder / "client-key.pem"),
        }

    folder = tmp_path / "machines"
    folder.mkdir()
    with Processes(folder, security) as processes:
        processes.start_scheduler("--protocol", "tls", *options(ours, "scheduler"))
        processes.start_worker(*options(ours, "worker"))
        address = processes.address
        assert address.startswith("tls://")
        cluster = ClusterSettings(address, **own(ours, ours))  # type: ignore[arg-type]  # untyped dict
        assert run_on(cluster, settings, tmp_path / "outputs") == local
        cluster = ClusterSettings(str(processes.file), **own(ours, ours))  # type: ignore[arg-type]  # untyped dict
        with connect(cluster) as client:
            assert len(Processes.workers(client)) == 1

        message = refusal(ClusterError, address, **own(theirs, theirs))
        assert "do not trust each other's certificates" in message
        # It trusts the scheduler, but the scheduler does not trust it.
        message = refusal(ClusterError, address, **own(theirs, ours))
        assert "do not trust each other's certificates" in message
        assert "wants certificates" in refusal(UsageError, address)
        message = refusal(ClusterError, address.replace("tls://", "tcp://"))
        assert "is it tcp:// or tls://?" in message


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nothing")
    for file, what in (("missing.pem", "No such file or directory"), ("bad.pem", "")):
        files = {"tls_ca_file": str(tmp_path / file), "tls_cert": str(tmp_path / file)}
        message = refusal(UsageError, "tls://127.0.0.1:8786", **files)
        assert message.startswith(f"no certificates in {tmp_path / file}, ")
        assert what in message
        assert message.endswith("see --tls-ca-file, --tls-cert and --tls-key")


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
        again.stderr == f"error: {ours}: holds certificates already; remove it to make new ones\n"
    )
    assert {file: file.read_bytes() for file in ours.iterdir()} == before


# Tornado leaves the socket open that it could not bind.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_dashboard_of_a_local_cluster_listens_on_this_machine_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = ClusterSettings(
            dashboard_address="127.0.0.1:{1}".format(*taken.getsockname()), threads_per_worker=1
        )
        with connect(settings) as client:
            link = dashboard_link(client, settings)
            # With its port taken it moves on, and the link is the real one.
            assert link.startswith("http://127.0.0.1:")
            assert link != f"http://{settings.dashboard_address}/status"
            sockets = client.cluster.scheduler.http_server._sockets.values()
            assert {listener.getsockname()[0] for listener in sockets} == {"127.0.0.1"}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.cluster)])
def test_nothing_of_a_local_cluster_can_be_reached_from_other_machines(workers: int) -> None:
    settings = ClusterSettings(
        workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    )
    before = listeners()  # of what other tests have started
    with connect(settings):
        assert {host for host, _ in listeners() - before} == {"127.0.0.1"}


def test_the_least_memory_limit_counts() -> None:
    settings = ClusterSettings(
        memory_limit="1GiB", threads_per_worker=1, dashboard_address="127.0.0.1:0"
    )
    with connect(settings) as client:
        assert worker_memory(client) == 1 << 30


def test_how_long_a_run_waits_for_workers(client: Client) -> None:
    key = "distributed.scheduler.no-workers-timeout"
    with dask.config.set({key: None}):
        assert no_workers_timeout() == ClusterSettings().wait_for_workers
    with dask.config.set({key: "2 minutes"}):
        assert no_workers_timeout() == 120


@pytest.mark.cluster
@pytest.mark.parametrize("victim", ["workers", "scheduler"])
def test_a_cluster_lost_for_good_ends_the_job_and_leaves_the_outputs(
    victim: str, settings: Settings, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    before = {name: f"{name} of an earlier run".encode() for name in SAME_BYTES}
    for name, data in before.items():
        (outputs / name).write_bytes(data)
    folder = tmp_path / "machines"
    folder.mkdir()
    many = Settings(**{**vars(settings), "block_size": 1024})
    with Processes(folder) as processes:
        scheduler = processes.start_scheduler()
        workers = [processes.start_worker(), processes.start_worker()]
        lost: list[float] = []

        def kill() -> None:
            with processes.client() as client:
                wait_until(lambda: any(client.processing().values()))
            for process in workers if victim == "workers" else [scheduler]:
                process.send_signal(signal.SIGKILL)
            lost.append(time.monotonic())

        killer = threading.Thread(target=kill)
        killer.start()
        cluster = ClusterSettings(processes.address, wait_for_workers=2)
        with pytest.raises(ClusterError) as caught:
            run_on(cluster, many, outputs)
        killer.join()
        assert time.monotonic() - lost[0] < 20
    what = {
        "workers": "all workers were lost, and none came back within 2 s",
        "scheduler": f"the scheduler at '{processes.address}' was lost while the job ran",
    }
    assert what[victim] in str(caught.value)
    assert {file.name: file.read_bytes() for file in outputs.iterdir()} == before


@pytest.mark.cluster
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
            wait_until(lambda: any(client.processing().values()))
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
        "all workers have paused for 2 s, short of memory; raise the memory limit of the workers, "
        "or lower --block-size or the threads of a worker"
    )


def job(
    folder: Path, *options: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command on the repository's data; write into `folder`."""
    command = [sys.executable, "-m", "pipeline", "--output-dir", str(folder), *options]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
