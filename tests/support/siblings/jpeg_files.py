"""Siblings in JPEG: components and sampling, missing ends and bytes between, and metadata that is damaged."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from PIL import Image

from support.coded import END, JFIF, adobe, blocks, jpeg, segment, tables
from support.pictures import QUADRANTS, encode, quadrants
from support.siblings import UNSUPPORTED, Drawn, Right, fields_of
from support.siblings.stored import stored
from support.tagged import GREYS, fields

SQUARE: dict[str, Any] = {"size": (64, 64), "tolerance": 8}
"""Fields of 32 × 32 pixels, which every sampling divides."""
SHARP: dict[str, Any] = {"quality": 95, "subsampling": 0}
IN_COLOUR = fields_of(QUADRANTS, **SQUARE)
GREY = fields_of(GREYS, **SQUARE)
RIGHT = Right(tolerance=8)


def coded() -> list[Any]:
    """Return the planes of the four fields in YCbCr, a value per block."""
    image = Image.fromarray(blocks(QUADRANTS).astype(np.uint8)).convert("YCbCr")
    return [np.asarray(band) for band in image.split()]


def jpeg_samples_and_colour_models() -> Drawn:
    """Draw JPEGs of all components and samplings."""
    luma, blue, red = coded()
    for wide, long in ((2, 1), (1, 2), (2, 2), (4, 1), (4, 2), (1, 4)):
        halves = [plane[::long, ::wide] for plane in (blue, red)]
        factors = [(wide, long), (1, 1), (1, 1)]
        yield f"ycbcr-{wide}-{long}.jpg", jpeg([luma, *halves], factors=factors), IN_COLOUR
        yield (
            f"ycbcr-{wide}-{long}-separate.jpg",
            jpeg([luma, *halves], factors=factors, separate=True),
            IN_COLOUR,
        )
    yield (
        "ycbcr-2-1-and-1-2.jpg",
        jpeg([luma, blue[::2], red[:, ::2]], factors=[(2, 2), (2, 1), (1, 2)]),
        IN_COLOUR,
    )
    rgb = [blocks(QUADRANTS)[..., channel] for channel in range(3)]
    yield "rgb-by-names-without-jfif.jpg", jpeg(rgb, ids=b"RGB", before=b""), IN_COLOUR
    yield "rgb-by-adobe-odd-numbers.jpg", jpeg(rgb, ids=(7, 8, 9), before=adobe(0)), IN_COLOUR
    yield "ycbcr-without-jfif.jpg", jpeg([luma, blue, red], before=b""), IN_COLOUR
    yield "ycbcr-numbered-from-0.jpg", jpeg([luma, blue, red], ids=(0, 1, 2), before=b""), IN_COLOUR
    yield "ycbcr-odd-numbers.jpg", jpeg([luma, blue, red], ids=(34, 35, 36), before=b""), IN_COLOUR
    yield "ycbcr-by-adobe.jpg", jpeg([luma, blue, red], before=adobe(1)), IN_COLOUR
    yield "ycbcr-jfif-and-adobe-0.jpg", jpeg([luma, blue, red], before=JFIF + adobe(0)), IN_COLOUR
    # Of four components all readers take 0 for the most ink, as Adobe writes it, whether Adobe is named or not.
    inks = [*rgb, np.full_like(luma, 255)]
    yield "cmyk-unsaid.jpg", jpeg(inks, before=b""), IN_COLOUR
    yield "cmyk-adobe-0.jpg", jpeg(inks, before=adobe(0)), IN_COLOUR
    # YCCK is YCbCr of what is left when the inks are taken away.
    left = Image.fromarray((255 - blocks(QUADRANTS)).astype(np.uint8)).convert("YCbCr")
    ycck = [*map(np.asarray, left.split()), np.full_like(luma, 255)]
    yield "ycck-adobe-2.jpg", jpeg(ycck, before=adobe(2)), IN_COLOUR
    halves = [ycck[0], ycck[1][::2, ::2], ycck[2][::2, ::2], ycck[3]]
    factors = [(2, 2), (1, 1), (1, 1), (2, 2)]
    yield "ycck-halved.jpg", jpeg(halves, factors=factors, before=adobe(2)), IN_COLOUR
    grey = blocks(GREYS)[..., 0]
    yield "grey-of-2-2.jpg", jpeg([grey], factors=[(2, 2)]), GREY
    yield "grey-progressive.jpg", jpeg([grey], frame=0xC2), fields_of(GREYS, tolerance=14, size=(64, 64))
    yield "grey-with-adobe.jpg", jpeg([grey], before=adobe(1)), GREY
    yield "tables-of-16-bits.jpg", jpeg([luma, blue, red], wide=True, frame=0xC1), IN_COLOUR
    yield "two-components.jpg", jpeg([grey, grey]), UNSUPPORTED
    yield "lossless-rgb.jpg", stored("jpeg-lossless-rgb"), fields_of(QUADRANTS, or_skipped="unsupported")
    yield "lossless-grey-16.jpg", stored("jpeg-lossless-grey-16"), UNSUPPORTED
    yield "extended-grey-12.jpg", stored("jpeg-12-grey"), UNSUPPORTED
    yield "jpeg-ls.jpg", stored("jpeg-ls"), UNSUPPORTED
    for marker, name in ((0xC5, "hierarchical"), (0xCB, "lossless-arithmetic")):
        yield f"{name}.jpg", jpeg([grey], frame=marker), UNSUPPORTED


def jpeg_cut_or_padded() -> Drawn:
    """Draw JPEGs that stop early, and with bytes where none belong."""
    planes = coded()
    whole = jpeg(planes)
    yield "end-mark-twice.jpg", whole + END, IN_COLOUR
    yield "another-jpeg-behind.jpg", whole + jpeg(planes[::-1]), IN_COLOUR
    yield "another-jpeg-behind-no-end-mark.jpg", whole[:-2] + jpeg(planes[::-1]), IN_COLOUR
    yield "ones-behind.jpg", whole + b"\xff" * 5000, IN_COLOUR
    yield "ones-instead-of-the-end-mark.jpg", whole[:-2] + b"\xff" * 5000, IN_COLOUR
    at = whole.index(b"\xff\xda")
    yield "zeros-before-the-scan.jpg", whole[:at] + bytes(50) + whole[at:], IN_COLOUR
    yield (
        "fill-bytes-before-every-marker.jpg",
        b"\xff\xd8\xff\xff" + whole[3:at] + b"\xff\xff\xff" + whole[at:],
        IN_COLOUR,
    )
    yield "start-mark-twice.jpg", b"\xff\xd8" + whole, Right((QUADRANTS,), **SQUARE, or_skipped="corrupt")
    yield "text-between-pixels-and-end-mark.jpg", whole[:-2] + segment(0xFE, b"words") + END, IN_COLOUR
    separate = jpeg(planes, separate=True)
    yield "separate-scans-no-end-mark.jpg", separate[:-2], IN_COLOUR
    yield "separate-scans-half-end-mark.jpg", separate[:-1], IN_COLOUR
    restarts = jpeg(planes, restart=4)
    yield "restarts-no-end-mark.jpg", restarts[:-2], IN_COLOUR
    yield (
        "restarts-one-marker-lost.jpg",
        restarts.replace(b"\xff\xd6", b"", 1),
        Right((QUADRANTS,), **SQUARE, or_skipped="corrupt"),
    )
    yield (
        "restarts-wrong-number.jpg",
        restarts.replace(b"\xff\xd6", b"\xff\xd3", 1),
        Right((QUADRANTS,), **SQUARE, or_skipped="corrupt"),
    )
    yield (
        "restarts-bytes-before-a-marker.jpg",
        restarts.replace(b"\xff\xd6", b"\x00\x11\x22\xff\xd6", 1),
        IN_COLOUR,
    )
    dnl = jpeg(planes, height=0)
    yield (
        "height-behind-the-scan.jpg",
        dnl[:-2] + segment(0xDC, struct.pack(">H", 64)) + END,
        Right((QUADRANTS,), **SQUARE, or_skipped="unsupported"),
    )
    yield "height-said-twice.jpg", whole[:-2] + segment(0xDC, struct.pack(">H", 64)) + END, IN_COLOUR
    huffman = tables()[tables().index(b"\xff\xc4") :]
    yield (
        "tables-in-the-middle.jpg",
        whole.replace(huffman, b"").replace(b"\xff\xda", huffman + b"\xff\xda"),
        IN_COLOUR,
    )
    image = quadrants((64, 48))
    for name, options in (
        ("grey", {}),
        ("cmyk", {}),
        ("progressive", {"progressive": True}),
        ("optimised", {"optimize": True}),
    ):
        mode = {"grey": "L", "cmyk": "CMYK"}.get(name, "RGB")
        data = encode(image.convert(mode), ".jpg", quality=95, **options)
        colours = (
            [round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in QUADRANTS] if mode == "L" else QUADRANTS
        )
        right = fields_of(colours, tolerance=20 if mode == "CMYK" else 10)
        yield f"{name}-no-end-mark.jpg", data[:-2], right
        yield f"{name}-zeros-for-end-mark.jpg", data[:-2] + bytes(700), right
    large = encode(Image.effect_noise((640, 480), 40), ".jpg", quality=90, progressive=True)
    scans = [place for place in range(len(large) - 1) if large[place : place + 2] == b"\xff\xda"]
    middle = Right(((128,) * 4,), 12, (640, 480), or_skipped="corrupt")
    for number, place in enumerate(scans):
        yield f"progressive-cut-before-scan-{number}.jpg", large[:place], middle
        yield f"progressive-cut-in-scan-{number}.jpg", large[: place + 400], middle
    yield "cut-in-the-header.jpg", whole[: at - 20], Right(pages=(), skipped="corrupt")
    yield "cut-before-the-first-pixel.jpg", whole[: at + 14], Right(pages=(), skipped="corrupt")


def damaged_metadata() -> Drawn:
    """Draw files of several formats whose metadata is damaged."""
    image = quadrants((64, 48))
    plain = encode(image, ".jpg", **SHARP)
    start, rest = plain[:2], plain[2:]
    for name, one in {
        "adobe-of-5-bytes": segment(0xEE, b"Adobe"),
        "adobe-of-7-bytes": segment(0xEE, b"Adobe\0\x64"),
        "adobe-twice": adobe(1) + segment(0xEE, b"Adobe"),
        "jfif-of-5-bytes": segment(0xE0, b"JFIF\0"),
        "jfif-thumbnail-that-is-missing": segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\xff\xff"),
        "icc-part-0-of-0": segment(0xE2, b"ICC_PROFILE\0\0\0"),
        "icc-part-3-of-2": segment(0xE2, b"ICC_PROFILE\0\3\2junk"),
        "icc-255-parts-of-junk": segment(0xE2, b"ICC_PROFILE\0\1\xffjunk") * 255,
        "exif-of-64-kib-of-ones": segment(0xE1, b"Exif\0\0" + b"\xff" * 65_000),
        "exif-of-big-tiff": segment(0xE1, b"Exif\0\0II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0"),
        "exif-two-hundred": segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0") * 200,
        "exif-directory-in-its-header": segment(0xE1, b"Exif\0\0II*\0\0\0\0\0"),
        "xmp-unclosed": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta <<<"),
        "xmp-orientation-of-words": segment(
            0xE1, b'http://ns.adobe.com/xap/1.0/\0<a tiff:Orientation="up"/>'
        ),
        "xmp-extended-of-junk": segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"9" * 40),
        "mpf-beyond-the-end": segment(0xE2, b"MPF\0II*\0\xff\xff\xff\x7f"),
        "photoshop-8bim-too-long": segment(0xED, b"Photoshop 3.0\08BIM\4\4\0\0\x7f\xff\xff\xff"),
        "photoshop-resolution-of-2-bytes": segment(0xED, b"Photoshop 3.0\08BIM\3\xed\0\0\0\0\0\2\0\1"),
        "comment-of-no-utf-8": segment(0xFE, b"\xff\xfe\0\x80" * 50),
        "every-application-segment": b"".join(segment(0xE0 + n, b"\0") for n in range(16)),
        "jpegs-own-extension": segment(0xF0, b"junk") + segment(0xFD, b"junk"),
    }.items():
        yield f"{name}.jpg", start + one + rest, RIGHT
    yield from damaged_chunks(image)


def damaged_chunks(image: Image.Image) -> Drawn:
    """Draw WebP, GIF, HEIC, AVIF, BMP, TGA, Photoshop and JPEG 2000 with damaged metadata."""
    webp = encode(image, ".webp", lossless=True)

    def extended(flags: int, *chunks: bytes) -> bytes:
        head = (
            b"VP8X\x0a\0\0\0"
            + bytes([flags, 0, 0, 0])
            + struct.pack("<I", 63)[:3]
            + struct.pack("<I", 47)[:3]
        )
        body = b"WEBP" + head + b"".join(chunks)
        return b"RIFF" + struct.pack("<I", len(body)) + body

    def part(name: bytes, contents: bytes) -> bytes:
        return name + struct.pack("<I", len(contents)) + contents + bytes(len(contents) % 2)

    pixels = webp[12:]
    yield "icc-promised-and-missing.webp", extended(0x20, pixels), Right()
    yield "icc-of-junk.webp", extended(0x20, part(b"ICCP", b"junk"), pixels), Right()
    yield "exif-promised-and-missing.webp", extended(0x08, pixels), Right()
    yield "exif-of-junk-odd.webp", extended(0x08, pixels, part(b"EXIF", b"\xff" * 33)), Right()
    yield "exif-before-the-pixels.webp", extended(0x08, part(b"EXIF", b"junk"), pixels), Right()
    yield "alpha-promised-and-missing.webp", extended(0x10, pixels), Right()
    yield (
        "chunks-of-unknown-names.webp",
        extended(0, part(b"abcd", b"x"), pixels, part(b"\xff\0\1\2", b"y" * 999)),
        Right(),
    )
    gif = encode(image.quantize(8), ".gif")
    colours = 13 + 3 * (2 << (gif[10] & 7))
    for name, block in {
        "comment-of-ones": b"!\xfe\xff" + b"\xff" * 255 + b"\0",
        "application-of-no-length": b"!\xff\0",
        "xmp-as-adobe-writes-it": b"!\xff\x0bXMP DataXMP<x/>\1" + bytes(range(255, 0, -1)) + b"\0\0",
        "plain-text": b"!\1\x0c" + bytes(12) + b"\5words\0",
        "extension-of-unknown-kind": b"!\x77\4junk\0",
        "colour-profile-of-junk": b"!\xff\x0bICCRGBG1012\4junk\0",
    }.items():
        yield (
            f"{name}.gif",
            gif[:colours] + block + gif[colours:],
            Right(or_skipped="corrupt" if name == "application-of-no-length" else ""),
        )
    for name, exif in (("junk", b"junk"), ("nothing", bytes(6)), ("orientation-of-99", _exif(99))):
        yield f"exif-of-{name}.heic", encode(image, ".heic", exif=exif, quality=95), Right(tolerance=12)
    yield (
        "exif-of-orientation-of-99.avif",
        encode(image, ".avif", exif=_exif(99), quality=95),
        Right(tolerance=12),
    )
    info = struct.pack("<IiiHHIIiiII", 124, 64, 48, 1, 24, 0, 64 * 48 * 3, 0, 0, 0, 0)
    rows = np.ascontiguousarray(fields()[::-1, :, ::-1]).tobytes()
    for name, place, length in (("outside", 99_999_999, 500), ("of-2-gb", 124, 2**31), ("of-junk", 124, 300)):
        body = info + bytes(16) + b"DEBM" + bytes(48) + struct.pack("<4I", 4, place, length, 0) + rows
        yield f"profile-{name}.bmp", struct.pack("<2sIHHI", b"BM", 14 + len(body), 0, 0, 138) + body, Right()
    tga = encode(image, ".tga")
    if tga.endswith(b"TRUEVISION-XFILE.\0"):
        tga = tga[:-26]
    for name, place in (("outside", 2**31), ("in-the-header", 2), ("nowhere", 0)):
        yield (
            f"extension-{name}.tga",
            tga + struct.pack("<II", place, place) + b"TRUEVISION-XFILE.\0",
            Right(),
        )
    jp2 = encode(image, ".jp2")
    at = jp2.index(b"jp2c") - 4
    yield (
        "boxes-of-unknown-names.jp2",
        jp2[:at] + struct.pack(">I4s", 16, b"uuid") + b"junkjunk" + jp2[at:],
        Right(),
    )
    yield "xml-of-junk.jp2", jp2[:at] + struct.pack(">I4s", 12, b"xml ") + b"<<<<" + jp2[at:], Right()


def _exif(orientation: int) -> bytes:
    """Return EXIF of nothing but an orientation."""
    return b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHHI", 274, 3, 1, orientation, 0, 0)
