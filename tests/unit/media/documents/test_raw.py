"""RAW photos: the camera's preview or the sensor developed, upright, with what the camera says of them."""

from __future__ import annotations

import io
import random
from datetime import datetime

import numpy as np
import pytest

from fuzz.decoders import damaged
from imgsearch.errors import PictureError
from imgsearch.media.documents import AS_USUAL, DocumentOptions, close_readers, document_format, open_document
from imgsearch.media.documents.raw import open_reader
from imgsearch.types import RGB, Picture, PixelBudget
from support.raws import dng

BUDGET = PixelBudget(4096, 57_600)
RED, GREEN, BLUE, YELLOW = (200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)


def _quarters(width: int = 600, height: int = 400) -> RGB:
    drawn = np.zeros((height, width, 3), np.uint8)
    for y, row in enumerate(((RED, GREEN), (BLUE, YELLOW))):
        for x, colour in enumerate(row):
            drawn[y * height // 2 :, x * width // 2 :] = colour
    return drawn


def _names(pixels: RGB) -> str:
    """Return the first letters of the colours in the quarters: top left, top right, bottom left, bottom right."""
    height, width = pixels.shape[:2]
    found = ""
    for y, x in ((1, 1), (1, 3), (3, 1), (3, 3)):
        red, green, blue = pixels[y * height // 4, x * width // 4] > 128
        found += {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 0): "Y"}.get((red, green, blue), "?")
    return found


def _read(data: bytes, budget: PixelBudget = BUDGET) -> Picture:
    reader = open_reader(io.BytesIO(data), "a.dng", AS_USUAL)
    return reader.picture(reader.places[0], budget)


@pytest.mark.parametrize(
    ("orientation", "size", "names"),
    [(1, (600, 400), "RGBY"), (3, (600, 400), "YBGR"), (6, (400, 600), "BRYG"), (8, (400, 600), "GYRB")],
)
@pytest.mark.parametrize("with_preview", [False, True])
def test_a_photo_is_upright(orientation: int, size: tuple[int, int], names: str, with_preview: bool) -> None:
    """Sensor and preview are turned as the RAW file says."""
    preview = _quarters() if with_preview else None
    found = _read(dng(_quarters(), orientation=orientation, preview=preview))
    assert (found.width, found.height) == size
    assert found.pixels.shape[0] * size[0] == found.pixels.shape[1] * size[1]
    assert _names(found.pixels) == names


def test_a_preview_that_was_turned_before_is_not_turned_again() -> None:
    """Some cameras say in the preview, too, how it lies, and some turn its pixels themselves."""
    says = dng(_quarters(), orientation=6, preview=_quarters(), preview_orientation=6)
    turned = dng(_quarters(), orientation=6, preview=np.rot90(_quarters(), -1).copy())
    assert _names(_read(says).pixels) == _names(_read(turned).pixels) == "BRYG"


def test_the_preview_counts_if_it_is_large_enough() -> None:
    """A preview with the budget's pixels is taken, a smaller one or one of another shape is not."""
    other = 255 - _quarters()
    assert _names(_read(dng(_quarters(), preview=other)).pixels) != "RGBY"
    assert _names(_read(dng(_quarters(), preview=other[::4, ::4].copy())).pixels) == "RGBY"
    assert _names(_read(dng(_quarters(), preview=other[:300].copy())).pixels) == "RGBY"


def test_a_preview_that_is_damaged_is_done_without() -> None:
    """The photo is developed then."""
    whole = dng(_quarters(), preview=255 - _quarters())
    assert _names(_read(whole[:-6000]).pixels) == "RGBY"


def test_a_small_photo_is_developed_in_full() -> None:
    """Half the size is taken only where that is as many pixels as the budget has."""
    assert _read(dng(_quarters(200, 120))).pixels.shape == (120, 200, 3)
    assert _read(dng(_quarters(600, 400))).pixels.shape == (200, 300, 3)


def test_what_the_camera_says_is_known() -> None:
    """The camera is told by the RAW file's own EXIF, the date by that of its preview."""
    data = dng(_quarters(200, 120), preview=_quarters(20, 12))
    told = open_reader(io.BytesIO(data), "a.dng", AS_USUAL).metadata()
    assert (told.make, told.model, told.taken) == ("Maker", "Model X", datetime(2023, 7, 1, 12, 30))


def test_a_photo_is_known_by_head_and_name() -> None:
    """A TIFF of another name is a TIFF, and Canon's newest begin as films do."""
    found = document_format(dng(_quarters(20, 20))[:64], "a.DNG")
    assert found is not None
    assert found.extra == "raw"
    assert document_format(dng(_quarters(20, 20))[:64], "a.tif") is None
    canon = document_format(b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a.cr3")
    assert canon is not None
    assert canon.extra == "raw"


def test_a_photo_is_read_in_a_process_of_its_own() -> None:
    """What comes from there is what is read here."""
    data = dng(_quarters(), orientation=8)
    try:
        with open_document(io.BytesIO(data), "a.dng") as document:
            assert [*document.places] == [(0, None, "")]
            assert document.metadata.model == "Model X"
            found = document.picture(document.places[0], BUDGET)
    finally:
        close_readers()
    assert (found.pixels == _read(data).pixels).all()


def test_a_photo_that_is_too_large_is_refused() -> None:
    """The limit on megapixels counts for RAW photos, before anything is developed."""
    with pytest.raises(PictureError, match="too many pixels"):
        open_reader(io.BytesIO(dng(_quarters())), "a.dng", DocumentOptions(max_megapixels=0.1))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"II*\0" + bytes(100), "unsupported: no kind of RAW photo that LibRaw knows"),
        (b"FUJIFILMCCD-RAW " + bytes(500), "unsupported: no kind of RAW photo that LibRaw knows"),
        (b"II*\0\x08\0\0\0\0\0", "corrupt: its header can't be read"),
    ],
)
def test_what_is_no_photo_has_a_reason(data: bytes, reason: str) -> None:
    """A file with a RAW file's head and nothing behind it is refused in words."""
    with pytest.raises(PictureError) as caught:
        open_reader(io.BytesIO(data), "a.raf", AS_USUAL)
    assert str(caught.value) == reason


def test_damage_ends_in_a_picture_or_a_reason() -> None:
    """Whatever is changed in a file, the process that reads it answers, and reads the next one."""
    whole = dng(_quarters(64, 48), preview=_quarters(64, 48))
    chance = random.Random(5)
    try:
        for _ in range(40):
            try:
                with open_document(io.BytesIO(damaged(chance, whole)), "a.dng") as document:
                    picture = document.picture(document.places[0], BUDGET)
                    assert picture.pixels.ndim == 3
            except PictureError:
                pass
        with open_document(io.BytesIO(whole), "a.dng") as document:
            assert document.picture(document.places[0], BUDGET).pixels.shape == (48, 64, 3)
    finally:
        close_readers()
