"""A join that does not fit into memory is not chosen, or ends before a purchase is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import Settings, run
from pipeline.engine.cluster import connect
from pipeline.engine.progress import Progress, Work
from pipeline.errors import ClusterError
from pipeline.outputs.names import FAILED
from pipeline.settings import ClusterSettings
from pipeline.steps import choice
from pipeline.steps.choice import choose_join


@pytest.mark.parametrize(
    ("asked", "size", "memory", "how"),
    [
        ("auto", 100, 1000, "broadcast"),
        ("auto", 101, 1000, "shuffle"),
        ("auto", 10**15, None, "broadcast"),
        ("auto", 0, 1, "broadcast"),
        ("broadcast", 10**15, 1, "broadcast"),
        ("shuffle", 0, None, "shuffle"),
    ],
)
def test_auto_broadcasts_where_the_customers_fit(
    asked: str, size: int, memory: int | None, how: str
) -> None:
    assert choose_join(asked, size, memory) == how


def test_a_broadcast_that_does_not_fit_ends_before_purchases_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_EACH", 4 << 20)
    cluster = ClusterSettings(memory_limit="8GiB", dashboard_address="127.0.0.1:0")
    read: set[str] = set()

    class Watching(Progress):
        def advance(self, work: Work) -> None:
            read.add(work.table)

    with connect(cluster) as client, pytest.raises(ClusterError) as caught:
        run(Settings(output_dir=str(tmp_path), join="broadcast"), client, Watching())

    assert str(caught.value) == (
        "2,000 customers take up to 7.81 GiB of memory in each worker, which may have 8.00 GiB; "
        "join them with --join shuffle, or raise the memory limit"
    )
    assert read == {"customers"}
    assert [file.name for file in tmp_path.iterdir()] == [FAILED]
