"""Long screenshots and large pages are indexed in tiles, and found as one."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.media import tiles
from imgsearch.search import SearchRequest, answer
from imgsearch.search.hits import SearchOptions
from imgsearch.search.show import show
from imgsearch.types import Hit
from support.fakes import COLOURS, FakeModel, fake_model, paint, run

__all__ = ["fake_model"]
TILES, WHOLE = WalkOverrides(tiles=True), WalkOverrides(tiles=False)


def tall(path: Path, *colours: str) -> Path:
    """Write a long screenshot with bands of some colours."""
    image = Image.new("RGB", (200, 300 * len(colours)))
    for number, colour in enumerate(colours):
        image.paste(COLOURS[colour], (0, 300 * number, 200, 300 * number + 300))
    path.parent.mkdir(exist_ok=True)
    image.save(path)
    return path


def find(folder: str, model: FakeModel, text: str, **options: object) -> list[Hit]:
    """Return the hits for a text."""
    with ImageIndex(folder) as index:
        asked = SearchRequest("query", text, options=SearchOptions(**options))  # type: ignore[arg-type]
        return answer(index, asked, model.encoder())


def pages(folder: str, path: Path) -> set[int]:
    """Return the pages that an index has of a file."""
    with ImageIndex(folder) as index:
        root = index.catalog.roots()[0]
        row = next(row for row in index.catalog.files(root.id) if row.path == path.name)
        assert row.content is not None
        return index.catalog.page_numbers(row.content)


def test_a_long_screenshot_is_found_by_its_best_tile(tmp_path: Path, fake_model: FakeModel) -> None:
    """A file with tiles is one hit, at the tile that is nearest, before what is less near; without tiles it is last."""
    folder, shot = (
        str(tmp_path / "i"),
        tall(tmp_path / "p" / "long.png", *["white"] * 4, "red", *["white"] * 4),
    )
    paint(tmp_path / "p" / "pink.png", "pink")
    run(folder, tmp_path / "p")
    assert [Path(hit.path).name for hit in find(folder, fake_model, "red")] == ["pink.png", "long.png"]
    assert fake_model.embedded == 2
    run(folder, tmp_path / "p", walk=TILES)
    for stacks in False, True:
        hits = find(folder, fake_model, "red", stacks=stacks, n=2)
        assert [(Path(hit.path).name, hit.page, hit.kind) for hit in hits] == [
            ("long.png", 0, ""),
            ("pink.png", 0, ""),
        ]
        left, top, right, bottom = hits[0].tile or (0, 0, 0, 0)
        assert (left, right) == (0, 1)
        assert top < 0.5 < bottom
        assert hits[0].as_json()["tile"] == pytest.approx([left, top, right, bottom], abs=1e-6)
        assert "tile" not in hits[1].as_json()
    with ImageIndex(folder) as index:
        assert show(index, str(shot)).sizes == ((200, 2700),)


def test_tiles_come_and_go_with_the_option(tmp_path: Path, fake_model: FakeModel) -> None:
    """What is there is not embedded again when tiles are asked for, and they go when they are no longer wanted."""
    folder, shot = str(tmp_path / "i"), tall(tmp_path / "p" / "long.png", "red", "green", "blue", "white")
    run(folder, tmp_path / "p")
    assert fake_model.embedded == 1
    run(folder, tmp_path / "p", walk=TILES)
    cut = {page for page in pages(folder, shot) if tiles.is_tile(page)}
    assert len(cut) == 5
    assert fake_model.embedded == 6
    assert run(folder, tmp_path / "p").unchanged == 1
    run(folder, tmp_path / "p", walk=WHOLE)
    assert pages(folder, shot) == {0}
    assert fake_model.embedded == 6


def test_large_pages_of_a_pdf_are_cut(tmp_path: Path, fake_model: FakeModel) -> None:
    """A poster in a PDF has tiles, a page of A4 none; a hit is at its page."""
    pytest.importorskip("pypdfium2")
    images = [Image.new("RGB", (595, 842), "white"), Image.new("RGB", (1684, 2384), "white")]
    images[1].paste(COLOURS["red"], (1000, 1500, 1684, 2384))
    path = tmp_path / "p" / "poster.pdf"
    path.parent.mkdir()
    images[0].save(path, save_all=True, append_images=images[1:], resolution=72)
    folder = str(tmp_path / "i")
    run(folder, tmp_path / "p", walk=TILES)
    found = pages(folder, path)
    assert {page for page in found if not tiles.is_tile(page)} == {0, 1}
    assert {tiles.page_of(page) for page in found if tiles.is_tile(page)} == {1}
    hits = find(folder, fake_model, "red")
    assert [(hit.page, hit.kind) for hit in hits] == [(1, "page"), (0, "page")]
    assert hits[0].tile is not None
    assert run(folder, tmp_path / "p").unchanged == 1
    run(folder, tmp_path / "p", walk=WHOLE)
    assert pages(folder, path) == {0, 1}


def test_a_run_over_tiles_continues_where_it_stopped(tmp_path: Path, fake_model: FakeModel) -> None:
    """Pages and tiles that were committed before an interruption are not embedded again, and none is missing."""
    pytest.importorskip("pypdfium2")
    path, folder = tmp_path / "p" / "plans.pdf", str(tmp_path / "i")
    path.parent.mkdir()
    plans = [Image.new("RGB", (1684, 2384), (20 * number, 90, 90)) for number in range(4)]
    plans[0].save(path, save_all=True, append_images=plans[1:], resolution=72)

    def stop(embedded: int) -> None:
        if embedded >= 10:
            raise KeyboardInterrupt

    fake_model.before = stop
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "p", walk=TILES, batch_size=1)
    before, fake_model.before = fake_model.embedded, None
    assert run(folder, tmp_path / "p", batch_size=1).indexed == 1
    found = pages(folder, path)
    assert {tiles.page_of(page) for page in found if tiles.is_tile(page)} == {0, 1, 2, 3}
    assert fake_model.embedded == len(found) >= before >= 10
