"""Colours of other spaces become sRGB; what is sRGB stays as it is, to the last bit."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from imgsearch.media import colour
from support.decoded import load, off
from support.pictures import encode, scene
from support.profiles import (
    MUTED,
    SPACES,
    SWAPPED,
    grey_profile,
    hdr,
    ink_profile,
    into,
    light,
    profile,
    srgb_profile,
)
from support.tagged import chunk, fields, pack, png, tiff


def drawn(space: str) -> Image.Image:
    return Image.fromarray(fields(np.round(into(space) * 255)))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("extension", [".png", ".jpg", ".tiff", ".webp", ".avif", ".heic"])
def test_an_embedded_profile_counts(space: str, extension: str) -> None:
    """The profile of a file of any format turns its numbers into the colours that are meant."""
    options: dict[str, Any] = {".jpg": {"quality": 97, "subsampling": 0}, ".webp": {"lossless": True}}.get(
        extension, {}
    )
    options = options or ({"quality": 97} if extension in (".avif", ".heic") else {})
    data = encode(drawn(space), extension, icc_profile=profile(space), **options)
    assert off(load(data), MUTED) <= 12


def test_sixteen_bits_and_alpha_and_palettes_have_profiles_too() -> None:
    """What is turned is the colour, whatever it is stored as; alpha stays."""
    icc = profile("green and blue swapped")
    numbers = np.round(into("green and blue swapped") * 65535)
    wide = pack(fields(numbers, dtype=np.uint32).reshape(48, -1), 16)
    assert off(load(tiff(({258: [16] * 3, 262: 2, 277: 3, 34675: icc}, wide))), MUTED) <= 3
    iccp = chunk(b"iCCP", b"x\0\0" + zlib.compress(icc))
    assert off(load(png(fields(numbers, dtype=np.uint32), 16, 2, before=iccp)), MUTED) <= 3
    image = drawn("green and blue swapped")
    palette = image.quantize(4)
    assert off(load(encode(palette, ".png", icc_profile=icc)), MUTED) <= 3
    clear = image.convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 32, 24))
    assert off(load(encode(clear, ".png", icc_profile=icc)), ((255, 255, 255), *MUTED[1:])) <= 3


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tiff"])
@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_a_profile_of_grey_counts(extension: str, gamma: float) -> None:
    """Grey of 8 and 16 bits with a curve of its own."""
    greys = np.array([60, 100, 170, 230])
    signal = light(greys / 255) ** (1 / gamma)
    image = Image.fromarray(fields(np.round(signal * 255)))
    assert off(load(encode(image, extension, icc_profile=grey_profile(gamma))), greys) <= 6
    if extension == ".tiff":
        wide = pack(fields(np.round(signal * 65535), dtype=np.uint32), 16)
        assert off(load(tiff(({258: 16, 34675: grey_profile(gamma)}, wide))), greys) <= 2


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tiff", ".webp", ".avif", ".heic"])
def test_srgb_stays_as_it_is(extension: str) -> None:
    """A file with sRGB's profile gives the numbers of the same file without."""
    image = scene(5, (90, 60))
    with_profile = load(encode(image, extension, icc_profile=srgb_profile()))
    assert np.array_equal(with_profile.pixels, load(encode(image, extension)).pixels)


@pytest.mark.parametrize("junk", [b"", b"no profile", b"\0" * 128, b"acsp" * 1000])
@pytest.mark.parametrize("extension", [".png", ".jpg", ".tiff", ".webp"])
def test_an_unreadable_profile_is_passed_over(extension: str, junk: bytes) -> None:
    """What is no profile, or one cut off, does not cost the picture nor change it."""
    image = scene(5, (90, 60))
    for icc in (junk, profile("DCI")[:200] + junk):
        assert np.array_equal(
            load(encode(image, extension, icc_profile=icc)).pixels, load(encode(image, extension)).pixels
        )


def test_a_profile_of_another_kind_of_picture_is_passed_over() -> None:
    """A grey profile on colours, colours' on grey, and a profile that makes everything black."""
    image = scene(5, (90, 60))
    black = colour._matrix_profile(colour._PRIMARIES[1], np.zeros(4096))
    for icc in (grey_profile(1.0), black):
        assert np.array_equal(load(encode(image, ".png", icc_profile=icc)).pixels, np.asarray(image))
    grey = image.convert("L")
    found = load(encode(grey, ".png", icc_profile=profile("linear")))
    assert np.array_equal(found.pixels[..., 0], np.asarray(grey))


def test_a_huge_profile_is_passed_over() -> None:
    """Beyond some megabytes nobody looks."""
    image = scene(5, (90, 60))
    icc = profile("linear") + b"\0" * colour.MAX_PROFILE
    assert np.array_equal(load(encode(image, ".png", icc_profile=icc)).pixels, np.asarray(image))


# Without a profile


def png_with(chunks: bytes, colours: NDArray[np.float64], bits: int = 8) -> bytes:
    return png(fields(np.round(colours * (2**bits - 1)), dtype=np.uint32), bits, 2, before=chunks)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("gamma", [1.0, 1.4, 1.8])
def test_png_says_its_gamma(gamma: float, bits: int) -> None:
    """gAMA is the exponent of the encoding; about 1 / 2.2 means sRGB's curve."""
    numbers = light(np.asarray(MUTED) / 255) ** (1 / gamma)
    data = png_with(chunk(b"gAMA", struct.pack(">I", round(1e5 / gamma))), numbers, bits)
    assert off(load(data), MUTED) <= 4
    plain = np.asarray(MUTED) / 255
    for usual in (45455, 45000, 46000):
        assert off(load(png_with(chunk(b"gAMA", struct.pack(">I", usual)), plain)), MUTED) == 0


def test_png_says_its_primaries() -> None:
    """cHRM counts, unless it makes no sense; sRGB goes before it, iCCP before that."""
    chrm = chunk(b"cHRM", struct.pack(">8I", *(round(1e5 * number) for number in SWAPPED)))
    numbers = into("green and blue swapped")
    assert off(load(png_with(chrm, numbers)), MUTED) <= 8
    plain = np.asarray(MUTED) / 255
    assert off(load(png_with(chrm + chunk(b"sRGB", b"\0"), plain)), MUTED) == 0
    for nonsense in ((0,) * 8, (1,) * 8, (31270, 0, *[33000] * 6), (2**31,) * 8):
        assert off(load(png_with(chunk(b"cHRM", struct.pack(">8I", *nonsense)), plain)), MUTED) == 0


@pytest.mark.parametrize("gamma", [0, 1, 4_000_000_000])
def test_an_absurd_gamma_is_none(gamma: int) -> None:
    """An exponent of 0 or of thousands is a mistake."""
    assert off(load(png_with(chunk(b"gAMA", struct.pack(">I", gamma)), np.asarray(MUTED) / 255)), MUTED) == 0


@pytest.mark.parametrize(("primaries", "space"), [(12, "Display P3"), (9, "Rec. 2020"), (11, "DCI")])
def test_code_points_name_the_primaries(primaries: int, space: str) -> None:
    """cICP in PNG and nclx in HEIC and AVIF, with sRGB's curve."""
    to_d50, from_srgb = colour._to_d50(SPACES[space][0]), colour._to_d50(colour._PRIMARIES[1])
    assert to_d50 is not None
    assert from_srgb is not None
    linear = light(np.asarray(MUTED) / 255) @ (np.linalg.inv(to_d50) @ from_srgb).T
    signal = np.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )
    assert off(load(png_with(chunk(b"cICP", bytes([primaries, 13, 0, 1])), signal, 16)), MUTED) <= 4
    image = Image.fromarray(fields(np.round(signal * 255)))
    for data in (heic(image, primaries, 13), avif(image, primaries, 13)):
        assert off(load(data), MUTED) <= 12


def heic(image: Image.Image, primaries: int, transfer: int) -> bytes:
    import pillow_heif

    out = io.BytesIO()
    options = {"color_primaries": primaries, "transfer_characteristics": transfer}
    pillow_heif.from_pillow(image).save(out, quality=97, **options)
    return out.getvalue()


def avif(image: Image.Image, primaries: int, transfer: int) -> bytes:
    """Return an AVIF whose box of colours has been changed."""
    data = bytearray(encode(image, ".avif", quality=97))
    at = data.index(b"colrnclx") + 8
    struct.pack_into(">HH", data, at, primaries, transfer)
    return bytes(data)


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
@pytest.mark.parametrize("bits", [8, 16])
def test_hdr_is_shown_as_a_viewer_does(transfer: int, bits: int) -> None:
    """The white of a page, 203 cd/m², is about white, what is darker keeps its shade, ten times white is no grey."""
    greys = np.array([60, 120, 180, 250])
    nits = 203 * light(greys / 255)
    signal = hdr(transfer, nits)[:, None].repeat(3, 1)
    found = load(png_with(chunk(b"cICP", bytes([9, transfer, 0, 1])), signal, bits))
    assert off(found, greys) <= 14
    bright = hdr(transfer, np.array([203.0, 400, 700, 1000]))[:, None].repeat(3, 1)
    shown = [
        int(value)
        for value in load(png_with(chunk(b"cICP", bytes([9, transfer, 0, 1])), bright, bits))
        .pixels[2::42, 2::58, 0]
        .ravel()
    ]
    assert shown == sorted(shown)
    assert shown[0] > 235


@pytest.mark.parametrize("index", ["R03", "R98"])
def test_exif_names_adobe_rgb(index: str) -> None:
    """Cameras write Adobe RGB as interoperability index R03, without a profile; R98 is sRGB."""
    exif = Image.Exif()
    exif[0x8769] = {0xA005: {1: index}}
    image = drawn("Adobe RGB")
    data = encode(image, ".jpg", quality=97, subsampling=0, exif=exif.tobytes())
    plain = [tuple(int(v) for v in np.asarray(image)[y, x]) for y in (9, 40) for x in (9, 50)]
    assert off(load(data), MUTED if index == "R03" else plain) <= 10


def test_a_bmp_and_a_jpeg_2000_have_profiles_too() -> None:
    """A BMP of version 5 with its profile behind the pixels, and the box "colr" of a JP2."""
    icc, image = profile("green and blue swapped"), drawn("green and blue swapped")
    old = encode(image, ".bmp")
    pixels = old[54:]
    info = struct.pack("<IiiHHIIiiII", 124, 64, 48, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    info += b"\0" * 16 + b"DEBM" + b"\0" * 48 + struct.pack("<IIII", 4, 124 + len(pixels), len(icc), 0)
    data = struct.pack("<2sIHHI", b"BM", 138 + len(pixels) + len(icc), 0, 0, 138) + info + pixels + icc
    assert off(load(data), MUTED) <= 3
    jp2 = encode(image, ".jp2")
    at = jp2.index(b"colr") - 4
    size = struct.unpack_from(">I", jp2, at)[0]
    box = struct.pack(">I4s3s", 11 + len(icc), b"colr", b"\2\0\0") + icc
    header = jp2.index(b"jp2h") - 4
    grown = struct.pack(">I", struct.unpack_from(">I", jp2, header)[0] + len(box) - size)
    data = jp2[:header] + grown + jp2[header + 4 : at] + box + jp2[at + size :]
    assert off(load(data), MUTED) <= 3


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("extension", [".jpg", ".tiff"])
def test_the_inks_of_a_profile_count(extension: str, order: tuple[int, int, int]) -> None:
    """CMYK is what its profile says, also where the first ink is not cyan."""
    corners = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)])
    inks = np.concatenate([255 - corners[:, list(order)], np.zeros((4, 1), int)], axis=1)
    image = Image.fromarray(fields(inks), "CMYK")
    options: dict[str, Any] = {"quality": 98, "subsampling": 0} if extension == ".jpg" else {}
    assert off(load(encode(image, extension, icc_profile=ink_profile(order), **options)), corners) <= 24


def test_a_large_picture_with_a_profile_is_made_smaller_first() -> None:
    """What every colour of changes is reduced to four times the budget's pixels, in the colours that are meant."""
    image = drawn("Display P3").resize((1600, 1200), Image.Resampling.NEAREST)
    found = load(encode(image, ".png", icc_profile=profile("Display P3")))
    assert (found.width, found.height) == (1600, 1200)
    assert 4 * 57600 <= found.pixels.shape[0] * found.pixels.shape[1] < 4.1 * 57600
    assert off(found, MUTED) <= 3
