"""The real reader reads drawn signs and receipts, offline."""

from __future__ import annotations

import os
import socket

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from imgsearch.indexing.derived import ocr
from imgsearch.indexing.derived.ocr import TextReader

pytestmark = [
    pytest.mark.skipif(not ocr.is_installed(), reason="the extra ocr is not installed"),
    pytest.mark.slow(reason="loads models of 30 MB"),
]
FONT = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@pytest.fixture(scope="module")
def reader() -> TextReader:
    """The reader, loaded without a network."""

    def refuse(*args: object, **named: object) -> None:
        raise AssertionError("no network is needed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr(socket.socket, "connect", refuse)
        return ocr.load_reader()


def drawn(*lines: str, size: tuple[int, int] = (480, 160), letters: int = 24) -> Image.Image:
    """Return lines of text on white."""
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        pen.text((20, 16 + 2 * letters * number), line, "black", font=ImageFont.truetype(FONT, letters))
    return image


def test_a_receipt_is_read_with_boxes(reader: TextReader) -> None:
    """Words, numbers and accents are read, in order, and each line has a box where it stands."""
    lines = reader.read(np.asarray(drawn("TOTAL 23.20 EUR", "Café Größe")))
    assert [line.text for line in lines] == ["TOTAL 23.20 EUR", "Café Größe"]
    first, second = (line.corners for line in lines)
    assert first is not None
    assert second is not None
    assert 0 < first[0] < 0.1
    assert 0.05 < first[1] < first[5] < second[5] < 0.7


def test_a_picture_on_its_head_is_read(reader: TextReader) -> None:
    """Text that stands on its head or on its side is read; its box begins where the text does."""
    for turns in (1, 2):
        (line,) = reader.read(np.rot90(np.asarray(drawn("TOTAL 23.20", size=(300, 100))), turns))
        assert line.text == "TOTAL 23.20"


def test_what_holds_no_text_has_none(reader: TextReader) -> None:
    """An empty picture, noise, a strip and a single pixel have no text, and raise nothing."""
    noise = np.random.default_rng(1).integers(0, 255, (32, 32, 3), np.uint8)
    for pixels in (np.zeros((40, 40, 3), np.uint8), noise, np.zeros((1, 1, 3), np.uint8)):
        assert list(reader.read(pixels)) == []
    reader.read(np.zeros((16, 1500, 3), np.uint8))


def test_large_pictures_are_scaled_down() -> None:
    """No more pixels are looked at than it takes, but a long strip keeps its short side."""
    assert ocr.scale_for(800, 600) == 1
    assert ocr.scale_for(4000, 3000) ** 2 * 12_000_000 == pytest.approx(ocr.PIXELS)
    tall = ocr.scale_for(1080, 12_000)
    assert tall * 1080 > 500
    assert tall**2 * 1080 * 12_000 <= 4 * ocr.PIXELS + 1
