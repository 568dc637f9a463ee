"""The gallery of the demo: what the recipe draws, and how the demo unpacks it."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgsearch.errors import StorageError
from imgsearch.tools.demo.gallery import ATTRIBUTION, CONTENTS, PICTURES, RIGHT, unpack_gallery
from support.cli import imgsearch
from things import gallery, packages
from things.artwork import Artwork
from things.names import LANGUAGES, Thing


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A gallery of plain squares in place of the drawings."""
    names = dict.fromkeys(
        name
        for asked in (*gallery._QUESTIONS, gallery._EXAMPLE)
        for name in (asked.thing, *asked.near, "anchor")
    )
    known = tuple(
        Thing((f"{n}",), "Objects", dict.fromkeys(LANGUAGES, (name,))) for n, name in enumerate(names)
    )
    pixels = np.full((len(known), 16, 16, 4), 200, np.uint8)
    places = {style: tuple((n,) for n in range(len(known))) for style in gallery.STYLES}
    path = str(tmp_path_factory.mktemp("gallery") / "gallery.zip")
    gallery.write_gallery(path, Artwork(known, places, pixels), [])
    return path


@pytest.fixture
def shipped(archive: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The archive where the demo looks for it."""
    monkeypatch.setattr("imgsearch.tools.demo.gallery.GALLERY", archive)
    return archive


def test_each_query_has_eight_right_images_among_three_hundred(shipped: str, tmp_path: Path) -> None:
    """What is unpacked is what the recipe drew; the example is one of those that it is like."""
    unpacked = unpack_gallery(str(tmp_path / "images"))
    assert len(unpacked.pictures) == PICTURES
    assert [question.text for question in unpacked.questions][-1] == "ein Fahrrad"
    for question in (*unpacked.questions, unpacked.alike):
        assert len(question.right) == RIGHT
        assert question.right <= set(unpacked.pictures)
    assert unpacked.example in unpacked.alike.right
    assert unpacked.absent == gallery.ABSENT
    with Image.open(unpacked.example) as image:
        assert min(image.size) >= 144


def test_an_image_that_is_there_already_is_left_as_it_is(shipped: str, tmp_path: Path) -> None:
    """A second demo rewrites only what was changed, so that the index need not read the images again."""
    first = unpack_gallery(str(tmp_path))
    kept, changed = first.pictures[:2]
    os.utime(kept, (1, 1))
    Path(changed).write_bytes(b"scribbled over")
    assert unpack_gallery(str(tmp_path)) == first
    assert os.stat(kept).st_mtime == 1
    with Image.open(changed) as image:
        assert image.format == "WEBP"


def test_whoever_drew_the_images_is_named_beside_them(shipped: str, tmp_path: Path) -> None:
    """Each package whose drawings ship stands in the attribution with its licence."""
    unpack_gallery(str(tmp_path))
    told = (tmp_path / ATTRIBUTION).read_text()
    for package in (*(packages.STYLES[style] for style in gallery.STYLES), packages.PHOTOS):
        assert f"{package.author}: {package.licence}" in told
    assert "Permission is hereby granted" in told  # which MIT wants with each copy


@pytest.mark.parametrize("damage", ["cut", "no contents", "missing"])
def test_a_damaged_gallery_is_one_line(
    archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """An archive that is cut, lacks its contents or is missing is named with what mends it."""
    bad = tmp_path / "gallery.zip"
    if damage == "cut":
        bad.write_bytes(Path(archive).read_bytes()[:1000])
    elif damage == "no contents":
        with zipfile.ZipFile(bad, "w") as made:
            made.writestr("001.webp", b"")
    monkeypatch.setattr("imgsearch.tools.demo.gallery.GALLERY", str(bad))
    with pytest.raises(StorageError, match="gallery is damaged"):
        unpack_gallery(str(tmp_path / "out"))


@pytest.mark.slow("runs a demo")
def test_a_demo_asks_for_what_is_there_and_for_what_is_not(
    shipped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo unpacks the gallery, runs its queries, and one that nothing answers."""
    small = tmp_path / "small.zip"
    with zipfile.ZipFile(shipped) as whole, zipfile.ZipFile(small, "w") as made:
        contents = json.loads(whole.read(CONTENTS))
        kept = {
            name for entry in (*contents["questions"], contents["example"]) for name in entry["right"][:2]
        }
        for name in (*sorted(kept), CONTENTS):
            made.writestr(name, whole.read(name))
    monkeypatch.setattr("imgsearch.tools.demo.gallery.GALLERY", str(small))
    done = imgsearch("demo", "--out", str(tmp_path / "demo"))
    assert done.code in (0, 1), done.err
    assert "12 test images unpacked" in done.err
    assert re.search("imgsearch query .?ein Fahrrad", done.err)
    assert "stand" in done.err.split(gallery.ABSENT)[0].splitlines()[-1]
    assert "imgsearch query bicycle" in done.err
