"""One index for photos and pages, each with the pixels that it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgsearch.client import load_local_encoder
from imgsearch.errors import IndexMismatch
from imgsearch.index import manifest
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.ingest import Ingest
from imgsearch.indexing.options import IndexOptions
from imgsearch.indexing.run import index_pictures
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.search import SearchRequest, answer
from imgsearch.search.hits import SearchOptions
from imgsearch.search.several import ask_all
from imgsearch.types import DEFAULT_BUDGET, PAGE_BUDGET, Hit, ModelOptions, PixelBudget, PixelBudgets, Vectors
from support.fakes import FakeModel, Notes, fake_model, paint, run
from support.pictures import save, scene

__all__ = ["fake_model"]
AUTO, PHOTOS = ModelOptions(profile="auto"), ModelOptions(profile="photos")


def mixed(folder: Path) -> Path:
    """Draw photos and a screenshot."""
    for name in ("red", "green", "blue"):
        paint(folder / "photos" / f"{name}.png", name)
    paint(folder / "pages" / "Screenshot 1.png", "yellow", size=(1280, 720))
    paint(folder / "pages" / "Screenshot 2.png", "red", "blue", "blue", "red", size=(640, 480))
    return folder


def test_a_new_index_sees_pages_with_more_pixels(tmp_path: Path, fake_model: FakeModel) -> None:
    """A new index has both budgets, says so in one line, and prepares each image with that of its kind."""
    notes, folder = Notes(), str(tmp_path / "i")
    run(folder, mixed(tmp_path / "p"), reporter=notes)
    assert manifest.read(folder).budgets == PixelBudgets(DEFAULT_BUDGET, PAGE_BUDGET)
    assert fake_model.budgets == [PAGE_BUDGET] * 2
    assert "pages and screenshots with 360,000 (--profile photos for all alike)" in notes.shell
    assert "2 as a screenshot" in "\n".join(notes.details)


def test_profile_photos_sees_all_alike(tmp_path: Path, fake_model: FakeModel) -> None:
    """With profile photos, or a resolution that was chosen, all images have one budget."""
    pictures = mixed(tmp_path / "p")
    for name, model in ("a", PHOTOS), ("b", ModelOptions(pixels=PixelBudget(4096, 60_000))):
        run(tmp_path / name, pictures, model=model)
        assert manifest.read(str(tmp_path / name)).page_pixels is None
    assert fake_model.budgets == []


def test_profile_auto_goes_with_a_resolution(tmp_path: Path, fake_model: FakeModel) -> None:
    """A resolution is that of photos; pages have more only where photos have less than they need."""
    pictures = mixed(tmp_path / "p")
    for most, page in (60_000, PAGE_BUDGET), (589_824, None):
        folder = tmp_path / str(most)
        run(folder, pictures, model=ModelOptions(pixels=PixelBudget(4096, most), profile="auto"))
        assert manifest.read(str(folder)).page_pixels == page


def test_an_older_index_keeps_its_one_budget(tmp_path: Path, fake_model: FakeModel) -> None:
    """An index without pages' budget has the manifest that it had, stays as it is, and refuses another profile."""
    folder, pictures = str(tmp_path / "i"), mixed(tmp_path / "p")
    run(folder, pictures / "photos", model=PHOTOS)
    assert manifest.spec_to_json(manifest.read(folder))["pixels"].keys() == {"image"}
    run(folder, pictures)
    run(folder, pictures, rebuild=True)
    assert manifest.read(folder).page_pixels is None
    assert fake_model.budgets == []
    with pytest.raises(
        IndexMismatch, match="the same pixels for pages and photos, not up to 360,000 pixels for pages"
    ):
        run(folder, pictures, model=AUTO)
    run(folder, pictures, model=AUTO, rebuild=True)
    assert fake_model.budgets == [PAGE_BUDGET] * 2
    run(folder, pictures, rebuild=True)
    assert manifest.read(folder).page_pixels == PAGE_BUDGET


def test_pages_and_photos_are_batches_of_their_own(
    tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page counts as the photos that it takes the memory of: fewer pages are embedded at a time."""
    pictures, seen = tmp_path / "p", []
    for number in range(8):
        paint(pictures / f"{number}.png", (number, 20, 20))
        paint(pictures / f"{number} screenshot.png", (number, 20, 90), size=(1280, 720))
    real = Ingest._embed_alike

    def embed(self: Ingest, files: list[Any], encoder: Any) -> None:
        seen.append({page.weight for file in files for page in file.pages})
        real(self, files, encoder)

    monkeypatch.setattr(Ingest, "_embed_alike", embed)
    assert run(tmp_path / "i", pictures).indexed == 16
    assert {frozenset(weights) for weights in seen if weights} == {frozenset({1.0}), frozenset({6.25})}


def test_an_example_is_seen_as_it_would_be_indexed(tmp_path: Path, fake_model: FakeModel) -> None:
    """A screenshot that is not indexed is an example with the pixels of pages, a photo with those of photos."""
    folder = str(tmp_path / "i")
    run(folder, mixed(tmp_path / "p") / "photos")
    shot = paint(tmp_path / "screenshot.png", "green", size=(1280, 720))
    photo = paint(tmp_path / "other.png", "green", size=(1280, 700))
    seen: list[PixelBudget | None] = []

    class Encoder:
        def embed(self, inputs: Any) -> Vectors:
            seen.extend(item.budget for item in inputs)
            return fake_model.encoder().embed(inputs)

    with ImageIndex(folder) as index:
        for image in shot, photo:
            answer(index, SearchRequest("similar", image=str(image)), Encoder())
            answer(index, SearchRequest("query", "green", str(image)), Encoder())
    assert seen == [PAGE_BUDGET] * 2 + [DEFAULT_BUDGET] * 2


def _tiny(folder: Path, paths: list[Path], checkpoint: str, **model: Any) -> None:
    options = IndexOptions(model=ModelOptions(checkpoint, dtype="float32", **model))
    index_pictures([str(path) for path in paths], str(folder), options, load_model=load_local_encoder)


def _vectors(folder: Path) -> dict[str, Vectors]:
    with ImageIndex(str(folder)) as index:
        found = {}
        for root in index.catalog.roots():
            for row in index.catalog.files(root.id):
                assert row.content is not None
                vector = index.vector(row.content)
                assert vector is not None
                found[row.path.rpartition("/")[2]] = vector
        return found


def test_one_index_answers_as_two_do(tmp_path: Path, tiny_checkpoint: str) -> None:
    """Photos have the vectors they had, bit for bit, and one index the hits of two separate ones, merged."""
    photos, pages = tmp_path / "p" / "photos", tmp_path / "p" / "pages"
    photos.mkdir(parents=True)
    for number in range(3):
        save(scene(number, (320, 240)), photos / f"{number}.jpg")
    for number in range(2):
        paint(pages / f"Screenshot {number}.png", "yellow", "red", "blue", "green", size=(400, 300 + number))
    _tiny(tmp_path / "before", [photos], tiny_checkpoint, profile="photos")
    _tiny(tmp_path / "pages", [pages], tiny_checkpoint, pixels=PAGE_BUDGET)
    _tiny(tmp_path / "both", [photos, pages], tiny_checkpoint, profile="auto")
    before, both = _vectors(tmp_path / "before"), _vectors(tmp_path / "both")
    assert len(both) == 5
    assert all(np.array_equal(both[name], before[name]) for name in before)

    def paths(hits: list[Hit]) -> list[str]:
        return [hit.path for hit in hits]

    request = SearchRequest("query", "a red house", options=SearchOptions(n=5))
    with (
        ImageIndex(str(tmp_path / "before")) as one,
        ImageIndex(str(tmp_path / "pages")) as other,
        ImageIndex(str(tmp_path / "both")) as whole,
    ):
        choice = ModelOptions(dtype="float32")
        encoder = load_local_encoder(Checkpoint(tiny_checkpoint), whole.spec, choice, Notes())
        separate = ask_all([one, other], request, [encoder, encoder]).hits
        together = answer(whole, request, encoder)
    assert paths(together) == paths(separate)
    assert [hit.score for hit in together] == pytest.approx([hit.score for hit in separate], abs=1e-6)
