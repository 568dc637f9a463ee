"""The thumbnail of an indexed image: made of its file once, and only while the file is what was indexed."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgsearch.errors import InputError
from imgsearch.index.reader import ImageIndex
from imgsearch.index.thumbs import ThumbStore
from imgsearch.media.thumbnail import read_thumbnail
from imgsearch.search import thumbnails as maker
from imgsearch.search.thumbnails import LARGE, SMALL, thumbnail, thumbnails
from imgsearch.types import RGB, Record
from support import fakes
from support.fakes import COLOURS, FakeModel, paint, run

fake_model = fakes.fake_model
gallery = fakes.gallery


def record_of(index: Path, path: Path, page: int = 0) -> Record:
    """Return what the index knows of a file's picture."""
    with ImageIndex(str(index)) as opened:
        for root in opened.catalog.roots():
            row = opened.catalog.file(root.id, os.path.relpath(path, root.path))
            if row and row.content:
                return opened.catalog.pages(row.content)[page]
    raise AssertionError(path)


def colour_of(data: bytes) -> np.ndarray:
    return read_thumbnail(data).reshape(-1, 3).mean(axis=0)


@pytest.fixture
def index(gallery: Path, tmp_path: Path, fake_model: FakeModel) -> Path:
    """Give an index of the gallery."""
    paint(gallery / "large.jpg", "red", "green", "blue", "white", size=(2400, 1000))
    run(tmp_path / "index", gallery)
    return tmp_path / "index"


def test_it_shows_the_image_and_is_kept(index: Path, gallery: Path) -> None:
    """The second time it comes from the store, also when the file is gone."""
    record = record_of(index, gallery / "large.jpg")
    small = thumbnail(str(index), record)
    assert read_thumbnail(small).shape == (133, 320, 3)
    assert np.abs(read_thumbnail(small)[10, 10].astype(int) - COLOURS["red"]).max() < 20
    large = thumbnail(str(index), record, LARGE)
    assert read_thumbnail(large).shape == (667, 1600, 3)
    (gallery / "large.jpg").unlink()
    assert thumbnail(str(index), record) == small
    assert thumbnail(str(index), record, LARGE) == large


def test_an_image_is_upright(index: Path, gallery: Path) -> None:
    """Its EXIF orientation is applied."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (400, 200), "red")
    picture.paste((20, 40, 230), (0, 0, 200, 200))
    picture.save(gallery / "turned.jpg", exif=exif)
    run(index, gallery)
    found = read_thumbnail(thumbnail(str(index), record_of(index, gallery / "turned.jpg")))
    assert found.shape == (320, 160, 3)
    assert found[20, 80, 2] > 180
    assert found[300, 80, 0] > 180


def test_a_small_image_is_kept_once(index: Path, gallery: Path) -> None:
    """Where both sizes would show the same there is one file."""
    record = record_of(index, gallery / "red.png")
    assert thumbnail(str(index), record, LARGE) == thumbnail(str(index), record, SMALL)
    assert ThumbStore(str(index)).used().files == 1


def test_another_image_in_the_files_place_is_not_shown(index: Path, gallery: Path) -> None:
    """The error says that the file has changed, and what to do."""
    record = record_of(index, gallery / "red.png")
    paint(gallery / "red.png", "green")
    with pytest.raises(InputError, match=r"red\.png has changed since it was indexed; to update"):
        thumbnail(str(index), record)
    assert ThumbStore(str(index)).used().files == 0


def test_a_missing_file_is_named(index: Path, gallery: Path) -> None:
    """The error says that it is not there."""
    record = record_of(index, gallery / "red.png")
    (gallery / "red.png").unlink()
    with pytest.raises(InputError, match=r"red\.png: no such file"):
        thumbnail(str(index), record)


def test_a_copy_serves_as_well(index: Path, gallery: Path) -> None:
    """Of several files with the same bytes one that is there is enough."""
    shutil.copy(gallery / "red.png", gallery / "sub" / "copy.png")
    run(index, gallery)
    (gallery / "red.png").unlink()
    record = record_of(index, gallery / "sub" / "copy.png")
    assert len(record.paths) == 2
    assert np.abs(colour_of(thumbnail(str(index), record)) - COLOURS["red"]).max() < 12


def test_each_page_has_its_own(index: Path, gallery: Path) -> None:
    """The second page of a TIFF shows the second page."""
    pages = [Image.new("RGB", (60, 40), colour) for colour in ("red", "blue")]
    pages[0].save(gallery / "scan.tif", save_all=True, append_images=pages[1:])
    run(index, gallery)
    first, second = (
        colour_of(thumbnail(str(index), record_of(index, gallery / "scan.tif", page))) for page in (0, 1)
    )
    assert first[0] > 200 > 50 > first[2]
    assert second[2] > 200 > 50 > second[0]


def test_a_damaged_one_is_made_again(index: Path, gallery: Path) -> None:
    """What is in the store is shown only as it was written."""
    record = record_of(index, gallery / "red.png")
    made = thumbnail(str(index), record)
    (path,) = (index / "thumbs").rglob("*.webp")
    path.write_bytes(path.read_bytes()[:-20])
    assert thumbnail(str(index), record) == made
    assert ThumbStore(str(index)).get(record.sha256, 0, SMALL) == made


def test_threads_that_ask_for_the_same_image_have_it_made_once(
    index: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait for it and get the same."""
    made: list[str] = []
    make = maker.make_thumbnail

    def counted(pixels: RGB, size: str) -> bytes:
        made.append(size)
        return make(pixels, size)

    monkeypatch.setattr(maker, "make_thumbnail", counted)
    record = record_of(index, gallery / "large.jpg")
    results: list[bytes] = []
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait()
        results.append(thumbnail(str(index), record))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1
    assert made == [SMALL]
    assert maker._making == {}


def test_many_come_in_order_with_the_reason_where_there_is_none(index: Path, gallery: Path) -> None:
    """One that can't be made does not stop the others."""
    records = [record_of(index, gallery / name) for name in ("red.png", "green.png", "blue.jpg")]
    (gallery / "green.png").unlink()
    red, green, blue = thumbnails(str(index), records)
    assert isinstance(red, bytes)
    assert isinstance(blue, bytes)
    assert colour_of(red)[0] > 200
    assert isinstance(green, InputError)
    assert "green.png: no such file" in str(green)


def test_an_index_that_is_only_read_still_shows_its_images(index: Path, gallery: Path) -> None:
    """Nothing can be kept, and that is no error."""
    shutil.rmtree(index / "thumbs", ignore_errors=True)
    (index / "thumbs").write_bytes(b"in the way")
    record = record_of(index, gallery / "red.png")
    assert colour_of(thumbnail(str(index), record))[0] > 200
