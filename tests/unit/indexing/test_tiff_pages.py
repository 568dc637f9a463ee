"""Which pages of a TIFF are indexed: all of them, or those that were asked for; what is there stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.decode import EMPTY
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.tools.maintenance.verify import verify_index
from support import fakes
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    return tmp_path / "scans"


def scan(path: Path, *colours: str) -> Path:
    """Write a TIFF with a page of each colour."""
    path.parent.mkdir(exist_ok=True, parents=True)
    from PIL import Image

    pages = [Image.new("RGB", (64, 48), fakes.COLOURS[name]) for name in colours]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def pages_of(folder: str, name: str) -> list[int]:
    """Return the numbers of the pages of a file that are indexed."""
    with ImageIndex(folder) as index:
        row = next(
            row for root in index.catalog.roots() if (row := index.catalog.file(root.id, name)) is not None
        )
        return sorted(page.page for page in index.catalog.pages(row.content or b""))


def test_all_pages_are_indexed_unless_others_are_asked_for(
    folder: str, scans: Path, fake_model: FakeModel
) -> None:
    """The choice stays with the folder; another one embeds what is missing and forgets what is too much."""
    scan(scans / "a.tif", "red", "green", "blue")
    run(folder, scans)
    assert pages_of(folder, "a.tif") == [0, 1, 2]
    assert run(folder, scans).unchanged == 1
    run(folder, scans, walk=WalkOverrides(pages="first"))
    assert pages_of(folder, "a.tif") == [0]
    assert run(folder, scans).unchanged == 1
    before = fake_model.embedded
    run(folder, scans, walk=WalkOverrides(pages="1-2"))
    assert (pages_of(folder, "a.tif"), fake_model.embedded - before) == ([0, 1], 1)
    run(folder, scans, walk=WalkOverrides(pages="all"))
    assert pages_of(folder, "a.tif") == [0, 1, 2]
    assert not verify_index(folder).damages


def test_photos_are_read_whichever_pages_are_asked_for(
    folder: str, scans: Path, fake_model: FakeModel
) -> None:
    """A TIFF of one page and an image of another format are no documents."""
    scan(scans / "a.tif", "red")
    paint(scans / "b.png", "green")
    assert run(folder, scans, walk=WalkOverrides(pages="2-3")).indexed == 2


def test_pages_that_are_not_there_are_nothing_to_index(
    folder: str, scans: Path, fake_model: FakeModel
) -> None:
    """Such a file is skipped, as a document is."""
    scan(scans / "a.tif", "red", "green")
    paint(scans / "b.png", "green")
    result = run(folder, scans, walk=WalkOverrides(pages="7-9"))
    assert (result.indexed, dict(result.skipped)) == (1, {EMPTY: 1})


def test_folders_that_ask_for_different_pages_of_a_copy_have_them(
    folder: str, scans: Path, fake_model: FakeModel
) -> None:
    """What one folder doesn't ask for isn't taken from the other, in whichever order they are indexed."""
    (scans / "b").mkdir(parents=True)
    original = scan(scans / "a" / "a.tif", "red", "green", "blue")
    (scans / "b" / "b.tif").write_bytes(original.read_bytes())
    run(folder, scans / "b", walk=WalkOverrides(pages="first"))
    run(folder, scans / "a")
    assert pages_of(folder, "a.tif") == [0, 1, 2]
    run(folder, scans / "b", walk=WalkOverrides(pages="2"))
    assert pages_of(folder, "a.tif") == [0, 1, 2]
    assert not verify_index(folder).damages


def test_copies_in_one_run_are_embedded_once(folder: str, scans: Path, fake_model: FakeModel) -> None:
    """Two files of the same bytes are one content, page by page."""
    original = scan(scans / "a.tif", "red", "green")
    (scans / "b.tif").write_bytes(original.read_bytes())
    result = run(folder, scans)
    assert (result.indexed, result.reused, fake_model.embedded) == (1, 1, 2)
