"""compact gives back the room of what is gone, and nothing else: every picture is still found with its own score."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from imgsearch.errors import StorageError
from imgsearch.index import generations, segments
from imgsearch.index.ann import search as ann
from imgsearch.index.database import Database
from imgsearch.index.reader import ImageIndex
from imgsearch.index.segments import HEADER_BYTES
from imgsearch.index.writer import IndexWriter
from imgsearch.tools.maintenance import compact
from support.cli import imgsearch
from support.fakes import DIM, sha, spec, state, unit


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an index of 20 pictures, eight vectors a segment."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", HEADER_BYTES + 8 * 2 * DIM)
    with IndexWriter(str(tmp_path / "index"), spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        files = [state(root, f"{number:02}.jpg", sha(number)) for number in range(20)]
        writer.commit([(sha(number), 0, 1, 1) for number in range(20)], unit(20), files)
    return tmp_path / "index"


def prune(index: Path, numbers: Sequence[int]) -> None:
    with IndexWriter(str(index)) as writer:
        writer.catalog.drop_files([number + 1 for number in numbers])


def found(index: Path) -> set[int]:
    """Return the pictures that find themselves."""
    with ImageIndex(str(index)) as opened:
        best = [hits[0][0].paths[0] for hits in opened.search(unit(20), 1)]
    return {number for number, path in enumerate(best) if path == f"/pictures/{number:02}.jpg"}


def rows_of_segments(index: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (index / "vectors").iterdir()}


def test_an_index_without_dead_vectors_has_nothing_to_compact(index: Path) -> None:
    """That is said, is no error, and changes nothing."""
    before = rows_of_segments(index)
    for flags in ((), ("--all",)):
        done = imgsearch("compact", *flags, "--index", index)
        assert done.code == 0
        assert done.err == "nothing to compact\n"
    assert rows_of_segments(index) == before


def test_segments_of_which_a_quarter_is_gone_are_written_anew(index: Path) -> None:
    """Waiting pictures are dropped, too; what is left is found as before, and the room is given back."""
    prune(index, [1, 3, 5, 9])
    before = sum(rows_of_segments(index).values())
    done = imgsearch("compact", "--index", index)
    assert done.code == 0
    assert "3 embeddings deleted, 5 rewritten" in done.err
    assert "1 embedding belongs to deleted images" in done.err  # an eighth of its segment
    assert f"compact --all --index {index}" in done.err
    assert sum(rows_of_segments(index).values()) < before
    assert "00000001.f16" not in rows_of_segments(index)
    assert found(index) == set(range(20)) - {1, 3, 5, 9}
    assert imgsearch("compact", "--index", index).err.startswith("nothing to compact")
    assert imgsearch("verify", "--index", index).code == 0


def test_all_takes_every_dead_vector(index: Path) -> None:
    """With --all a single deleted vector is enough, and afterwards there is none."""
    prune(index, [9])
    assert imgsearch("compact", "--all", "--index", index).code == 0
    with ImageIndex(str(index)) as opened:
        assert opened.catalog.deleted_counts() == {}
        assert opened.catalog.locate(sha(9)) is None
    assert found(index) == set(range(20)) - {9}


def test_all_drops_an_unfinished_rebuild(index: Path) -> None:
    """A rebuild that was begun is kept by a plain compact and dropped with --all; the index stays as it was."""
    with IndexWriter(str(index), spec(), rebuild=True) as writer:
        assert writer.unpublished
    assert imgsearch("compact", "--index", index).code == 0
    assert generations.unfinished(str(index)) is not None
    assert imgsearch("status", "--json", "--index", index).objects[0]["rebuilding"] is True
    assert "an unfinished rebuild deleted" in imgsearch("compact", "--all", "--index", index).err
    assert generations.unfinished(str(index)) is None
    assert imgsearch("status", "--json", "--index", index).objects[0]["rebuilding"] is False
    assert found(index) == set(range(20))


def _bloat(index: Path) -> None:
    """Leave many free pages in the catalogue."""
    with closing(sqlite3.connect(index / "catalog.sqlite")) as db:
        db.execute("CREATE TABLE bloat (x)")
        db.execute("INSERT INTO bloat VALUES (zeroblob(500000))")
        db.commit()
        db.execute("DROP TABLE bloat")
        db.commit()


def test_a_catalogue_with_much_free_room_is_written_anew(index: Path) -> None:
    """The file becomes smaller, and its contents stay."""
    _bloat(index)
    before = (index / "catalog.sqlite").stat().st_size
    done = imgsearch("compact", "--index", index)
    assert "the catalogue rewritten" in done.err
    assert "0.5 MB freed" in done.err
    assert (index / "catalog.sqlite").stat().st_size < before - 400_000
    assert found(index) == set(range(20))
    assert imgsearch("verify", "--index", index).code == 0


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_without_room_for_it_the_catalogue_stays(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that could not hold the new catalogue is not tried, and one that refuses does no harm."""
    _bloat(index)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: _Usage(1000, 900, 100))
        assert "of free disk space" in imgsearch("compact", "--index", index).err

    def refuse(self: Database) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "vacuum", refuse)
        done = imgsearch("compact", "--index", index)
    assert done.code == 0
    assert "could not shrink the catalogue: the disk is full" in done.err
    assert found(index) == set(range(20))


def test_ann_files_are_made_anew_with_the_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After compaction searches are as fast as before."""
    monkeypatch.setattr(ann, "EXACT_ROWS", 30)
    folder = tmp_path / "index"
    with IndexWriter(str(folder), spec(64)) as writer:
        root = writer.catalog.put_root("/pictures", {})
        files = [state(root, f"{number:02}.jpg", sha(number)) for number in range(80)]
        writer.commit([(sha(number), 0, 1, 1) for number in range(80)], unit(80, dim=64), files)
        writer.catalog.drop_files(range(1, 31))
    done = compact.compact_index(str(folder))
    assert (done.vectors.dropped, done.vectors.moved) == (30, 50)
    with ImageIndex(str(folder)) as opened:
        assert [one.rows for one in opened.catalog.ann_files().values()] == [50]
    state_now = imgsearch("status", "--json", "--index", folder).objects[0]
    assert (state_now["vectors"], state_now["dead"], state_now["covered"]) == (50, 0, 50)


def test_a_folder_of_the_users_is_no_unfinished_rebuild(index: Path) -> None:
    """A folder that has a generation's name and somebody's pictures in it is neither dropped nor written to."""
    theirs = index / "generation-0002" / "grandma.jpg"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    assert imgsearch("compact", "--all", "--index", index).err == "nothing to compact\n"
    with IndexWriter(str(index), spec(), rebuild=True) as writer:
        assert writer.data == str(index / "generation-0003")
    (index / "generation-0003" / "notes.txt").write_text("mine, too")
    assert "an unfinished rebuild deleted" in imgsearch("compact", "--all", "--index", index).err
    assert {path.name for path in index.rglob("generation-*/*")} == {"grandma.jpg", "notes.txt"}
    assert imgsearch("compact", "--all", "--index", index).err == "nothing to compact\n"


def test_a_vector_is_moved_once(index: Path) -> None:
    """With the last segment among those to be given up, no vector is written into it only to be moved again."""
    prune(index, [0, 1, 2, 8, 9, 10, 16, 17])
    with IndexWriter(str(index)) as writer:
        done = writer.compact()
    assert (done.segments, done.moved, done.dropped) == (3, 12, 8)
    assert found(index) == set(range(20)) - {0, 1, 2, 8, 9, 10, 16, 17}
