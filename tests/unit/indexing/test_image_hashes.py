"""What a run keeps of images' pixels, and how images that were embedded before that come by it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from imgsearch.index import hashes
from imgsearch.index.catalog import Catalog
from support import fakes
from support.fakes import FakeModel, run

fake_model = fakes.fake_model


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Give a folder with three different images, one of them twice."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    return folder


def stored(index: Path) -> list[str]:
    """Return the difference hashes that an index has, in hexadecimal digits, sorted."""
    with closing(sqlite3.connect(index / "catalog.sqlite")) as db:
        return sorted(bits[:32].hex() for (bits,) in db.execute("SELECT bits FROM hash"))


def expected(photos: Path) -> list[str]:
    """Return imagehash's of the images in a folder, each once."""
    return sorted({str(imagehash.dhash(Image.open(path), 16)) for path in photos.iterdir()})


def forget(index: Path) -> None:
    """Make an index as one was before imgsearch kept hashes."""
    with closing(sqlite3.connect(index / "catalog.sqlite")) as db, db:
        db.execute("DELETE FROM hash")


def missing(index: Path) -> int:
    """Return how many images of an index have no hash."""
    with closing(Catalog(str(index))) as catalog:
        return hashes.count_missing(catalog.database)


def test_a_run_keeps_the_hash_of_each_image(fake_model: FakeModel, tmp_path: Path, photos: Path) -> None:
    """Every distinct image has its hash after the run that embeds it."""
    run(tmp_path / "ix", photos)
    assert stored(tmp_path / "ix") == expected(photos)
    assert missing(tmp_path / "ix") == 0


def test_an_unchanged_run_decodes_nothing_for_hashes(
    fake_model: FakeModel, tmp_path: Path, photos: Path
) -> None:
    """Images without a hash stay so in a run that is not asked to read them again."""
    run(tmp_path / "ix", photos)
    forget(tmp_path / "ix")
    run(tmp_path / "ix", photos)
    assert missing(tmp_path / "ix") == 3


def test_reading_again_makes_missing_hashes_and_embeds_nothing(
    fake_model: FakeModel, tmp_path: Path, photos: Path
) -> None:
    """With ``reread`` the hashes of what lies there are made, without the model; others are left as they are."""
    (photos / "inside").mkdir()
    os.rename(photos / "1.png", photos / "inside" / "1.png")
    run(tmp_path / "ix", photos)
    forget(tmp_path / "ix")
    embedded = fake_model.embedded
    run(tmp_path / "ix", photos, reread=(str(photos / "inside"),))
    assert missing(tmp_path / "ix") == 2
    run(tmp_path / "ix", photos, reread=(str(photos),))
    assert missing(tmp_path / "ix") == 0
    assert fake_model.embedded == embedded


def test_a_file_that_is_damaged_now_does_not_end_the_reading(
    fake_model: FakeModel, tmp_path: Path, photos: Path
) -> None:
    """One of the files has become unreadable: the others have their hashes."""
    run(tmp_path / "ix", photos)
    forget(tmp_path / "ix")
    (photos / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run(tmp_path / "ix", photos, reread=(str(photos),))
    assert len(stored(tmp_path / "ix")) == 2


def test_a_forgotten_image_takes_its_hash_along(fake_model: FakeModel, tmp_path: Path, photos: Path) -> None:
    """A content that compaction drops leaves no hash behind."""
    from imgsearch.tools.maintenance.compact import compact_index

    run(tmp_path / "ix", photos)
    (photos / "2.png").unlink()
    run(tmp_path / "ix", photos)
    compact_index(str(tmp_path / "ix"), True)
    assert len(stored(tmp_path / "ix")) == 2
