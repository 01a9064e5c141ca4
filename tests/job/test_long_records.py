"""A bad record of any length costs a few times its size in memory, and is cut in the output."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.outputs.names import REJECTED

SIZE = 48 << 20
HEADER = b"customer_id,product,price\n" + b"1,Lamp,2.50\n" * 1000
SLOW = pytest.mark.slow("long records")
# A run in a process of its own; prints the most memory it had, in bytes. (`ru_maxrss` would count
# the process that started it, too.)
JOB = """
import json, sys
from pipeline import Settings, run
from pipeline.engine.cluster import connect
from pipeline.settings import ClusterSettings
customers, purchases, outputs, join = sys.argv[1:]
with connect(ClusterSettings(threads_per_worker=1, dashboard_address="127.0.0.1:0")) as client:
    run(Settings((customers,), (purchases,), outputs, join=join, fsync=False), client)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps(int(status["VmHWM"].split()[0]) * 1024))
"""


def peak(folder: Path, purchases: Path, join: str) -> int:
    (folder / "customers.csv").write_text("customer_id,first_name,last_name,age\n1,A,B,30\n")
    paths = folder / "customers.csv", purchases, folder / "outputs"
    ended = subprocess.run(
        [sys.executable, "-c", JOB, *map(str, paths), join],
        check=True,
        capture_output=True,
        text=True,
    )
    size: int = json.loads(ended.stdout)
    return size


@pytest.mark.parametrize(
    ("name", "bad", "join"),
    [
        pytest.param("purchases.csv", b"\0" * SIZE, "broadcast", marks=SLOW),
        pytest.param("purchases.csv", b"\xff" * SIZE, "broadcast", marks=SLOW),
        ("purchases.csv", b"1,x" + b"x" * SIZE + b"\n1,Cup,1\n", "shuffle"),
        pytest.param("purchases.csv.gz", b"\0" * SIZE + b"\n" + HEADER, "broadcast", marks=SLOW),
    ],
    ids=["NULs at the end", "no UTF-8", "a long line", "compressed"],
)
def test_a_long_bad_record_does_not_cost_many_times_its_size(
    name: str, bad: bytes, join: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    pack = gzip.compress if name.endswith(".gz") else bytes
    path.write_bytes(pack(HEADER))
    usual = peak(tmp_path, path, join)
    path.write_bytes(pack(HEADER + bad))

    assert peak(tmp_path, path, join) - usual < 3 * SIZE
    assert (tmp_path / "outputs" / REJECTED).stat().st_size < 5 << 20  # \\xff for a byte
