"""With `--verify`, a plain reader finds in the combined table what the run has reported."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Literal

import pytest
from distributed import Client
from support.runs import run

from pipeline import AgeGroups, Settings
from pipeline.errors import DataError, UsageError
from pipeline.outputs.names import COMBINED, REPORT
from pipeline.outputs.read_back import Recount

CUSTOMERS = (
    "customer_id,first_name,last_name,age,note\n"
    '1,Ada,Byron,36,"a ""b"", c"\n 7 ,Bo,,20,"two\nlines"\n007,Zoë,Novák,x,\n,No,Id,50,\n'
)
PURCHASES = (
    'customer_id,product,price\n1,Lamp,19.90\n"7","Cup, red",-0.05\n8,Cup,1e2\n,Cup,\n1,Cup,?\n'
)


def settings(folder: Path, join: Literal["broadcast", "shuffle"], escape: bool = False) -> Settings:
    (folder / "customers.csv").write_text(CUSTOMERS)
    (folder / "purchases.csv").write_text(PURCHASES)
    return Settings(
        customers=(str(folder / "customers.csv"),),
        purchases=(str(folder / "purchases.csv"),),
        output_dir=str(folder / "outputs"),
        age_groups=AgeGroups(("=Young, or so", "Old"), AgeGroups().bounds[:2]),
        join=join,
        verify=True,
        fsync=False,
        escape_formulas=escape,
    )


@pytest.mark.parametrize("join", ["broadcast", "shuffle"])
def test_all_is_found_again(
    tmp_path: Path, client: Client, join: Literal["broadcast", "shuffle"]
) -> None:
    run(settings(tmp_path, join), client)

    report = json.loads((tmp_path / "outputs" / REPORT).read_text())
    recounted = {
        check["name"]: check["actual"]
        for check in report["checks"]
        if check["name"].endswith(", in the run and in the recount")
    }
    records, ids, sums = recounted
    assert (records.split(",")[0], ids.split(",")[0]) == ("records", "ids")
    assert recounted[records] == 7
    assert recounted[sums] == "=Young, or so -0.05, Old 19.9, Unknown 100"
    data = (tmp_path / "outputs" / COMBINED).read_bytes()
    assert report["totals"]["checksum"] == f"{zlib.crc32(data):08x}"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b",19.90", b",19.91", "sum of each age group"),
        (b"\n1,Ada", b"\n2,Ada", "ids, in the run and in the recount"),
    ],
)
def test_a_change_that_no_checksum_shows_is_caught(
    tmp_path: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    old: bytes,
    new: bytes,
    line: str,
) -> None:
    recount = Recount.__call__
    monkeypatch.setattr(
        Recount, "__call__", lambda self, data: recount(self, data.replace(old, new))
    )

    with pytest.raises(DataError, match=line):
        run(settings(tmp_path, "broadcast"), client)


def test_what_is_made_to_differ_from_the_input_is_not_compared_with_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use only one of them"):
        settings(tmp_path, "broadcast", escape=True)
