"""Every member, stream or frame of a compressed file is read, up to the file's last byte."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest
from support.case import zstd

from pipeline.csv_text.files import TextFile
from pipeline.errors import UsageError
from pipeline.settings import Dialect

SKIPPABLE = b"\x5a\x2a\x4d\x18\x05\0\0\0notes"
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}
NAMES = {"gz": "gzip member", "bz2": "bzip2 stream", "xz": "xz stream", "zst": "zstd frame"}
# Text that does not shrink to a few bytes, so that there is something to cut.
PARTS = [
    b"".join(b"%d,%d\n" % (number, random.Random(number).getrandbits(60)) for number in numbers)
    for numbers in (range(300), range(300, 301), range(301, 900))
]


def zipped(data: bytes, name: str = "t.csv", comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
        archive.comment = comment
    return file.getvalue()


def read(path: Path, data: bytes, ahead: int = 1 << 20) -> bytes:
    """Return the plain bytes of a file that holds `data`; check that all of it was used."""
    path.write_bytes(data)
    with TextFile(str(path), Dialect(), ahead) as file:
        plain = file.read(1 << 30)
        assert file.position == len(data)
    return plain


def refusal(path: Path, data: bytes, ahead: int = 1 << 20) -> str:
    with pytest.raises(UsageError) as caught:
        read(path, data, ahead)
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be read: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: cannot be read: ")


@pytest.mark.parametrize("ahead", [1 << 20, 4096, 16])
@pytest.mark.parametrize("ending", PACK)
def test_every_unit_is_read(ending: str, ahead: int, tmp_path: Path) -> None:
    units = [*map(PACK[ending], PARTS), PACK[ending](b""), PACK[ending](b"1,2\n")]

    assert read(tmp_path / f"t.{ending}", b"".join(units), ahead) == b"".join(PARTS) + b"1,2\n"


PADDED = {
    "gzip, zeros at the end": ("gz", 2, b"", bytes(100_001)),
    "xz, between and at the end": ("xz", 3, bytes(8), bytes(4 << 16)),
    "zstd, skippable frames": ("zst", 3, SKIPPABLE, SKIPPABLE + b"\x50\x2a\x4d\x18\0\0\0\0"),
}


@pytest.mark.parametrize("ahead", [1 << 20, 16])
@pytest.mark.parametrize("case", PADDED)
def test_padding_that_the_format_allows_is_skipped(case: str, ahead: int, tmp_path: Path) -> None:
    ending, count, between, end = PADDED[case]
    data = between.join(map(PACK[ending], PARTS[:count])) + end

    assert read(tmp_path / f"t.{ending}", data, ahead) == b"".join(PARTS[:count])


def test_zstd_that_begins_with_a_skippable_frame_is_read(tmp_path: Path) -> None:
    for name in ("t.csv.zst", "t.csv"):
        assert read(tmp_path / name, SKIPPABLE + zstd(PARTS[0])) == PARTS[0]


@pytest.mark.parametrize("ending", PACK)
def test_a_file_that_is_cut_anywhere_names_the_unit_that_is_cut(
    ending: str, tmp_path: Path
) -> None:
    units = [PACK[ending](part) for part in (PARTS[1], PARTS[1], b"7,8\n")]
    starts = [0, *accumulate(map(len, units))]
    data = b"".join(units)
    for size in set(range(12, len(data))) - set(starts):
        begin = max(start for start in starts if start < size)
        message = refusal(tmp_path / f"t.{ending}", data[:size])
        assert message in (
            f"the {NAMES[ending]} that begins at byte {begin:,} is cut off at byte {size:,}, the "
            "end of the file; copy the file again",
            # Too little is left to tell what it was.
            f"at byte {begin:,} there is data other than {NAMES[ending]}s; remove it, or copy the "
            "file again",
        ), size


@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])  # with checksums: no damage passes
def test_a_damaged_unit_is_named_by_its_first_byte(ending: str, bad: int, tmp_path: Path) -> None:
    units = [PACK[ending](part) for part in PARTS]
    begin = sum(map(len, units[:bad]))
    for place in range(20, len(units[bad]), 23):
        damaged = bytearray(b"".join(units))
        damaged[begin + place] ^= 0x55
        message = refusal(tmp_path / f"t.{ending}", bytes(damaged))
        assert message.startswith(f"the {NAMES[ending]} that begins at byte {begin:,} is "), place


def test_a_zstd_frame_with_a_large_window_is_not_called_damaged(tmp_path: Path) -> None:
    # Its header alone: a window of 2 GiB (RFC 8878, section 3.1.1.1.2), then an empty last block.
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\xa8" + b"\x01\x00\x00"

    message = refusal(tmp_path / "t.zst", frame)

    assert message == (
        "the zstd frame that begins at byte 0 has a window of more than 128 MiB; compress the file "
        "again without --long and --ultra"
    )


def test_a_damaged_zstd_frame_is_named_by_its_first_byte(tmp_path: Path) -> None:
    """Arrow writes no checksums: what is damaged are the sizes of blocks, and their types."""
    units = [zstd(part) for part in PARTS]
    for begin, frame in zip(accumulate(map(len, units), initial=0), units, strict=False):
        damaged = bytearray(b"".join(units))
        header = begin + 4 + len(frame[4:]) - len(frame[4:].lstrip(frame[4:5]))
        damaged[header : header + 4] = b"\xff" * 4
        message = refusal(tmp_path / "t.zst", bytes(damaged))
        named = f"the zstd frame that begins at byte {begin:,} "
        # A damaged header may claim a window that is too large.
        assert message.startswith((f"{named}is ", f"{named}has a window of ")), begin


OTHER = {
    "text": b"1,2\n",
    "zeros, then text": bytes(4) + b"1,2\n",
    "zeros, then a unit": bytes(8),
    "seven zeros, then a unit": bytes(7),
    "one zero": b"\0",
    "three zeros": b"\0\0\0",
}


@pytest.mark.parametrize("what", OTHER)
@pytest.mark.parametrize("ending", PACK)
def test_anything_else_after_a_unit_is_named_by_its_first_byte(
    ending: str, what: str, tmp_path: Path
) -> None:
    other = OTHER[what]
    first = PACK[ending](PARTS[0])
    padding = 4 if (ending, what) == ("xz", "zeros, then text") else 0
    said = f"at byte {len(first) + padding:,} there is data other than {NAMES[ending]}s"
    if "then a unit" in what:
        other += PACK[ending](PARTS[1])
    if (ending, what) in {
        ("xz", "zeros, then a unit"), ("gz", "one zero"), ("gz", "three zeros")
    }:  # fmt: skip
        return  # allowed
    for ahead in (1 << 20, 16):
        message = refusal(tmp_path / f"t.{ending}", first + other, ahead)
        assert message == f"{said}; remove it, or copy the file again"


def gzip_with_header(flags: int, fields: bytes, data: bytes) -> bytes:
    """Return a gzip member with these flags and optional fields in its header (RFC 1952)."""
    header = b"\x1f\x8b\x08" + bytes([flags]) + bytes(5) + b"\x03" + fields
    if flags & 2:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    return header + gzip.compress(data)[10:]


@pytest.mark.parametrize("ahead", [1 << 20, 17, 16])
@pytest.mark.parametrize(
    ("flags", "fields"),
    [
        (1, b""),
        (2, b""),
        (4, b"\5\0abcde"),
        (8, b"t.csv\0"),
        (16, b"a comment\0"),
        (30, b"\xff\xff" + b"x" * 0xFFFF + b"n" * 70_000 + b"\0" + b"c\0"),
    ],
)
def test_gzip_headers_may_have_optional_fields(
    flags: int, fields: bytes, ahead: int, tmp_path: Path
) -> None:
    member = gzip_with_header(flags, fields, PARTS[0])

    assert read(tmp_path / "t.gz", member + member, ahead) == 2 * PARTS[0]


def test_a_gzip_header_with_unknown_flags_is_refused(tmp_path: Path) -> None:
    assert "begins at byte 0 is damaged (unknown flags 0x80 " in refusal(
        tmp_path / "t.gz", gzip_with_header(0x80, b"", PARTS[0])
    )


@pytest.mark.parametrize("level", [1, 6])
def test_a_zip_archive_is_its_whole_file(level: int, tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    whole, other = zipped(PARTS[0], comment=b"PK?" * level), zipped(PARTS[1])

    assert read(path, whole) == PARTS[0]
    assert refusal(path, whole + b"1,2\n") == (
        f"at byte {len(whole):,} there is data other than zip archives; remove it, or copy the "
        "file again"
    )
    assert refusal(path, whole + other) == (
        "the zip archive that begins at byte 0 is damaged (the members in its directory begin at "
        f"byte {len(whole):,}); copy the file again"
    )
    assert "archive that begins at byte 0 is damaged (File is not" in refusal(path, whole[:-40])
    damaged = bytearray(whole)
    damaged[60] ^= 0x55
    assert "archive that begins at byte 0 is damaged (" in refusal(path, bytes(damaged))


def test_a_zip_archive_of_an_unknown_method_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped(PARTS[0]))
    for header, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(header) + method] = 97

    assert "begins at byte 0 is damaged (That compression" in refusal(
        tmp_path / "t.zip", bytes(data)
    )


def test_a_file_that_is_left_half_read_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Arrow prints what fails while it frees a stream."""
    for ending, pack in PACK.items():
        path = tmp_path / f"t.{ending}"
        path.write_bytes(pack(PARTS[2]) * 2)
        with TextFile(str(path), Dialect(), 16) as file:
            file.read(10)
        refusal(path, path.read_bytes()[:-10])

    assert capfd.readouterr() == ("", "")


def test_many_small_units_take_little_time(tmp_path: Path) -> None:
    """As programs write that append a member for each line."""
    member = gzip.compress(b"1,2\n")
    start = time.process_time()
    assert read(tmp_path / "t.gz", member * 20_000) == b"1,2\n" * 20_000

    assert time.process_time() - start < 10


def test_a_bomb_of_zeros_is_unpacked_piece_by_piece(tmp_path: Path) -> None:
    for ending, pack in PACK.items():
        path = tmp_path / f"t.{ending}"
        path.write_bytes(pack(bytes(1 << 24)))
        with TextFile(str(path), Dialect()) as file:
            assert file.read(1 << 10) == bytes(1 << 10)
            assert len(file.read(1 << 30)) == (1 << 24) - (1 << 10)
