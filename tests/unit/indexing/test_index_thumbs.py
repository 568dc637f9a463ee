"""index --thumbs: small thumbnails of all images, also of those that are known; no run fails for one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgsearch.index.reader import ImageIndex
from imgsearch.index.thumbs import ThumbStore, Used
from imgsearch.indexing.derived import thumbs
from imgsearch.media.thumbnail import read_thumbnail
from imgsearch.search.thumbnails import thumbnail
from imgsearch.text import format_bytes
from imgsearch.tools.maintenance.compact import compact_index
from imgsearch.tools.maintenance.status import read_status
from imgsearch.tools.maintenance.verify import repair_index, verify_index
from imgsearch.types import ModelOptions, PixelBudget
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, Notes, indexed, paint, run

fake_model = fakes.fake_model
gallery = fakes.gallery


def stored(index: Path) -> set[str]:
    """Return the names of the stored thumbnails."""
    return {path.name for path in (index / "thumbs").rglob("*") if path.is_file()}


def records(index: Path) -> list[str]:
    """Return the names that the thumbnails of all indexed images have."""
    with ImageIndex(str(index)) as opened:
        return sorted(f"{one.sha256.hex()}-{one.page}-s.webp" for one in opened.catalog.pictures())


def test_every_image_has_a_thumbnail(gallery: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    """They are made as the images are indexed, and counted."""
    result = run(tmp_path / "index", gallery, thumbs=True)
    assert (result.indexed, result.thumbnails) == (5, 5)
    assert sorted(stored(tmp_path / "index")) == records(tmp_path / "index")
    assert "5 thumbnails made" in result.summary()
    assert result.as_json()["thumbnails"] == 5


def test_without_the_option_none_are_made(gallery: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    """Neither are they counted."""
    result = run(tmp_path / "index", gallery)
    assert not (tmp_path / "index" / "thumbs").exists()
    assert "thumbnails" not in result.as_json()


def test_they_are_those_that_are_made_on_first_sight(
    gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """A large image that the model's budget reduces still has all detail of a thumbnail."""
    paint(gallery / "large.jpg", "red", "green", "blue", "white", size=(3000, 2000))
    run(tmp_path / "index", gallery, thumbs=True)
    with ImageIndex(str(tmp_path / "index")) as opened:
        (large,) = (one for one in opened.catalog.pictures() if one.width == 3000)
        (record,) = opened.catalog.pages(large.sha256)
    made = read_thumbnail(thumbnail(str(tmp_path / "index"), record))
    assert made.shape == (213, 320, 3)
    shutil.rmtree(tmp_path / "index" / "thumbs")
    again = read_thumbnail(thumbnail(str(tmp_path / "index"), record))
    assert np.abs(made.astype(int) - again.astype(int)).mean() < 3


def test_vectors_do_not_depend_on_them(gallery: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    """The same pixels are embedded, with and without."""
    paint(gallery / "large.jpg", "red", "green", "blue", "white", size=(3000, 2000))
    for name, wanted in (("with", True), ("without", False)):
        run(tmp_path / name, gallery, thumbs=wanted)
    with ImageIndex(str(tmp_path / "with")) as one, ImageIndex(str(tmp_path / "without")) as two:
        assert (one.sample(100) == two.sample(100)).all()


def test_a_second_run_fills_the_gaps_and_embeds_nothing(
    gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Images that are known get theirs by decoding alone; a third run has nothing to do."""
    run(tmp_path / "index", gallery)
    before = fake_model.embedded, fake_model.loads
    assert run(tmp_path / "index", gallery, thumbs=True).thumbnails == 5
    assert (fake_model.embedded, fake_model.loads) == before
    assert sorted(stored(tmp_path / "index")) == records(tmp_path / "index")
    assert run(tmp_path / "index", thumbs=True).thumbnails == 0


def test_a_file_that_is_gone_or_another_gets_none(
    gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Nothing is shown under the name of what was indexed."""
    run(tmp_path / "index", gallery)
    (gallery / "red.png").unlink()
    result = run(tmp_path / "index", gallery, thumbs=True, prune=False)
    assert result.thumbnails == 4


def test_a_budget_too_small_for_thumbnails_has_the_files_decoded_again(
    gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """They have their full size all the same."""
    paint(gallery / "large.jpg", "red", "green", "blue", "white", size=(3000, 2000))
    small = ModelOptions(pixels=PixelBudget(1024, 2048))
    assert run(tmp_path / "index", gallery, thumbs=True, model=small).thumbnails == 6
    store = ThumbStore(str(tmp_path / "index"))
    with ImageIndex(str(tmp_path / "index")) as opened:
        sides = {
            max(read_thumbnail(data).shape)
            for one in opened.catalog.pictures()
            if (data := store.get(one.sha256, one.page, "s"))
        }
    assert sides == {64, 320}


@pytest.mark.parametrize("error", [OSError, ValueError, MemoryError])
def test_no_run_fails_for_a_thumbnail(
    gallery: Path,
    tmp_path: Path,
    fake_model: FakeModel,
    monkeypatch: pytest.MonkeyPatch,
    error: Callable[[], Exception],
) -> None:
    """The images are indexed, and it is said that thumbnails are missing."""

    def broken(*_: object) -> bytes:
        raise error()

    monkeypatch.setattr(thumbs, "make_thumbnail", broken)
    notes = Notes()
    result = run(tmp_path / "index", gallery, thumbs=True, reporter=notes)
    assert (result.indexed, result.thumbnails) == (5, 0)
    assert "5 images have no thumbnail yet" in notes.text


def test_a_full_store_is_left_as_it_is(
    gallery: Path, tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More images than there is room for don't push each other out, run after run."""
    monkeypatch.setattr(thumbs, "ThumbStore", lambda folder: ThumbStore(folder, limit=1000))
    notes = Notes()
    result = run(tmp_path / "index", gallery, thumbs=True, reporter=notes)
    assert (result.indexed, result.thumbnails) == (5, 0)
    assert "5 images have no thumbnail yet: all together take 0.0 MB at most" in notes.text


def test_thumbnails_are_no_images_of_the_users(gallery: Path, fake_model: FakeModel) -> None:
    """An index in the folder that it indexes does not find its own thumbnails."""
    for _ in range(2):
        run(gallery / "index", gallery, thumbs=True)
    assert len(indexed(gallery / "index")) == 5


def test_compact_deletes_those_of_removed_images(
    gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Removing images lets their thumbnails go then; the others stay, also through a rebuild."""
    run(tmp_path / "index", gallery, thumbs=True)
    run(tmp_path / "index", gallery, rebuild=True)
    before = stored(tmp_path / "index")
    assert len(before) == 5
    (gallery / "red.png").unlink()
    run(tmp_path / "index", gallery)
    done = imgsearch("compact", "--index", tmp_path / "index")
    assert done.code == 0
    assert "1 thumbnail deleted" in done.err
    assert len(stored(tmp_path / "index")) == 4
    assert not compact_index(str(tmp_path / "index")).thumbnails


def test_status_says_how_many_there_are(gallery: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    """A line of them appears once there are any."""
    run(tmp_path / "index", gallery)
    assert read_status(str(tmp_path / "index")).thumbnails == Used(0, 0)
    assert not any("thumbnails" in line for line in imgsearch("status", "--index", tmp_path / "index").lines)
    run(tmp_path / "index", gallery, thumbs=True)
    used = ThumbStore(str(tmp_path / "index")).used()
    assert used.files == 5
    assert (
        f"thumbnails 5, {format_bytes(used.bytes)}"
        in imgsearch("status", "--index", tmp_path / "index").lines
    )
    (told,) = imgsearch("status", "--json", "--index", tmp_path / "index").objects
    assert told["thumbnails"] == {"images": 5, "bytes": used.bytes}


def test_verify_names_damaged_ones_and_repair_deletes_them(
    gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """No embedding is lost by that."""
    index = str(tmp_path / "index")
    run(index, gallery, thumbs=True)
    path = next((tmp_path / "index" / "thumbs").rglob("*.webp"))
    path.write_bytes(b"x" + path.read_bytes()[1:])
    report = verify_index(index)
    assert [(damage.kind, damage.path) for damage in report.damages] == [("thumbnail", str(path))]
    assert report.lost_paths == []
    before = fake_model.embedded
    assert repair_index(index).embedded == 0
    assert fake_model.embedded == before
    assert verify_index(index).damages == []
    assert len(stored(tmp_path / "index")) == 4
