"""Films are indexed by their frames, found by what these show, and opened there; a Live Photo's is not indexed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileRow
from imgsearch.indexing.documents.live_photos import PART
from imgsearch.media import documents
from imgsearch.media.documents import DocumentOptions, Place, open_document
from imgsearch.types import DEFAULT_BUDGET
from support import fakes
from support.fakes import FakeModel, Notes, indexed, paint, run
from support.films import WRITERS, film
from support.live_photos import moving, still

fake_model = fakes.fake_model


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    made = tmp_path / "films"
    made.mkdir()
    return made


def shot(colour: str) -> Image.Image:
    """Return a frame of a colour; a black square in its middle, for a frame of one colour is passed over."""
    image = Image.new("RGB", (128, 96), fakes.COLOURS[colour])
    image.paste("black", (54, 38, 74, 58))
    return image


def shots(*colours: str) -> list[Image.Image]:
    """Return a second of frames for each colour."""
    return [image for colour in colours for image in [shot(colour)] * 10]


def test_films_of_all_kinds_are_indexed_found_and_opened_at_the_place(
    folder: str, films: Path, fake_model: FakeModel
) -> None:
    """Each kind of film is found by its second scene, and what is shown at the place of the hit is that scene."""
    names = []
    for number, (extension, container, codec, pixels) in enumerate(WRITERS):
        name = f"{number} {codec}.{extension}"
        names.append(name)
        # The title makes other bytes of the same film under another name.
        data = film(shots("red", "green", "blue"), container, codec, pixels, tags={"title": name})
        (films / name).write_bytes(data)
    result = run(folder, films)
    assert (result.indexed, result.pages) == (len(names), 3 * len(names))
    with ImageIndex(folder) as index:
        hits = [record for record, _ in index.search(fakes.vector(fakes.COLOURS["green"]), len(names))[0]]
    assert sorted(Path(hit.paths[0]).name for hit in hits) == sorted(names)
    for hit in hits:
        assert hit.kind == "frame"
        assert 1000 <= hit.page < 2000
        with (
            open(hit.paths[0], "rb") as file,
            open_document(file, hit.paths[0], DocumentOptions(frames=-1)) as document,
        ):
            shown = (
                document.picture(Place(hit.page, hit.page / 1000), DEFAULT_BUDGET).pixels[:30].mean((0, 1))
            )
        assert np.abs(shown - fakes.COLOURS["green"]).max() < 20


def row_of(folder: str, name: str) -> FileRow:
    with ImageIndex(folder) as index:
        row = index.catalog.file(index.catalog.roots()[0].id, name)
        assert row is not None
        return row


def test_the_film_of_a_live_photo_is_not_indexed_for_itself(
    folder: str, films: Path, fake_model: FakeModel
) -> None:
    """The still is the item; the film is skipped, with its reason, and read once the still is gone."""
    (films / "IMG_1.HEIC").write_bytes(still(identifier="0A1B-PAIR"))
    (films / "IMG_1.MOV").write_bytes(moving("0A1B-PAIR"))
    result = run(folder, films)
    assert result.indexed == 1
    assert dict(result.skipped) == {PART: 1}
    assert row_of(folder, "IMG_1.MOV").detail == "IMG_1.HEIC (same content identifier)"
    again = run(folder)
    assert (again.indexed, again.unchanged, again.unchanged_errors) == (0, 1, 1)
    (films / "IMG_1.HEIC").unlink()
    assert run(folder).indexed == 1
    assert row_of(folder, "IMG_1.MOV").error is None


def test_a_film_of_its_own_beside_a_photo_of_its_name(
    folder: str, films: Path, fake_model: FakeModel
) -> None:
    """Cameras number films and photos alike: one that was taken at another time is an item of its own."""
    (films / "DSC_1.JPG").write_bytes(still("JPEG"))
    (films / "DSC_1.MOV").write_bytes(moving(created="2024-07-14T10:30:00Z"))
    result = run(folder, films)
    assert (result.indexed, dict(result.skipped)) == (2, {})


def test_a_motion_photo_is_one_item(folder: str, films: Path, fake_model: FakeModel) -> None:
    """The film that lies behind a photo in its own file is no second one."""
    data = still("JPEG") + film(shots("red"), "mp4")
    (films / "PXL_1.MP.jpg").write_bytes(data)
    assert (run(folder, films).indexed, len(indexed(folder))) == (1, 1)


def test_a_film_without_its_library_is_counted(
    folder: str, films: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where PyAV is missing, films are counted, and the extra that reads them is named."""
    monkeypatch.setattr(documents, "is_installed", lambda format: False)
    paint(films / "a.png", "red")
    (films / "clip.mp4").write_bytes(film(shots("red"), "mp4"))
    notes = Notes()
    assert run(folder, films, reporter=notes).indexed == 1
    assert any("1 video was not read" in line and "[video]" in line for line in notes.lines)
