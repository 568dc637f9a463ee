"""Siblings in BMP, TGA, Photoshop, PNM, JPEG 2000 and AVIF: depth and layout."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from PIL import Image

from support.pictures import QUADRANTS, encode, quadrants
from support.profiles import MUTED, into, profile
from support.siblings import QUARTERS, UNSUPPORTED, Drawn, Right, fields_of
from support.siblings.stored import stored
from support.tagged import GREYS, fields, pack, packed

GREY = fields_of(GREYS)
FLIPPED = (QUADRANTS[1], QUADRANTS[0], QUADRANTS[3], QUADRANTS[2])


def little(value: int, count: int = 4) -> bytes:
    return value.to_bytes(count, "little")


def bmp(
    rows: bytes, bits: int, compression: int = 0, *, masks: bytes = b"", colours: bytes = b"", tall: int = 48
) -> bytes:
    """Return a BMP with the usual header of 40 bytes, or a longer one if ``masks`` begins with its length."""
    header = struct.pack("<iiHHIIiiII", 64, tall, 1, bits, compression, len(rows), 0, 0, len(colours) // 4, 0)
    size = 40 + len(masks) if len(masks) > 16 else 40
    body = little(size) + header + masks + colours
    return b"BM" + little(14 + len(body) + len(rows)) + bytes(4) + little(14 + len(body)) + body + rows


def tga(
    pixels: bytes,
    kind: int,
    depth: int,
    descriptor: int = 0x20,
    *,
    colours: bytes = b"",
    first: int = 0,
    entry: int = 0,
) -> bytes:
    """Return a TGA: ``kind`` is its type, 0x20 in the descriptor from above, 0x10 from the right."""
    count = len(colours) * 8 // entry if entry else 0
    head = struct.pack(
        "<BBBHHBHHHHBB", 0, bool(colours), kind, first, count, entry, 0, 0, 64, 48, depth, descriptor
    )
    return head + colours + pixels


def psd(
    planes: list[Any],
    mode: int,
    *,
    bits: int = 8,
    colours: bytes = b"",
    layers: bytes = b"",
    version: int = 1,
    runs: bool = False,
) -> bytes:
    """Return a Photoshop file of planes; in ``runs`` if they are packed."""
    head = b"8BPS" + struct.pack(">H6xHIIHH", version, len(planes), 48, 64, bits, mode)
    data = [np.ascontiguousarray(plane).tobytes() for plane in planes]
    if runs:
        lines = [packed(plane[at : at + 64], "packbits") for plane in data for at in range(0, len(plane), 64)]
        data = [b"".join(struct.pack(">H", len(line)) for line in lines), *lines]
    word = ">I" if version == 1 else ">Q"
    layers = struct.pack(word, len(layers)) + layers
    return (
        head
        + struct.pack(">I", len(colours))
        + colours
        + bytes(4)
        + layers
        + struct.pack(">H", runs)
        + b"".join(data)
    )


def jp2(codestream: bytes, boxes: bytes, *, components: int = 3) -> bytes:
    """Return a JP2 of a codestream, with boxes of yours in its header."""
    inside = struct.pack(">I4sIIHBBBB", 22, b"ihdr", 48, 64, components, 7, 7, 0, 0) + boxes
    start = b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s4sI4s", 20, b"ftyp", b"jp2 ", 0, b"jp2 ")
    return (
        start
        + struct.pack(">I4s", 8 + len(inside), b"jp2h")
        + inside
        + struct.pack(">I4s", 0, b"jp2c")
        + codestream
    )


def space(number: int) -> bytes:
    """Return JP2's box for a colour space: 16 sRGB, 17 grey, 18 sYCC, 12 CMYK."""
    return struct.pack(">I4sBBBI", 15, b"colr", 1, 0, 0, number)


def other_formats_depth() -> Drawn:
    """Draw PNM, PFM, JPEG 2000 and AVIF of many depths."""
    grey, rgb = fields(GREYS), fields()
    for top in (3, 100, 254, 256, 1000, 65535):
        scaled = np.round(grey / 255 * top)
        kind = ">u2" if top > 255 else "u1"
        right = fields_of(GREYS, tolerance=45 if top == 3 else 6)
        yield f"pgm-{top}.pgm", b"P5\n64 48\n%d\n" % top + scaled.astype(kind).tobytes(), right
        text = " ".join(str(int(value)) for value in scaled.ravel())
        yield f"pgm-{top}-in-words.pgm", f"P2 # 1 2 3\n64 # wide\n48\n{top}\n{text}".encode(), right
    top_colours = np.round(rgb / 255 * 1000).astype(">u2").tobytes()
    yield "ppm-1000-comments.ppm", b"P6\n#a\n#b\n64#c\n#d\n48 1000\n" + top_colours, QUARTERS
    yield "pgm-comment-behind-its-height.pgm", b"P5 64 48#c\n255\n" + grey.tobytes(), GREY
    yield (
        "pbm-comment-behind-its-width.pbm",
        b"P4 64#c\n48\n" + pack(fields((1, 0, 0, 1)), 1),
        fields_of((0, 255, 255, 0)),
    )
    yield "pgm-comment-behind-its-top.pgm", b"P5 64 48 255#c\n" + grey.tobytes(), GREY
    yield "ppm-in-words.ppm", b"P3 64 48 255 " + " ".join(map(str, rgb.ravel().tolist())).encode(), QUARTERS
    ones = fields((1, 0, 0, 1))
    black = fields_of((0, 255, 255, 0))
    yield "pbm.pbm", b"P4 64 48\n" + pack(ones, 1), black
    yield (
        "pbm-in-words-without-spaces.pbm",
        b"P1\n64 48\n" + "".join(map(str, ones.ravel().tolist())).encode(),
        black,
    )
    light = fields(GREYS, dtype=np.float64)[::-1] / 255
    yield "grey-little.pfm", b"Pf\n64 48\n-1.0\n" + light.astype("<f4").tobytes(), GREY
    yield "grey-big-scaled.pfm", b"Pf\n64 48\n2.5\n" + light.astype(">f4").tobytes(), GREY
    for name, right in {
        "j2k-1bit": fields_of((0, 255, 255, 0)),
        "j2k-4bit": fields_of((0, 85, 170, 255)),
        "j2k-12": GREY,
        "j2k-s16": GREY,
    }.items():
        boxed = stored(name)
        yield f"{name}.jp2", boxed, right
        yield f"{name}.j2k", boxed[boxed.index(b"jp2c") + 4 :], right
    for name in ("avif-10", "avif-12"):
        yield f"{name}.avif", stored(name), Right()
    yield "avif-grey.avif", stored("avif-grey"), GREY


def other_formats_layout() -> Drawn:
    """Draw BMP, TGA, Photoshop, JPEG 2000 in their layouts, and kinds of image that are not read."""
    yield from bitmaps()
    yield from targas()
    yield from photoshops()
    code = encode(quadrants((64, 48)), ".j2k")
    for name, numbers in (("palette", (0, 1, 2, 3)), ("palette-colours-twice", (0, 4, 5, 9))):
        colours = [QUADRANTS[0]] * 4 + [QUADRANTS[1], QUADRANTS[2], *[QUADRANTS[2]] * 3, QUADRANTS[3]]
        entries = b"".join(map(bytes, QUADRANTS if name == "palette" else colours))
        colour_map = struct.pack(">HB3B", len(entries) // 3, 3, 7, 7, 7) + entries
        colour_map = struct.pack(">I4s", 8 + len(colour_map), b"pclr") + colour_map
        channels = struct.pack(">I4s", 20, b"cmap") + b"".join(struct.pack(">HBB", 0, 1, n) for n in range(3))
        indexes = encode(Image.fromarray(fields(numbers)), ".j2k")
        yield f"{name}.jp2", jp2(indexes, space(16) + colour_map + channels, components=1), QUARTERS
    ycc = Image.fromarray(np.asarray(quadrants((64, 48)).convert("YCbCr")), "RGB")
    yield "sycc.jp2", jp2(encode(ycc, ".j2k", mct=0), space(18)), Right(or_skipped="unsupported")
    yield "unknown-space.jp2", jp2(code, struct.pack(">I4sBBBI", 15, b"colr", 9, 0, 0, 0)), QUARTERS
    yield "without-colr.jp2", jp2(code, b""), QUARTERS
    clear = Image.fromarray(
        np.dstack([fields(), np.where(fields((0, 1, 1, 1)) == 0, 0, 255).astype(np.uint8)])
    )
    cleared = fields_of(((255, 255, 255), *QUADRANTS[1:]))
    definitions = struct.pack(">I4sH", 34, b"cdef", 4) + b"".join(
        struct.pack(">3H", n, n == 3, 0 if n == 3 else n + 1) for n in range(4)
    )
    yield "alpha-by-cdef.jp2", jp2(encode(clear, ".j2k"), space(16) + definitions, components=4), cleared
    yield "qoi.qoi", stored("qoi"), QUARTERS
    for name in ("jxr", "jxl"):
        yield f"{name}.{name}", stored(name), UNSUPPORTED
    yield "webp-inside.tif", stored("tiff-webp"), Right(or_skipped="unsupported")
    yield "predictor-3.tif", stored("tiff-pred3"), Right(or_skipped="unsupported")


def bitmaps() -> Drawn:
    """Draw BMPs."""
    rgb = fields()[::-1]
    indexes = fields((0, 1, 2, 3))[::-1]
    bgr = rgb[..., ::-1]
    colours = b"".join(bytes(colour[::-1]) + b"\0" for colour in QUADRANTS)
    for bits in (2, 4, 8):
        yield (
            f"bmp{bits}-four-colours.bmp",
            bmp(pack(indexes, bits), bits, colours=colours),
            Right(or_skipped="unsupported" if bits == 2 else ""),
        )
    white_first = b"\xff\xff\xff\0\0\0\0\0"
    yield (
        "bmp1-white-first.bmp",
        bmp(pack(fields((0, 1, 1, 0))[::-1], 1), 1, colours=white_first),
        fields_of((255, 0, 0, 255)),
    )
    runs = b"".join(bytes([32, 2 * (row < 24), 32, 2 * (row < 24) + 1, 0, 0]) for row in range(48)) + b"\0\1"
    yield "bmp8-runs.bmp", bmp(runs, 8, 1, colours=colours), QUARTERS
    nibbles = (
        b"".join(bytes([32, 0x22 * (row < 24), 32, 0x22 * (row < 24) + 0x11, 0, 0]) for row in range(48))
        + b"\0\1"
    )
    yield "bmp4-runs.bmp", bmp(nibbles, 4, 2, colours=colours), Right(or_skipped="unsupported")
    wide = rgb.astype(np.uint32)
    five = ((wide[..., 0] >> 3) << 10 | (wide[..., 1] >> 3) << 5 | wide[..., 2] >> 3).astype("<u2").tobytes()
    rough = Right(tolerance=9)
    yield "bmp16-plain.bmp", bmp(five, 16), rough
    yield (
        "bmp16-plain-top-down.bmp",
        bmp(np.frombuffer(five, "<u2").reshape(48, 64)[::-1].tobytes(), 16, tall=-48),
        rough,
    )
    masks = struct.pack("<3I", 0x7C00, 0x3E0, 0x1F)
    yield "bmp16-fields.bmp", bmp(five, 16, 3, masks=masks), rough
    alpha = struct.pack("<4I", 0x7C00, 0x3E0, 0x1F, 0x8000) + b"sRGB" + bytes(48)
    yield (
        "bmp16-alpha-of-zeros.bmp",
        bmp(five, 16, 3, masks=alpha),
        Right(tolerance=9, or_skipped="unsupported"),
    )
    ten = (wide[..., 0] << 22 | wide[..., 1] << 12 | wide[..., 2] << 2).astype("<u4").tobytes()
    yield (
        "bmp32-ten-bits.bmp",
        bmp(ten, 32, 3, masks=struct.pack("<3I", 0x3FF00000, 0xFFC00, 0x3FF)),
        Right(or_skipped="unsupported"),
    )
    filler = np.dstack([bgr, np.zeros((48, 64), np.uint8)])
    yield "bmp32-filler-of-zeros.bmp", bmp(filler.tobytes(), 32), QUARTERS
    yield "bmp24-fields-ignored.bmp", bmp(bgr.tobytes(), 24), QUARTERS
    core = (
        little(12)
        + struct.pack("<HHHH", 64, 48, 1, 8)
        + b"".join(bytes(colour[::-1]) for colour in QUADRANTS)
        + bytes(756)
    )
    yield (
        "bmp8-os2.bmp",
        b"BM" + little(14 + len(core) + 3072) + bytes(4) + little(14 + len(core)) + core + indexes.tobytes(),
        QUARTERS,
    )
    os2 = little(64) + struct.pack("<iiHHIIiiII", 64, 48, 1, 24, 0, 9216, 0, 0, 0, 0) + bytes(24)
    yield (
        "bmp24-os2-version-2.bmp",
        b"BM" + little(14 + 64 + 9216) + bytes(4) + little(78) + os2 + bgr.tobytes(),
        QUARTERS,
    )
    icc, numbers = profile("green and blue swapped"), np.round(into("green and blue swapped") * 255)
    rows = fields(numbers)[::-1, :, ::-1].tobytes()
    longer = bytes(16) + b"DEBM" + bytes(48) + struct.pack("<4I", 4, 124 + len(rows), len(icc), 0)
    yield "bmp24-version-5-profile.bmp", bmp(rows, 24, masks=longer) + icc, fields_of(MUTED)
    yield "bmp-with-jpeg-inside.bmp", bmp(encode(quadrants((64, 48)), ".jpg"), 0, 4), UNSUPPORTED


def targas() -> Drawn:
    """Draw TGAs."""
    rgb = fields()
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    indexes = fields((0, 1, 2, 3))
    colours = bytes(number for colour in QUADRANTS for number in colour[::-1])
    yield "tga-from-the-right.tga", tga(bgr[:, ::-1].tobytes(), 2, 24, 0x30), Right(or_skipped="unsupported")
    yield (
        "tga-from-below-and-the-right.tga",
        tga(bgr[::-1, ::-1].tobytes(), 2, 24, 0x10),
        Right(or_skipped="unsupported"),
    )
    yield "tga-palette24.tga", tga(indexes.tobytes(), 1, 8, colours=colours, entry=24), QUARTERS
    yield (
        "tga-palette24-from-5.tga",
        tga((indexes + 5).tobytes(), 1, 8, colours=colours, first=5, entry=24),
        Right(or_skipped="unsupported"),
    )
    clear = b"".join(bytes(colour[::-1]) + b"\xff" for colour in QUADRANTS)
    yield (
        "tga-palette32.tga",
        tga(indexes.tobytes(), 1, 8, colours=clear, entry=32),
        Right(or_skipped="unsupported"),
    )
    words = [(r >> 3) << 10 | (g >> 3) << 5 | b >> 3 for r, g, b in QUADRANTS]
    short = b"".join(little(word, 2) for word in words)
    yield (
        "tga-palette16.tga",
        tga(indexes.tobytes(), 1, 8, colours=short, entry=16),
        Right(tolerance=9, or_skipped="unsupported"),
    )
    yield (
        "tga16.tga",
        tga(fields(words, dtype="<u2").tobytes(), 2, 16),
        Right(tolerance=9, or_skipped="unsupported"),
    )
    yield (
        "tga16-attribute-of-zero.tga",
        tga(fields(words, dtype="<u2").tobytes(), 2, 16, 0x21),
        Right(tolerance=9, or_skipped="unsupported"),
    )
    yield "tga-grey.tga", tga(fields(GREYS).tobytes(), 3, 8), GREY
    runs = b"".join(b"\x9f" + bgr[row, column].tobytes() for row in range(48) for column in (0, 32))
    yield "tga-runs.tga", tga(runs, 10, 24), QUARTERS
    across = b"".join(b"\xff" + bgr[0, 0].tobytes() for _ in range(24))
    yield "tga-runs-across-rows.tga", tga(across, 10, 24), Right(((QUADRANTS[0],) * 4,), or_skipped="corrupt")
    grey = b"".join(bytes([0x9F, GREYS[2 * (row > 23) + column]]) for row in range(48) for column in (0, 1))
    yield "tga-grey-runs.tga", tga(grey, 11, 8), GREY
    number = b"".join(bytes([0x9F, 2 * (row > 23) + column]) for row in range(48) for column in (0, 1))
    yield "tga-palette-runs.tga", tga(number, 9, 8, colours=colours, entry=24), QUARTERS


def photoshops() -> Drawn:
    """Draw Photoshop's files, all modes."""
    grey, planes = fields(GREYS), list(np.moveaxis(fields(), 2, 0))
    full = np.full((48, 64), 255, np.uint8)
    yield "psd-grey.psd", psd([grey], 1), GREY
    yield "psd-grey-selection.psd", psd([grey, full * 0], 1), GREY
    yield "psd-duotone.psd", psd([grey], 8, colours=b"junk" * 9), GREY
    entries = b"".join(bytes(colour[channel] for colour in QUADRANTS) + bytes(252) for channel in range(3))
    yield "psd-indexed.psd", psd([fields((0, 1, 2, 3))], 2, colours=entries), Right(or_skipped="unsupported")
    inks = [*planes, full]
    yield "psd-cmyk.psd", psd(inks, 4), QUARTERS
    yield "psd-cmyk-selection-runs.psd", psd([*inks, full * 0], 4, runs=True), QUARTERS
    yield "psd-rgb-runs.psd", psd(planes, 3, runs=True), QUARTERS
    yield "psd-rgb-three-selections.psd", psd([*planes, full * 0, full, full * 0], 3), QUARTERS
    yield "psd-rgb-transparency.psd", psd([*planes, full], 3, layers=struct.pack(">Ih", 2, -1)), QUARTERS
    yield "psd-multichannel.psd", psd(planes, 7), UNSUPPORTED
    yield (
        "psd-grey-16.psd",
        psd([grey.astype(">u2") * 257], 1, bits=16),
        Right(pages=(GREYS,), or_skipped="unsupported"),
    )
    yield (
        "psd-grey-32.psd",
        psd([(grey / 255).astype(">f4")], 1, bits=32),
        Right(pages=(GREYS,), or_skipped="unsupported"),
    )
    yield "psb-grey.psb", psd([grey], 1, version=2), Right(pages=(GREYS,), or_skipped="unsupported")
