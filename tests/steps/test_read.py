"""Every byte of a file is in a record, a reject or a blank line, wherever the file is cut."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from distributed import Client
from support.case import Case, Row
from support.cases import CASES
from support.cutting import cut
from support.frames import rows_of

from pipeline.csv_text.files import TextFile
from pipeline.csv_text.headers import open_source
from pipeline.csv_text.sources import Block
from pipeline.engine.ledger import Entry, Ledger, Number, entry_of
from pipeline.errors import UsageError
from pipeline.job import run
from pipeline.outputs.names import COMBINED, REJECTED
from pipeline.outputs.rejected import write_rejected
from pipeline.settings import Columns, Dialect, Settings
from pipeline.settings.limits import Limits
from pipeline.steps.read import PARSED, BlockRead, NumberColumn, Wanted, read_block
from pipeline.storage.places import Folder

COLUMNS = Columns(id="a", amount="b")
WANTED = Wanted(COLUMNS.id, NumberColumn(COLUMNS.amount))


class Result(NamedTuple):
    """What was read: the records, the rejects (line, byte offset, reason), the numbers."""

    records: list[Row]
    rejects: list[tuple[int, int, str]]
    numbers: list[Decimal | None]


class Reader:
    """Reads the files of a case for any block size; each block is read once."""

    def __init__(self, case: Case, folder: Path, client: Client) -> None:
        self._folder, self._client = folder, client
        for name, content in case.contents.items():
            (folder / name).write_bytes(content)
        paths = [str(folder / name) for name in case.contents]
        self.source = open_source("purchases", paths, COLUMNS.of_purchases, case.dialect)
        self._known: dict[tuple[str, int, int], pd.DataFrame] = {}

    def read(self, block_size: int) -> Result:
        """Cut the files and read every block, with the checks that hold for any file."""
        source = cut(self.source, block_size)
        blocks = [self._block(block, source.columns) for block in source.blocks]
        frame = pd.concat(blocks)
        pairs = zip(blocks, source.blocks, strict=True)
        ledger = Ledger([Entry(*entry_of(frame), number_of(block)) for frame, block in pairs])
        target = self._folder / "rejected"
        target.unlink(missing_ok=True)
        write_rejected(target, self._client, ledger, [source], Folder(str(self._folder)))
        rows = rows_of(frame, source.columns, COLUMNS.id)
        numbers = [None if pd.isna(number) else number for number in frame[PARSED]]
        counted = ledger.all(BlockRead)
        read = sum(block.bytes for block in counted)
        sizes = [file.size for file in source.files if file.is_plain]
        sizes += [block.unpacked for block in counted]
        assert read + sum(file.start for file in source.files) == sum(sizes)
        assert sum(block.records for block in counted) == len(frame)
        return Result(rows, rejects(target), numbers)

    def _block(self, block: Block, columns: tuple[str, ...]) -> pd.DataFrame:
        key = (block.file.name, block.start, block.stop)
        if key not in self._known:
            self._known[key] = read_block(block, "purchases", columns, WANTED)
        return self._known[key]


def number_of(block: Block) -> Number:
    """Return the number of a block, which may have had another one when it was read."""
    return Number(block.number, block.next_number)


def plain_size(path: str, dialect: Dialect) -> int:
    with TextFile(path, dialect) as file:
        return len(file.read(1 << 30))


def rejects(path: Path) -> list[tuple[int, int, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            (int(row["line"]), int(row["byte_offset"]), row["reason"])
            for row in csv.DictReader(file, strict=True)
        ]


@pytest.mark.parametrize("case", [case for case in CASES if not case.error], ids=lambda one: one.id)
def test_a_case_gives_its_records_wherever_it_is_cut(
    case: Case, client: Client, tmp_path: Path
) -> None:
    reader = Reader(case, tmp_path, client)
    whole = max(plain_size(file.path, case.dialect) for file in reader.source.files)

    # Every place where a block can end, and no cut at all.
    for block_size in range(1, whole + 2):
        result = reader.read(block_size)

        assert (result.records, result.rejects) == (case.records, case.rejects), block_size
        if case.numbers is not None:
            wanted = [None if number is None else Decimal(number) for number in case.numbers]
            assert result.numbers == wanted


@pytest.mark.parametrize("case", [case for case in CASES if case.error], ids=lambda one: one.id)
def test_a_case_that_cannot_be_read_says_why(
    case: Case, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError) as caught:
        Reader(case, tmp_path, client).read(1024)

    assert str(caught.value) == case.error


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if (case.rejects or len(case.contents) > 1)
        and not case.error
        and case.dialect.max_record_size > 100
    ],
    ids=lambda one: one.id,
)
def test_a_case_goes_through_the_whole_job(case: Case, client: Client, tmp_path: Path) -> None:
    for name, content in case.contents.items():
        (tmp_path / name).write_bytes(content)
    customers = tmp_path / "customers"
    customers.write_text("a,first_name,last_name,age\n")
    settings = Settings(
        customers=(str(customers),),
        purchases=tuple(str(tmp_path / name) for name in case.contents),
        output_dir=str(tmp_path / "outputs"),
        columns=COLUMNS,
        purchases_dialect=case.dialect,
        block_size=1024,
        fsync=False,
        # No customer has these ids, and some cases have nothing that can be read.
        limits=Limits.parse(*(["100%"] for _ in range(3))),
    )

    run(settings, client)

    with (tmp_path / "outputs" / COMBINED).open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file, strict=True)
    width = len(case.records[0]) if case.records else 2
    found = [(row[0], *row[-width + 1 :]) for row in rows]
    assert found == [tuple(value or "" for value in row) for row in case.records]
    assert rejects(tmp_path / "outputs" / REJECTED) == case.rejects


def test_there_are_cases_enough() -> None:
    assert len(CASES) >= 60
    assert len({case.id for case in CASES}) == len(CASES)
