"""Errors to plant in what workers keep: marks, the pieces of a shuffle, the combined table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pytest
from distributed import Client, Future

from pipeline import job
from pipeline.engine.ledger import Ledger
from pipeline.engine.prefix_sum import PrefixSum
from pipeline.outputs.read_back import Recount, read_back
from pipeline.steps.combined_file import CombinedFile, part_file
from pipeline.steps.join import Broadcast
from pipeline.steps.pieces import CELL, read_cells, write_cells
from pipeline.steps.shuffle import PiecesFolder, Shuffle
from pipeline.steps.write import Target, Written, offsets
from pipeline.storage.places import Folder
from support.planting import Change, Plant, planted

Cells: TypeAlias = list[bytes]


# In marks.


def in_marks(change: Callable[[Path], object]) -> Plant:
    """Change the folder of all marks, once every block has left its own."""
    find = Broadcast.find_matched

    def call(broadcast: Broadcast, client: Client, ledger: Ledger) -> Future:
        assert isinstance(broadcast.marks, Folder)
        change(Path(broadcast.marks.path))
        return find(broadcast, client, ledger)

    return lambda patch: patch.setattr(Broadcast, "find_matched", call)


def mark_lost(marks: Path) -> None:
    (marks / "2").unlink()


def mark_stale(marks: Path) -> None:
    """Put the marks of another block in place of one's own."""
    (marks / "2").write_bytes((marks / "3").read_bytes())


def mark_cut(marks: Path) -> None:
    (marks / "2").write_bytes((marks / "2").read_bytes()[:-1])


# In the pieces of a shuffle: the cells of a block, one for each partition.


TABLES = ("purchases", "customers")  # as the functions of a shuffle take them
_BLOCK = 1  # whose pieces go wrong


def in_pieces(table: str, change: Callable[[Cells], Cells]) -> Plant:
    """Change the cells of one block of a table, in its file."""

    def rewrite(folder: Path, count: int) -> None:
        cells = [read_cells(folder, number, count) for number in range(count)]
        found = [of_blocks[numbers.index(_BLOCK)][0].as_py() for numbers, of_blocks in cells]
        write_cells(_array(change(found)), folder, _BLOCK)

    return in_piece_files(table, rewrite)


def in_piece_files(table: str, change: Callable[[Path, int], object]) -> Plant:
    """Change the folder of the pieces of a table, once every block has written its own.

    `change` also gets the number of partitions.
    """
    join, place = Shuffle.join_files, TABLES.index(table)

    def call(shuffle: Shuffle, *folders: PiecesFolder) -> dd.DataFrame:
        change(Path(folders[place].path), shuffle.count)
        return join(shuffle, *folders)

    return lambda patch: patch.setattr(Shuffle, "join_files", call)


def in_frames(table: str, change: Change) -> Plant:
    """Change the dataframe of the cells of one block, on its way into Dask's shuffle."""
    join, place = Shuffle.join, TABLES.index(table)

    def change_one(frame: pd.DataFrame) -> pd.DataFrame:
        return change(frame) if frame["block"].iloc[0] == _BLOCK else frame

    def call(shuffle: Shuffle, *tables: dd.DataFrame) -> dd.DataFrame:
        frames = list(tables)
        frames[place] = planted(frames[place], change_one)
        return join(shuffle, *frames)

    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(job, "is_on_one_machine", lambda _: False)
        patch.setattr(Shuffle, "join", call)

    return plant


def of_cells(change: Callable[[Cells], Cells]) -> Change:
    """Return a change of the cells in a dataframe."""

    def of_frame(frame: pd.DataFrame) -> pd.DataFrame:
        cells = _array(change(frame["piece"].tolist()))
        return frame.assign(piece=pd.array(cells, dtype=frame["piece"].dtype))

    return of_frame


def _array(cells: Iterable[bytes]) -> pa.Array:
    return pa.array(cells, CELL)


def without_records(cell: bytes) -> bytes:
    """Return a cell of the same columns that has no records."""
    with pa.ipc.open_stream(cell) as stream, pa.BufferOutputStream() as sink:
        with pa.ipc.new_stream(sink, stream.schema) as out:
            out.write_batch(pa.RecordBatch.from_pylist([], stream.schema))
        return sink.getvalue().to_pybytes()


def piece_lost(cells: Cells) -> Cells:
    return [cells[0], without_records(cells[1]), *cells[2:]]


def piece_doubled(cells: Cells) -> Cells:
    """Have a partition get all records of its piece twice."""
    with pa.ipc.open_stream(cells[1]) as stream, pa.BufferOutputStream() as sink:
        batches = list(stream)
        with pa.ipc.new_stream(sink, stream.schema) as out:
            for batch in (*batches, *batches):
                out.write_batch(batch)
        return [cells[0], sink.getvalue().to_pybytes(), *cells[2:]]


def piece_changed(cells: Cells) -> Cells:
    """Exchange two digits in a text, which leaves the total of all text as it was."""
    return [cell.replace(b"thing75", b"thing57").replace(b"First75", b"First57") for cell in cells]


def pieces_exchanged(cells: Cells) -> Cells:
    """Send two pieces of a block to each other's partition."""
    return [cells[1], cells[0], *cells[2:]]


def file_lost(pieces: Path, _: int) -> None:
    sorted(pieces.iterdir())[2].unlink()


def file_doubled(pieces: Path, _: int) -> None:
    """Put the file of a block there again, as that of a block that there is not."""
    path = sorted(pieces.iterdir())[2]
    path.with_name(f"{99:020}").write_bytes(path.read_bytes())


def file_exchanged(pieces: Path, _: int) -> None:
    """Put the file of a block in place of another one's."""
    files = sorted(pieces.iterdir())
    files[2].write_bytes(files[3].read_bytes())


# In the combined table.


def in_text(change: Callable[[bytes], bytes]) -> Plant:
    """Change the text of a block on its way into the file."""
    write = CombinedFile.write

    def call(
        target: CombinedFile, block: int, following: int, size: int, texts: Iterator[memoryview]
    ) -> int | None:
        changed = (memoryview(change(bytes(text))) for text in texts)
        return write(target, block, following, size, changed)

    return lambda patch: patch.setattr(CombinedFile, "write", call)


def line_dropped(text: bytes) -> bytes:
    return b"".join(line for line in text.splitlines(keepends=True) if b"marked" not in line)


def line_doubled(text: bytes) -> bytes:
    return b"".join(line * (1 + (b"marked" in line)) for line in text.splitlines(keepends=True))


def digits_exchanged(text: bytes) -> bytes:
    return text.replace(b"marked,10.00", b"marked,01.00")


def in_places(change: Callable[[int | None], int | None]) -> Plant:
    """Change where blocks are put."""
    add = PrefixSum.add
    return lambda patch: patch.setattr(PrefixSum, "add", lambda *args: change(add(*args)))


def moved(place: int | None) -> int | None:
    return place + 1 if place else place  # the first block always has one


def in_part_files(change: Callable[[Path, Path], object]) -> Plant:
    """Change the part files of two blocks, before they are copied into the table."""
    assemble = CombinedFile.assemble

    def call(target: CombinedFile, written: list[Written]) -> list[dd.DataFrame]:
        first, second = (Path(part_file(target.path, block)) for block in (2, 3))
        change(first, second)
        return assemble(target, written)

    def plant(patch: pytest.MonkeyPatch) -> None:
        in_places(lambda _: None)(patch)
        patch.setattr(CombinedFile, "assemble", call)

    return plant


def part_changed(part: Path, _: Path) -> None:
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)


def part_of_another(part: Path, other: Path) -> None:
    size = part.stat().st_size
    part.write_bytes((2 * other.read_bytes())[:size])


def in_file(change: Callable[[bytearray, list[int]], None]) -> Plant:
    """Change the finished file; `change` also gets where each block begins."""

    def call(written: list[Written], target: Target, recount: Recount | None) -> list[dd.DataFrame]:
        assert target.path is not None
        path = Path(target.path)
        data = bytearray(path.read_bytes())
        change(data, offsets(written, len(target.header)))
        path.write_bytes(data)
        return read_back(written, target, recount)

    return lambda patch: patch.setattr(job, "read_back", call)


def byte_flipped(data: bytearray, _: list[int]) -> None:
    data[len(data) // 2] ^= 1


def header_changed(data: bytearray, _: list[int]) -> None:
    data[0] ^= 1


def end_lost(data: bytearray, _: list[int]) -> None:
    del data[-1]


def more_behind(data: bytearray, _: list[int]) -> None:
    data += b"\n"


def blocks_exchanged(data: bytearray, places: list[int]) -> None:
    first, second, end = places[1:4]
    data[first:end] = data[second:end] + data[first:second]


def block_over_another(data: bytearray, places: list[int]) -> None:
    first, second, end = places[1:4]
    size = min(second - first, end - second)
    data[second : second + size] = data[first : first + size]
