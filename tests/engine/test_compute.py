"""Entries come in as partitions end, which are begun in their order."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pytest
from distributed import Client, Future, LocalCluster
from support.frames import in_blocks
from support.processes import Processes, wait_until

from pipeline.engine import cluster
from pipeline.engine.cluster import ask, connect
from pipeline.engine.compute import compute_entries, compute_result, keep_copies, ledger_of
from pipeline.engine.ledger import Entry, Number, with_totals
from pipeline.engine.partitions import on_partitions
from pipeline.errors import ClusterError, StorageError
from pipeline.settings import ClusterSettings

NUMBERS = pd.DataFrame({"n": range(200)})
BEGUN: list[int] = []  # the workers are in this process


@dataclass(frozen=True)
class Total:
    """The sum of a partition."""

    value: int


def noted(frame: pd.DataFrame) -> pd.DataFrame:
    BEGUN.extend(frame["n"].head(1))
    return with_totals(frame, Total(int(frame["n"].sum())), before=frame)


def failing(frame: pd.DataFrame) -> pd.DataFrame:
    if len(frame) and frame["n"].iloc[0] == 40:
        raise ValueError("forty")
    return frame


@pytest.fixture(scope="module")
def one_thread() -> Iterator[Client]:
    with connect(ClusterSettings(threads_per_worker=1, dashboard_address="127.0.0.1:0")) as client:
        yield client


def test_partitions_are_begun_in_their_order(one_thread: Client) -> None:
    BEGUN.clear()
    frame = on_partitions(noted, in_blocks(NUMBERS, 100), step="note", meta=NUMBERS.iloc[:0])
    entries: list[Entry] = []

    compute_entries(one_thread, [frame], entries.append)

    assert list(range(0, 200, 2)) == BEGUN
    assert sorted(entry[Number].block for entry in entries) == list(range(100))
    assert sum(entry[Total].value for entry in entries) == NUMBERS["n"].sum()


def test_dataframes_are_made_when_few_partitions_are_left(one_thread: Client) -> None:
    BEGUN.clear()
    made: list[int] = []
    entries: list[Entry] = []

    def in_turn() -> Iterator[dd.DataFrame]:
        for first in range(0, 200, 20):
            part = in_blocks(NUMBERS[first : first + 20], 10)
            made.append(len(entries))
            yield on_partitions(noted, part, step="note", meta=NUMBERS.iloc[:0])

    compute_entries(one_thread, in_turn(), entries.append)

    assert list(range(0, 200, 2)) == BEGUN
    assert len(entries) == 100
    left = [10 * number - done for number, done in enumerate(made)]
    assert all(0 <= partitions < 3 for partitions in left)


def test_several_ledgers_come_in_and_every_function_gets_each_entry(client: Client) -> None:
    frames = [in_blocks(NUMBERS, 3), ledger_of(in_blocks(NUMBERS, 2))]
    first: list[Entry] = []
    second: list[Entry] = []

    compute_entries(client, frames, first.append, second.append)

    assert first == second
    assert sorted(entry[Number].block for entry in first) == [0, 0, 1, 1, 2]


def test_nothing_to_compute_is_nothing_done(client: Client) -> None:
    compute_entries(client, [])


def test_partitions_are_kept_on_demand(one_thread: Client) -> None:
    BEGUN.clear()
    frame = on_partitions(noted, in_blocks(NUMBERS, 4), step="note", meta=NUMBERS.iloc[:0])
    kept: list[Future] = []
    entries: list[Entry] = []

    compute_entries(one_thread, [frame], entries.append, kept=kept)

    found = one_thread.gather(kept)
    assert pd.concat(found)["n"].tolist() == NUMBERS["n"].tolist()
    assert [entry[Total].value for entry in entries] == [int(part["n"].sum()) for part in found]
    assert BEGUN == [0, 50, 100, 150]


def test_the_cluster_has_few_partitions_at_a_time(one_thread: Client) -> None:
    had: list[int] = []
    frame = on_partitions(noted, in_blocks(NUMBERS, 50), step="note", meta=NUMBERS.iloc[:0])

    def count(_: Entry) -> None:
        had.append(len(one_thread.cluster.scheduler.tasks))

    compute_entries(one_thread, [frame], count)

    assert len(had) == 50
    assert max(had) <= 8  # of 50; some may be left of other tests


def test_tasks_of_others_get_their_turn(one_thread: Client) -> None:
    """Ten tasks that are submitted while a table is computed do not wait for its end."""
    frame = on_partitions(noted, in_blocks(NUMBERS, 100), step="note", meta=NUMBERS.iloc[:0])
    others: list[Future] = []
    waited: list[int] = []

    def submit(_: Entry) -> None:
        if not others:
            others.extend(one_thread.map(abs, range(10), pure=False))
        elif not waited and all(other.done() for other in others):
            waited.append(len(BEGUN))

    BEGUN.clear()
    compute_entries(one_thread, [frame], submit)

    assert waited[0] < 20


def test_a_result_stays_on_the_cluster(client: Client) -> None:
    parts = client.map(abs, [-1, -2], pure=False)

    assert compute_result(client, sum, parts, name="sum").result() == 3


def test_a_result_that_fails_is_raised_here(client: Client) -> None:
    with pytest.raises(TypeError):
        compute_result(client, abs, "text", name="fail")


def test_what_a_task_raises_is_raised_here(client: Client) -> None:
    frame = on_partitions(failing, in_blocks(NUMBERS, 5), step="fail", meta=NUMBERS.iloc[:0])

    with pytest.raises(ValueError, match="forty"):
        compute_entries(client, [frame])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/t.csv"), "/t.csv: Permission denied"),
        (OSError(errno.ENOENT, "there is none", "https://me:pw@h/t"), "https://h/t: there is none"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "a file or a server: reset"),
        (TimeoutError(), "a file or a server: TimeoutError"),
    ],
)
def test_a_file_or_network_that_fails_in_a_task_is_a_storage_error(
    client: Client, error: OSError, message: str
) -> None:
    def fail(_: pd.DataFrame) -> pd.DataFrame:
        raise error

    failing = on_partitions(fail, in_blocks(NUMBERS, 2), step="fail", meta=NUMBERS.iloc[:0])

    with pytest.raises(StorageError) as caught:
        compute_entries(client, [failing])

    assert str(caught.value) == f"{message} (on a worker)"


def test_a_full_disk_of_this_machine_is_not_that_of_a_worker(client: Client) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def write(_: Entry) -> None:
        raise full

    with pytest.raises(OSError, match="No space left") as caught:
        compute_entries(client, [in_blocks(NUMBERS, 2)], write)

    assert caught.value is full


def starving(frame: pd.DataFrame) -> pd.DataFrame:
    return frame if frame.empty else with_totals(frame, Total(len(bytearray(1 << 60))))


def test_a_task_without_memory_is_a_fault_of_the_cluster(client: Client) -> None:
    frame = on_partitions(starving, in_blocks(NUMBERS, 2), step="starve", meta=NUMBERS.iloc[:0])

    with pytest.raises(ClusterError, match=r"^a worker ran out of memory: .*; raise --memory-li"):
        compute_entries(client, [frame])


def test_what_a_function_raises_ends_the_computing(client: Client) -> None:
    def refuse(_: Entry) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        compute_entries(client, [in_blocks(NUMBERS, 50)], refuse)


def test_what_the_scheduler_gives_up_is_told(one_thread: Client) -> None:
    kept: list[Future] = []

    def give_up(_: Entry) -> None:
        one_thread.cancel(kept, force=True)

    with pytest.raises(ClusterError, match=r"^the scheduler at '.*' cancelled tasks.*; run the"):
        compute_entries(one_thread, [in_blocks(NUMBERS, 50)], give_up, kept=kept)


@pytest.mark.cluster
def test_a_scheduler_that_has_stopped_is_not_asked_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine hangs, so no connection ends: the client takes it for running."""
    with Processes(tmp_path) as processes:
        scheduler = processes.start_scheduler()
        processes.start_worker()
        with processes.client() as client:
            answers = ask(client, lambda: client.run(abs, -1))
            assert answers is not None
            assert list(answers.values()) == [1]

            monkeypatch.setattr(cluster, "_ASK_FOR", 0.2)
            scheduler.send_signal(signal.SIGSTOP)
            try:
                assert ask(client, lambda: client.run(abs, -1)) is None
                assert client.status == "running"
            finally:
                scheduler.send_signal(signal.SIGCONT)


@pytest.mark.cluster
def test_a_scheduler_that_was_lost_before_is_not_waited_for() -> None:
    with LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        client = Client(cluster.scheduler_address)
    try:
        wait_until(lambda: client.status != "running")
        with pytest.raises(ClusterError, match=r"^the scheduler at '.*' was lost"):
            compute_entries(client, [in_blocks(NUMBERS, 2)])
        assert client.status == "connecting"  # Dask gives up later
    finally:
        client.close()


def test_copies_of_a_result_are_kept_until_their_futures_are_released() -> None:
    with (
        LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as two,
        Client(two) as client,
    ):
        result = compute_result(client, bytes, 1000, name="zeros")
        copies = keep_copies(client, result)
        for worker in client.nthreads():
            assert client.submit(len, result, workers=[worker], pure=False).result() == 1000

        def copies_left() -> int:
            client.amm.run_once()
            return len(client.who_has([result])[result.key])

        assert [copies_left() for _ in range(3)] == [2, 2, 2]
        del copies
        wait_until(lambda: copies_left() == 1)
        assert len(result.result()) == 1000
