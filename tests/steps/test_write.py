"""Every partition writes its own part of the one file, as often as it likes."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client
from support.frames import in_blocks, text, text_column

from pipeline.columns.arrow import to_arrow, to_dictionary
from pipeline.columns.totals import Checksum
from pipeline.engine.compute import compute_entries
from pipeline.engine.ledger import Ledger, entries_in, with_totals
from pipeline.engine.partitions import on_partitions
from pipeline.steps.combined_file import CombinedFile, part_file
from pipeline.steps.join import CustomerText
from pipeline.steps.render import Layout
from pipeline.steps.write import Written, offsets, write_combined

LAYOUT = Layout("customer_id,name,product,price", "", ",")
TEXTS = text(",Ada,", ',"Bo, Jr.",', ",Zoë,", ",nobody,")
ROWS = [0, 3, 1, 2, 0, 3]
RECORDS = pd.DataFrame(
    {
        "customer_id": text_column(["1", None, "a,b", " 007 ", 'say "x"', "Zoë"]),
        "customer": to_dictionary(np.array(ROWS), TEXTS),
        "purchase": text_column(["Lamp,19.90\n", "Cup,\n", '"24"" TV",1\n', None, None, "a,b\n"]),
    }
)
LINES = [
    "1,Ada,Lamp,19.90",
    ",nobody,Cup,",
    '"a,b","Bo, Jr.","24"" TV",1',
    " 007 ,Zoë,,",
    '"say ""x""",Ada,,',
    "Zoë,nobody,a,b",
]


def with_size(records: pd.DataFrame) -> pd.DataFrame:
    """Count what the join counts: the bytes of the customers' text."""
    texts = records["customer"].astype(object)
    size = sum(len(text.encode()) for text in texts)
    return with_totals(records, CustomerText(size), before=records)


def lazy_write(
    path: Path, records: pd.DataFrame, partitions: int, escape: bool = False
) -> dd.DataFrame:
    target = CombinedFile.create(path, LAYOUT.header_line)
    blocks = on_partitions(with_size, in_blocks(records, partitions), step="join")
    return write_combined(blocks, target, LAYOUT, escape)


def write(path: Path, records: pd.DataFrame, partitions: int, client: Client) -> list[Written]:
    """Write records, and put in place what went into part files; return the blocks in order."""
    written = written_in(lazy_write(path, records, partitions).compute())
    compute_entries(client, CombinedFile(str(path), LAYOUT.header_line).assemble(written))
    return written


def one_by_one(lazy: dd.DataFrame, blocks: Iterable[int]) -> list[Written]:
    """Compute these blocks in this order, in this process; return them in this order."""
    return [
        written
        for block in blocks
        for written in written_in(lazy.partitions[block].compute(scheduler="synchronous"))
    ]


def written_in(rows: pd.DataFrame) -> list[Written]:
    """Return what was written of all blocks, in block order."""
    return Ledger(entries_in(rows)).all(Written)


def files_in(folder: Path) -> set[str]:
    """Return the names of all files but that of the blocks' sizes."""
    return {path.name for path in folder.iterdir() if not path.name.startswith("sizes-")}


def expected_file() -> bytes:
    return "".join(f"{line}\n" for line in [LAYOUT.header, *LINES]).encode()


@pytest.mark.parametrize("partitions", [1, 2, 4, 6, 25])
def test_the_file_is_the_same_for_any_partitions(
    client: Client, tmp_path: Path, partitions: int
) -> None:
    path = tmp_path / "combined.csv"

    written = write(path, RECORDS, partitions, client)

    assert path.read_bytes() == expected_file()
    assert [one.block for one in written] == list(range(partitions))
    assert sum(one.records for one in written) == len(LINES)
    checksum = sum((one.checksum for one in written), Checksum.of(LAYOUT.header_line))
    assert checksum == Checksum.of(path.read_bytes())


def test_the_total_of_the_text_is_that_of_ids_and_purchases(client: Client, tmp_path: Path) -> None:
    written = write(tmp_path / "combined.csv", RECORDS, 3, client)

    text = "".join(
        value or ""
        for name in ("customer_id", "purchase")
        for value in to_arrow(RECORDS[name]).to_pylist()
    )
    assert sum(one.text for one in written) == sum(
        byte for byte in text.encode() if byte not in b"\"',\n"
    )


def test_the_blocks_lie_one_behind_the_other(tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"

    written = one_by_one(lazy_write(path, RECORDS, 4), range(4))

    places = [one.offset for one in written]
    assert [*places, path.stat().st_size] == offsets(written, len(LAYOUT.header_line))


def test_in_one_process_every_block_is_written_in_its_place(client: Client, tmp_path: Path) -> None:
    lazy = lazy_write(tmp_path / "combined.csv", RECORDS, 6)

    written = one_by_one(lazy, range(6))

    assert all(one.offset is not None for one in written)
    assert files_in(tmp_path) == {"combined.csv"}
    assert (tmp_path / "combined.csv").read_bytes() == expected_file()


@pytest.mark.parametrize("first", range(1, 6))
def test_blocks_whose_predecessors_are_elsewhere_become_part_files(
    client: Client, tmp_path: Path, first: int
) -> None:
    path = tmp_path / "combined.csv"
    lazy = lazy_write(path, RECORDS, 6)

    # The last ones come too late for those that they precede.
    written = one_by_one(lazy, [*range(first, 6), *range(first)])

    parts = {f"combined.csv.part-{number}" for number in range(first, 6)}
    assert files_in(tmp_path) == {"combined.csv", *parts}
    assert {one.block for one in written if one.offset is None} == set(range(first, 6))
    written.sort(key=lambda one: one.block)
    compute_entries(client, CombinedFile(str(path), LAYOUT.header_line).assemble(written))
    assert path.read_bytes() == expected_file()


def test_what_is_written_twice_is_there_once(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"
    lazy = lazy_write(path, RECORDS, 3)

    first = one_by_one(lazy, range(3))
    again = one_by_one(lazy, range(1, 3))

    assert path.read_bytes() == expected_file()
    assert again == first[1:]


def test_a_worker_that_comes_late_does_not_cut_a_part_file(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "combined.csv"
    lazy = lazy_write(path, RECORDS, 2)
    one_by_one(lazy, [1])
    part = Path(part_file(str(path), 1))
    before = part.read_bytes()

    def gone(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwrite", gone)
    with pytest.raises(OSError, match="Input/output"):
        one_by_one(lazy, [1])

    assert part.read_bytes() == before != b""


def test_no_records_leave_the_header_alone(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"

    written = write(path, RECORDS.iloc[:0], 2, client)

    assert path.read_text() == f"{LAYOUT.header}\n"
    # None: on a busy machine, the second does not wait for the first.
    assert {one.offset for one in written} <= {len(LAYOUT.header_line), None}
    assert all(one.records == one.bytes == one.text == 0 for one in written)


def test_an_earlier_file_is_overwritten_whole(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"
    path.write_text("longer than what is written now\n" * 100)

    write(path, RECORDS, 2, client)

    assert path.read_bytes() == expected_file()


def test_a_late_worker_does_not_bring_the_file_back(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "run" / "combined.csv"
    path.parent.mkdir()
    lazy = lazy_write(path, RECORDS, 2)
    path.unlink()
    path.parent.rmdir()

    for number in (1, 0):  # the first would go into a part file
        with pytest.raises(FileNotFoundError):
            one_by_one(lazy, [number])

    assert not path.parent.exists()


def test_what_is_written_reads_back(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "combined.csv"
    odd = ["", "x", '"', ",", "\r", "\n", "a\r\nb", "Zoë", "\u2028", "''"]
    pairs = list(itertools.product(odd, repeat=2))
    records = pd.DataFrame(
        {
            "customer_id": text_column(first for first, _ in pairs),
            "customer": to_dictionary(np.zeros(len(pairs), np.int64), TEXTS),
            "purchase": text_column("p\n" for _ in pairs),
        }
    )

    write(path, records, 3, client)

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, strict=True))
    assert rows[1:] == [[first, "Ada", "p"] for first, _ in pairs]


def test_an_id_that_a_spreadsheet_would_run_is_defused_on_demand(
    client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "combined.csv"
    records = RECORDS.iloc[:3].assign(customer_id=text_column(["=1+1", "-7", "@a,b"]))

    lazy_write(path, records, 1, escape=True).compute()

    with path.open(newline="", encoding="utf-8") as file:
        assert [row[0] for row in csv.reader(file)] == ["customer_id", "'=1+1", "-7", "'@a,b"]
