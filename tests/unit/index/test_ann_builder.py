"""ANN files: made when they are due, replaced when they can't be trusted, and never in a search's way."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from imgsearch.errors import IndexDamaged
from imgsearch.index import segments
from imgsearch.index.ann import builder, rabitq
from imgsearch.index.ann import search as ann
from imgsearch.index.ann.builder import AnnBuilder, lists_for, plan_builds
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from imgsearch.types import Vectors
from support.fakes import Notes, sha, spec, state, unit

DIM = 64


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a hundred rows be many, and four hundred fill a segment."""
    monkeypatch.setattr(ann, "EXACT_ROWS", 100)
    monkeypatch.setattr(ann, "shortlist_for", lambda k, dim, rows=0: 60)
    monkeypatch.setattr(segments, "SEGMENT_BYTES", segments.HEADER_BYTES + 400 * DIM * 2)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def add(writer: IndexWriter, first: int, rows: Vectors) -> None:
    root = writer.catalog.put_root("/pictures", {})
    keys = [sha(first + place) for place in range(len(rows))]
    writer.commit(
        [(key, 0, 4, 3) for key in keys],
        rows,
        [state(root, f"{first + place}.jpg", key) for place, key in enumerate(keys)],
    )


def make(folder: str, n: int = 1000) -> Vectors:
    """Make an index of n pictures with its ANN files; return the vectors."""
    rows = unit(n, dim=DIM)
    with IndexWriter(folder, spec(dim=DIM)) as writer:
        add(writer, 0, rows)
        AnnBuilder(writer.data, writer.spec).finish()
    return rows


def build_again(folder: str) -> list[str]:
    """Bring the ANN files up to date; return why each was made."""
    with IndexWriter(folder) as writer:
        due = plan_builds(writer.catalog, writer.data, writer.spec.dim)
        assert AnnBuilder(writer.data, writer.spec).finish() == len(due)
        assert plan_builds(writer.catalog, writer.data, writer.spec.dim) == []
    return [build.reason for build in due]


def answers(folder: str, rows: Vectors) -> tuple[list[str], str, str]:
    """Return the best hit's name for each row, the strategy that was taken, and the advice."""
    with ImageIndex(folder) as index:
        found = [hits[0][0].paths[0] for hits in index.search(rows, 1)]
        assert index.strategy is not None
        return found, index.strategy.name, index.advice


def names(*numbers: int) -> list[str]:
    return [f"/pictures/{number}.jpg" for number in numbers]


def test_a_large_index_is_searched_by_codes(folder: str) -> None:
    """With its ANN files made, a search goes by codes and finds what there is, in sealed and open segments."""
    rows = make(folder)
    assert answers(folder, rows[[0, 399, 400, 999]]) == (names(0, 399, 400, 999), "codes", "")
    with ImageIndex(folder) as index:
        assert {one.rows for one in index.catalog.ann_files().values()} == {400, 200}


def test_a_small_index_needs_no_ann_file(folder: str) -> None:
    """Below the limit nothing is made, and every row is compared."""
    rows = make(folder, 99)
    assert not os.path.exists(os.path.join(folder, "faiss"))
    assert answers(folder, rows[:2]) == (names(0, 1), "exact", "")


def test_new_rows_are_found_before_codes_cover_them(folder: str) -> None:
    """Rows committed after the ANN files were made are found at once, and covered when they have become many."""
    make(folder)
    late = unit(150, seed=7, dim=DIM)
    with IndexWriter(folder) as writer:
        add(writer, 1000, late[:50])
    assert build_again(folder) == []
    assert answers(folder, late[:50:49]) == (names(1000, 1049), "codes", "")
    with IndexWriter(folder) as writer:
        add(writer, 1050, late[50:])
    assert build_again(folder) == ["it covers 200 of 350 rows"]
    assert answers(folder, late[::149]) == (names(1000, 1149), "codes", "")


def test_a_file_that_would_soon_be_made_again_waits(folder: str) -> None:
    """While rows are being added, a segment's file is made anew only when half as many rows have come."""
    make(folder)
    with IndexWriter(folder) as writer:
        add(writer, 1000, unit(99, seed=7, dim=DIM))
        assert plan_builds(writer.catalog, writer.data, writer.spec.dim, growing=True) == []
        add(writer, 1100, unit(1, seed=8, dim=DIM))
        assert [
            build.rows for build in plan_builds(writer.catalog, writer.data, writer.spec.dim, growing=True)
        ] == [300]


def _lose(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 64
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "why"),
    [(_lose, "can't be read"), (_cut, "has the wrong size"), (_flip, "does not match its checksum")],
)
def test_damaged_ann_files_change_no_answer_and_are_made_anew(folder: str, harm: object, why: str) -> None:
    """An ANN file that is gone, cut or altered is not used; searches answer from the vectors and say why."""
    rows = make(folder)
    for path in Path(folder, "faiss").iterdir():
        harm(path)  # type: ignore[operator]
    found, strategy, advice = answers(folder, rows[::499])
    assert (found, strategy) == (names(0, 499, 998), "exact")
    assert "1,000 embeddings were compared one by one" in advice
    assert why in advice
    assert all(why in reason for reason in build_again(folder))
    assert answers(folder, rows[::499]) == (names(0, 499, 998), "codes", "")


def test_another_versions_files_are_made_anew(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of another FAISS version are never handed to this one."""
    rows = make(folder)
    monkeypatch.setattr(rabitq, "version", lambda: "99.0")
    assert answers(folder, rows[:1])[1] == "exact"
    reasons = build_again(folder)
    assert len(reasons) == 3
    assert all(reason.startswith("it was built by FAISS") for reason in reasons)
    assert answers(folder, rows[:1])[1] == "codes"


def test_the_whole_folder_may_be_deleted(folder: str) -> None:
    """Without the folder of ANN files everything is found, and the next run makes it again."""
    rows = make(folder)
    shutil.rmtree(os.path.join(folder, "faiss"))
    assert answers(folder, rows[:1])[:2] == (names(0), "exact")
    assert len(build_again(folder)) == 3
    assert answers(folder, rows[:1]) == (names(0), "codes", "")


def test_old_ann_files_do_not_pile_up(folder: str) -> None:
    """A file that was replaced, and what a killed build left behind, is gone after the next run."""
    make(folder)
    Path(folder, "faiss", "00000003.faiss.new").write_bytes(b"half")
    Path(folder, "faiss", "00000009-0123abcd.faiss").write_bytes(b"of a segment that is gone")
    Path(folder, "faiss", "notes.txt").write_text("mine")
    with IndexWriter(folder) as writer:
        add(writer, 1000, unit(150, seed=7, dim=DIM))
    build_again(folder)
    with ImageIndex(folder) as index:
        named = {one.name for one in index.catalog.ann_files().values()}
    assert {path.name for path in Path(folder, "faiss").iterdir()} == named | {"notes.txt"}


def test_very_large_indexes_get_inverted_lists(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit, files made without lists are due again, with lists of which a search looks into enough."""
    assert [lists_for(262_143, total) for total in (1_000_000, 2_000_000, 2_000_001)] == [1, 1, 128]
    rows = make(folder)
    monkeypatch.setattr(ann, "LISTED_ROWS", 900)
    monkeypatch.setattr(builder, "lists_for", lambda rows, total: 8 if total > ann.LISTED_ROWS else 1)
    assert build_again(folder) == ["the index has 1,000 rows now"] * 3
    assert answers(folder, rows[::499]) == (names(0, 499, 998), "codes", "")
    with ImageIndex(folder) as index:
        assert {one.nlist for one in index.catalog.ann_files().values()} == {8}
        assert all(1 <= one.nprobe <= 8 for one in index.catalog.ann_files().values())


def test_the_background_makes_them_while_rows_are_added(folder: str) -> None:
    """Files made in the background of commits cover rows that were there, and the end covers the rest."""
    rows = unit(1000, dim=DIM)
    with IndexWriter(folder, spec(dim=DIM)) as writer:
        builder = AnnBuilder(writer.data, writer.spec)
        for first in range(0, 1000, 125):
            add(writer, first, rows[first : first + 125])
            builder.schedule()
        builder.finish()
        covered = sum(one.rows for one in writer.catalog.ann_files().values())
        assert covered > 1000 - ann.EXACT_ROWS
    assert answers(folder, rows[::333])[:2] == (names(0, 333, 666, 999), "codes")


def test_a_build_that_is_given_up_leaves_nothing(folder: str) -> None:
    """Stopping a build leaves the catalogue and the folder as they were."""
    make(folder, 99)
    with IndexWriter(folder) as writer:
        add(writer, 99, unit(300, seed=3, dim=DIM))
        stop = threading.Event()
        stop.set()
        for build in plan_builds(writer.catalog, writer.data, writer.spec.dim):
            builder.build(writer.catalog, writer.data, writer.spec, build, stop)
        assert writer.catalog.ann_files() == {}
    assert not os.path.exists(os.path.join(folder, "faiss"))


def test_a_disk_that_refuses_an_ann_file_is_said_and_costs_no_answer(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When an ANN file can't be written, that is one line; what is indexed is found all the same."""
    rows = unit(500, dim=DIM)
    notes = Notes()
    with IndexWriter(folder, spec(dim=DIM)) as writer:
        add(writer, 0, rows)

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(builder, "sync_file", full)
        AnnBuilder(writer.data, writer.spec, notes).finish()
    assert "could not build the files for fast search: the disk is full" in notes.text
    assert answers(folder, rows[:1])[:2] == (names(0), "exact")
    assert list(Path(folder, "faiss").iterdir()) == []


def test_an_open_index_sees_ann_files_as_they_come(folder: str) -> None:
    """A reader that was open before answers by codes as soon as they are registered, and the same as before."""
    rows = unit(1000, dim=DIM)
    with IndexWriter(folder, spec(dim=DIM)) as writer:
        add(writer, 0, rows)
        with ImageIndex(folder) as reader:
            before = reader.search(rows[:5], 3)
            assert reader.strategy is not None
            assert reader.strategy.name == "exact"
            AnnBuilder(writer.data, writer.spec).finish()
            after = reader.search(rows[:5], 3)
            assert reader.strategy.name == "codes"
    assert [[hit[0].id for hit in hits[:1]] for hits in before] == [
        [hit[0].id for hit in hits[:1]] for hits in after
    ]
    assert np.allclose([hits[0][1] for hits in before], [hits[0][1] for hits in after], atol=0)


@pytest.mark.parametrize(
    "damage",
    ["name = NULL", "name = '../../etc/passwd'", "rows = 'many'", "rows = -1", "crc = x'00'", "faiss = NULL"],
)
def test_a_row_about_an_ann_file_that_makes_no_sense_stops_nothing(folder: str, damage: str) -> None:
    """Whatever the catalogue says of its ANN files, searches answer, and the next run makes them anew."""
    rows = make(folder)
    with closing(sqlite3.connect(os.path.join(folder, "catalog.sqlite"))) as db, db:
        db.execute("PRAGMA writable_schema = ON")
        made = db.execute("SELECT sql FROM sqlite_master WHERE name = 'ann'").fetchone()
        db.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'ann'")
    with closing(sqlite3.connect(os.path.join(folder, "catalog.sqlite"))) as db, db:
        db.execute(f"UPDATE ann SET {damage}")
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'ann'", made)
    assert answers(folder, rows[::499])[:2] == (names(0, 499, 998), "exact")
    assert len(build_again(folder)) == 3
    assert answers(folder, rows[::499])[1] == "codes"


def test_a_catalogue_that_lost_its_folders_is_damaged(folder: str) -> None:
    """Files without a single folder to lie in are damage, and not an index that finds nothing."""
    make(folder, 50)
    with closing(sqlite3.connect(os.path.join(folder, "catalog.sqlite"))) as db, db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("DELETE FROM root")
    for opener in (ImageIndex, IndexWriter):
        with pytest.raises(IndexDamaged, match="its folders are lost"):
            opener(folder)


def test_a_row_number_of_nonsense_is_damage(folder: str) -> None:
    """A place that no segment has, and a segment that can't be read, are one line and not a traceback."""
    rows = make(folder, 50)
    with closing(sqlite3.connect(os.path.join(folder, "catalog.sqlite"))) as db, db:
        db.execute("UPDATE content SET row = -7 WHERE sha256 = ?", (sha(3),))
        db.execute("UPDATE content SET segment = x'41' WHERE sha256 = ?", (sha(4),))
    with ImageIndex(folder) as index:
        for number in (3, 4):
            with pytest.raises(IndexDamaged):
                index.vector(sha(number))
        assert index.search(rows[:1], 1)[0][0][0].paths == ("/pictures/0.jpg",)


def test_too_little_memory_for_codes_is_said(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where codes can't be made for want of memory that is one line; what was committed is found all the same."""

    def build(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(rabitq, "build", build)
    rows, notes = make(folder), Notes()
    with IndexWriter(folder) as writer:
        assert AnnBuilder(writer.data, writer.spec, notes).finish() == 0
    assert "not enough memory" in notes.text
    assert answers(folder, rows[::499])[:2] == (names(0, 499, 998), "exact")


def test_what_can_not_be_made_is_said_once(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without room for ANN files is one line of a long run, and not one line a commit."""
    notes = Notes()
    with IndexWriter(folder, spec(dim=DIM)) as writer:
        os.mkdir(os.path.join(folder, "faiss"))
        monkeypatch.setattr(rabitq, "write", lambda *_: os.mkdir(os.path.join(folder, "faiss")))
        builder = AnnBuilder(writer.data, writer.spec, notes)
        for start in (0, 1000):
            add(writer, start, unit(1000, dim=DIM))
            builder.schedule()
            builder.join()
        builder.finish()
    assert notes.text.count("could not build") == 1
