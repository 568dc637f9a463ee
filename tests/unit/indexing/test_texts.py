"""`index --ocr` reads the text in images, once, whatever happens on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgsearch.errors import MissingExtra
from imgsearch.index import image_text
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.derived import ocr, texts
from imgsearch.search import SearchRequest, answer
from imgsearch.search.hits import SearchOptions
from imgsearch.search.show import show
from imgsearch.tools.maintenance.status import read_status
from support import drawn_documents, fakes
from support.drawn_documents import Drawn, draw
from support.fakes import FakeModel, Notes, paint, run
from support.text_reader import FakeReader, install

fake_model, drawn = fakes.fake_model, drawn_documents.drawn
COLOURS = ("red", "green", "blue", "black")


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> FakeReader:
    """A reader of colours."""
    return install(monkeypatch)


@pytest.fixture
def pictures(fake_model: FakeModel, tmp_path: Path) -> Path:
    """Four images of one colour."""
    for colour in COLOURS:
        paint(tmp_path / "p" / f"{colour}.png", colour)
    return tmp_path / "p"


def written(folder: Path, text: str) -> list[str]:
    """Return the stems of the images in which a text is written."""
    with ImageIndex(str(folder)) as index:
        request = SearchRequest("query", text, options=SearchOptions(image_text="only"))
        return sorted(Path(hit.path).stem for hit in answer(index, request, None))  # type: ignore[arg-type]


def counts(folder: Path) -> tuple[int, int]:
    """Return of how many images the text has been read, and how many have any."""
    return read_status(str(folder)).text


def test_text_is_read_with_the_images_and_of_new_ones_later(
    reader: FakeReader, pictures: Path, tmp_path: Path
) -> None:
    """The first run reads all of them, the next only what is new, though it does not ask for it again."""
    folder = tmp_path / "i"
    result = run(folder, pictures, ocr=True)
    assert (result.indexed, result.texts) == (4, 4)
    assert "text of 4 images read" in result.summary()
    assert (counts(folder), written(folder, "colour red")) == ((4, 3), ["red"])
    paint(pictures / "yellow.png", "yellow")
    assert run(folder, pictures).texts == 1
    assert len(reader.read_of) == 5
    with ImageIndex(str(folder)) as index:
        assert show(index, str(pictures / "yellow.png")).text == ("COLOUR YELLOW",)


def test_text_is_added_without_embedding_anything(
    reader: FakeReader, pictures: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """An index that was made without gets the text; no model is loaded, and the vectors are the same."""
    folder = tmp_path / "i"
    run(folder, pictures)
    with ImageIndex(str(folder)) as index:
        before = index.sample(9)
    loads = fake_model.loads
    result = run(folder, pictures, ocr=True)
    assert (result.indexed, result.texts, fake_model.loads) == (0, 4, loads)
    with ImageIndex(str(folder)) as index:
        assert np.array_equal(index.sample(9), before)
    assert written(folder, "green") == ["green"]


def test_it_can_be_left_off_again(reader: FakeReader, pictures: Path, tmp_path: Path) -> None:
    """With ocr=False nothing is read from then on; what was read stays."""
    folder = tmp_path / "i"
    run(folder, pictures, ocr=True)
    paint(pictures / "yellow.png", "yellow")
    assert run(folder, pictures, ocr=False).texts is None
    assert run(folder, pictures).texts is None
    assert counts(folder) == (4, 3)


def test_enough_pixels_are_decoded(reader: FakeReader, fake_model: FakeModel, tmp_path: Path) -> None:
    """The reader sees a JPEG in more detail than the model, whose vector is the same as without it."""
    (tmp_path / "p").mkdir()
    Image.new("RGB", (2400, 1600), (230, 20, 20)).save(tmp_path / "p" / "a.jpg", quality=90)
    run(tmp_path / "i", tmp_path / "p", ocr=True)
    ((width, height),) = reader.read_of
    assert width * height >= ocr.PIXELS


def test_a_bad_picture_costs_itself_alone(reader: FakeReader, pictures: Path, tmp_path: Path) -> None:
    """What makes the reader fail is told, and not tried again; the others are read."""
    reader.spoilt = frozenset({"red"})
    said = Notes()
    folder = tmp_path / "i"
    assert run(folder, pictures, ocr=True, reporter=said).texts == 4
    assert "the text of 1 image could not be read" in said.text
    assert (counts(folder), written(folder, "colour")) == ((4, 2), ["blue", "green"])
    run(folder, pictures)
    assert len(reader.read_of) == 4


def test_ctrl_c_keeps_what_was_read(
    reader: FakeReader, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted run says how to go on, and the next one reads the rest."""
    monkeypatch.setattr(texts, "_THREADS", 1)
    reader.interrupted_at = 3
    folder = tmp_path / "i"
    with pytest.raises(KeyboardInterrupt, match="text of 2 images was read"):
        run(folder, pictures, ocr=True)
    assert counts(folder)[0] == 2
    assert run(folder, pictures).texts == 2
    assert len(reader.read_of) == 5


def test_a_file_that_changed_meanwhile_waits(reader: FakeReader, pictures: Path, tmp_path: Path) -> None:
    """A file that is gone, or is another one now, is left out and read by the run that finds it indexed."""
    folder = tmp_path / "i"
    run(folder, pictures)
    (pictures / "red.png").unlink()
    with ImageIndex(str(folder)) as index:
        assert image_text.count_missing(index.catalog.database) == 4
    assert run(folder, pictures, ocr=True, prune=False).texts == 3


def test_a_rebuild_takes_the_text_over(reader: FakeReader, pictures: Path, tmp_path: Path) -> None:
    """An index that is made anew has the text of the one before, and goes on reading."""
    folder = tmp_path / "i"
    run(folder, pictures, ocr=True)
    paint(pictures / "pink.png", "pink")
    assert run(folder, pictures, rebuild=True).texts == 1
    assert (counts(folder), written(folder, "red")) == ((5, 4), ["red"])
    assert run(folder, pictures).texts == 0


def test_a_missing_extra_is_an_error_or_a_line(
    reader: FakeReader, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for text gets an error before anything is done; a later run goes on and says what is missing."""
    run(tmp_path / "i", pictures, ocr=True)
    monkeypatch.setattr(ocr, "is_installed", lambda: False)
    with pytest.raises(MissingExtra, match=r"\[ocr\]"):
        run(tmp_path / "j", pictures, ocr=True)
    assert not (tmp_path / "j").exists()
    paint(pictures / "yellow.png", "yellow")
    said = Notes()
    assert run(tmp_path / "i", pictures, reporter=said).indexed == 1
    assert "the text in images is not read" in said.text


def test_a_document_brings_its_text_along(
    reader: FakeReader, fake_model: FakeModel, drawn: Drawn, tmp_path: Path
) -> None:
    """A page with text of its own is not read; one without is drawn and read; of a film the indexed frames are."""
    drawn.texts = {0: "Chapter one\nof two"}
    draw(tmp_path / "p" / "a.pdf", "red", "green")
    draw(tmp_path / "p" / "b.mov", "1.5 blue", "2.5 black", kind="frame")
    folder = tmp_path / "i"
    run(folder, tmp_path / "p", ocr=True)
    assert counts(folder) == (4, 3)
    assert len(reader.read_of) == 3
    with ImageIndex(str(folder)) as index:
        assert show(index, str(tmp_path / "p" / "a.pdf")).text == ("Chapter one", "of two", "COLOUR GREEN")
    assert written(folder, '"one of"') == ["a"]
    assert written(folder, "colour blue") == ["b"]
