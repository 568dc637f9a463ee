"""Segments on disk: what was committed is there bit by bit, and what is damaged is named."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgsearch.errors import IndexDamaged, StorageError
from imgsearch.index import segments
from imgsearch.index.ann.search import SegmentView, nearest
from imgsearch.index.segments import HEADER_BYTES, Rows, Segment, SegmentWriter, segment_name

DIM = 8
PRINT = "5a" * 32


def rows(n: int, seed: int = 0, dim: int = DIM) -> Rows:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float16)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "index").mkdir()
    return str(tmp_path / "index" / "vectors")


def written(folder: str, *parts: Rows, number: int = 1) -> Path:
    """Write a segment of these parts and close it."""
    writer = SegmentWriter(folder, DIM, PRINT)
    writer.open(number, 0)
    done = 0
    for part in parts:
        writer.append(done, part)
        done += len(part)
    writer.close()
    return Path(folder, segment_name(number))


def stored(folder: str, n: int, number: int = 1) -> Rows:
    return Segment(folder, number, n, DIM, PRINT).read(0, n)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 20), max_size=6), st.integers(1, 70))
def test_rows_come_back_bit_by_bit(tmp_path: Path, parts: list[int], dim: int) -> None:
    """Whatever is appended in whatever portions is what a reader reads."""
    folder = str(tmp_path / "vectors")
    blocks = [rows(n, seed, dim) for seed, n in enumerate(parts)]
    writer = SegmentWriter(folder, dim, PRINT)
    writer.open(1, 0)
    done = 0
    for block in blocks:
        writer.append(done, block)
        done += len(block)
    writer.close()
    wanted = np.concatenate([rows(0, dim=dim), *blocks])
    found = Segment(folder, 1, done, dim, PRINT).read(0, done)
    assert found.tobytes() == wanted.tobytes()
    assert not found.flags.writeable


@pytest.mark.parametrize(
    "look",
    [
        lambda segment: list(segment.blocks(0, 50)),
        lambda segment: segment.take(np.array([3, 48])),
        lambda segment: segment.read(0, 50),
        lambda segment: nearest([SegmentView(segment)], np.ones(DIM, np.float32), 5, exact=True),
        lambda segment: nearest([SegmentView(segment)], np.ones(DIM // 2, np.float32), 5, dim=DIM // 2),
    ],
    ids=["blocks", "take", "read", "exact", "prefix"],
)
@pytest.mark.parametrize("what", ["shorter", "unreadable"])
def test_a_segment_that_is_damaged_while_it_is_open_is_an_error(
    folder: str, look: Callable[[Segment], object], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that becomes shorter, or whose drive is pulled, is IndexDamaged for a reader and not its end."""
    path = written(folder, rows(50))
    segment = Segment(folder, 1, 50, DIM, PRINT)
    if what == "shorter":
        os.truncate(path, HEADER_BYTES + 20 * DIM * 2)
    else:

        def fail(*_: object) -> NoReturn:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "pread", fail)
        monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(IndexDamaged, match=r"can't be read|is shorter than its saved embeddings"):
        look(segment)


@pytest.mark.parametrize("answered", [0, 1, 3])
@pytest.mark.parametrize("short", [False, True])
def test_rows_that_are_not_in_memory_are_waited_for(
    folder: str, answered: int, short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen rows are the same whether the system has all of them in memory, some, or can't be asked."""
    parts = rows(40)
    written(folder, parts)
    segment, chosen, calls = Segment(folder, 1, 40, DIM, PRINT), np.array([3, 4, 9, 20, 21, 39, 7]), [0]

    def preadv(descriptor: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        calls[0] += 1
        if calls[0] <= answered:
            return real(descriptor, buffers, offset)
        if short:
            return 5
        raise BlockingIOError(errno.EAGAIN, "not in memory")

    real = os.preadv
    monkeypatch.setattr(os, "preadv", preadv)
    assert segment.take(chosen).tobytes() == parts[chosen].tobytes()


def test_a_reader_sees_committed_rows_only(folder: str) -> None:
    """Bytes past the rows that the catalogue names are none of a reader's business, and stay as they are."""
    path = written(folder, rows(5))
    with path.open("ab") as file:
        file.write(b"torn")
    before = path.read_bytes()
    assert np.array_equal(stored(folder, 3), rows(5)[:3])
    assert np.array_equal(stored(folder, 5), rows(5))
    assert path.read_bytes() == before


@pytest.mark.parametrize("torn", [1, DIM * 2 - 1, DIM * 2, 5 * DIM * 2 + 3])
def test_a_torn_tail_is_cut_off_by_the_next_writer(folder: str, torn: int) -> None:
    """Whatever a killed writer left behind the committed rows, the next writer begins right after these."""
    path = written(folder, rows(4))
    with path.open("ab") as file:
        file.write(b"\xff" * torn)
    writer = SegmentWriter(folder, DIM, PRINT)
    writer.open(1, 4)
    assert path.stat().st_size == HEADER_BYTES + 4 * DIM * 2
    writer.append(4, rows(2, seed=1))
    writer.close()
    assert np.array_equal(stored(folder, 6), np.concatenate([rows(4), rows(2, seed=1)]))


@pytest.mark.parametrize("left", [b"", b"half a header", b"\xff" * (HEADER_BYTES + 100)])
def test_a_segment_without_committed_rows_is_begun_anew(folder: str, left: bytes) -> None:
    """What a writer left that was killed before its first commit, header or not, is no obstacle."""
    os.makedirs(folder)
    Path(folder, segment_name(1)).write_bytes(left)
    path = written(folder, rows(2))
    assert np.array_equal(stored(folder, 2), rows(2))
    assert path.stat().st_size == HEADER_BYTES + 2 * DIM * 2


def test_every_damaged_header_byte_is_noticed(folder: str) -> None:
    """A reader and a writer refuse a segment whose header has any byte altered, and name the file."""
    path = written(folder, rows(1))
    sound = path.read_bytes()
    for place in [*range(70), *range(70, HEADER_BYTES, 97), HEADER_BYTES - 1]:
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 4]) + sound[place + 1 :])
        with pytest.raises(IndexDamaged, match=r"00000001\.f16 does not start"):
            stored(folder, 1)
        writer = SegmentWriter(folder, DIM, PRINT)
        with pytest.raises(IndexDamaged, match=r"00000001\.f16 does not start"):
            writer.open(1, 1)
        writer.close()


@pytest.mark.parametrize(("dim", "mark"), [(DIM * 2, PRINT), (DIM, "5b" * 32)])
def test_a_segment_of_another_index_is_refused(folder: str, dim: int, mark: str) -> None:
    """Vectors of another dimension or model can't be slipped in."""
    written(folder, rows(4))
    with pytest.raises(IndexDamaged, match=r"does not start with this index's header.*repair_index"):
        Segment(folder, 1, 2, dim, mark)


@pytest.mark.parametrize("size", [0, 100, HEADER_BYTES, HEADER_BYTES + 3 * DIM * 2 - 1])
def test_a_short_segment_is_refused_and_left_alone(folder: str, size: int) -> None:
    """A segment shorter than its committed rows is damage that neither reader nor writer papers over."""
    path = written(folder, rows(3))
    os.truncate(path, size)
    with pytest.raises(IndexDamaged, match=r"00000001\.f16.*repair_index"):
        stored(folder, 3)
    writer = SegmentWriter(folder, DIM, PRINT)
    with pytest.raises(IndexDamaged, match=r"00000001\.f16.*repair_index"):
        writer.open(1, 3)
    writer.close()
    assert path.stat().st_size == size


def test_a_missing_segment_says_how_much_is_lost(folder: str) -> None:
    """A vector file that is gone is named, with the number of vectors that went with it."""
    with pytest.raises(IndexDamaged, match=r"00000007\.f16 is missing, .* 12 embeddings"):
        stored(folder, 12, number=7)


def test_a_segment_that_can_not_be_mapped_says_why(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive that fails below a segment is named in the system's words, without number and path."""
    written(folder, rows(3))

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error", "/somewhere")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(IndexDamaged, match=r"00000001\.f16 .*can't be read \(Input/output error\)"):
        stored(folder, 3)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("short", [0, 1, 17])
def test_a_failed_append_leaves_the_rows_before(
    folder: str, monkeypatch: pytest.MonkeyPatch, code: int, short: int
) -> None:
    """A disk that fills or fails in the middle of a row costs that append alone, and the next one succeeds."""
    path = written(folder, rows(3))
    writer = SegmentWriter(folder, DIM, PRINT)
    writer.open(1, 3)
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", failing(code, short))
    with pytest.raises(StorageError, match=r"00000001\.f16.*everything saved before is intact"):
        writer.append(3, rows(2, seed=1))
    assert path.stat().st_size == HEADER_BYTES + 3 * DIM * 2
    monkeypatch.setattr(os, "pwrite", real)
    writer.append(3, rows(2, seed=2))
    writer.close()
    assert np.array_equal(stored(folder, 5), np.concatenate([rows(3), rows(2, seed=2)]))


def failing(code: int, short: int) -> Callable[[int, memoryview, int], int]:
    """Return a pwrite that writes ``short`` bytes and then no more."""
    real = os.pwrite
    written = 0

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        nonlocal written
        if written >= short:
            raise OSError(code, os.strerror(code))
        written += (done := real(descriptor, data[: short - written], offset))
        return done

    return pwrite


def test_short_writes_are_completed(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes a few bytes at a time gets them all."""
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:7], offset))
    written(folder, rows(5))
    assert np.array_equal(stored(folder, 5), rows(5))


def test_a_folder_that_can_not_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """Where the vectors' folder can't be made, the message names the file and the reason."""
    (tmp_path / "file").write_bytes(b"")
    writer = SegmentWriter(str(tmp_path / "file" / "vectors"), DIM, PRINT)
    with pytest.raises(StorageError, match=r"00000001\.f16 could not be written"):
        writer.open(1, 0)


def test_a_segment_holds_what_fits_in_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full segment, header and all, stays within a gibibyte; at 2,048 dimensions a row is one page."""
    most = segments.rows_per_segment(2048)
    assert HEADER_BYTES + most * 4096 <= 1 << 30 < HEADER_BYTES + (most + 1) * 4096
    monkeypatch.setattr(segments, "SEGMENT_BYTES", HEADER_BYTES + 3 * 4096)
    assert segments.rows_per_segment(2048) == 3


def test_the_layout_on_disk_is_what_the_design_says(folder: str) -> None:
    """Rows lie as little-endian float16 behind 4,096 bytes, so that another program can read them."""
    path = written(folder, rows(3))
    data = path.read_bytes()
    assert data.startswith(b"imgsearch.f16")
    assert np.array_equal(np.frombuffer(data, "<f2", offset=4096).reshape(3, DIM), rows(3))
