"""Archives: comic books and office documents by their images, in a person's order; bombs, passwords and damage."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Mapping

import pytest
from PIL import Image

from fuzz.decoders import damaged
from imgsearch.errors import PictureError
from imgsearch.media.documents import AS_USUAL, Place, close_readers, document_format, open_document
from imgsearch.media.documents.archive import open_reader
from imgsearch.types import PixelBudget

BUDGET = PixelBudget(4096, 57_600)


def _png(colour: str, size: tuple[int, int] = (90, 80)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def _archive(members: Mapping[str, bytes], packed: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packed) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return out.getvalue()


def _names(data: bytes, name: str = "a.cbz") -> list[str]:
    return [place.name for place in open_reader(io.BytesIO(data), name, AS_USUAL).places]


def _colour(data: bytes, page: int) -> tuple[int, ...]:
    picture = open_reader(io.BytesIO(data), "a.cbz", AS_USUAL).picture(Place(page), BUDGET)
    assert picture.page == page
    return tuple(map(int, picture.pixels[40, 40]))


def test_images_are_in_a_persons_order() -> None:
    """Page 10 comes behind page 9, and each is the member of its name."""
    data = _archive({f"Page {number}.png": _png("red" if number == 10 else "blue") for number in (10, 9, 1)})
    assert _names(data) == ["Page 1.png", "Page 9.png", "Page 10.png"]
    assert [_colour(data, page) for page in range(3)] == [(0, 0, 255), (0, 0, 255), (255, 0, 0)]


def test_what_is_no_image_of_its_owner_is_passed_over() -> None:
    """Texts, archives in the archive, folders, and what systems and programs put in are none."""
    others = ("a.txt", "in.zip", "__MACOSX/._a.png", ".hidden.png", "docProps/thumbnail.jpeg", "folder/")
    assert _names(_archive({**dict.fromkeys(others, _png("red")), "x/a.png": _png("red")})) == ["x/a.png"]


@pytest.mark.parametrize("name", ["a.docx", "a.epub", "a.odt", "a.pptx"])
def test_a_documents_bullets_are_no_images(name: str) -> None:
    """Images of a few pixels count in a comic book or ZIP, and not in a document."""
    data = _archive({"word/media/a.png": _png("red"), "word/media/b.png": _png("red", (300, 20))})
    assert _names(data, name) == ["word/media/a.png"]
    assert len(_names(data, "a.zip")) == 2


def test_an_archive_is_known_by_head_and_name() -> None:
    """A program that is a ZIP inside is no archive of images."""
    head = _archive({"a.png": b""})[:64]
    assert document_format(head, "a.CBZ") is not None
    assert document_format(head, "a.jar") is None
    assert document_format(b"Rar!\x1a\x07", "a.cbz") is None


def test_a_member_that_is_damaged_costs_itself_only() -> None:
    """It has its reason, and the next one is read."""
    data = _archive({"1.png": _png("red")[:60], "2.png": _png("blue")}, zipfile.ZIP_STORED)
    with pytest.raises(PictureError, match="corrupt"):
        _colour(data, 0)
    assert _colour(data, 1) == (0, 0, 255)


def test_a_bomb_is_not_unpacked() -> None:
    """A member that would become hundreds of times its size is refused by what the archive says of it."""
    data = _archive({"a.bmp": bytes(40_000_000)})
    assert len(data) < 100_000
    with pytest.raises(PictureError, match="decompression bomb"):
        _colour(data, 0)


def test_a_member_that_lies_about_its_size_is_cut_off() -> None:
    """No more is unpacked than the archive says, and what that gives is no image."""
    data = bytearray(_archive({"a.bmp": bytes(40_000_000)}))
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 24, 1000)
    with pytest.raises((PictureError, zipfile.BadZipFile)):
        _colour(bytes(data), 0)


def test_a_password_is_told() -> None:
    """An archive whose images are all encrypted is refused in one line."""
    data = bytearray(_archive({"a.png": _png("red")}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(PictureError, match="encrypted: archives with a password are not supported"):
        open_reader(io.BytesIO(bytes(data)), "a.cbz", AS_USUAL)


def test_an_archive_is_read_in_a_process_of_its_own() -> None:
    """What is damaged there ends in an image or a reason, and the next one is read."""
    whole, chance = _archive({"1.png": _png("red"), "2.png": _png("blue")}), random.Random(3)
    try:
        for _ in range(20):
            try:
                with open_document(io.BytesIO(damaged(chance, whole)), "a.cbz") as document:
                    for place in document.places:
                        assert document.picture(place, BUDGET).pixels.ndim == 3
            except PictureError:
                pass
        with open_document(io.BytesIO(whole), "a.cbz") as document:
            assert [place.name for place in document.places] == ["1.png", "2.png"]
            assert tuple(document.picture(document.places[1], BUDGET).pixels[9, 9]) == (0, 0, 255)
    finally:
        close_readers()
