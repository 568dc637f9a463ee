"""Columns are derived: whatever happens to them, filters find the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.integrity import check, repair
from imgsearch.index.metadata import collect, columns
from imgsearch.index.metadata.file_filters import Named
from imgsearch.index.metadata.filters import Camera, Filter, Keyword, Taken
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileState
from imgsearch.index.writer import IndexWriter
from imgsearch.types import Metadata, SourceFile
from support.fakes import sha, spec, unit

ROWS = 30
FILTERS: list[list[Filter]] = [
    [Camera("x-t5")],
    [Taken(datetime(2020, 1, 10), None)],
    [Keyword("sea"), Named("*1*")],
    [Named("2.jpg")],
]


def state(root: int, number: int, name: str = "", **known: object) -> FileState:
    """Return the file of an image as a writer commits it."""
    told = {
        "model": ("X-T5", "Z 8")[number % 2],
        "taken": datetime(2020, 1, 1 + number),
        "taken_from": "image",
    }
    told |= {"keywords": ("sea",) if number % 3 else ()} | known
    source = SourceFile("/pictures", name or f"{number}.jpg", 1, 1)
    return FileState(root, source, sha(number), metadata=Metadata(**told))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Give the folder of an index with columns."""
    with IndexWriter(str(tmp_path / "index"), spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        contents = [(sha(number), 0, 4, 3) for number in range(ROWS)]
        writer.commit(contents, unit(ROWS), [state(root, number) for number in range(ROWS)])
        collect.build(writer.catalog.database, writer.data, 1, ROWS)
    return str(tmp_path / "index")


def found(folder: str) -> list[list[str]]:
    """Return what each of the filters leaves, by path."""
    with ImageIndex(folder) as index:
        return [
            sorted(record.paths[0] for record, _ in index.search(unit(1), 2 * ROWS, filters=filters)[0])
            for filters in FILTERS
        ]


def file_of(folder: str) -> Path:
    """Return the only file of columns."""
    (path,) = Path(folder, "columns").iterdir()
    return path


def is_used(folder: str) -> bool:
    """Whether a search reads the columns, and finds nothing wrong with them."""
    with ImageIndex(folder) as index:
        index.search(unit(1), 5, filters=FILTERS[0])
        return bool(index.snapshot.columns(index.catalog))


def flip(path: Path, place: int) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: flip(path, 0),
        lambda path: flip(path, 30),
        lambda path: path.write_bytes(path.read_bytes()[: 1 << 16] + bytes(path.stat().st_size - (1 << 16))),
    ],
)
def test_columns_that_are_damaged_or_deleted_change_no_answer(
    folder: str, spoil: Callable[[Path], None]
) -> None:
    """The catalogue is asked instead; verify names the damage, a repair forgets it, and they are made again."""
    before = found(folder)
    assert is_used(folder)
    spoil(file_of(folder))
    assert found(folder) == before
    with IndexWriter(folder) as writer:
        findings = check(writer.catalog, writer.spec, print, print)
        assert [damage.kind for damage in findings.damages] == ["columns"]
        repair(writer.catalog, findings, writer.spec)
        assert check(writer.catalog, writer.spec, print, print).damages == []
        writer.clear_away()
        collect.build(writer.catalog.database, writer.data, 1, ROWS)
    assert is_used(folder)
    assert found(folder) == before


def test_a_link_in_the_place_of_columns_is_not_followed(folder: str, tmp_path: Path) -> None:
    """It is as if they were not there."""
    before, path = found(folder), file_of(folder)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert not is_used(folder)
    assert found(folder) == before


def test_numbers_that_lead_out_of_the_columns_are_refused(folder: str) -> None:
    """A file with right checksums whose numbers point past its images and texts is not used, and no error."""
    before = found(folder)
    with IndexWriter(folder) as writer:
        parts = collect.collect(writer.catalog.database, 1, ROWS)
        for name in ("camera", "image", "name_end", "keyword"):
            spoiled = parts | {name: parts[name] + 1000}
            made = columns.write(writer.data, 1, ROWS, spoiled)
            with writer.catalog.transaction() as db:
                db.execute(
                    "UPDATE columns SET name = ?, bytes = ?, crc = ?", (made.name, made.bytes, made.crc)
                )
            assert found(folder) == before


def test_what_changes_after_the_columns_were_made_is_found(folder: str) -> None:
    """Other metadata, files that go, and another file of an image all count at once."""
    with IndexWriter(folder) as writer:
        root = writer.catalog.roots()[0].id
        files = {file.path: file.id for file in writer.catalog.files(root)}
        writer.commit([], unit(0), [state(root, 0, model="Z 8"), state(root, 5, "again1.jpg")])
        writer.catalog.drop_files([files["1.jpg"], files["2.jpg"]])
    camera, _, keyword, named = found(folder)
    assert "/pictures/0.jpg" not in camera
    assert "/pictures/1.jpg" not in keyword
    assert "/pictures/5.jpg" in keyword  # by its other name
    assert named == []


def test_a_compaction_takes_the_columns_of_its_segments_along(folder: str) -> None:
    """Nothing of a dropped segment's columns is left, and what has moved is found where it lies now."""
    with IndexWriter(folder) as writer:
        root = writer.catalog.roots()[0].id
        gone = [file.id for file in writer.catalog.files(root) if int(file.path[:-4]) < 10]
        writer.catalog.drop_files(gone)
        before = found(folder)
        assert writer.compact(0.0).moved == ROWS - 10
        assert os.listdir(Path(folder, "columns")) == []
        assert found(folder) == before


def test_columns_are_made_when_enough_has_changed(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run makes them again once many images have changed, and not for a few."""
    with IndexWriter(folder) as writer:
        root, before = writer.catalog.roots()[0].id, file_of(folder).name
        writer.commit([], unit(0), [state(root, number, rating=3) for number in range(5)])
        AnnBuilder(writer.data, writer.spec).finish()
        assert file_of(folder).name == before
        monkeypatch.setattr(collect, "MOST_CHANGED", 5)
        AnnBuilder(writer.data, writer.spec).finish()
        assert file_of(folder).name != before
        assert writer.catalog.database.query(int, "SELECT count(*) FROM stale") == [0]


def test_what_is_stale_may_become_stale_again(tmp_path: Path) -> None:
    """An image whose columns no longer tell the truth can change once more, by a file that is known already."""
    known = SourceFile("/p", "a.jpg", 1, 1)
    with IndexWriter(str(tmp_path), spec()) as writer:
        root = writer.catalog.put_root("/p", {})
        writer.commit([(sha("a"), 0, 9, 9)], unit(1, 1), [FileState(root, known, sha("a"))])
        writer.catalog.database.connection.execute("INSERT INTO columns VALUES (1, 1, 'x', 1, 1)")
        for _ in range(2):
            writer.commit([], unit(0, 1), [FileState(root, known, None, "truncated")])
            writer.commit([], unit(0, 1), [FileState(root, known, sha("a"))])
        assert writer.catalog.database.connection.execute("SELECT * FROM stale").fetchall() == [(1, 0)]
