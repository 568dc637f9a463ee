"""JPEG XL: pixels, profiles, orientation, packed JPEGs and metadata; bombs and damage by their header."""

from __future__ import annotations

import base64
import io
import struct

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pillow_jxl")

from imgsearch.errors import PictureError
from imgsearch.media.documents import DocumentOptions, jxl, open_document
from imgsearch.types import Metadata, Picture, PixelBudget
from support.pictures import QUADRANTS, quadrants, scene

BUDGET = PixelBudget(4096, 57_600)


def packed(image: Image.Image, **options: object) -> bytes:
    """Return an image as JPEG XL, without loss if nothing else is said."""
    out = io.BytesIO()
    image.save(out, "JXL", **{"lossless": True, **options})
    return out.getvalue()


def read(data: bytes, **options: float) -> Picture:
    """Return the image of a file, read in this process: the limits of the other are tested elsewhere."""
    reader = jxl.open_reader(io.BytesIO(data), "a.jxl", DocumentOptions(**options))  # type: ignore[arg-type]
    return reader.picture(reader.places[0], BUDGET)


def told(data: bytes) -> Metadata:
    """Return what a file tells besides its pixels."""
    return jxl.open_reader(io.BytesIO(data), "a.jxl", DocumentOptions()).metadata()


def refusal(data: bytes, **options: float) -> PictureError:
    """Return why a file is not read."""
    with pytest.raises(PictureError) as caught:
        read(data, **options)
    return caught.value


def header(width: int, height: int, *, orientation: int = 1, animated: bool = False) -> bytes:
    """Return the beginning of a codestream, with nothing behind it."""
    bits = f"{0:1b}"
    fields: list[tuple[int, int]] = [(0, 1), (3, 2), (height - 1, 30), (0, 3), (3, 2), (width - 1, 30)]
    fields += [(0, 1), (1, 1), (orientation - 1, 3), (0, 1), (0, 1), (int(animated), 1)]
    bits = "".join(format(value, f"0{count}b")[::-1] for value, count in fields)
    bits += "0" * (-len(bits) % 8 + 64)
    return b"\xff\x0a" + bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_an_image_without_loss_is_read_to_the_bit(mode: str) -> None:
    """Grey and colour come out as they were, and what is transparent is white."""
    image = quadrants().convert(mode)
    if mode.endswith("A"):
        image.putalpha(255)
        image.paste(Image.new(mode, (8, 8)), (0, 0))
    picture = read(packed(image))
    assert (picture.width, picture.height, picture.page) == (96, 64, 0)
    expected = np.asarray(image.convert("RGB")).copy()
    if mode.endswith("A"):
        expected[:8, :8] = 255
    assert np.array_equal(picture.pixels, expected)


_DISPLAY_P3 = """
/wpHQAhfhgIGzN/+xEzKAHPBIVjmMF8CMHVbvnTjJehB3dB/wprU0G7hpAP3EOy6i1A+IgjjBjj0d8768i2EGwAAiP8GAACe9mSQ
L1w9v/zzzz87uJX8ILHrwqHk4EIXhjOOQZDJQeyxsgAyvRonBHwC79DJ/wff/PU56/dH4ClO/j/z0u/Fyf/VpvsBzktDtIbNi9Rf
/xU5K3/hbuUPUEzbYfPfj8WvGbZj9VGMu2H/K8Z62I7llZPkyh+ACdF1oe0vqDJzwirTIv8FAPm7ZXkXVMlXl9E+F4mnPUtNOBJD
TSZ1OntwDG4k1A3Aq0h6Wiyc95eNjIaEIcTRoNuyYSE7AAsN1AaKXRK1PibhIAljH0OrMgdLhYM+AVtbla4Em3rax1t/n4HGYO3z
Zveav9ZH9Pi5/IvZW6Hj9YYS+2518l8AQP4LAAAAgL4dTMANyzZDQO+qX0maKH78sJXmpsKtJC16tZKKb9S2WMxka5JJhI0Vd/cG
G7Jv/ouqOznGlKRV9oRiZYniYZrUqqJTqE1PaV1koqIqXdTrCo8hYvvs9nXqjkpSnewAiMx6I3UM44nHqVOlHTQbTaLVhtV4QPBr
k09qtSoD4DFtp6pVeqeZVxumKdVtfvKaes20+JyggSEW0KEZ07PqMKU1W1EbphmNv4jLgCrQt0UTF3HJek2lRRkrIsvyUWL0Gr3e
5Q0aJ6zo7+iGqPhRqNCaHJXHHtvzvbSGcAgIAgEAzABLKDfWH7xXUDAFRtQ5kzHGmXTnBYIAAI6fFmAjgFY4zsYWmPI6En2zAAmW
n5ErvmIx+wk=
"""
"""quadrants((32, 32)) with the numbers of Display P3 and its profile, as cjxl packs them without loss."""


def test_the_profile_counts() -> None:
    """Colours of Display P3 become those of sRGB that look the same."""
    picture = read(base64.b64decode(_DISPLAY_P3))
    assert picture.pixels[4, 4].tolist() == [241, 0, 10]


def test_linear_light_is_understood() -> None:
    """Grey of 16 bits, which this writer declares to be linear light, becomes sRGB."""
    grey = Image.fromarray(np.full((32, 32), 0x8000, np.uint16))
    assert abs(int(read(packed(grey)).pixels[5, 5, 0]) - 188) <= 1


def test_a_loss_of_detail_changes_no_colours() -> None:
    """What libjxl computes in its own colour space comes out in sRGB."""
    picture = read(packed(quadrants(), lossless=False, quality=90))
    assert np.abs(picture.pixels[16, 24].astype(int) - QUADRANTS[0]).max() <= 6
    assert np.abs(picture.pixels[48, 72].astype(int) - QUADRANTS[3]).max() <= 6


def test_a_packed_jpeg_is_read_as_that_jpeg(tmp_path: object) -> None:
    """Its pixels and its orientation, and what it tells, are those of the JPEG."""
    path = f"{tmp_path}/a.jpg"
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    quadrants().save(path, exif=exif.tobytes(), quality=95)
    with Image.open(path) as photo:
        out = io.BytesIO()
        with pytest.warns(UserWarning, match="reconstruction"):
            photo.save(out, "JXL")
    picture = read(out.getvalue())
    assert (picture.width, picture.height) == (64, 96)
    assert np.abs(picture.pixels[24, 16].astype(int) - QUADRANTS[2]).max() <= 8
    assert told(out.getvalue()).make == "Camera"


def test_exif_tells_and_does_not_turn() -> None:
    """The codestream has its own orientation; that of EXIF repeats it, or is wrong."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "Model X"
    data = packed(quadrants(), exif=exif.tobytes())
    assert (read(data).width, told(data).model) == (96, "Model X")


def test_the_size_is_read_from_the_header() -> None:
    """Of any size, also where the width is a ratio of the height, upright, and in a container of several boxes."""
    for size in ((1, 1), (160, 100), (256, 256), (1000, 750), (640, 360), (300, 200), (8, 64), (513, 9)):
        for data in (
            packed(scene(1, size), effort=1),
            packed(scene(1, size), effort=1, exif=b"Exif\0\0MM\0*"),
        ):
            reader = jxl.open_reader(io.BytesIO(data), "a.jxl", DocumentOptions())
            assert reader._size == size
    turned = jxl._header(header(300, 200, orientation=6))
    assert turned == ((200, 300), False)


def test_what_the_header_says_is_enough_to_refuse() -> None:
    """Too many pixels, absurd shapes and animations: nothing is decoded."""
    assert refusal(header(20_000, 20_000)).reason == "too many pixels"
    assert refusal(header(640, 480), max_megapixels=0.1).reason == "too many pixels"
    assert refusal(header(300_000, 2)).reason == "aspect ratio over 200"
    error = refusal(header(64, 64, animated=True))
    assert (error.reason, error.detail) == ("unsupported", "a JPEG XL animation")


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    """A header of a few bytes that asks for gigabytes."""
    with (
        open_document(io.BytesIO(header(14_000, 14_000)), "a.jxl") as document,
        pytest.raises(PictureError, match="decompression bomb"),
    ):
        document.picture(document.places[0], BUDGET)


def test_what_is_cut_off_or_damaged_is_corrupt() -> None:
    """Wherever the end is, and without a word of how libjxl was built."""
    data = packed(scene(2, (64, 48)))
    for end in (3, 5, 20, len(data) // 2, len(data) - 1):
        error = refusal(data[:end])
        assert error.reason == "corrupt"
        assert "libjxl" not in str(error)
    boxes = b"\0\0\0\x0cJXL \r\n\x87\n" + struct.pack(">I4s", 8, b"free") * 3
    assert refusal(boxes).detail == "it has no codestream"


def test_it_is_read_in_a_process_of_its_own() -> None:
    """Like a document, of one image."""
    with open_document(io.BytesIO(packed(quadrants())), "a.jxl") as document:
        assert len(document.places) == 1
        assert document.picture(document.places[0], BUDGET).pixels[5, 5].tolist() == list(QUADRANTS[0])
