"""What a run keeps of images besides their embeddings, from their files and the files beside them."""

from __future__ import annotations

import json
import os
import sqlite3
import tracemalloc
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from imgsearch.index import metadata
from imgsearch.index.catalog import Catalog
from imgsearch.index.reader import ImageIndex
from imgsearch.types import Metadata
from support import fakes
from support.fakes import FakeModel, run
from support.tagged_files import keywords, packet, taken, with_metadata

fake_model = fakes.fake_model


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Give a folder with one photo that has a date."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(with_metadata("JPEG", taken("2023:07:14 09:30:05")))
    return folder


def known(index: Path, path: Path) -> Metadata:
    """Return what the index knows of a file."""
    with ImageIndex(str(index)) as opened:
        (root,) = (root for root in opened.catalog.roots() if str(path).startswith(root.path))
        row = opened.catalog.file(root.id, os.path.relpath(path, root.path))
        assert row is not None
        assert row.content is not None
        found = metadata.get(opened.catalog.database, row.content)
    assert found is not None
    return found


def test_a_run_keeps_the_date_of_an_image(fake_model: FakeModel, tmp_path: Path, photos: Path) -> None:
    """The date in the file is known after the run that embeds it; without any it is the file's, marked as such."""
    (photos / "b.jpg").write_bytes(with_metadata("JPEG"))
    stamp = datetime(2020, 5, 4, 3, 2, 1)
    os.utime(photos / "b.jpg", (stamp.timestamp(),) * 2)
    run(tmp_path / "ix", photos)
    first, second = known(tmp_path / "ix", photos / "a.jpg"), known(tmp_path / "ix", photos / "b.jpg")
    assert (first.taken, first.taken_from) == (datetime(2023, 7, 14, 9, 30, 5), "image")
    assert (second.taken, second.taken_from) == (stamp, "file")


def test_a_sidecar_counts_before_the_image_and_takeout_behind_it(
    fake_model: FakeModel, tmp_path: Path, photos: Path
) -> None:
    """What an XMP sidecar tells goes before the file; Google Takeout's JSON counts where nothing else tells."""
    (photos / "a.jpg.xmp").write_bytes(packet('xmp:Rating="5"', keywords("sea")))
    place = {"latitude": 48.5, "longitude": 2.25}
    told = {"photoTakenTime": {"timestamp": "1"}, "geoData": place, "title": "a.jpg"}
    (photos / "a.jpg.json").write_text(json.dumps(told))
    result = run(tmp_path / "ix", photos)
    found = known(tmp_path / "ix", photos / "a.jpg")
    assert (found.rating, found.keywords, found.taken) == (5, ("sea",), datetime(2023, 7, 14, 9, 30, 5))
    assert (found.latitude, found.longitude) == (48.5, 2.25)
    assert not result.not_read


def test_a_sidecar_that_changes_costs_no_embedding(
    fake_model: FakeModel, tmp_path: Path, photos: Path
) -> None:
    """A sidecar that is added, changed or removed brings the image up to date without the model."""
    run(tmp_path / "ix", photos)
    for rating in (3, 4):
        (photos / "a.xmp").write_bytes(packet(f'xmp:Rating="{rating}"') + b" " * rating)
        result = run(tmp_path / "ix", photos)
        assert (result.indexed, result.reused, result.unchanged) == (0, 1, 0)
        assert known(tmp_path / "ix", photos / "a.jpg").rating == rating
        assert run(tmp_path / "ix", photos).unchanged == 1
    (photos / "a.xmp").unlink()
    assert run(tmp_path / "ix", photos).reused == 1
    assert known(tmp_path / "ix", photos / "a.jpg").rating is None


@pytest.mark.parametrize(
    "data",
    [b"", b"no XML", b" " * (5 << 20), b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'],
    ids=["empty", "text", "large", "entity"],
)
def test_a_sidecar_of_anybodys_making_costs_nothing(
    fake_model: FakeModel, tmp_path: Path, photos: Path, data: bytes
) -> None:
    """A damaged, huge or hostile sidecar tells nothing, and the image is indexed."""
    (photos / "a.jpg.xmp").write_bytes(data)
    (photos / "a.jpg.json").write_bytes(data)
    assert run(tmp_path / "ix", photos).indexed == 1
    assert known(tmp_path / "ix", photos / "a.jpg").taken == datetime(2023, 7, 14, 9, 30, 5)


def test_a_sidecar_of_a_gigabyte_is_not_read(fake_model: FakeModel, tmp_path: Path, photos: Path) -> None:
    """A sidecar of any size costs no memory, and the image is indexed with what it tells itself."""
    for name in ("a.jpg.xmp", "a.jpg.json"):
        (photos / name).touch()
        os.truncate(photos / name, 1 << 30)
    tracemalloc.start()
    try:
        assert run(tmp_path / "ix", photos).indexed == 1
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    assert known(tmp_path / "ix", photos / "a.jpg").taken == datetime(2023, 7, 14, 9, 30, 5)


def test_a_sidecar_that_is_no_file_is_not_waited_for(
    fake_model: FakeModel, tmp_path: Path, photos: Path
) -> None:
    """A pipe or folder that is called like a sidecar tells nothing."""
    os.mkfifo(photos / "a.jpg.xmp")
    (photos / "a.xmp").mkdir()
    assert run(tmp_path / "ix", photos).indexed == 1


def forget(index: Path) -> None:
    """Make the index one of before metadata was kept."""
    with closing(sqlite3.connect(index / "catalog.sqlite")) as db:
        db.execute("DELETE FROM metadata")
        db.execute("DELETE FROM meta WHERE key LIKE 'metadata%'")
        db.commit()


def test_an_older_index_is_brought_up_to_date_without_the_model(
    fake_model: FakeModel, tmp_path: Path, photos: Path
) -> None:
    """The next run reads what an older index does not know from the headers, once; unchanged stays unchanged."""
    (photos / "b.png").write_bytes(with_metadata("PNG", taken("2001:01:01 00:00:00")))
    run(tmp_path / "ix", photos)
    forget(tmp_path / "ix")
    result = run(tmp_path / "ix", photos)
    assert (result.indexed, result.reused, result.unchanged) == (0, 0, 2)
    assert known(tmp_path / "ix", photos / "a.jpg").taken == datetime(2023, 7, 14, 9, 30, 5)
    with closing(Catalog(str(tmp_path / "ix"))) as catalog:
        assert metadata.is_complete(catalog.database)
        assert metadata.counts(catalog.database) == {"date": 2, "place": 0, "camera": 0}


def test_a_file_that_is_away_is_looked_at_by_a_later_run(
    fake_model: FakeModel, tmp_path: Path, photos: Path
) -> None:
    """An image that can't be read now keeps its place, and the run that sees it again reads what it tells."""
    (photos / "b.png").write_bytes(with_metadata("PNG"))
    run(tmp_path / "ix", photos)
    forget(tmp_path / "ix")
    hidden = tmp_path / "hidden.jpg"
    os.rename(photos / "a.jpg", hidden)
    run(tmp_path / "ix", photos, prune=False)
    with closing(Catalog(str(tmp_path / "ix"))) as catalog:
        assert not metadata.is_complete(catalog.database)
    os.rename(hidden, photos / "a.jpg")
    run(tmp_path / "ix", photos)
    assert known(tmp_path / "ix", photos / "a.jpg").taken == datetime(2023, 7, 14, 9, 30, 5)
