"""Siblings in PNG: metadata that is large, damaged or unknown, depths and transparency, colour without a profile."""

from __future__ import annotations

import os
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support.pictures import QUADRANTS
from support.profiles import MUTED, SWAPPED, into, light, profile, srgb_profile
from support.siblings import QUARTERS, Drawn, Right, fields_of
from support.tagged import GREYS, chunk, fields, pack, png

WHITE = (255, 255, 255)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY = fields_of(GREYS)
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: the first column and row of each pass, and its steps."""
IN_COLOUR = fields_of(MUTED)


def interlaced(
    values: NDArray[Any], bits: int, colour_type: int, *, before: bytes = b"", after: bytes = b""
) -> bytes:
    """Return a PNG in Adam7's seven passes."""
    raw = b""
    for x, y, across, down in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        part = values[y::down, x::across]
        packed = pack(part.reshape(len(part), -1), bits, big=True)
        row = len(packed) // len(part)
        raw += b"".join(b"\0" + packed[at : at + row] for at in range(0, len(packed), row))
    height, width = values.shape[:2]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 1))
    return SIGNATURE + header + before + chunk(b"IDAT", zlib.compress(raw)) + after + chunk(b"IEND", b"")


def palette(colours: Any = QUADRANTS) -> bytes:
    """Return PLTE of four colours."""
    return chunk(b"PLTE", bytes(number for colour in colours for number in colour))


def png_large_metadata() -> Drawn:
    """Draw PNGs whose metadata is huge."""
    large = os.urandom(1) * (20 << 20)
    for name, one in {
        "text-of-20-mb": chunk(b"tEXt", b"Comment\0" + large),
        "exif-of-3-mb": chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0\0\0\0\0" + large[: 3 << 20]),
        "private-of-20-mb": chunk(b"prVt", large),
        "ten-thousand-texts": chunk(b"tEXt", b"Comment\0words") * 10_000,
        "itxt-that-unpacks-to-200-mb": chunk(
            b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(200 << 20))
        ),
        "profile-name-of-1-mb": chunk(b"iCCP", large[: 1 << 20] + b"\0\0" + zlib.compress(srgb_profile())),
        "profile-of-srgb-padded-to-3-mb": chunk(
            b"iCCP", b"x\0\0" + zlib.compress(srgb_profile().ljust(3 << 20, b"\0"))
        ),
        "palette-suggested-of-1-mb": chunk(b"sPLT", b"name\0\x08" + large[: 1 << 20]),
    }.items():
        yield f"{name}.png", png(fields(), before=one), QUARTERS
        if name in ("text-of-20-mb", "itxt-that-unpacks-to-200-mb"):
            yield f"{name}-after-pixels.png", png(fields(), after=one), QUARTERS
    grey = fields(GREYS)
    yield (
        "grey16-exif-of-3-mb.png",
        png(grey.astype(np.uint32) * 257, 16, 0, before=chunk(b"eXIf", large[: 3 << 20])),
        GREY,
    )
    yield (
        "interlaced-private-of-20-mb.png",
        interlaced(fields(), 8, 2, before=chunk(b"prVt", large)),
        QUARTERS,
    )


def png_damaged_where_it_does_not_matter() -> Drawn:
    """Draw PNGs with damage outside of their pixels."""
    plain = png(fields())
    at = plain.index(b"IDAT") - 4
    cut = plain.index(b"IEND") - 4
    idat = plain[at:cut]
    data = idat[8:-4]
    head, tail = plain[:at], plain[cut:]
    text = chunk(b"tEXt", b"Comment\0words", checksum=1)
    yield (
        "wrong-checksum-in-all-at-once.png",
        head
        + b"".join(
            chunk(name, b"\0" * 9, checksum=3)
            for name in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"cHRM", b"eXIf", b"tRNS", b"sBIT")
        )
        + idat
        + tail,
        QUARTERS,
    )
    yield "interlaced-wrong-checksum.png", interlaced(fields(), 8, 2, before=text, after=text), QUARTERS
    halves = chunk(b"IDAT", data[: len(data) // 2]), chunk(b"IDAT", data[len(data) // 2 :])
    yield "text-with-wrong-checksum-between-pixels.png", head + halves[0] + text + halves[1] + tail, QUARTERS
    yield "empty-idat-between-pixels.png", head + halves[0] + chunk(b"IDAT", b"") + halves[1] + tail, QUARTERS
    yield (
        "byte-by-byte.png",
        head + b"".join(chunk(b"IDAT", data[i : i + 1]) for i in range(len(data))) + tail,
        QUARTERS,
    )
    suggested = chunk(b"PLTE", b"\1\2\3" * 10, checksum=9)
    yield "suggested-palette-with-wrong-checksum.png", head + suggested + idat + tail, QUARTERS
    yield "suggested-palette-of-odd-length.png", head + chunk(b"PLTE", b"\1\2\3\4") + idat + tail, QUARTERS
    yield "end-with-wrong-checksum.png", head + idat + chunk(b"IEND", b"", checksum=0), QUARTERS
    yield "end-with-contents.png", head + idat + chunk(b"IEND", b"words"), QUARTERS
    yield "bytes-behind.png", plain + b"\0" * 3000, QUARTERS
    yield "another-png-behind.png", plain + png(fields(QUADRANTS[::-1])), QUARTERS
    yield "name-of-no-letters.png", head + chunk(b"a1!\x80", b"words") + idat + tail, QUARTERS
    yield (
        "animation-control-with-wrong-checksum.png",
        head + chunk(b"acTL", struct.pack(">II", 1, 0), checksum=5) + idat + tail,
        QUARTERS,
    )
    yield (
        "frame-control-too-short.png",
        head + chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", b"\0" * 5) + idat + tail,
        QUARTERS,
    )
    yield (
        "transparency-longer-than-palette.png",
        png(fields((0, 1, 2, 3)), 8, 3, before=palette() + chunk(b"tRNS", b"\xff" * 300)),
        QUARTERS,
    )
    yield (
        "transparency-in-rgba.png",
        png(
            np.dstack([fields(), np.full((48, 64), 255)]), 8, 6, before=chunk(b"tRNS", b"\0\xdc\0\x28\0\x28")
        ),
        QUARTERS,
    )
    yield (
        "length-of-a-text-beyond-the-end.png",
        head + idat + struct.pack(">I", 2**31 - 1) + b"tEXtwords",
        QUARTERS,
    )
    broken = struct.pack(">I", 4) + b"gAMA" + b"\0\0\xb1\x8f"
    yield "checksum-missing-at-the-end.png", head + idat + broken, QUARTERS
    yield (
        "header-with-wrong-checksum.png",
        SIGNATURE + chunk(b"IHDR", plain[16:29], checksum=1) + idat + tail,
        Right(or_skipped="corrupt"),
    )
    window = bytes([data[0] & 15, (31 - ((data[0] & 15) << 8) % 31) % 31]) + data[2:]
    yield "window-too-small.png", head + chunk(b"IDAT", window) + tail, Right(or_skipped="corrupt")
    yield (
        "more-pixels-than-rows.png",
        png(fields(), pixels=zlib.compress(zlib.decompress(data) + bytes(3000))),
        QUARTERS,
    )


def png_depth_and_transparent_colour() -> Drawn:
    """Draw PNGs of all depths, with a colour that is transparent."""
    for bits in (1, 2, 4, 8, 16):
        top = 2**bits - 1
        shades = fields(
            (0, 1, 1, 0) if bits == 1 else np.round(np.asarray((0, 1 / 3, 2 / 3, 1)) * top), dtype=np.uint32
        )
        seen = (0, 255, 255, 0) if bits == 1 else (0, 85, 170, 255)
        key = chunk(b"tRNS", struct.pack(">H", 0))
        clear = fields_of(tuple(255 if shade == 0 else shade for shade in seen)) if bits > 1 else None
        yield f"grey{bits}-interlaced.png", interlaced(shades, bits, 0), fields_of(seen)
        if clear:
            yield (
                f"grey{bits}-interlaced-black-transparent.png",
                interlaced(shades, bits, 0, before=key),
                clear,
            )
            third = chunk(b"tRNS", struct.pack(">H", round(top / 3)))
            yield (
                f"grey{bits}-third-transparent.png",
                png(shades, bits, 0, before=third),
                fields_of((0, 255, 170, 255)),
            )
    wide = fields().astype(np.uint32) * 257
    key = chunk(b"tRNS", struct.pack(">3H", *(257 * number for number in QUADRANTS[1])))
    yield (
        "rgb16-second-transparent.png",
        png(wide, 16, 2, before=key),
        fields_of((QUADRANTS[0], WHITE, *QUADRANTS[2:])),
    )
    yield (
        "rgb16-interlaced-second-transparent.png",
        interlaced(wide, 16, 2, before=key),
        fields_of((QUADRANTS[0], WHITE, *QUADRANTS[2:])),
    )
    nearly = chunk(b"tRNS", struct.pack(">3H", *(257 * number + 1 for number in QUADRANTS[1])))
    yield "rgb16-nearly-second-transparent.png", png(wide, 16, 2, before=nearly), QUARTERS
    near = chunk(b"tRNS", struct.pack(">H", GREYS[1] * 257 + 1))
    yield (
        "grey16-nearly-second-transparent.png",
        png(fields(GREYS).astype(np.uint32) * 257, 16, 0, before=near),
        GREY,
    )
    for bits in (2, 4, 8):
        indexes = fields((0, 1, 2, 3))
        yield f"palette{bits}-interlaced.png", interlaced(indexes, bits, 3, before=palette()), QUARTERS
        some = chunk(b"tRNS", b"\xff\0")
        yield (
            f"palette{bits}-transparency-shorter.png",
            png(indexes, bits, 3, before=palette() + some),
            fields_of((QUADRANTS[0], WHITE, *QUADRANTS[2:])),
        )
    yield (
        "palette1-second-transparent.png",
        png(fields((0, 1, 1, 0)), 1, 3, before=palette(QUADRANTS[:2]) + chunk(b"tRNS", b"\xff\0")),
        fields_of((QUADRANTS[0], WHITE, WHITE, QUADRANTS[0])),
    )
    opaque = np.full((48, 64), 65535, np.uint32)
    yield (
        "grey16-alpha-interlaced.png",
        interlaced(np.dstack([fields(GREYS).astype(np.uint32) * 257, opaque]), 16, 4),
        GREY,
    )
    half = np.where(fields((0, 1, 1, 1)) == 0, 0, opaque)
    yield (
        "rgba16-first-field-clear.png",
        png(np.dstack([wide, half]), 16, 6),
        fields_of((WHITE, *QUADRANTS[1:])),
    )
    yield (
        "grey8-alpha-first-field-clear.png",
        png(np.dstack([fields(GREYS), half >> 8]), 8, 4),
        fields_of((255, *GREYS[1:])),
    )
    low = fields(GREYS).astype(np.uint32) * 256 + 255
    yield "grey16-low-bytes-of-255.png", png(low, 16, 0), GREY
    yield "grey16-sbit-16.png", png(low, 16, 0, before=chunk(b"sBIT", b"\x10")), GREY
    yield "grey16-sbit-12-scaled.png", png(low & 0xFFF0, 16, 0, before=chunk(b"sBIT", b"\x0c")), GREY


def png_colour_without_profile() -> Drawn:
    """Draw PNGs that tell their colours by cICP, gAMA and cHRM."""
    linear = np.asarray(light(np.asarray(MUTED) / 255))

    def colours(signal: Any, before: bytes, bits: int = 16) -> bytes:
        return png(
            fields(np.round(np.asarray(signal) * (2**bits - 1)), dtype=np.uint32), bits, 2, before=before
        )

    def gamma(number: float) -> bytes:
        return chunk(b"gAMA", struct.pack(">I", round(number * 1e5)))

    def primaries(corners: Any) -> bytes:
        return chunk(b"cHRM", struct.pack(">8I", *(round(1e5 * number) for number in corners)))

    plain = np.asarray(MUTED) / 255
    yield "gamma-1-8-of-a-macintosh.png", colours(linear ** (1 / 1.8), gamma(1 / 1.8)), IN_COLOUR
    yield "gamma-1-over-2-5.png", colours(linear ** (1 / 2.5), gamma(0.4)), IN_COLOUR
    yield "gamma-and-srgb.png", colours(plain, gamma(1.0) + chunk(b"sRGB", b"\0")), IN_COLOUR
    yield "gamma-after-the-pixels.png", png(fields(MUTED), after=gamma(1.0)), IN_COLOUR
    yield "gamma-of-zero.png", colours(plain, gamma(0), 8), IN_COLOUR
    greys = np.asarray((60, 100, 170, 230))
    for bits in (8, 16):
        shades = np.round(light(greys / 255) * (2**bits - 1))
        yield (
            f"grey{bits}-linear.png",
            png(fields(shades, dtype=np.uint32), bits, 0, before=gamma(1.0)),
            fields_of(greys),
        )
    both = np.dstack(
        [fields(np.round(light(greys / 255) * 65535), dtype=np.uint32), np.full((48, 64), 65535)]
    )
    yield "grey16-alpha-linear.png", png(both, 16, 4, before=gamma(1.0)), fields_of(greys)
    entries = np.round(into("green and blue swapped") * 255).astype(int)
    yield (
        "palette-with-primaries.png",
        png(fields((0, 1, 2, 3)), 8, 3, before=primaries(SWAPPED) + palette(entries.tolist())),
        fields_of(MUTED, tolerance=10),
    )
    yield (
        "interlaced-with-primaries.png",
        interlaced(fields(np.round(into("green and blue swapped") * 255)), 8, 2, before=primaries(SWAPPED)),
        fields_of(MUTED, tolerance=10),
    )
    yield (
        "primaries-and-profile-of-srgb.png",
        colours(plain, primaries(SWAPPED) + chunk(b"iCCP", b"x\0\0" + zlib.compress(srgb_profile()))),
        IN_COLOUR,
    )
    p3 = chunk(b"iCCP", b"x\0\0" + zlib.compress(profile("Display P3")))
    yield "code-points-before-a-profile.png", colours(plain, chunk(b"cICP", b"\1\x0d\0\1") + p3), IN_COLOUR
    yield "code-points-of-the-wrong-length.png", colours(plain, chunk(b"cICP", b"\x0c\x0d\0"), 8), IN_COLOUR
    yield "code-points-unspecified.png", colours(plain, chunk(b"cICP", b"\2\2\0\1"), 8), IN_COLOUR
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    yield "code-points-of-bt-709.png", colours(curve, chunk(b"cICP", b"\1\1\0\1")), IN_COLOUR
    yield "code-points-linear.png", colours(linear, chunk(b"cICP", b"\1\x08\0\1")), IN_COLOUR
    narrow = (16 + 219 * plain) / 255
    yield (
        "code-points-of-narrow-range.png",
        colours(narrow, chunk(b"cICP", b"\1\x0d\0\0"), 8),
        fields_of(MUTED, tolerance=8),
    )
