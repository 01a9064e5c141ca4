"""`docker compose up`, on a real engine: the same bytes, and nothing more allowed than needed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.containers import (
    GID,
    IMAGE,
    UID,
    Stack,
    address,
    docker,
    host_address,
    inspect,
    local_bytes,
    need_docker,
)
from support.paths import REPOSITORY

from pipeline.outputs.names import FAILED, OUTPUTS, REJECTED

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return local_bytes(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, expected: dict[str, bytes]) -> Iterator[Stack]:
    """What `docker compose up` starts in a fresh clone, once its job has ended."""
    need_docker()
    with Stack(tmp_path_factory.mktemp("clone")) as stack:
        stack.build()
        stack.compose("up", "--detach")
        assert stack.wait_for_job() == 0
        assert stack.bytes() == expected
        yield stack


def test_the_outputs_belong_to_the_user_who_started_it(stack: Stack) -> None:
    files = list(stack.outputs.iterdir())
    assert {file.name for file in files} == set(OUTPUTS) - {REJECTED}
    assert {(file.stat().st_uid, file.stat().st_gid) for file in files} == {(UID, GID)}


def test_the_cluster_stays_up_for_the_next_job(stack: Stack) -> None:
    """The job's own exit code and lines come out, and what it prints is as on this machine."""
    before = sorted(stack.ids("worker") + stack.ids("scheduler"))
    shutil.copy(stack.folder / "data" / "customers.csv", stack.folder / "data" / "others.csv")
    stack.own(stack.folder / "data")
    files = ("--customers", "data/others.csv", "--purchases", "data/purchases.csv")
    done = stack.job(*files, "--output-dir", "outputs/others")
    assert done.returncode == 0, done.stderr
    assert "others.csv" in done.stderr
    assert f"dashboard: http://127.0.0.1:{stack.dashboard_port}/status" in done.stderr
    assert done.stdout.startswith("age group ")
    shutil.rmtree(stack.outputs / "others")

    done = stack.job("--quiet", *files, "--customers", "data/none.csv")
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert errors[0].startswith("error: customers: no file at 'data/none.csv'")
    assert len(errors) == 1
    assert "Traceback" not in done.stderr
    assert sorted(stack.ids("worker") + stack.ids("scheduler")) == before


def test_the_dashboard_is_shown_on_this_machine(stack: Stack) -> None:
    for page in ("status", "workers", "health"):
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.dashboard_port}/{page}") as answer:
            assert answer.status == 200
            text = answer.read().decode()
        assert page != "status" or "bokeh" in text.lower()


def test_no_container_may_do_more_than_it_has_to(stack: Stack) -> None:
    jobs = stack.compose("ps", "--all", "--quiet", "job").stdout.split()
    limits = {"scheduler": 1 << 30, "worker": 2 << 30, "job": 1 << 30}
    ports = {"8787/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.dashboard_port)}]}
    for service in ("scheduler", "worker", "job"):
        for container in stack.ids(service) or jobs:
            facts = inspect(container)
            host = facts["HostConfig"]
            assert facts["Config"]["User"] == f"{UID}:{GID}"
            assert UID != 0
            assert host["CapDrop"] == ["ALL"]
            assert not host["CapAdd"]
            assert not host["Privileged"]
            assert host["SecurityOpt"] == ["no-new-privileges:true"]
            assert host["ReadonlyRootfs"]
            assert host["PidsLimit"] == 512
            log = {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}
            assert host["LogConfig"] == log
            assert host["Memory"] == host["MemorySwap"] == limits[service]
            assert host["PortBindings"] == (ports if service == "scheduler" else {})
            assert list(facts["NetworkSettings"]["Networks"]) == [f"{stack.name}_cluster"]
            writable = {mount["Destination"]: mount["RW"] for mount in facts["Mounts"]}
            spill = {"/spill": True} if service == "worker" else {}
            folders = {"/job/data": False, "/job/outputs": True}
            assert writable == ({} if service == "scheduler" else {**folders, **spill})
            if service != "job":
                assert facts["State"]["Health"]["Status"] == "healthy"


def test_a_process_in_a_container_has_no_power(stack: Stack) -> None:
    (worker, *_) = stack.ids("worker")
    status = docker("exec", worker, "cat", "/proc/self/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["Uid"].split() == [str(UID)] * 4
    assert {facts[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
    assert facts["NoNewPrivs"] == "1"
    for place in ("/opt/venv/x", "/job/data/x", "/etc/x"):
        script = f"open({place!r}, 'w')"
        done = subprocess.run(["docker", "exec", worker, "python", "-c", script], stderr=-1)
        assert b"Read-only file system" in done.stderr


def test_dask_knows_the_containers_memory_limit_and_spills_to_the_volume(stack: Stack) -> None:
    (scheduler,) = stack.ids("scheduler")
    script = """
from distributed import Client
with Client("tcp://127.0.0.1:8786") as client:
    for worker in client.scheduler_info(n_workers=-1)["workers"].values():
        print(worker["memory_limit"], worker["local_directory"])
"""
    lines = docker("exec", scheduler, "python", "-c", script).splitlines()
    assert len(lines) == len(stack.ids("worker"))
    for line in lines:
        limit, folder = line.split()
        assert int(limit) == int(0.8 * (2 << 30))
        assert folder.startswith("/spill/")


def test_from_outside_its_network_the_scheduler_cannot_be_reached(stack: Stack) -> None:
    (scheduler,) = stack.ids("scheduler")
    script = """
import socket, sys
for port in map(int, sys.argv[2:]):
    try:
        socket.create_connection((sys.argv[1], port), timeout=2)
    except OSError as error:
        print("no")
    else:
        print("yes")
"""

    def reach(network: str, host: str, *ports: int) -> list[str]:
        python = ["--entrypoint", "python", IMAGE, "-c", script]
        return docker("run", "--rm", "--network", network, *python, host, *map(str, ports)).split()

    inside, gateway = f"{stack.name}_cluster", host_address("bridge")
    assert reach(inside, address(scheduler), 8786, 8787) == ["yes", "yes"]
    assert reach("bridge", address(scheduler), 8786, 8787) == ["no", "no"]
    assert reach("bridge", gateway, stack.dashboard_port, 8786) == ["no", "no"]


def test_an_input_that_the_workers_cannot_see_is_named(stack: Stack, tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "data" / "customers.csv", tmp_path / "customers.csv")
    tmp_path.chmod(0o755)
    stack.clear()
    mount = ("--volume", f"{tmp_path}:/job/mine:ro")
    files = ("--customers", "mine/customers.csv", "--purchases", "data/purchases.csv")
    done = stack.job(*files, run=mount)
    assert done.returncode == 3
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: worker tcp://")
    assert "cannot read mine/customers.csv: No such file or directory (and 1 more); " in error
    assert [file.name for file in stack.outputs.iterdir()] == [FAILED]


def test_a_folder_that_the_workers_cannot_write_to_is_named(stack: Stack, tmp_path: Path) -> None:
    stack.clear()
    tmp_path.chmod(0o777)
    done = stack.job("--output-dir", "mine", run=("--volume", f"{tmp_path}:/job/mine"))
    assert done.returncode == 3
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: mine: worker tcp://")
    assert "does not see this folder (and 1 more); with --output-dir, choose a folder" in error
    assert [file.name for file in tmp_path.iterdir()] == [FAILED]

    # A folder that all share, but its files are of a user whom the workers are not.
    shared = stack.outputs / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    done = stack.job("--output-dir", "outputs/shared", run=("--user", "4321:4321"))
    assert done.returncode == 3
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: outputs/shared: worker tcp://")
    assert "cannot write here: Permission denied (and 1 more)" in error
    assert [file.name for file in shared.iterdir()] == [FAILED]
    shutil.rmtree(shared)


def test_an_output_folder_of_another_user_is_refused(stack: Stack) -> None:
    stack.outputs.chmod(0o555)
    try:
        done = stack.job("--quiet", run=("--user", "4321:4321"))
    finally:
        stack.outputs.chmod(0o755)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: outputs: outputs cannot be written here")


def test_a_worker_that_ends_as_it_starts_is_started_again(
    stack: Stack, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """As one does whose first connection is cut."""
    stack.clear()
    stack.compose("down", "--volumes")
    file = stack.folder / "first-ends.yml"
    script = 'if mkdir /spill/once; then exit 1; fi; exec "$$@"'
    file.write_text(f"services: {{worker: {{entrypoint: [sh, -c, '{script}', sh]}}}}")
    stack.compose("-f", "docker-compose.yml", "-f", file.name, "up", "--detach")
    assert stack.wait_for_job() == 0
    assert stack.bytes() == expected
    restarts = [inspect(worker)["RestartCount"] for worker in stack.ids("worker")]
    assert sorted(restarts) == [0, 1]


def test_a_containers_limit_of_cores_counts(stack: Stack) -> None:
    script = """
from pathlib import Path
from pipeline.engine.cluster import connect
from pipeline.settings import ClusterSettings
cgroup = Path("/sys/fs/cgroup")
print(any((cgroup / name).exists() for name in ("cpu.max", "cpu,cpuacct", "cpuacct,cpu")))
with connect(ClusterSettings(dashboard_address="127.0.0.1:0")) as client:
    print(*client.nthreads().values())
"""
    limit = ["--cpus=1", "--env", "HOME=/tmp"]
    told, threads = docker("run", "--rm", *limit, IMAGE, "python", "-c", script).split()
    if told != "True":
        pytest.skip("this engine shows a container its limit where Dask does not look")
    assert threads == "1"


def test_everything_over_tls(
    stack: Stack, expected: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("clone-tls")
    with Stack(folder, "docker-compose.yml", "scripts/cluster/tls.yml") as tls:
        subprocess.run(
            [folder / "scripts" / "cluster" / "make_certificates"], cwd=folder, check=True
        )
        Stack.own(folder / "certificates")
        tls.compose("up", "--detach")
        assert tls.wait_for_job() == 0
        assert tls.bytes() == expected
        (scheduler,) = tls.ids("scheduler")
        logs = tls.compose("logs", "scheduler", "worker").stdout
        assert re.search("Scheduler at: +tls://", logs)
        assert logs.count("Run preload setup: pipeline.engine.tls") == 1 + 2

        # In the same network, a job without a certificate, and one that speaks in clear.
        for url, code, what in (
            ("tls://scheduler:8786", 2, "needs certificates; set them with "),
            ("tcp://scheduler:8786", 3, "that the scheme, tcp:// or tls://, is right"),
        ):
            short = "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT=3s"
            network = ["--network", f"{tls.name}_cluster", "--env", short]
            job = ["python", "-m", "pipeline"]
            done = subprocess.run(
                ["docker", "run", "--rm", *network, IMAGE, *job, "--scheduler", url],
                capture_output=True,
                text=True,
            )
            assert done.returncode == code
            assert what in done.stderr.splitlines()[-1]

        # From this machine, by the port that is published for those with a certificate.
        ports = inspect(scheduler)["HostConfig"]["PortBindings"]["8786/tcp"]
        assert ports == [{"HostIp": "127.0.0.1", "HostPort": str(tls.scheduler_port)}]
        context = ssl.create_default_context(cafile=str(folder / "certificates" / "ca.pem"))
        context.check_hostname = False
        assert not greets(context, tls.scheduler_port)
        context.load_cert_chain(
            folder / "certificates" / "client.pem", folder / "certificates" / "client-key.pem"
        )
        assert greets(context, tls.scheduler_port)


def greets(context: ssl.SSLContext, port: int) -> bool:
    """Whether a scheduler on this machine lets a client in and speaks first, as Dask's do."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        try:
            with context.wrap_socket(plain) as encrypted:
                return bool(encrypted.recv(8))
        except OSError:
            return False


def test_the_image_says_nothing_of_the_machine_that_built_it(stack: Stack) -> None:
    environment = inspect(stack.ids("scheduler")[0])["Config"]["Env"]
    names = {line.split("=", 1)[0] for line in environment}
    assert not {name for name in names if "PROXY" in name.upper() or "INDEX" in name.upper()}
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE)
    assert os.uname().nodename not in history.split()
