"""What is transparent lies on a ground from which it can be told; alpha and frames that hold nothing do not count."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from imgsearch.media.formats import check_picture
from imgsearch.model.image import PatchLayout, prepare
from imgsearch.rgb import to_rgb
from imgsearch.types import PixelBudget
from support.decoded import load, off, refusal
from support.pictures import QUADRANTS, encode, quadrants
from support.tagged import fields

LOSSLESS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".webp": {"lossless": True, "exact": True},
    ".avif": {"quality": 97},
    ".heic": {"quality": 97},
    ".jp2": {},
    ".tiff": {},
    ".tga": {},
}


def sign(colour: tuple[int, ...], mode: str = "RGBA") -> Image.Image:
    """Return a disc of a colour (with alpha) in the middle of nothing."""
    image = Image.new("RGBA", (96, 64), (colour[0], colour[1], colour[2], 0))
    ImageDraw.Draw(image).ellipse((24, 12, 72, 52), fill=colour)
    return image.convert(mode)


def contrast(pixels: Any) -> int:
    """Return how far the middle is from the corner."""
    return int(np.abs(pixels[32, 48].astype(int) - pixels[3, 3]).max())


@pytest.mark.parametrize("extension", LOSSLESS)
@pytest.mark.parametrize(
    "colour", [(255, 255, 255, 255), (240, 240, 235, 255), (255, 250, 210, 255), (255, 255, 255, 128)]
)
def test_a_light_drawing_on_nothing_is_seen(extension: str, colour: tuple[int, ...]) -> None:
    """White, nearly white and half covering, in every format with alpha."""
    pixels = load(encode(sign(colour), extension, **LOSSLESS[extension]), f"x{extension}").pixels
    assert contrast(pixels) >= 60


@pytest.mark.parametrize("extension", LOSSLESS)
@pytest.mark.parametrize("colour", [(0, 0, 0, 255), (200, 30, 30, 255), (90, 140, 190, 255), (0, 0, 0, 128)])
def test_any_other_drawing_stays_on_white(extension: str, colour: tuple[int, ...]) -> None:
    """Black, coloured and half covering: the ground is white."""
    pixels = load(encode(sign(colour), extension, **LOSSLESS[extension]), f"x{extension}").pixels
    assert pixels[3, 3].min() >= 250
    assert contrast(pixels) >= 60


@pytest.mark.parametrize(
    ("mode", "extension"), [("LA", ".png"), ("LA", ".tiff"), ("P", ".png"), ("P", ".gif")]
)
def test_grey_and_palettes_with_transparency_are_seen(mode: str, extension: str) -> None:
    """A white drawing in grey with alpha, and in a palette with a clear entry."""
    image = sign((255, 255, 255, 255)) if mode == "P" else sign((255, 255, 255, 255), mode)
    if mode == "P":
        index = Image.new("P", image.size, 0)
        index.putpalette([255, 255, 255, 255, 255, 255])
        index.paste(1, mask=image.getchannel("A"))
        image, options = index, {"transparency": 0}
    else:
        options = {}
    assert contrast(load(encode(image, extension, **options)).pixels) >= 60


@pytest.mark.parametrize("colour", [(0, 0, 0, 40), (30, 30, 60, 50), (90, 90, 90, 20)])
def test_a_faint_dark_drawing_stays_on_white(colour: tuple[int, ...]) -> None:
    """What can hardly be told on white and not at all on black."""
    pixels = load(encode(sign(colour), ".png")).pixels
    assert pixels[3, 3].min() == 255
    assert contrast(pixels) >= 10


def test_a_light_drawing_with_dark_lines_stays_on_white() -> None:
    """A sheet of paper with writing and round corners is not turned into night."""
    image = sign((255, 255, 255, 255))
    ImageDraw.Draw(image).text((36, 26), "words", fill=(0, 0, 0, 255))
    assert load(encode(image, ".png")).pixels[3, 3].tolist() == [255, 255, 255]


def test_nothing_at_all_is_white() -> None:
    """A picture without a single pixel that is seen is a white sheet, whatever its colours would be."""
    assert load(encode(Image.new("RGBA", (20, 20), (7, 8, 9, 0)), ".png")).pixels.min() == 255


def test_the_library_shows_the_model_what_the_command_line_does() -> None:
    """An RGBA image given to ``embed`` and its file come to the same patches, also in other modes."""
    layout = PatchLayout(16, 2, 2, (0.5,) * 3, (0.5,) * 3, 1 / 255)
    budget = PixelBudget(1024, 57600)
    for image in (sign((255, 255, 255, 255)), sign((9, 60, 90, 200)), sign((200, 200, 200, 255), "LA")):
        given = prepare(np.asarray(to_rgb(image)), budget, layout)
        read = prepare(load(encode(image, ".png")).pixels, budget, layout)
        assert np.array_equal(given.pixel_values, read.pixel_values)


# Alpha that is none


def tga(pixels: Any, alpha_bits: int, attributes: int | None = None) -> bytes:
    """Return a TGA of 32 bits; with ``attributes`` it has an extension of version 2 that says what alpha is."""
    height, width, _ = pixels.shape
    head = struct.pack("<BBB5xHHHHBB", 0, 0, 2, 0, 0, width, height, 32, 0x20 | alpha_bits)
    data = head + pixels[..., [2, 1, 0, 3]].tobytes()
    if attributes is None:
        return data
    extension = struct.pack("<H", 495) + b"\0" * 492 + bytes([attributes])
    return data + extension + struct.pack("<II", len(data), 0) + b"TRUEVISION-XFILE.\0"


def with_alpha(value: int) -> Any:
    return np.dstack([fields(), np.full((48, 64), value, np.uint8)])


@pytest.mark.parametrize("alpha", [0, 50, 255])
def test_a_tga_without_bits_of_alpha_has_none(alpha: int) -> None:
    """The descriptor says 0 bits: the fourth byte is filling, whatever it is."""
    assert off(load(tga(with_alpha(alpha), 0), "x.tga"), QUADRANTS) == 0


@pytest.mark.parametrize(("attributes", "opaque"), [(0, True), (1, True), (2, True), (3, False), (4, False)])
def test_a_tgas_extension_says_what_its_alpha_is(attributes: int, opaque: bool) -> None:
    """Version 2 tells alpha from data that only stands there."""
    found = load(tga(with_alpha(50), 8, attributes), "x.tga")
    assert (off(found, QUADRANTS) == 0) is opaque


def test_an_alpha_of_zeros_in_a_tga_is_none() -> None:
    """Nobody saves a picture of which nothing is seen."""
    assert off(load(tga(with_alpha(0), 8), "x.tga"), QUADRANTS) == 0


@pytest.mark.parametrize("size", [108, 124])
@pytest.mark.parametrize(("alpha", "opaque"), [(0, True), (255, True), (100, False)])
def test_a_bmps_alpha_of_zeros_is_none(size: int, alpha: int, opaque: bool) -> None:
    """Screenshots through GDI have a mask for alpha and nothing in it."""
    pixels = with_alpha(alpha)[::-1][..., [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", size, 64, 48, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks
    data = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 14 + size) + info.ljust(size, b"\0") + pixels
    assert (off(load(data), QUADRANTS) == 0) is opaque


# Photoshop


def photoshop(
    planes: list[Any],
    mode: int,
    *,
    layers: int = 0,
    packed: bool = False,
    resources: bytes = b"",
    bits: int = 8,
    version: int = 1,
) -> bytes:
    """Return a Photoshop file of planes; ``layers`` is the number as it stands there, negative with transparency."""
    height, width = np.asarray(planes[0]).shape
    head = b"8BPS" + struct.pack(">H6xHIIHH", version, len(planes), height, width, bits, mode)
    section = struct.pack(">Ih", 2, layers) if layers else b""
    body = b"\0\0" + b"".join(np.packbits(p, axis=1).tobytes() if bits == 1 else p.tobytes() for p in planes)
    if packed:
        rows = [bytes([row.nbytes - 1]) + row.tobytes() for plane in planes for row in plane]
        lengths = struct.pack(f">{len(rows)}{'H' if version == 1 else 'I'}", *map(len, rows))
        body = b"\0\1" + lengths + b"".join(rows)
    length = struct.pack(">I" if version == 1 else ">Q", len(section))
    return head + b"\0" * 4 + struct.pack(">I", len(resources)) + resources + length + section + body


PLANES = [np.ascontiguousarray(plane) for plane in np.moveaxis(fields(), 2, 0)]
ZEROS = np.zeros((48, 64), np.uint8)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("more", [0, 1, 2, 5])
def test_a_saved_selection_is_no_transparency(more: int, packed: bool) -> None:
    """Channels beyond the colours are somebody's selections, and where they begin has to be known."""
    for layers in (0, 3):
        data = photoshop(PLANES + [ZEROS] * more, 3, layers=layers, packed=packed)
        assert off(load(data), QUADRANTS) == 0
    greys = [fields((40, 100, 170, 230))] + [ZEROS] * more
    assert off(load(photoshop(greys, 1, packed=packed)), (40, 100, 170, 230)) == 0
    inks = [255 - fields((40, 100, 170, 230))] * 3 + [ZEROS + 255] + [ZEROS] * more
    assert (
        off(
            load(photoshop([255 - plane for plane in inks[:3]] + inks[3:], 4, packed=packed)),
            (40, 100, 170, 230),
        )
        <= 3
    )


@pytest.mark.parametrize("packed", [False, True])
def test_a_negative_number_of_layers_means_transparency(packed: bool) -> None:
    """Then the fourth channel is alpha."""
    data = photoshop([*PLANES, fields((0, 255, 255, 255))], 3, layers=-1, packed=packed)
    assert off(load(data), ((255, 255, 255), *QUADRANTS[1:])) == 0


@pytest.mark.parametrize("version", [1, 2], ids=["PSD", "PSB"])
@pytest.mark.parametrize("packed", [False, True])
def test_sixteen_bits_and_large_documents_of_photoshop(packed: bool, version: int) -> None:
    """Of 16 bits the high ones count, and the size is that of the image; selections and transparency are as ever."""
    deep = [
        (256 * plane.astype(int) + 77).astype(">u2") for plane in [*PLANES, fields((0, 255, 255, 255)), ZEROS]
    ]
    picture = load(photoshop(deep[:3], 3, bits=16, packed=packed, version=version))
    assert (picture.width, picture.height) == (64, 48)
    assert off(picture, QUADRANTS) == 0
    assert (
        off(load(photoshop([*deep[:3], deep[4]], 3, bits=16, packed=packed, version=version)), QUADRANTS) == 0
    )
    seen = load(photoshop(deep[:4], 3, layers=-1, bits=16, packed=packed, version=version))
    assert off(seen, ((255, 255, 255), *QUADRANTS[1:])) <= 1
    plain = photoshop([*PLANES, ZEROS], 3, layers=2, packed=packed, version=version)
    assert off(load(plain), QUADRANTS) == 0


def test_the_size_of_sixteen_bits_is_checked_as_that_of_eight() -> None:
    """Twice as many columns are no larger an image, nor a longer one."""
    data = photoshop([plane.astype(">u2") for plane in PLANES], 3, bits=16)
    assert load(data, max_megapixels=0.00308).width == 64
    assert check_picture(io.BytesIO(data), "a.psd") == (64, 48)
    assert refusal(data, max_megapixels=0.003).reason == "too many pixels"
    for end in (26, 40, 60, 2000):
        assert refusal(data[:end]).reason == "corrupt"


def test_a_photoshop_bitmap_is_no_negative() -> None:
    """A bit that is set is ink."""
    assert off(load(photoshop([fields((1, 0, 1, 0))], 0, bits=1)), (0, 255, 0, 255)) == 0


@pytest.mark.parametrize(
    "resources",
    [b"8BIM", b"junk" * 5, b"8BIM\4\4\0\0\xff\xff\xff\xff", b"8BIM\4\x0f\0\0\0\0\0\4junk", b"\0" * 9],
)
def test_photoshops_resources_never_cost_the_picture(resources: bytes) -> None:
    """Cut off, junk, or a profile of junk."""
    assert off(load(photoshop(PLANES, 3, resources=resources)), QUADRANTS) == 0


def test_what_photoshop_keeps_otherwise_is_unsupported() -> None:
    """Floating point, inks of any number, and files without a flattened picture are not broken."""
    without = b"8BIM\4\x21\0\0" + struct.pack(">I", 6) + struct.pack(">IB", 1, 0) + b"\0"
    for data in (
        photoshop([plane.astype(">f4") for plane in PLANES], 3, bits=32),
        photoshop(PLANES, 7),
        photoshop(PLANES, 3, resources=without),
        photoshop(PLANES, 3).replace(b"\0\0" + PLANES[0].tobytes()[:8], b"\0\2" + PLANES[0].tobytes()[:8]),
    ):
        assert refusal(data, "x.psd").reason == "unsupported"
    told = without.replace(struct.pack(">IB", 1, 0), struct.pack(">IB", 1, 1))
    assert off(load(photoshop(PLANES, 3, resources=told)), QUADRANTS) == 0


# Frames


@pytest.mark.parametrize("extension", [".gif", ".webp", ".png", ".avif"])
@pytest.mark.parametrize("empty", ["black", "white", "transparent", "nearly black"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_first_frame_that_holds_something_counts(extension: str, empty: str, count: int) -> None:
    """A fade-in begins with nothing: one frame of one colour, or several."""
    first = Image.new(
        "RGBA", (96, 64), {"transparent": (0, 0, 0, 0), "nearly black": (3, 2, 4, 255)}.get(empty, empty)
    )
    # Frames that are alike are put together by some writers.
    frames = [Image.eval(first, lambda v, n=n: min(255, v + n) if v < 9 else v - n) for n in range(count)]
    frames = [frame if empty == "transparent" else frame.convert("RGB") for frame in frames]
    out = io.BytesIO()
    options = {".webp": {"lossless": True}, ".avif": {"quality": 95}}.get(extension, {})
    rest = [*frames[1:], quadrants().convert(frames[0].mode)]
    frames[0].save(
        out, Image.EXTENSION[extension], save_all=True, append_images=rest, duration=100, **options
    )
    assert off(load(out.getvalue()), QUADRANTS) <= 14


@pytest.mark.parametrize("extension", [".gif", ".webp", ".png"])
def test_frames_that_are_all_empty_give_the_first(extension: str) -> None:
    """One colour is a picture, too."""
    out = io.BytesIO()
    frames = [Image.new("RGB", (96, 64), (90, 20 + n, 20)) for n in range(3)]
    frames[0].save(out, Image.EXTENSION[extension], save_all=True, append_images=frames[1:], duration=100)
    assert off(load(out.getvalue()), [(90, 20, 20)] * 4) <= 6


# Reasons


@pytest.mark.parametrize(
    "data",
    [
        b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + b"\0" * 12,
        b"PF\n2 2\n-1.0\n" + b"\0" * 48,
        b"\xff\x0a\xfa\x1f\x01\x90\x08\x10",
        b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ",
        b"v/1\x01\x02\0\0\0",
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
        b"DDS \x7c\0\0\0",
        b"AT&TFORM\0\0\0\0DJVU",
    ],
)
def test_kinds_of_images_that_are_not_read_are_unsupported(data: bytes) -> None:
    """Nobody is told that an image is none, or broken, because it is not read here."""
    for name in ("x.jpg", "x.ppm", "x"):
        assert refusal(data, name).reason == "unsupported"
