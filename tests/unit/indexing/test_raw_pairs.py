"""RAW photos in an index: found by what they show, and one photo with the JPEG of the same name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imgsearch.files.walk import WalkOptions
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.documents.raw_pairs import PAIR
from imgsearch.indexing.roots import WalkOverrides
from support import fakes
from support.fakes import FakeModel, indexed, paint, run
from support.raws import dng

fake_model = fakes.fake_model


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    return made


def _raw(path: Path, colour: str) -> None:
    path.write_bytes(dng(np.full((60, 80, 3), fakes.COLOURS[colour], np.uint8)))


def _skipped(folder: str) -> dict[str, tuple[str | None, str]]:
    with ImageIndex(folder) as index:
        root = index.catalog.roots()[0]
        return {row.path: (row.error, row.detail) for row in index.catalog.files(root.id, "") if row.error}


def test_a_raw_photo_is_indexed_as_one(folder: str, photos: Path, fake_model: FakeModel) -> None:
    """It is an image of its own kind, found by what it shows."""
    _raw(photos / "a.dng", "red")
    _raw(photos / "b.NEF", "blue")
    assert run(folder, photos).indexed == 2
    with ImageIndex(folder) as index:
        (best, _), *_ = index.search(fakes.vector(fakes.COLOURS["blue"]), 2)[0]
    assert (best.kind, Path(best.paths[0]).name, best.width, best.height) == ("raw", "b.NEF", 80, 60)


def test_the_raw_file_of_a_jpeg_is_skipped(folder: str, photos: Path, fake_model: FakeModel) -> None:
    """One photo is one result: the JPEG; the reason names it."""
    _raw(photos / "a.dng", "red")
    paint(photos / "a.JPG", "red")
    _raw(photos / "b.dng", "blue")
    run(folder, photos)
    assert {Path(path).name for path in indexed(folder)} == {"a.JPG", "b.dng"}
    assert _skipped(folder) == {"a.dng": (PAIR, "a.JPG (same name)")}
    again = run(folder, photos)
    assert (again.indexed, again.reused) == (0, 0)


def test_it_is_read_once_the_jpeg_is_gone(folder: str, photos: Path, fake_model: FakeModel) -> None:
    """The photo isn't lost with its JPEG."""
    _raw(photos / "a.dng", "red")
    paint(photos / "a.jpg", "red")
    run(folder, photos)
    (photos / "a.jpg").unlink()
    run(folder, photos)
    assert {Path(path).name for path in indexed(folder)} == {"a.dng"}


def test_a_jpeg_that_is_none_hides_nothing(folder: str, photos: Path, fake_model: FakeModel) -> None:
    """Where the file beside it is no image, the RAW file is all there is of the photo."""
    _raw(photos / "a.dng", "red")
    (photos / "a.jpg").write_bytes(b"no image")
    run(folder, photos)
    assert {Path(path).name for path in indexed(folder)} == {"a.dng"}


def test_both_are_indexed_where_that_is_asked_for(folder: str, photos: Path, fake_model: FakeModel) -> None:
    """The folder's option is kept, and taking it back skips the RAW file again."""
    _raw(photos / "a.dng", "red")
    paint(photos / "a.jpg", "red")
    run(folder, photos)
    run(folder, photos, walk=WalkOverrides(raw_too=True))
    assert {Path(path).name for path in indexed(folder)} == {"a.dng", "a.jpg"}
    run(folder, photos)
    assert {Path(path).name for path in indexed(folder)} == {"a.dng", "a.jpg"}
    run(folder, photos, walk=WalkOverrides(raw_too=False))
    assert {Path(path).name for path in indexed(folder)} == {"a.jpg"}
    assert WalkOptions().reading("a.dng") == ""
