"""What becomes of a file's bytes: upright RGB pictures, or one good reason."""

from __future__ import annotations

import gc
import io
import logging
import struct
import sys
import warnings
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from imgsearch.errors import PictureError
from imgsearch.media import colour
from imgsearch.media.decoders import raster
from imgsearch.media.formats import EXTENSIONS, FORMATS, check_picture, load_pictures
from imgsearch.rgb import to_rgb
from imgsearch.types import Picture, PixelBudget
from support.pictures import QUADRANTS, encode, quadrants, scene
from support.tagged import fields, pack, tiff

# pytest undoes after each test what silences Pillow for good; test_damaged_files_are_silent looks at that.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")

BUDGET = PixelBudget(4096, 57600)

# One way to write each format so that colours survive, with the tolerance that its coding needs.
CODED: dict[str, tuple[dict[str, Any], int]] = {
    ".jpg": ({"quality": 95, "subsampling": 0}, 8),
    ".mpo": ({"quality": 95, "subsampling": 0}, 8),
    ".png": ({}, 0),
    ".apng": ({}, 0),
    ".gif": ({}, 2),
    ".webp": ({"lossless": True}, 0),
    ".tiff": ({"compression": "tiff_lzw"}, 0),
    ".bmp": ({}, 0),
    ".jp2": ({}, 0),
    ".j2k": ({}, 0),
    ".ppm": ({}, 0),
    ".avif": ({"quality": 95, "subsampling": "4:4:4"}, 8),
    ".heic": ({"quality": 95}, 12),
    ".tga": ({}, 0),
}
WITH_EXIF = [".jpg", ".png", ".webp", ".tiff", ".avif", ".heic"]


def load(data: bytes, name: str = "x.jpg", budget: PixelBudget = BUDGET, **options: Any) -> Picture:
    [picture] = load_pictures(io.BytesIO(data), name, budget, **options)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.ndim == 3
    assert picture.pixels.shape[2] == 3
    assert picture.pixels.flags.c_contiguous
    return picture


def reason(data: bytes, name: str = "x.jpg", **options: Any) -> str:
    with pytest.raises(PictureError) as caught:
        list(load_pictures(io.BytesIO(data), name, BUDGET, **options))
    assert "\n" not in str(caught.value)
    assert "0x" not in caught.value.detail, "an object's address is no reason"
    return caught.value.reason


def centres(picture: Picture) -> list[tuple[int, ...]]:
    """Return the colours in the middle of the four quarters."""
    height, width, _ = picture.pixels.shape
    return [
        tuple(int(value) for value in picture.pixels[height * y // 4, width * x // 4])
        for y in (1, 3)
        for x in (1, 3)
    ]


def near(found: list[tuple[int, ...]], expected: list[tuple[int, ...]], tolerance: int) -> bool:
    return int(np.abs(np.subtract(found, expected)).max()) <= tolerance


# Formats, modes, orientation


@pytest.mark.parametrize("extension", CODED)
def test_every_format_gives_its_colours(extension: str) -> None:
    """Each format decodes to the picture that was written, in full size."""
    options, tolerance = CODED[extension]
    picture = load(encode(quadrants(), extension, **options), f"x{extension.upper()}")
    assert (picture.width, picture.height, picture.page) == (96, 64, 0)
    assert picture.pixels.shape == (64, 96, 3)
    assert near(centres(picture), list(QUADRANTS), tolerance)


def psd(width: int, height: int, planes: bytes, *, compression: int = 0) -> bytes:
    """Return a flat RGB Photoshop file of ``planes``, raw (0) or packed (1), by Adobe's description of the format."""
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, height, width, 8, 3)
    return head + b"\0" * 12 + struct.pack(">H", compression) + planes


def runs(items: list[bytes], most: int) -> list[list[bytes]]:
    """Cut a row into runs of one value and stretches without any, of at most ``most`` items."""
    stretches: list[list[bytes]] = [[]]
    for value, group in groupby(items):
        count = len(list(group))
        last = stretches[-1]
        if count == 1 and 0 < len(last) < most and last[:1] != last[1:2]:
            last.append(value)
        else:
            stretches += [[value] * min(most, count - start) for start in range(0, count, most)]
    return stretches[1:]


def packbits(row: bytes) -> bytes:
    """Pack a row as PackBits does: n + 1 bytes as they are after n, or one byte 1 - n times after n < 0."""
    packed = b""
    for stretch in runs([bytes([value]) for value in row], 128):
        repeated = len(stretch) > 1 and stretch[0] == stretch[1]
        packed += bytes([257 - len(stretch)]) + stretch[0] if repeated else bytes([len(stretch) - 1])
        packed += b"" if repeated else b"".join(stretch)
    return packed


def noisy(width: int = 150, height: int = 11, channels: int = 3) -> NDArray[np.uint8]:
    """Return pixels of which some rows repeat one colour, some change it everywhere, and some do both."""
    pixels = np.random.default_rng(5).integers(0, 256, (height, width, channels), np.uint8)
    pixels[2:5] = pixels[2:5, :1]
    pixels[6:9, width // 3 :] = pixels[6:9, width // 3, None]
    return pixels


@pytest.mark.parametrize("compression", [0, 1], ids=["raw", "PackBits"])
def test_photoshop_files_give_their_flattened_picture(compression: int) -> None:
    """Of a PSD the composite that it carries is taken, to the last bit."""
    pixels = noisy()
    height, width, _ = pixels.shape
    rows = [row.tobytes() for row in pixels.transpose(2, 0, 1).reshape(-1, width)]
    if compression:
        rows = [packbits(row) for row in rows]
        rows = [struct.pack(f">{len(rows)}H", *map(len, rows)), *rows]
    picture = load(psd(width, height, b"".join(rows), compression=compression), "x.psd")
    assert (picture.width, picture.height) == (width, height)
    assert np.array_equal(picture.pixels, pixels)


@pytest.mark.parametrize("bits", [24, 32])
@pytest.mark.parametrize("packed", [False, True], ids=["raw", "RLE"])
@pytest.mark.parametrize("top_down", [False, True], ids=["from below", "from above"])
def test_targa_files_give_their_picture(bits: int, packed: bool, top_down: bool) -> None:
    """A TGA of 24 or 32 bits, packed or not, from either end, comes out to the last bit, what is clear over white."""
    pixels = noisy(channels=bits // 8)
    if bits == 32:
        pixels[..., 3] = np.where(pixels[..., 3] > 127, 255, 0)
    height, width, _ = pixels.shape
    data = struct.pack(
        "<BBB5xHHHHBB", 0, 0, 10 if packed else 2, 0, 0, width, height, bits, top_down << 5 | (bits == 32) * 8
    )
    for row in pixels if top_down else pixels[::-1]:
        # Blue, green, red, alpha.
        items = [item[[2, 1, 0, 3][: bits // 8]].tobytes() for item in row]
        for stretch in runs(items, 128) if packed else []:
            repeated = len(stretch) > 1 and stretch[0] == stretch[1]
            data += bytes([len(stretch) - 1 | repeated << 7]) + b"".join(stretch[:1] if repeated else stretch)
        data += b"" if packed else b"".join(items)
    picture = load(data, "x.tga")
    expected = pixels if bits == 24 else np.where(pixels[..., 3:] == 255, pixels[..., :3], 255)
    assert np.array_equal(picture.pixels, expected)


def test_the_table_knows_every_format() -> None:
    """The names that the walk looks for are those of the formats, lower case and with the dot."""
    assert set(CODED) | {".jpeg", ".jpe", ".jfif", ".tif", ".pnm", ".pbm", ".pgm", ".pfm"} <= EXTENSIONS
    assert {".heif", ".hif", ".jpx", ".jpc", ".j2c", ".psd"} <= EXTENSIONS
    assert all(name == name.lower() and name.startswith(".") for name in EXTENSIONS)
    assert {row.name for row in FORMATS if row.module != "heif"} == set(raster._OPENERS)


INVERSE = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", WITH_EXIF)
def test_orientation_is_applied_once(extension: str, orientation: int) -> None:
    """All eight EXIF orientations come out upright, with the upright size; HEIC is not turned twice."""
    stored = quadrants()
    if orientation > 1:
        stored = stored.transpose(raster._UPRIGHT[INVERSE[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options, tolerance = CODED[extension]
    picture = load(encode(stored, extension, exif=exif.tobytes(), **options))
    assert (picture.width, picture.height) == (96, 64)
    assert picture.pixels.shape == (64, 96, 3)
    assert near(centres(picture), list(QUADRANTS), tolerance)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"", b"\0" * 40])
@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
def test_broken_metadata_does_not_lose_the_picture(extension: str, exif: bytes) -> None:
    """EXIF that can't be read counts as no EXIF."""
    options, tolerance = CODED[extension]
    assert near(
        centres(load(encode(quadrants(), extension, exif=exif, **options))), list(QUADRANTS), tolerance
    )


def oriented(kind: int, value: bytes) -> bytes:
    """Return EXIF with an orientation of a type of its own."""
    return (
        b"Exif\0\0II*\0\x08\0\0\0\1\0"
        + struct.pack("<HHI", 0x0112, kind, 1)
        + value.ljust(4, b"\0")
        + b"\0" * 4
    )


@pytest.mark.parametrize(
    "kind", [1, 3, 4, 6, 8, 9], ids=["BYTE", "SHORT", "LONG", "SBYTE", "SSHORT", "SLONG"]
)
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientation_counts_in_any_type_of_number(orientation: int, kind: int) -> None:
    """Programs write it as bytes, as long numbers and with a sign."""
    stored = quadrants().transpose(raster._UPRIGHT[INVERSE[orientation]])
    data = encode(stored, ".jpg", quality=95, subsampling=0, exif=oriented(kind, bytes([orientation])))
    assert near(centres(load(data)), list(QUADRANTS), 8)


def webp_chunk(name: bytes, contents: bytes, length: int | None = None) -> bytes:
    size = len(contents) if length is None else length
    return name + struct.pack("<I", size) + contents + b"\0" * (len(contents) % 2)


@pytest.mark.parametrize("junk", [b"", b"junk", b"\xff" * 300])
@pytest.mark.parametrize("name", [b"EXIF", b"XMP ", b"ICCP", b"abcd"])
def test_webps_metadata_does_not_cost_the_picture(name: bytes, junk: bytes) -> None:
    """Damaged and unknown chunks of WebP, announced or not."""
    plain = encode(quadrants(), ".webp", lossless=True)
    flags = {b"EXIF": 8, b"XMP ": 4, b"ICCP": 32}.get(name, 0)
    extended = webp_chunk(b"VP8X", struct.pack("<I", flags) + struct.pack("<HBHB", 95, 0, 63, 0))
    parts = [webp_chunk(name, junk), plain[12:]] if name == b"ICCP" else [plain[12:], webp_chunk(name, junk)]
    body = b"WEBP" + extended + b"".join(parts)
    assert near(centres(load(b"RIFF" + struct.pack("<I", len(body)) + body)), list(QUADRANTS), 0)


@pytest.mark.parametrize(
    "junk", [b"\x21\xfe\0", b"\x21\xfe\xff" + b"c" * 255 + b"\0", b"\x21\xff\x0bICCRGBG1012\4junk\0"]
)
@pytest.mark.parametrize("times", [1, 500])
def test_gifs_extensions_do_not_cost_the_picture(junk: bytes, times: int) -> None:
    """Comments and applications' blocks of any number, empty or of junk."""
    plain = encode(quadrants(), ".gif")
    at = 13 + 3 * 2 ** ((plain[10] & 7) + 1)
    assert near(centres(load(plain[:at] + junk * times + plain[at:])), list(QUADRANTS), 2)


def test_metadata_of_heic_and_avif_does_not_cost_the_picture() -> None:
    """EXIF and XMP of junk."""
    for extension, junk in (
        (".heic", {"exif": b"Exif\0\0" + b"\xff" * 50, "xmp": b"<junk"}),
        (".avif", {"xmp": b"<junk"}),
    ):
        options, tolerance = CODED[extension]
        assert near(
            centres(load(encode(quadrants(), extension, **junk, **options))), list(QUADRANTS), tolerance
        )


GREYS = [(round(0.299 * r + 0.587 * g + 0.114 * b),) * 3 for r, g, b in QUADRANTS]


@pytest.mark.parametrize(
    ("mode", "extension"),
    [
        ("L", ".jpg"),
        ("L", ".png"),
        ("L", ".tiff"),
        ("L", ".pgm"),
        ("L", ".webp"),
        ("L", ".bmp"),
        ("L", ".jp2"),
        ("LA", ".png"),
        ("LA", ".tiff"),
        ("LA", ".heic"),
    ],
)
def test_grey_becomes_rgb(mode: str, extension: str) -> None:
    """Grey with or without alpha gives three equal channels."""
    picture = load(encode(quadrants().convert(mode), extension))
    assert near(centres(picture), GREYS, 8)


@pytest.mark.parametrize("extension", [".png", ".gif", ".tiff", ".bmp", ".tga"])
def test_palettes_become_rgb(extension: str) -> None:
    """A palette is looked up."""
    image = quadrants().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    assert near(centres(load(encode(image, extension), f"x{extension}")), list(QUADRANTS), 4)


@pytest.mark.parametrize("extension", [".png", ".tiff", ".pbm", ".bmp", ".gif"])
def test_one_bit_becomes_black_and_white(extension: str) -> None:
    """One bit a pixel gives 0 and 255."""
    image = Image.new("1", (96, 64), 1)
    image.paste(0, (0, 0, 48, 32))
    picture = load(encode(image, extension))
    assert centres(picture) == [(0, 0, 0), (255, 255, 255), (255, 255, 255), (255, 255, 255)]


@pytest.mark.parametrize("extension", [".jpg", ".tiff"])
def test_cmyk_becomes_rgb(extension: str) -> None:
    """CMYK, in JPEG inverted as Adobe writes it, gives the colours that were printed."""
    data = encode(quadrants().convert("CMYK"), extension, **({"quality": 95} if extension == ".jpg" else {}))
    assert near(centres(load(data)), list(QUADRANTS), 10)


def test_lab_and_ycbcr_become_rgb() -> None:
    """Colour spaces that TIFF knows are turned into sRGB."""
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(quadrants(), *profiles, outputMode="LAB")
    assert lab is not None
    assert near(centres(load(encode(lab, ".tiff"))), list(QUADRANTS), 12)
    assert near(centres(load(encode(quadrants().convert("YCbCr"), ".tiff"))), list(QUADRANTS), 4)


def test_sixteen_bits_are_scaled() -> None:
    """16-bit grey keeps its shades: 0, a quarter, a half and white, not all white."""
    levels = np.repeat(np.array([0, 16384, 32768, 65535], np.uint16), 16)[None].repeat(8, axis=0)
    expected = [0, 64, 128, 255]
    little, big = Image.fromarray(levels), Image.frombytes("I;16B", (64, 8), levels.astype(">u2").tobytes())
    wide = Image.fromarray(levels.astype(np.int32))
    pgm = b"P5 64 8 65535\n" + levels.astype(">u2").tobytes()
    pgm12 = b"P5 64 8 4095\n" + (levels >> 4).astype(">u2").tobytes()
    files = [encode(little, ".png"), encode(little, ".tiff"), encode(big, ".tiff"), encode(wide, ".tiff")]
    files += [encode(little, ".tiff", compression="tiff_lzw"), encode(little, ".jp2"), pgm, pgm12]
    for data in files:
        assert load(data).pixels[4, 8::16, 0].tolist() == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.25, 0.5, 1.0], [0, 64, 128, 255]),
        ([0.0, 64.0, 128.0, 255.0], [0, 64, 128, 255]),
        ([-1.0, 0.0, 1.0, 3.0], [0, 64, 128, 255]),
        ([0.0, 0.5, np.nan, np.inf], [0, 128, 0, 255]),
        ([0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0]),
        ([-5.0, -5.0, -5.0, -5.0], [0, 0, 0, 0]),
        ([np.nan, np.nan, np.nan, np.nan], [0, 0, 0, 0]),
        ([-3e38, 0.0, 0.0, 3e38], [0, 128, 128, 255]),
    ],
)
def test_floating_point_is_brought_into_range(values: list[float], expected: list[int]) -> None:
    """Float pictures go 0 … 1 or 0 … 255, else from their least to their greatest; no number is too odd."""
    pixels = np.repeat(np.array(values, np.float32), 4)[None].repeat(4, axis=0)
    picture = load(encode(Image.fromarray(pixels), ".tiff"))
    assert picture.pixels[2, 2::4, 0].tolist() == pytest.approx(expected, abs=1)


def test_portable_float_maps_decode() -> None:
    """A grey PFM, bottom row first, comes out the right way up."""
    rows = np.array([[1.0] * 4, [0.0] * 4], "<f4")
    assert load(b"Pf\n4 2\n-1.0\n" + rows.tobytes()).pixels[:, 0, 0].tolist() == [0, 255]


def transparent(mode: str) -> Image.Image:
    """Return quadrants with the left half transparent, over a colour that must not show."""
    image = quadrants().convert("RGBA")
    image.paste((1, 2, 3, 0), (0, 0, 48, 64))
    return image.convert(mode)


@pytest.mark.parametrize("extension", [".png", ".webp", ".tiff", ".avif", ".heic", ".jp2", ".tga"])
def test_what_is_transparent_is_white(extension: str) -> None:
    """Alpha is laid over white."""
    options, tolerance = CODED[extension]
    colours = centres(load(encode(transparent("RGBA"), extension, **options), f"x{extension}"))
    white = (255, 255, 255)
    assert near(colours, [white, QUADRANTS[1], white, QUADRANTS[3]], max(tolerance, 2))


def test_half_transparent_is_half_white() -> None:
    """Partial alpha mixes with white."""
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 128))
    assert load(encode(image, ".png")).pixels[0, 0].tolist() == pytest.approx([227, 127, 127], abs=1)
    grey = Image.new("LA", (8, 8), (0, 128))
    assert load(encode(grey, ".png")).pixels[0, 0].tolist() == pytest.approx([127, 127, 127], abs=1)


@pytest.mark.parametrize("extension", [".gif", ".png"])
def test_a_transparent_palette_entry_is_white(extension: str) -> None:
    """Transparency that a palette or a colour key carries is alpha, too."""
    image = Image.new("P", (96, 64), 0)
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.paste(1, (48, 0, 96, 64))
    picture = load(encode(image, extension, transparency=0))
    assert centres(picture) == [(255, 255, 255), (200, 0, 0)] * 2
    keyed = Image.new("L", (96, 64), 7)
    keyed.paste(90, (48, 0, 96, 64))
    assert centres(load(encode(keyed, ".png", transparency=7))) == [(255, 255, 255), (90, 90, 90)] * 2


def test_premultiplied_alpha_is_understood() -> None:
    """Colours that are stored multiplied by alpha are not darkened twice."""
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 128)).convert("RGBa")
    assert np.asarray(to_rgb(image))[0, 0].tolist() == pytest.approx([227, 127, 127], abs=2)


@pytest.mark.parametrize("extension", [".gif", ".webp", ".png", ".avif"])
def test_of_an_animation_the_first_frame_counts(extension: str) -> None:
    """Animations give their first picture."""
    options = CODED[extension][0]
    data = encode(
        quadrants(), extension, save_all=True, append_images=[Image.new("RGB", (96, 64))], **options
    )
    assert near(centres(load(data)), list(QUADRANTS), 8)


# By content, not by name


@pytest.mark.parametrize("extension", [ext for ext in CODED if ext != ".tga"])
def test_contents_decide_not_the_name(extension: str) -> None:
    """A picture under a wrong extension is decoded as what it is."""
    data = encode(quadrants(), extension, **CODED[extension][0])
    for name in ("x.jpg", "x.png", "x.heic", "x.tga", "x"):
        assert load(data, name).pixels.shape == (64, 96, 3)


def test_formats_without_a_signature_need_their_name() -> None:
    """What could be anything is decoded only under its own extension."""
    data = encode(quadrants(), ".tga")
    assert load(data, "x.tga").pixels.shape == (64, 96, 3)
    assert reason(data, "x.jpg") == "not an image"


@pytest.mark.parametrize("format", ["DIB", "ICNS", "PCX", "SGI"])
def test_formats_of_nobodys_photographs_are_not_read(format: str) -> None:
    """What Pillow could decode and no camera or editor of today writes is no candidate and reaches no decoder.

    Nobody is told that it is not an image; only of a DIB, which has no signature, nothing is known.
    """
    stream = io.BytesIO()
    quadrants().save(stream, format)
    extension = f".{format.lower()}"
    assert extension not in EXTENSIONS
    for name in (f"x{extension}", "x.jpg", "x.tga"):
        assert reason(stream.getvalue(), name) == ("not an image" if format == "DIB" else "unsupported")


@pytest.mark.parametrize(
    "data",
    [
        b"This is a note that was named .jpg.",
        b"<!DOCTYPE html><html></html>",
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"\xd7\xcd\xc6\x9a" + b"\0" * 60,
        b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
        b"P2P is no portable grey map",
        b"BM is not always a bitmap at all",
        b"\0",
        b"\0" * 5000,
    ],
)
@pytest.mark.parametrize("name", ["x.jpg", "x.heic", "x.tga"])
def test_what_is_no_picture_says_so(data: bytes, name: str) -> None:
    """Texts, documents (EPS and WMF among them), films and zeros are not handed to any decoder."""
    assert reason(data, name) == "not an image"


def test_an_empty_file_says_so() -> None:
    """Nothing at all is a reason of its own."""
    assert reason(b"") == "empty file"


def test_an_unknown_flavour_is_unsupported_not_corrupt() -> None:
    """A sound file of a kind that the decoder does not know is not called corrupt."""
    data = bytearray(encode(Image.new("RGB", (8, 8)), ".tiff"))
    # PhotometricInterpretation 262 becomes 4 (a transparency mask), which Pillow has no mode for.
    at = data.index(struct.pack("<HHI", 262, 3, 1))
    data[at + 8] = 4
    assert reason(bytes(data), "x.tiff") == "unsupported"
    deep = bytearray(psd(8, 8, b"\0" * 400))
    deep[23] = 32  # bits a channel
    assert reason(bytes(deep), "x.psd") == "unsupported"


def test_heic_without_pillow_heif_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is missing, HEIC files are skipped with what to install."""
    data = encode(quadrants(), ".heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert reason(data, "x.heic") == "needs pillow-heif"


class BrokenDisk(io.BytesIO):
    """A stream that fails as a bad sector does, after so many bytes."""

    def __init__(self, data: bytes, good: int) -> None:
        super().__init__(data)
        self.good = good

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self.good:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("good", [0, 70])
def test_a_failing_disk_is_not_the_pictures_fault(good: int) -> None:
    """An I/O error of the file itself is "unreadable", not "corrupt"."""
    stream = BrokenDisk(encode(scene(1), ".png"), good)
    with pytest.raises(PictureError) as caught:
        list(load_pictures(stream, "x.png", BUDGET))
    assert (caught.value.reason, caught.value.detail) == ("unreadable", "Input/output error")


# Size


def png_claiming(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header claims any size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def claiming(extension: str, width: int, height: int) -> bytes:
    """Return a small file of the format whose header has been made to claim a size."""
    data = bytearray(encode(quadrants(), extension, **CODED[extension][0]))
    place, layout = {
        ".bmp": (18, "<II"),
        ".gif": (6, "<HH"),
        ".heic": (data.find(b"ispe") + 8, ">II"),
        ".avif": (data.find(b"ispe") + 8, ">II"),
    }[extension]
    struct.pack_into(layout, data, place, width, height)
    return bytes(data)


def test_a_bomb_is_refused_from_its_header() -> None:
    """Headers that claim more than the limit are skipped before anything is decoded."""
    bombs = [png_claiming(60000, 60000), b"P6 60000 60000 255\n", b"P4 60000 60000\n"]
    bombs += [claiming(ext, 60000, 60000) for ext in (".bmp", ".gif", ".heic")]
    bombs += [claiming(".avif", 16000, 16000), psd(60000, 60000, b"")]
    for data in bombs:
        assert reason(data) == "too many pixels"


def test_webp_meets_the_limit_before_its_canvas_is_made() -> None:
    """WebP allocates while it is opened: also there a huge canvas is refused by the header."""
    data = encode(Image.new("RGB", (2000, 2000)), ".webp", quality=1)
    assert reason(data, max_megapixels=3) == "too many pixels"


def test_tiles_larger_than_the_picture_are_refused() -> None:
    """A small TIFF can't demand a huge tile."""
    data = bytearray(encode(Image.new("L", (64, 64)), ".tiff", compression="tiff_adobe_deflate"))
    # RowsPerStrip and StripByteCounts become TileWidth and TileLength.
    for old, new in ((278, 322), (279, 323)):
        at = next(i for i in range(len(data)) if data[i : i + 2] == struct.pack("<H", old) and i > 8)
        struct.pack_into("<HHII", data, at, new, 4, 1, 60000)
    assert reason(bytes(data), "x.tiff") == "too many pixels"


def test_the_limit_is_an_option() -> None:
    """--max-megapixels moves the limit in both directions; just inside is decoded."""
    data = encode(scene(1, (200, 100)), ".png")
    assert load(data, max_megapixels=0.02).width == 200
    assert reason(data, max_megapixels=0.0199) == "too many pixels"
    assert reason(png_claiming(15000, 15000)) == "too many pixels"
    assert reason(png_claiming(15000, 15000), max_megapixels=300) == "corrupt"


def test_the_aspect_ratio_is_limited() -> None:
    """Up to 200 to 1 is a picture, beyond is not, in both directions and before decoding."""
    assert load(encode(Image.new("RGB", (800, 4)), ".png")).width == 800
    assert reason(encode(Image.new("RGB", (804, 4)), ".png")) == "aspect ratio over 200"
    assert reason(encode(Image.new("RGB", (4, 804)), ".jpg")) == "aspect ratio over 200"
    assert reason(png_claiming(100000, 1)) == "aspect ratio over 200"


@pytest.mark.parametrize("extension", [".webp", ".gif", ".tiff", ".png"])
def test_pillows_own_limit_does_not_get_in_the_way(extension: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that our limit allows pass without a warning of Pillow's, however low its limit was."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encode(scene(1, (200, 100)), extension)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(data).width == 200
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        assert load(data).width == 200


# JPEG at reduced scale


def small(picture: Picture) -> np.ndarray[Any, np.dtype[np.float32]]:
    image = Image.fromarray(picture.pixels).resize((224, 160), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "YCbCr"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(mode: str, progressive: bool) -> None:
    """At least four times the budget's pixels remain, the size is the original's, colours hardly move."""
    data = encode(scene(3, (1601, 1203)).convert(mode), ".jpg", quality=90, progressive=progressive)
    reduced = load(data)
    full = load(data, budget=PixelBudget(4096, 10_000_000))
    assert (reduced.width, reduced.height) == (full.width, full.height) == (1601, 1203)
    assert full.pixels.shape == (1203, 1601, 3)
    assert reduced.pixels.shape == (602, 801, 3)
    assert np.abs(small(reduced) - small(full)).mean() < 1.0


@pytest.mark.parametrize(
    ("max_pixels", "scale"), [(600_000, 1), (57_600, 2), (20_000, 4), (5_000, 8), (100, 8)]
)
def test_the_scale_follows_the_budget(max_pixels: int, scale: int) -> None:
    """1/2, 1/4 or 1/8 of the sides, as far as twice the final sides remain; small files are left alone."""
    picture = load(encode(scene(4, (1600, 1200)), ".jpg"), budget=PixelBudget(1, max_pixels))
    assert picture.pixels.shape == (1200 // scale, 1600 // scale, 3)
    assert scale in (1, 8) or picture.pixels.shape[0] * picture.pixels.shape[1] >= 4 * max_pixels


def test_a_reduced_jpeg_is_turned_as_well() -> None:
    """Orientation and reduced scale go together, and the size is that of the upright original."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = quadrants((1600, 1200)).transpose(Image.Transpose.ROTATE_90)
    picture = load(encode(stored, ".jpg", quality=95, exif=exif))
    assert (picture.width, picture.height) == (1600, 1200)
    assert picture.pixels.shape == (600, 800, 3)
    assert near(centres(picture), list(QUADRANTS), 8)


# Hostile bytes

P3 = colour.from_cicp(12, 13)

SAMPLES = {
    extension: encode(scene(7, (40, 28)), extension, **options) for extension, (options, _) in CODED.items()
}
SAMPLES[".psd"] = psd(40, 28, np.asarray(scene(7, (40, 28))).transpose(2, 0, 1).tobytes())
SAMPLES["p3.ppm"] = b"P3 2 2 255 " + b" ".join([b"17"] * 12)
SAMPLES["la.png"] = encode(scene(7, (40, 28)).convert("LA"), ".png")
SAMPLES["p.gif"] = encode(scene(7, (40, 28)), ".gif", save_all=True, append_images=[scene(8, (40, 28))])
SAMPLES["cmyk.jpg"] = encode(scene(7, (40, 28)).convert("CMYK"), ".jpg", progressive=True)
SAMPLES["raw.tiff"] = encode(scene(7, (40, 28)), ".tiff")
SAMPLES["12.tiff"] = tiff(({258: 12}, pack(fields((40, 1000, 2000, 4000), dtype=np.uint32), 12)))
SAMPLES["big.tiff"] = tiff(({258: 16, 262: 0}, bytes(range(256)) * 24), big=True, bigtiff=True)
SAMPLES["icc.png"] = encode(scene(7, (40, 28)), ".png", icc_profile=P3)
SAMPLES["icc.jpg"] = encode(scene(7, (40, 28)), ".jpg", icc_profile=P3, exif=oriented(3, b"\6"))
SAMPLES["jpeg.tiff"] = encode(scene(7, (40, 28)), ".tiff", compression="jpeg")


def check_decoding(data: bytes, name: str) -> None:
    """Decode; anything but a picture within the limit or a PictureError is a failure."""
    said = "a picture"
    try:
        for picture in load_pictures(io.BytesIO(data), name, BUDGET, max_megapixels=1):
            assert picture.width * picture.height <= 1_000_000
            assert picture.pixels.nbytes <= 3_000_000
    except PictureError as error:
        said = f"{error.reason}: {error.detail}"
    assert 5 < len(said) < 250


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damaged_files_never_do_worse_than_a_reason(name: str, data: st.DataObject) -> None:
    """Any truncation and any flipped bytes give a picture or a PictureError, nothing else, and no bomb."""
    sample = bytearray(SAMPLES[name])
    file_name = name if not name.startswith(".") else f"x{name}"
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(sample) - 1), st.integers(0, 255)), max_size=6)
    ):
        sample[place] = value
    cut = data.draw(st.integers(0, len(sample)))
    check_decoding(bytes(sample), file_name)
    check_decoding(bytes(sample[:cut]), file_name)


@pytest.mark.parametrize("extension", [ext for ext in CODED if ext not in (".jp2", ".j2k")])
def test_half_a_file_is_corrupt(extension: str) -> None:
    """A file that ends half-way is reported, not shown with a grey half."""
    data = encode(scene(9, (320, 240)), extension, **CODED[extension][0])
    assert reason(data[: len(data) // 2], f"x{extension}") == "corrupt"


def test_damaged_files_are_silent(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No decoder talks to the terminal, neither by warnings nor by logging nor from C."""
    monkeypatch.setattr(raster, "_silenced", False)
    monkeypatch.setattr(logging.getLogger("PIL"), "handlers", [])
    with warnings.catch_warnings(record=True) as caught:
        for name, sample in SAMPLES.items():
            for cut in range(1, len(sample), max(1, len(sample) // 20)):
                check_decoding(sample[:cut], f"x{name}")
                check_decoding(sample[:cut] + b"\xff" * 40 + sample[cut + 40 :], f"x{name}")
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr() == ("", "")


# How it is used


def test_many_threads_decode_at_once() -> None:
    """Decoding from eight threads gives what one thread gives, also with different limits."""
    jobs = [(name, data, limit) for name, data in SAMPLES.items() for limit in (200, 1, 500)] * 3

    def run(job: tuple[str, bytes, float]) -> bytes:
        name, data, limit = job
        return load(data, f"x{name}", max_megapixels=limit).pixels.tobytes()

    alone = [run(job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, jobs)) == alone


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_keeps_the_stream(name: str) -> None:
    """After decoding, the stream is still open and nobody holds on to it."""
    stream = io.BytesIO(SAMPLES[name])
    pictures = list(load_pictures(stream, f"x{name}", BUDGET))
    assert not stream.closed
    watch = weakref.ref(stream)
    del stream
    gc.collect()
    assert watch() is None
    assert pictures[0].pixels.flags.owndata or pictures[0].pixels.base is not None


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_on_disk_decodes_like_one_in_memory(name: str, tmp_path: Path) -> None:
    """Large files are not read into memory first: the picture is the same, and the file stays open."""
    path = tmp_path / f"x{name}"
    path.write_bytes(SAMPLES[name])
    with path.open("rb") as stream:
        [picture] = load_pictures(stream, path.name, BUDGET)
        stream.seek(0)
        assert stream.read() == SAMPLES[name]
    assert np.array_equal(picture.pixels, load(SAMPLES[name], path.name).pixels)


def test_a_stream_that_was_read_is_read_from_the_start() -> None:
    """Where the stream stands does not matter."""
    stream = io.BytesIO(encode(quadrants(), ".png"))
    stream.read()
    assert len(list(load_pictures(stream, "x.png", BUDGET))) == 1


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".tiff", ".avif", ".heic"])
def test_a_check_passes_pictures_and_reads_only_their_headers(extension: str) -> None:
    """A whole picture passes; so may one that is broken further on, which only decoding finds."""
    data = encode(scene(1), extension)
    (picture,) = load_pictures(io.BytesIO(data), "x", BUDGET)
    assert check_picture(io.BytesIO(data), "x") == (picture.width, picture.height)
    with pytest.raises(PictureError, match="too many pixels"):
        check_picture(io.BytesIO(data), "x", max_megapixels=0.01)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".tiff", ".avif"])
def test_a_check_gives_the_size_that_decoding_gives(extension: str, orientation: int) -> None:
    """The size is that of the upright picture, without decoding it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(stream, Image.registered_extensions()[extension], exif=exif)
    (picture,) = load_pictures(stream, f"x{extension}", BUDGET)
    assert check_picture(stream, f"x{extension}") == (picture.width, picture.height)


def test_a_check_says_what_decoding_would_say() -> None:
    """No picture, an empty file, a header of nonsense, and a size out of bounds have the same reasons."""
    cut_short = encode(scene(1), ".png")[:20]
    for data, name in ((b"", "x.jpg"), (b"hello", "x.jpg"), (cut_short, "x.png")):
        with pytest.raises(PictureError) as refused:
            check_picture(io.BytesIO(data), name)
        assert refused.value.reason == reason(data, name)
