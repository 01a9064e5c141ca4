"""What lies in the file is what was written, and a plain reader finds the same results in it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from support.frames import text

from pipeline.columns.keys import key_hashes
from pipeline.columns.totals import Checksum, total_of
from pipeline.csv_text.sources import Source
from pipeline.engine.ledger import entries_in
from pipeline.outputs import read_back as reading
from pipeline.outputs.read_back import Counts, ReadBack, Recount, read_back, sum_counts
from pipeline.settings import Columns, Settings
from pipeline.steps.combined_file import CombinedFile
from pipeline.steps.write import Written

HEADER = b"id,name,first_name,last_name,age,full_name,age_group,product,price\n"
BLOCKS = [
    b'1,x,A,B,20,A B,Young,"Lamp, red",10.50\n7,,,,,,Unknown,Cup,abc\n',
    b"",
    b'" 2 ","say ""x""\n",A,B,50,A B,Old,Cup,-0.25\n3,y,A,B,60,A B,Old,,\n',
]
WRITTEN = [
    Written(block, None, len(data), data.count(b"\n"), Checksum.of(data), 0)
    for block, data in enumerate(BLOCKS)
]


def recount(verify: bool = True) -> Recount | None:
    return Recount.of(
        Settings(columns=Columns(id="id"), verify=verify),
        Source("customers", ("name", "id", "first_name", "last_name", "age"), ()),
        Source("purchases", ("id", "product", "price"), ()),
    )


def found_in(path: Path, how: Recount | None = None) -> list[ReadBack]:
    """Return what all tasks find."""
    frames = read_back(WRITTEN, CombinedFile(str(path), HEADER), how)
    computed = [frame.compute(scheduler="synchronous") for frame in frames]
    return [entry[ReadBack] for rows in computed for entry in entries_in(rows)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "combined.csv").write_bytes(b"".join([HEADER, *BLOCKS]))
    return tmp_path / "combined.csv"


@pytest.mark.parametrize("task", [1, 60, 1 << 20])
def test_each_block_has_its_checksum(
    path: Path, monkeypatch: pytest.MonkeyPatch, task: int
) -> None:
    monkeypatch.setattr(reading, "_TASK", task)
    monkeypatch.setattr(reading, "_CHUNK", 7)

    found = {block: one for part in found_in(path) for block, one in part.checksums.items()}

    assert found == {block: Checksum.of(data) for block, data in enumerate(BLOCKS)}


def test_a_file_that_ends_too_early_has_other_checksums(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])

    (part,) = found_in(path)

    same = [part.checksums[block] == Checksum.of(data) for block, data in enumerate(BLOCKS)]
    assert same == [True, True, False]


def test_all_is_recounted_from_the_lines(path: Path) -> None:
    (part,) = found_in(path, recount())

    assert sum_counts(part.counts) == Counts(
        records=4,
        ids=total_of(key_hashes(text("1", "7", "2", "3"))),
        sums={"Young": Decimal("10.50"), "Unknown": Decimal(0), "Old": Decimal("-0.25")},
    )


def test_nothing_is_recounted_unless_it_is_wanted() -> None:
    assert recount(verify=False) is None


def test_a_byte_order_mark_in_a_field_is_text(path: Path) -> None:
    mark = "\ufeff"
    line = f"{mark}1,x,A,B,20,A B,Young,Lamp,1\n".encode()

    found = recount()
    assert found
    assert found(line).ids == total_of(key_hashes(text(f"{mark}1")))
