"""The directory as a whole: what is committed is found, what is not does not exist, and one writes at a time."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.errors import IndexDamaged, IndexLocked, IndexMismatch, IndexMissing, StorageError, UsageError
from imgsearch.fs import FileLock
from imgsearch.index import segments
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from imgsearch.types import Record, Vectors
from support.fakes import DIM, sha, spec, state, unit, unprivileged


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def add(writer: IndexWriter, names: Sequence[object], rows: Vectors) -> None:
    """Commit a content and a file of each name."""
    root = writer.catalog.put_root("/pictures", {})
    contents = [(sha(name), 0, 40, 30) for name in names]
    writer.commit(contents, rows, [state(root, f"{name}.jpg", sha(name)) for name in names])


def make(folder: str, n: int = 10, seed: int = 0) -> Vectors:
    """Make an index of pictures 0 to n-1 and return their vectors."""
    rows = unit(n, seed)
    with IndexWriter(folder, spec()) as writer:
        add(writer, range(n), rows)
    return rows


def names(hits: list[tuple[Record, float]]) -> list[str]:
    return [Path(record.paths[0]).stem for record, _ in hits]


def found(folder: str, rows: Vectors, k: int = 1) -> list[list[str]]:
    with ImageIndex(folder) as index:
        return [names(hits) for hits in index.search(rows, k)]


def snapshot(folder: str) -> dict[str, bytes]:
    """Return every file below a folder but the lock, a reader's wal-index and empty logs."""
    kept = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.name != "writer.lock" and not path.name.endswith(("-shm", "-wal")):
            kept[str(path.relative_to(folder))] = path.read_bytes()
    return kept


# ---- searching ------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 90),
    k=st.integers(1, 100),
    dim=st.none() | st.integers(1, DIM),
    per_segment=st.integers(1, 100),
    batch=st.integers(1, 40),
    twins=st.integers(0, 5),
    gone=st.sets(st.integers(0, 89)),
    seed=st.integers(0, 99),
)
def test_a_search_answers_as_a_full_comparison_would(
    n: int, k: int, dim: int | None, per_segment: int, batch: int, twins: int, gone: set[int], seed: int
) -> None:
    """Of the pictures that still have a file, the k with the largest cosines, exact, ties in order of indexing."""
    rows = unit(n, seed)
    rows[:twins] = rows[0]
    query = unit(2, seed + 1)
    gone &= set(range(n))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SEGMENT_BYTES", segments.HEADER_BYTES + per_segment * DIM * 2)
        with IndexWriter(folder, spec()) as writer:
            for start in range(0, n, batch):
                part = range(start, min(start + batch, n))
                add(writer, part, rows[start : start + batch])
            dropped = {f"{name}.jpg" for name in gone}
            writer.catalog.drop_files([row.id for row in writer.catalog.files(1) if row.path in dropped])
        with ImageIndex(folder) as index:
            answers = index.search(query, k, dim)
    stored = rows.astype(np.float16).astype(np.float64)[:, :dim]
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    for asked, hits in zip(query.astype(np.float64)[:, :dim], answers, strict=True):
        cosines = (stored * asked).sum(axis=1) / np.linalg.norm(asked)
        here = [place for place in range(n) if place not in gone]
        best = sorted(here, key=lambda place: (-round(cosines[place], 9), place))[:k]
        scores = [score for _, score in hits]
        assert len(hits) == len(best)
        np.testing.assert_allclose(scores, cosines[best], atol=1e-9)
        places = [int(name) for name in names(hits)]
        assert len(set(places)) == len(places)
        assert gone.isdisjoint(places)
        assert [place for place in places if place < twins] == sorted(p for p in places if p < twins)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 60), dims=st.tuples(st.integers(1, DIM), st.integers(1, DIM)), seed=st.integers(0, 99)
)
def test_a_search_at_a_smaller_dimension_is_one_of_an_index_made_at_it(
    n: int, dims: tuple[int, int], seed: int
) -> None:
    """An index of N numbers searched at M scores and ranks as one made at M, but for the rounding of float16."""
    small, large = sorted(dims)
    rows, query = unit(n, seed), unit(2, seed + 1)
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        for dim in (large, small):
            cut = rows[:, :dim] / np.linalg.norm(rows[:, :dim], axis=1, keepdims=True)
            with IndexWriter(f"{folder}/{dim}", spec(dim=dim), rebuild=True) as writer:
                add(writer, range(n), cut)
            with ImageIndex(f"{folder}/{dim}") as index:
                answers.append(index.search(query[:, :dim], n, small))
    for searched, made in zip(*answers, strict=True):
        scores = dict(zip(names(made), (score for _, score in made), strict=True))
        ours = [scores[name] for name in names(searched)]
        np.testing.assert_allclose([score for _, score in searched], ours, atol=2e-3)
        assert all(first >= second - 4e-3 for first, second in itertools.pairwise(ours))


def test_pictures_without_a_file_cost_no_hits(folder: str) -> None:
    """However many of the nearest pictures have gone, the search goes on to those that are left."""
    query = unit(1, 7)
    rows = np.repeat(query, 400, axis=0)
    rows[380:] = unit(20, 8)
    with IndexWriter(folder, spec()) as writer:
        add(writer, range(400), rows)
        near = {f"{name}.jpg" for name in range(380)}
        writer.catalog.drop_files([row.id for row in writer.catalog.files(1) if row.path in near])
    assert len(found(folder, query, 10)[0]) == 10
    assert len(found(folder, query, 50)[0]) == 20


def test_copies_are_one_hit(folder: str) -> None:
    """Files with the same bytes are one picture with several paths."""
    make(folder, 3)
    with IndexWriter(folder) as writer:
        writer.commit([], unit(0), [state(1, "copy.jpg", sha(1))])
    with ImageIndex(folder) as index:
        ((record, score),) = index.search(unit(3)[1:2], 1)[0]
    assert record.paths == ("/pictures/1.jpg", "/pictures/copy.jpg")
    assert score == pytest.approx(1, abs=1e-3)


def test_an_empty_index_finds_nothing(folder: str) -> None:
    """An index without pictures answers every question with no hits."""
    make(folder, 0)
    assert found(folder, unit(2), 5) == [[], []]


@pytest.mark.parametrize("dim", [0, -1, DIM + 1])
def test_a_dimension_that_the_index_lacks_is_refused(folder: str, dim: int) -> None:
    """Only prefixes of the stored vectors can be searched, and the message says how long these are."""
    make(folder, 2)
    with ImageIndex(folder) as index, pytest.raises(UsageError, match=f"have {DIM} dimensions"):
        index.search(unit(1), 1, dim)


def test_a_question_of_another_length_is_refused(folder: str) -> None:
    """A vector that does not fit the index is refused before anything is compared."""
    make(folder, 2)
    with ImageIndex(folder) as index, pytest.raises(UsageError, match="does not fit"):
        index.search(unit(1, dim=DIM + 1), 1)


def test_a_stored_vector_comes_back(folder: str) -> None:
    """The vector of a stored picture is what was committed, up to float16, as one float32 row."""
    rows = make(folder, 4)
    with ImageIndex(folder) as index:
        stored = index.vector(sha(2))
        assert index.vector(sha("never seen")) is None
    assert stored is not None
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored, rows[2:3], atol=1e-3)


def test_near_duplicates_stand_in_the_order_of_their_cosines(folder: str) -> None:
    """Of a burst of photos that differ less than float16 can tell a length, the k largest true cosines are found."""
    rng = np.random.default_rng(5)
    rows = unit(1, dim=64) + 0.002 * rng.standard_normal((300, 64), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with IndexWriter(folder, spec(dim=64)) as writer:
        add(writer, range(300), rows)
    stored = rows.astype(np.float16).astype(np.float64)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    with ImageIndex(folder) as index:
        for query in rows[:20]:
            cosines = stored @ (query / np.linalg.norm(query.astype(np.float64)))
            wanted = np.argsort(-cosines)[:10]
            hits = index.search(query[None], 10)[0]
            assert names(hits) == [str(name) for name in wanted]
            np.testing.assert_allclose([score for _, score in hits], cosines[wanted], atol=1e-9)


def test_of_equal_vectors_the_first_ones_are_found(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more equal vectors than were asked for, over several segments, those that were indexed first come back."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", segments.HEADER_BYTES + 40 * DIM * 2)
    with IndexWriter(folder, spec()) as writer:
        add(writer, range(45), unit(45, seed=1))
        add(writer, range(45, 145), np.repeat(unit(1, seed=2), 100, axis=0))
    with ImageIndex(folder) as index:
        hits = index.search(unit(1, seed=2), 7)[0]
    assert names(hits) == [str(name) for name in range(45, 52)]


def test_searches_may_run_side_by_side(folder: str) -> None:
    """One opened index answers several threads at once."""
    rows = make(folder, 50)
    together, answers = threading.Barrier(4), []
    with ImageIndex(folder) as index:

        def ask(name: int) -> None:
            together.wait()
            for _ in range(20):
                answers.append(names(index.search(rows[name : name + 1], 1)[0]) == [str(name)])

        threads = [threading.Thread(target=ask, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [True] * 80


# ---- damage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("byte", [0, 1, 2 * DIM - 1])
def test_a_damaged_vector_is_never_a_hit(folder: str, byte: int) -> None:
    """A row that does not match its checksum stops the search with its file and number, and spares the others."""
    rows = make(folder, 40)
    path = Path(folder, "vectors", "00000001.f16")
    data = bytearray(path.read_bytes())
    data[segments.HEADER_BYTES + 3 * DIM * 2 + byte] ^= 1
    path.write_bytes(data)
    with ImageIndex(folder) as index:
        with pytest.raises(IndexDamaged, match=r"00000001\.f16 is damaged: embedding 3 .*repair_index"):
            index.search(rows[3:4], 1)
        with pytest.raises(IndexDamaged, match="embedding 3 "):
            index.vector(sha(3))
        spared = index.vector(sha(4))
        assert spared is not None
        assert spared.shape == (1, DIM)


@pytest.mark.parametrize("lost", ["manifest.json", "catalog.sqlite", "vectors/00000001.f16"])
def test_a_lost_file_is_named(folder: str, lost: str) -> None:
    """Whichever file of the index is gone, reader and writer say so, and a writer begins nothing new over it."""
    rows = make(folder, 3)
    os.unlink(os.path.join(folder, lost))
    left = snapshot(folder)
    with pytest.raises(IndexDamaged, match=rf"{os.path.basename(lost)} .*(rebuild=True|repair_index\()"):
        found(folder, rows)
    with pytest.raises(IndexDamaged, match=os.path.basename(lost)), IndexWriter(folder) as writer:
        add(writer, ["new"], unit(1))
    assert {name: data for name, data in snapshot(folder).items() if data} == left


def test_rows_that_were_never_committed_do_not_exist(folder: str) -> None:
    """Rows that a killed writer had appended are seen by no reader and overwritten by the next writer."""
    rows = make(folder, 3)
    torn = segments.SegmentWriter(os.path.join(folder, "vectors"), DIM, spec().fingerprint)
    torn.open(1, 3)
    torn.append(3, unit(5, seed=9).astype(np.float16))
    torn.close()
    assert {name for hits in found(folder, unit(5, seed=9), 10) for name in hits} == {"0", "1", "2"}
    with IndexWriter(folder) as writer:
        add(writer, ["new"], unit(1, seed=5))
    assert found(folder, np.concatenate([rows, unit(1, seed=5)])) == [["0"], ["1"], ["2"], ["new"]]
    assert Path(folder, "vectors", "00000001.f16").stat().st_size == segments.HEADER_BYTES + 4 * DIM * 2


# ---- writing --------------------------------------------------------------------------------------------------


def test_a_commit_is_seen_at_once_and_nothing_of_it_before(folder: str) -> None:
    """An open reader sees a commit with its next search, and a search in the middle of one sees none of it."""
    make(folder, 2)
    with ImageIndex(folder) as reader, IndexWriter(folder) as writer:
        with writer.catalog.transaction() as db:
            db.execute("DELETE FROM file")
            assert names(reader.search(unit(2)[:1], 5)[0]) == ["0", "1"]
            assert found(folder, unit(2)[:1], 5) == [["0", "1"]]
            db.execute("ROLLBACK")
            db.execute("BEGIN")
        add(writer, ["new"], unit(1, seed=5))
        assert names(reader.search(unit(1, seed=5), 1)[0]) == ["new"]


def test_vectors_roll_over_into_the_next_segment(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One commit may fill several segments; every picture is found, also by later writers and readers."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", segments.HEADER_BYTES + 3 * DIM * 2)
    rows = unit(11)
    with IndexWriter(folder, spec()) as writer:
        add(writer, range(8), rows[:8])
        add(writer, [8], rows[8:9])
    with IndexWriter(folder) as writer:
        add(writer, [9, 10], rows[9:])
        assert writer.catalog.segments() == [(1, 3), (2, 3), (3, 3), (4, 2)]
    assert found(folder, rows) == [[str(name)] for name in range(11)]
    assert sorted(os.listdir(os.path.join(folder, "vectors"))) == [f"0000000{n}.f16" for n in (1, 2, 3, 4)]


class Full:
    """A disk on which the write number ``after`` and all later ones fail, until ``room`` is made."""

    def __init__(self, patch: pytest.MonkeyPatch, after: int) -> None:
        self.left, self._real = after, os.pwrite
        patch.setattr(os, "pwrite", self)

    def __call__(self, descriptor: int, data: bytes, offset: int) -> int:
        if self.left <= 0:
            raise OSError(28, "No space left on device")
        self.left -= 1
        return self._real(descriptor, data, offset)

    def room(self) -> None:
        self.left = 1 << 30


@pytest.mark.parametrize("after", range(5))
def test_a_full_disk_loses_only_what_was_not_committed(
    folder: str, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Wherever a disk fills up while segments are written, the index is as it was, and the same writer may go on."""
    rows = make(folder, 2)
    before = found(folder, rows, 5)
    monkeypatch.setattr(segments, "SEGMENT_BYTES", segments.HEADER_BYTES + 3 * DIM * 2)
    more = unit(6, seed=3)
    with IndexWriter(folder) as writer:
        disk = Full(monkeypatch, after)
        with pytest.raises(StorageError, match="disk is full"):
            add(writer, range(10, 16), more)
        assert found(folder, rows, 5) == before
        assert writer.catalog.counts()[0] == 2  # no file names a picture that is not there
        disk.room()
        kept = {place for place in range(6) if writer.catalog.locate(sha(10 + place))}
        rest = [place for place in range(6) if place not in kept]
        writer.commit(
            [(sha(10 + place), 0, 40, 30) for place in rest],
            more[rest],
            [state(1, f"{10 + place}.jpg", sha(10 + place)) for place in range(6)],
        )
    assert found(folder, rows) == [["0"], ["1"]]
    assert found(folder, more) == [[str(name)] for name in range(10, 16)]


def test_a_database_that_can_not_grow_leaves_the_index_as_it_was(folder: str) -> None:
    """A disk that fills while the catalogue commits loses that commit alone, and the next one takes its place."""
    rows = make(folder, 5)
    long = "x" * 200
    with IndexWriter(folder) as writer:
        db = writer.catalog.database.connection
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
        with pytest.raises(StorageError, match=r"full.*everything saved before is intact"):
            add(writer, [f"{long}{name}" for name in range(300)], unit(300, seed=1))
        assert found(folder, rows) == [[str(name)] for name in range(5)]
        assert writer.catalog.counts()[:2] == (5, 5)
        db.execute("PRAGMA max_page_count = 100000")
        add(writer, ["new"], unit(1, seed=2))
    assert found(folder, np.concatenate([rows, unit(1, seed=2)])) == [
        ["0"],
        ["1"],
        ["2"],
        ["3"],
        ["4"],
        ["new"],
    ]


def test_an_interrupt_at_the_commit_does_not_lead_the_writer_astray(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C right after the database has committed leaves a writer that still appends behind what is committed."""
    rows = make(folder, 2)
    with IndexWriter(folder) as writer:
        real = writer.catalog.commit

        def interrupted(*args: object) -> None:
            real(*args)  # type: ignore[arg-type]
            raise KeyboardInterrupt

        monkeypatch.setattr(writer.catalog, "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            add(writer, ["last"], unit(1, seed=1))
        monkeypatch.setattr(writer.catalog, "commit", real)
        add(writer, ["next"], unit(1, seed=2))
    wanted = np.concatenate([rows, unit(1, seed=1), unit(1, seed=2)])
    assert found(folder, wanted) == [["0"], ["1"], ["last"], ["next"]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_never_stored(folder: str, bad: float) -> None:
    """NaN and infinity are refused before anything is written."""
    make(folder, 2)
    rows = unit(2, seed=1)
    rows[1, 3] = bad
    before = snapshot(folder)
    with IndexWriter(folder) as writer, pytest.raises(ValueError, match="finite"):
        add(writer, ["a", "b"], rows)
    assert snapshot(folder) == before


# ---- one writer -----------------------------------------------------------------------------------------------


def test_a_second_writer_learns_who_the_first_is(folder: str) -> None:
    """While one process writes, another is refused with its number, and readers go on."""
    rows = make(folder, 2)
    with IndexWriter(folder):
        with pytest.raises(IndexLocked, match=f"another imgsearch .process {os.getpid()} on "):
            IndexWriter(folder)
        assert found(folder, rows) == [["0"], ["1"]]
    with IndexWriter(folder) as writer:
        add(writer, ["new"], unit(1, seed=1))


@pytest.fixture
def holder(folder: str) -> Iterator[subprocess.Popen[bytes]]:
    """Give another process that holds the writer lock of the index."""
    make(folder, 1)
    code = (
        "import sys, time; from imgsearch.index.writer import IndexWriter; w = IndexWriter(sys.argv[1]); "
        "print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    assert process.stdin is not None
    process.stdin.close()


def test_a_dead_process_holds_no_lock(folder: str, holder: subprocess.Popen[bytes]) -> None:
    """The lock of a process that was killed is free at once, whatever the lock file still says."""
    with pytest.raises(IndexLocked, match=f"process {holder.pid} on "):
        IndexWriter(folder)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert str(holder.pid) in Path(folder, "writer.lock").read_text()
    with IndexWriter(folder) as writer:
        add(writer, ["new"], unit(1, seed=1))
    assert found(folder, unit(1, seed=1)) == [["new"]]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"pid": "x", "host": "h"}', b"\xff" * 5000])
def test_an_unreadable_lock_file_is_no_obstacle(folder: str, text: bytes) -> None:
    """Whatever stands in the lock file, the second writer is told something, and the first one can write."""
    make(folder, 1)
    Path(folder, "writer.lock").write_bytes(text)
    with IndexWriter(folder):
        Path(folder, "writer.lock").write_bytes(text)
        with pytest.raises(IndexLocked, match="another imgsearch is updating"):
            IndexWriter(folder)


def test_a_writer_that_can_not_open_lets_the_lock_go(folder: str) -> None:
    """An index that can't be opened is not locked by the attempt."""
    make(folder, 1)
    sound = Path(folder, "catalog.sqlite").read_bytes()
    Path(folder, "catalog.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(IndexDamaged):
        IndexWriter(folder)
    Path(folder, "catalog.sqlite").write_bytes(sound)
    IndexWriter(folder).close()


# ---- making and making anew -----------------------------------------------------------------------------------


def test_a_writer_that_fails_when_all_is_open_lets_the_lock_go(folder: str) -> None:
    """What is found out last, damage in the catalogue's remarks, leaves neither the lock nor the catalogue taken."""
    make(folder, 3)
    with closing(sqlite3.connect(os.path.join(folder, "catalog.sqlite"))) as db:
        db.execute("DROP TABLE meta")
    with pytest.raises(IndexDamaged, match="meta"):
        IndexWriter(folder)
    FileLock(os.path.join(folder, "writer.lock")).release()
    assert not os.path.exists(os.path.join(folder, "catalog.sqlite-wal"))


def test_no_index_is_made_by_accident(folder: str) -> None:
    """Opening what is no index, to read or to write, leaves nothing behind."""
    for opener in (ImageIndex, IndexWriter):
        with pytest.raises(IndexMissing):
            opener(folder)
        assert not os.path.exists(folder)
        os.makedirs(folder)
        with pytest.raises(IndexMissing):
            opener(folder)
        assert os.listdir(folder) == []
        os.rmdir(folder)


def test_an_index_that_was_half_made_is_made(folder: str) -> None:
    """A kill between the catalogue and the manifest of a new index is no obstacle to making it."""
    make(folder, 0)
    os.unlink(os.path.join(folder, "manifest.json"))
    with pytest.raises(IndexMissing):
        ImageIndex(folder)
    rows = make(folder, 2)
    assert found(folder, rows) == [["0"], ["1"]]


def test_vectors_of_two_models_never_meet(folder: str) -> None:
    """Where an index of another spec has appeared meanwhile, a writer that wanted to make one is refused."""
    make(folder, 1)
    with pytest.raises(IndexMismatch, match=f"dimension {DIM}, not 5"):
        IndexWriter(folder, spec(dim=5))
    with IndexWriter(folder, spec()) as writer:
        assert writer.spec == spec()


def test_a_rebuild_begins_anew(folder: str) -> None:
    """A rebuilt index knows nothing of the one before, whose files are gone, and has the new spec."""
    make(folder, 5)
    with IndexWriter(folder, spec(dim=5), rebuild=True) as writer:
        assert writer.spec.dim == 5
        assert writer.catalog.counts() == (0, 0, {})
        assert writer.catalog.segments() == []
        add(writer, ["new"], unit(1, dim=5))
        writer.publish()
    assert found(folder, unit(1, dim=5), 9) == [["new"]]


def test_a_rebuild_is_not_seen_before_it_is_complete(folder: str) -> None:
    """Until a rebuild is published, searches find the old index, whole; from then on the new one, and it alone."""
    rows = make(folder, 5)
    with ImageIndex(folder) as early, IndexWriter(folder, spec(), rebuild=True) as writer:
        add(writer, ["new"], unit(1, seed=9))
        assert found(folder, rows) == [[str(name)] for name in range(5)]
        writer.publish()
        assert found(folder, rows, 9) == [["new"]] * 5
        # Who had it open before goes on with one of the two, whole.
        assert len({tuple(names(hits)) for hits in early.search(rows[:1], 9)} & {("new",)}) in (0, 1)
    left = sorted(entry.name for entry in Path(folder).iterdir())
    assert left == ["generation-0002", "manifest.json", "vectors", "writer.lock"]
    assert not list(Path(folder, "vectors").iterdir())


def test_a_rebuild_that_was_broken_off_is_gone_on_with(folder: str) -> None:
    """What a rebuild had committed when it was broken off is there when it is begun again with the same settings."""
    make(folder, 5)
    with IndexWriter(folder, spec(), rebuild=True) as writer:
        add(writer, ["new"], unit(1))
    with IndexWriter(folder) as writer:  # work on the index in use does not disturb it
        add(writer, ["late"], unit(1, seed=4))
    with IndexWriter(folder, spec(), rebuild=True) as writer:
        assert writer.catalog.counts() == (1, 1, {})
        add(writer, ["newer"], unit(1, seed=3))
        writer.publish()
    assert sorted(found(folder, unit(1), 9)[0]) == ["new", "newer"]


@pytest.mark.parametrize("damage", ["settings", "vectors"])
def test_a_rebuild_that_can_not_be_gone_on_with_begins_again(folder: str, damage: str) -> None:
    """An unfinished rebuild with other settings, or one that is damaged, makes room for the one asked for."""
    make(folder, 5)
    other = spec(dim=5) if damage == "settings" else spec()
    with IndexWriter(folder, other, rebuild=True) as writer:
        add(writer, ["new"], unit(1, dim=other.dim))
        begun = writer.data
    if damage == "vectors":
        Path(begun, "vectors", "00000001.f16").write_bytes(b"garbage")
    with IndexWriter(folder, spec(), rebuild=True) as writer:
        assert writer.catalog.counts() == (0, 0, {})
        assert writer.data != begun
        assert not os.path.exists(begun)


def test_a_rebuild_mends_any_damage(folder: str) -> None:
    """With every file of the index overwritten by garbage, a rebuild gives a sound one."""
    make(folder, 5)
    for path in (p for p in Path(folder).rglob("*") if p.is_file()):
        path.write_bytes(b"garbage" * 1000)
    with IndexWriter(folder, spec(), rebuild=True) as writer:
        add(writer, ["new"], unit(1))
        writer.publish()
    assert found(folder, unit(1), 9) == [["new"]]


def test_a_rebuild_removes_only_what_is_ours(folder: str) -> None:
    """Files of the user that happen to lie in the index's folder, or under names like ours, survive a rebuild."""
    make(folder, 2)
    theirs = [
        "holiday.jpg",
        "catalog.sqlite.bak",
        "vectors/logo.svg",
        "vectors/notes.f16",
        "vectors/old/00000001.f16",
        "thumbs/me.jpg",
        "faiss/paper.pdf",
        "queries.sqlite.txt",
        "generation-0002/grandma.jpg",
        "generation-0007/vectors/logo.svg",
    ]
    for name in theirs:
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        Path(folder, name).write_text("mine")
    with IndexWriter(folder, spec(), rebuild=True) as writer:
        add(writer, ["new"], unit(1))
        writer.publish()
    assert {name: Path(folder, name).read_text() for name in theirs} == dict.fromkeys(theirs, "mine")
    assert found(folder, unit(1), 9) == [["new"]]


def test_a_folder_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    """An index below a plain file can't be made, and the message names the folder."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file/index could not be written"):
        IndexWriter(str(tmp_path / "file" / "index"), spec())


# ---- read-only ------------------------------------------------------------------------------------------------


def test_a_read_only_index_can_be_searched_but_not_written(folder: str) -> None:
    """On a folder that may not be written, searches answer; a writer gets one line that names the folder."""
    rows = make(folder, 3)
    np.save(os.path.join(os.path.dirname(folder), "rows.npy"), rows)
    code = """
import numpy as np
from imgsearch.errors import StorageError
from imgsearch.index.writer import ImageIndex, IndexWriter
with ImageIndex(sys.argv[1]) as index:
    print([hits[0][0].paths[0] for hits in index.search(np.load(sys.argv[2]), 1)])
try:
    IndexWriter(sys.argv[1])
except StorageError as error:
    print(error)
"""
    inside = [os.path.join(folder, "vectors"), folder]
    for path in inside:
        os.chmod(path, 0o555)
    for name in ("catalog.sqlite", "writer.lock"):
        os.chmod(os.path.join(folder, name), 0o444)
    before = sorted(os.listdir(folder))
    try:
        answer, refusal = unprivileged(
            code, folder, os.path.join(os.path.dirname(folder), "rows.npy")
        ).splitlines()
        assert answer == "['/pictures/0.jpg', '/pictures/1.jpg', '/pictures/2.jpg']"
        assert "writer.lock could not be written (Permission denied)" in refusal
        assert sorted(os.listdir(folder)) == before
    finally:
        for path in inside:
            os.chmod(path, 0o755)


def test_the_size_on_disk_is_that_of_its_files(folder: str) -> None:
    """The figure that `status` shows is the sum over all files in the folder."""
    make(folder, 3)
    with ImageIndex(folder) as index:
        total = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        assert index.bytes_on_disk() == total
        assert index.created > 0


@pytest.mark.parametrize("kept", ["", "12C45.6", "1e999", "nan", "-5", "\x00"])
def test_a_damaged_date_is_no_date(folder: str, kept: str) -> None:
    """What the index says of its making is 0 where it can't be a date, never an error."""
    make(folder, 1)
    with IndexWriter(folder) as writer:
        writer.catalog.put_meta("created", kept)
    with ImageIndex(folder) as index:
        assert index.created == 0


def test_an_index_may_be_moved(folder: str, tmp_path: Path) -> None:
    """An index copied elsewhere answers there as it did."""
    rows = make(folder, 3)
    shutil.copytree(folder, tmp_path / "elsewhere")
    shutil.rmtree(folder)
    assert found(str(tmp_path / "elsewhere"), rows) == [["0"], ["1"], ["2"]]


def test_a_rebuild_that_is_killed_while_it_clears_away_is_complete(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill at any removal of the old index's files leaves the new one, whole; the next writer removes the rest."""
    real = os.unlink
    for survivors in range(4):
        make(folder, 5) if survivors == 0 else make_anew(folder)
        with IndexWriter(folder, spec(), rebuild=True) as writer:
            add(writer, ["new"], unit(1))
            left = survivors

            def unlink(path: str, **_: object) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
                real(path)

            monkeypatch.setattr(os, "unlink", unlink)
            try:
                writer.publish()
            except KeyboardInterrupt:
                pass
            monkeypatch.setattr(os, "unlink", real)
        assert found(folder, unit(1), 9) == [["new"]]
        with IndexWriter(folder):
            pass
        data = sorted(path.parent for path in Path(folder).rglob("catalog.sqlite"))
        assert data == [Path(ImageIndex(folder).data)]


def make_anew(folder: str) -> None:
    """Rebuild an index with two segments, a log and the memory of runs."""
    with pytest.MonkeyPatch.context() as patch, IndexWriter(folder, spec(), rebuild=True) as writer:
        patch.setattr(segments, "SEGMENT_BYTES", segments.HEADER_BYTES + 3 * DIM * 2)
        add(writer, range(5), unit(5))
        writer.publish()
    Path(folder, "queries.sqlite").write_bytes(b"")
