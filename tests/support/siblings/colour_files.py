"""Siblings whose colours or direction stand beside the pixels: profiles, code points, HDR, EXIF, HEIF's properties."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from support import profiles
from support.coded import segment
from support.pictures import QUADRANTS, encode, quadrants
from support.profiles import MUTED, grey_profile, ink_profile, into, light, profile
from support.siblings import Drawn, Right, fields_of
from support.tagged import chunk, fields, pack, png, tiff

SWAPPED = "green and blue swapped"
IN_COLOUR = fields_of(MUTED, tolerance=10)
PLAIN = fields_of(MUTED, tolerance=6)
SHARP: dict[str, Any] = {"quality": 97, "subsampling": 0}
GREYS = np.array((60, 120, 180, 250))


def swapped() -> Image.Image:
    """Return the fields in a space whose green and blue are swapped."""
    return Image.fromarray(fields(np.round(into(SWAPPED) * 255)))


def in_parts(data: bytes, icc: bytes, numbers: list[int], count: int) -> bytes:
    """Return a JPEG with a profile in parts of this order."""
    size = -(-len(icc) // count)
    parts = [icc[(n - 1) * size : n * size] for n in numbers]
    segments = [
        segment(0xE2, b"ICC_PROFILE\0" + bytes([n, count]) + part)
        for n, part in zip(numbers, parts, strict=True)
    ]
    return data[:2] + b"".join(segments) + data[2:]


def colour_profile() -> Drawn:
    """Draw files with profiles: of all versions and kinds, in parts, damaged, and for other images."""
    image, icc = swapped(), profile(SWAPPED)
    jpeg = encode(image, ".jpg", **SHARP)
    plain = encode(Image.fromarray(fields(MUTED)), ".jpg", **SHARP)
    yield "three-parts.jpg", in_parts(jpeg, icc, [1, 2, 3], 3), IN_COLOUR
    yield "three-parts-out-of-order.jpg", in_parts(jpeg, icc, [3, 1, 2], 3), IN_COLOUR
    yield "a-part-twice.jpg", in_parts(jpeg, icc, [1, 2, 2, 3], 3), IN_COLOUR
    yield "a-part-missing.jpg", in_parts(plain, icc, [1, 3], 3), PLAIN
    yield "half-a-profile.jpg", in_parts(plain, icc[: len(icc) // 2], [1], 1), PLAIN
    yield "bytes-behind-the-profile.jpg", in_parts(jpeg, icc + bytes(5000), [1], 1), IN_COLOUR
    p4 = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield (
        "version-4-of-srgb.png",
        encode(Image.fromarray(fields(MUTED)), ".png", icc_profile=p4),
        fields_of(MUTED, tolerance=0),
    )
    curved = with_parametric_curve(icc)
    yield "version-4-parametric.png", encode(image, ".png", icc_profile=curved), IN_COLOUR
    link = bytearray(icc)
    link[12:16] = b"link"
    named = bytearray(icc)
    named[12:16] = b"nmcl"
    for name, odd in (("device-link", link), ("named-colours", named)):
        yield (
            f"{name}.png",
            encode(Image.fromarray(fields(MUTED)), ".png", icc_profile=bytes(odd)),
            PLAIN,
        )
    yield (
        "inks-on-colours.png",
        encode(Image.fromarray(fields(MUTED)), ".png", icc_profile=ink_profile((2, 1, 0))),
        PLAIN,
    )
    inks = Image.fromarray(np.dstack([255 - fields(QUADRANTS), np.zeros((48, 64), np.uint8)]), "CMYK")
    yield "colours-on-inks.tif", encode(inks, ".tiff", icc_profile=icc), fields_of(QUADRANTS)
    yield (
        "grey-on-inks.jpg",
        encode(inks, ".jpg", icc_profile=grey_profile(1.0), **SHARP),
        fields_of(QUADRANTS, tolerance=14),
    )
    corners = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)])
    order = [2, 0, 1]
    numbers = np.concatenate([255 - corners[:, order], np.zeros((4, 1), int)], axis=1)
    right = fields_of(corners, tolerance=24)
    wide = pack(fields(numbers).reshape(48, -1).astype(np.uint32) * 257, 16)
    ink_icc = ink_profile((2, 0, 1))
    yield "inks-16.tif", tiff(({258: [16] * 4, 262: 5, 277: 4, 34675: ink_icc}, wide)), right
    planes = [fields(numbers)[..., n].tobytes() for n in range(4)]
    yield "inks-planes.tif", tiff(({258: [8] * 4, 262: 5, 277: 4, 284: 2, 34675: ink_icc}, planes)), right
    yield (
        "inks-lzw.tif",
        encode(
            Image.fromarray(fields(numbers), "CMYK"), ".tiff", compression="tiff_lzw", icc_profile=ink_icc
        ),
        right,
    )
    shades = np.round(light(GREYS / 255) * 255)
    alpha = Image.merge("LA", [Image.fromarray(fields(shades)), Image.new("L", (64, 48), 255)])
    yield "grey-alpha.png", encode(alpha, ".png", icc_profile=grey_profile(1.0)), fields_of(GREYS)
    yield (
        "grey-16-planes.tif",
        tiff(
            (
                {258: 16, 34675: grey_profile(1.0)},
                pack(fields(np.round(light(GREYS / 255) * 65535), dtype=np.uint32), 16),
            )
        ),
        fields_of(GREYS),
    )
    yield (
        "white-is-zero.tif",
        tiff(({258: 8, 262: 0, 34675: grey_profile(1.0)}, (255 - fields(shades)).tobytes())),
        fields_of(GREYS),
    )
    yield "lossy.webp", encode(image, ".webp", quality=95, icc_profile=icc), fields_of(MUTED, tolerance=16)
    yield (
        "rgba.avif",
        encode(image.convert("RGBA"), ".avif", quality=97, icc_profile=icc),
        fields_of(MUTED, tolerance=14),
    )
    yield (
        "rgba.heic",
        encode(image.convert("RGBA"), ".heic", quality=97, icc_profile=icc),
        fields_of(MUTED, tolerance=14),
    )
    yield "progressive.jpg", encode(image, ".jpg", progressive=True, icc_profile=icc, **SHARP), IN_COLOUR
    yield (
        "tiles-in-jpeg.tif",
        encode(image, ".tiff", compression="jpeg", quality=97, icc_profile=icc),
        fields_of(MUTED, tolerance=16),
    )
    psd = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 48, 64, 8, 3) + bytes(4)
    resource = b"8BIM" + struct.pack(">HHI", 1039, 0, len(icc)) + icc + bytes(len(icc) % 2)
    pixels = np.moveaxis(np.asarray(image), 2, 0).tobytes()
    yield (
        "photoshop.psd",
        psd + struct.pack(">I", len(resource)) + resource + bytes(4) + b"\0\0" + pixels,
        IN_COLOUR,
    )
    yield (
        "beyond-its-box.png",
        png(fields(MUTED), before=chunk(b"iCCP", b"x\0\0" + zlib.compress(icc)[:200])),
        PLAIN,
    )
    exif = Image.Exif()
    exif[0x8769] = {0xA005: {1: "R03"}}
    yield (
        "r03-and-a-profile.jpg",
        encode(image, ".jpg", icc_profile=icc, exif=exif.tobytes(), **SHARP),
        IN_COLOUR,
    )
    adobe = Image.fromarray(fields(np.round(into("Adobe RGB") * 255)))
    yield "r03.png", encode(adobe, ".png", exif=exif.tobytes()), IN_COLOUR


def with_parametric_curve(icc: bytes) -> bytes:
    """Return a profile of version 4 whose curves are formulas (para) of gamma 2.2."""
    curve = b"para\0\0\0\0\0\0\0\0" + struct.pack(">i", round(2.2 * 65536))
    count = struct.unpack_from(">I", icc, 128)[0]
    table = [struct.unpack_from(">4sII", icc, 132 + 12 * n) for n in range(count)]
    body, entries, at = b"", b"", 132 + 12 * count
    for name, place, length in table:
        part = curve if name.endswith(b"TRC") else icc[place : place + length]
        entries += struct.pack(">4sII", name, at + len(body), len(part))
        body += part
    head = struct.pack(">I", at + len(body)) + icc[4:8] + b"\x04\x30\0\0" + icc[12:128]
    return head + struct.pack(">I", count) + entries + body


def hdr() -> Drawn:
    """Draw PQ and HLG in PNG, AVIF and HEIC."""
    right = fields_of(GREYS, tolerance=16)
    nits = 203 * light(GREYS / 255)
    for transfer, name in ((16, "pq"), (18, "hlg")):
        signal = profiles.hdr(transfer, nits)
        points = chunk(b"cICP", bytes([9, transfer, 0, 1]))
        for bits in (8, 16):
            grey = fields(np.round(signal * (2**bits - 1)), dtype=np.uint32)
            yield f"{name}-grey{bits}.png", png(grey, bits, 0, before=points), right
            yield (
                f"{name}-grey{bits}-alpha.png",
                png(np.dstack([grey, np.full((48, 64), 2**bits - 1)]), bits, 4, before=points),
                right,
            )
        p3 = chunk(b"cICP", bytes([12, transfer, 0, 1]))
        rgb = fields(np.round(signal * 65535)[:, None].repeat(3, 1), dtype=np.uint32)
        yield f"{name}-p3-16.png", png(rgb, 16, 2, before=p3), right
        image = Image.fromarray(fields(np.round(signal * 255)[:, None].repeat(3, 1)))
        avif = bytearray(encode(image, ".avif", quality=97))
        struct.pack_into(">HH", avif, avif.index(b"colrnclx") + 8, 9, transfer)
        yield f"{name}.avif", bytes(avif), right
        for mode in ("RGB", "RGBA", "L"):
            yield (
                f"{name}-{mode.lower()}.heic",
                heic(image.convert(mode), color_primaries=9, transfer_characteristics=transfer),
                right,
            )
        levels = Image.fromarray(fields(np.round(signal * 255)[:, None].repeat(3, 1))).convert(
            "P", palette=Image.Palette.ADAPTIVE, colors=4
        )
        yield (
            f"{name}-palette.png",
            png(np.asarray(levels), 8, 3, before=points + chunk(b"PLTE", bytes(levels.getpalette()[:12]))),
            right,
        )


def heic(image: Image.Image, **options: Any) -> bytes:
    """Return a HEIC with options for its encoder."""
    import pillow_heif

    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, **{"quality": 97, **options})
    return out.getvalue()


def exif_of(*entries: tuple[int, int, int, int], big: bool = False) -> bytes:
    """Return EXIF of (tag, type, count, value) entries."""
    order = ">" if big else "<"
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(order + "IH", 8, len(entries))
    words = b""
    for tag, kind, count, value in entries:
        contents = struct.pack(order + {1: "B3x", 3: "H2x", 4: "I", 6: "b3x", 8: "h2x", 9: "i"}[kind], value)
        words += struct.pack(order + "HHI", tag, kind, count) + contents
    return b"Exif\0\0" + head + words + bytes(4)


TURNED = {3: (3, 2, 1, 0), 6: (2, 0, 3, 1), 8: (1, 3, 0, 2), 2: (1, 0, 3, 2), 5: (0, 2, 1, 3)}


def turned(number: int, tolerance: int = 10) -> Right:
    """Return the fields as an orientation shows them."""
    size = (48, 64) if number > 4 else (64, 48)
    return fields_of([QUADRANTS[n] for n in TURNED[number]], size=size, tolerance=tolerance)


def orientation() -> Drawn:
    """Draw files whose orientation stands in odd places, twice, or makes no sense."""
    image = quadrants((64, 48))
    upright = fields_of(QUADRANTS, tolerance=10)
    jpeg = encode(image, ".jpg", **SHARP)

    def told(*segments: bytes) -> bytes:
        return jpeg[:2] + b"".join(segments) + jpeg[2:]

    xmp = b"http://ns.adobe.com/xap/1.0/\0" + (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
    )
    for number in (2, 3, 5, 6, 8):
        for big in (False, True):
            order = "motorola" if big else "intel"
            yield (
                f"exif-{number}-{order}.jpg",
                told(segment(0xE1, exif_of((274, 3, 1, number), big=big))),
                turned(number),
            )
        yield (
            f"exif-{number}.webp",
            encode(image, ".webp", lossless=True, exif=exif_of((274, 3, 1, number))),
            turned(number),
        )
        yield (
            f"exif-{number}-raw.webp",
            encode(image, ".webp", lossless=True, exif=exif_of((274, 3, 1, number))[6:]),
            turned(number),
        )
        yield (
            f"exif-{number}.png",
            png(fields(), before=chunk(b"eXIf", exif_of((274, 3, 1, number))[6:])),
            turned(number),
        )
        yield (
            f"exif-{number}-after-pixels.png",
            png(fields(), after=chunk(b"eXIf", exif_of((274, 3, 1, number))[6:])),
            turned(number),
        )
        yield (
            f"tag-{number}-lzw.tif",
            encode(image, ".tiff", compression="tiff_lzw", tiffinfo={274: number}),
            turned(number),
        )
    yield "exif-6-xmp-8.jpg", told(segment(0xE1, exif_of((274, 3, 1, 6))), segment(0xE1, xmp % 8)), turned(6)
    yield "xmp-8-exif-6.jpg", told(segment(0xE1, xmp % 8), segment(0xE1, exif_of((274, 3, 1, 6)))), turned(6)
    yield "exif-1-xmp-8.jpg", told(segment(0xE1, exif_of((274, 3, 1, 1))), segment(0xE1, xmp % 8)), upright
    yield (
        "exif-6-twice.jpg",
        told(segment(0xE1, exif_of((274, 3, 1, 6))), segment(0xE1, exif_of((274, 3, 1, 6)))),
        turned(6),
    )
    yield (
        "exif-behind-a-profile.jpg",
        told(segment(0xE2, b"ICC_PROFILE\0\1\1junk"), segment(0xE1, exif_of((274, 3, 1, 6)))),
        turned(6),
    )
    for number in (0, 9, 77, 65535):
        yield f"exif-{number}.jpg", told(segment(0xE1, exif_of((274, 3, 1, number)))), upright
    yield "exif-of-two-numbers.jpg", told(segment(0xE1, exif_of((274, 3, 2, 6)))), turned(6)
    yield "exif-minus-1.jpg", told(segment(0xE1, exif_of((274, 8, 1, -1)))), upright
    yield "exif-only-of-the-thumbnail.jpg", told(segment(0xE1, thumbnail_exif())), upright
    yield (
        "exif-6-of-a-grey.jpg",
        with_exif(encode(image.convert("L"), ".jpg", **SHARP), 6),
        fields_of([[94, 124, 80, 191][n] for n in TURNED[6]], size=(48, 64), tolerance=16),
    )
    yield "exif-6.heic", encode(image, ".heic", quality=95, exif=exif_of((274, 3, 1, 6))), turned(6, 14)
    yield "exif-8.avif", encode(image, ".avif", quality=95, exif=exif_of((274, 3, 1, 8))[6:]), turned(8, 14)


def with_exif(jpeg: bytes, number: int) -> bytes:
    """Return a JPEG with an orientation."""
    return jpeg[:2] + segment(0xE1, exif_of((274, 3, 1, number))) + jpeg[2:]


def thumbnail_exif() -> bytes:
    """Return EXIF whose second directory, the thumbnail's, has an orientation."""
    second = struct.pack("<H", 1) + struct.pack("<HHIHH", 274, 3, 1, 6, 0) + bytes(4)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HI", 0, 14) + second


def heif_variants() -> Drawn:
    """Draw HEIC with its properties: turns, crops, ranges, depths, alpha, more than one image."""
    import pillow_heif

    image = quadrants((64, 48))
    right = fields_of(QUADRANTS, tolerance=14)
    for chroma in (420, 422, 444):
        yield f"chroma-{chroma}.heic", heic(image, chroma=chroma), right
    yield "grey.heic", heic(image.convert("L")), fields_of((94, 124, 80, 191), tolerance=16)
    yield "grey-alpha.heic", heic(image.convert("LA")), fields_of((94, 124, 80, 191), tolerance=16)
    yield "alpha.heic", heic(image.convert("RGBA")), right
    for full in (0, 1):
        yield (
            f"range-{full}.heic",
            heic(
                image,
                full_range_flag=full,
                color_primaries=1,
                transfer_characteristics=13,
                matrix_coefficients=1,
            ),
            right,
        )
    for matrix in (1, 5, 6, 9):
        yield (
            f"matrix-{matrix}.heic",
            heic(image, matrix_coefficients=matrix, color_primaries=1, transfer_characteristics=13),
            right,
        )
    for bits in (10, 12):
        deep = np.asarray(image).astype(np.uint16) * 257
        pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
        try:
            container = pillow_heif.from_bytes("RGB;16", (64, 48), deep.tobytes())
            out = io.BytesIO()
            container.save(out, quality=97)
        finally:
            pillow_heif.options.SAVE_HDR_TO_12_BIT = False
        yield f"rgb{bits}.heic", out.getvalue(), right
    container = pillow_heif.from_pillow(Image.new("RGB", (64, 48), "white"))
    container.add_from_pillow(image)
    out = io.BytesIO()
    container.save(out, quality=97, primary_index=1)
    yield "second-is-primary.heic", out.getvalue(), right
    whole = heic(image)
    yield "brand-mif1.heic", whole.replace(b"ftypheic", b"ftypmif1", 1), right
    yield "name-of-a-jpeg.jpg", whole, right
    for steps, number in ((1, 8), (2, 3), (3, 6)):
        yield f"turned-{steps}.avif", stored_turned(steps), turned(number, 14)


def stored_turned(steps: int) -> bytes:
    """Return an AVIF that is turned by its own property (irot), in quarters against the clock."""
    exif = {1: 8, 2: 3, 3: 6}[steps]
    return encode(quadrants((64, 48)), ".avif", quality=95, exif=exif_of((274, 3, 1, exif))[6:])
