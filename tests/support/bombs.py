"""Draws files whose headers lie about their cost: small on disk, large in memory or long to decode."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import pillow_heif
from PIL import Image

SIDE = 14_142
"""200 megapixels as a square: the largest image that is decoded by default."""


@dataclass(frozen=True)
class Bomb:
    """A file, and what is to become of it: the reason that it is skipped with, "" if it is decoded."""

    extension: str
    draw: Callable[[], bytes]
    reason: str


# JPEG


def jpeg_segment(marker: int, contents: bytes = b"") -> bytes:
    """Return a segment with its length."""
    return struct.pack(">BBH", 0xFF, marker, len(contents) + 2) + contents


def jpeg(side: int, middle: bytes = b"", scans: bytes = b"", *, progressive: bool = True) -> bytes:
    """Return a black JPEG of another size than its data is for, with more in its header and more scans."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", progressive=progressive, subsampling=0)
    small = bytearray(buffer.getvalue())
    frame = small.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    struct.pack_into(">HH", small, frame + 5, side, side)
    return bytes(small[:2]) + middle + bytes(small[2:-2]) + scans + b"\xff\xd9"


def jpeg_scan(component: int, first: int, last: int, before: int = 0, after: int = 0) -> bytes:
    """Return a scan of one component without any data; ``before`` is not 0 where it refines."""
    return jpeg_segment(0xDA, bytes([1, component, 0, first, last, before << 4 | after]))


# JPEG 2000


def jpeg2000(
    side: int, *, components: int = 3, tile: int = 0, said: int = 0, cod: bytes = b"", data: bytes = b""
) -> bytes:
    """Return a JPEG 2000 of ``side`` by ``side`` pixels whose file says ``said``, with one tile part of ``data``."""
    box = lambda name, contents: struct.pack(">I4s", len(contents) + 8, name) + contents  # noqa: E731
    siz = struct.pack(">HIIIIIIIIH", 0, side, side, 0, 0, tile or side, tile or side, 0, 0, components)
    siz += b"\7\1\1" * components
    cod = cod or bytes([0, 0, 0, 1, 1, 5, 4, 4, 0, 0])
    qcd = bytes([0x40, *(0x48 for _ in range(3 * cod[5] + 1))])
    stream = b"\xff\x4f" + b"".join(
        struct.pack(">HH", marker, len(contents) + 2) + contents
        for marker, contents in ((0xFF51, siz), (0xFF52, cod), (0xFF5C, qcd))
    )
    stream += struct.pack(">HHHIBB", 0xFF90, 10, 0, 14 + len(data), 0, 1) + b"\xff\x93" + data + b"\xff\xd9"
    header = box(b"ihdr", struct.pack(">IIHBBBB", said or side, said or side, 3, 7, 7, 0, 0))
    header += box(b"colr", b"\1\0\0" + struct.pack(">I", 16))
    start = b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    # A box between, and Pillow does not look at the codestream.
    return start + box(b"jp2h", header) + box(b"free", b"") + box(b"jp2c", stream)


# PNG


def png_chunk(name: bytes, contents: bytes = b"") -> bytes:
    """Return a chunk with its length and checksum."""
    return struct.pack(">I", len(contents)) + name + contents + struct.pack(">I", zlib.crc32(name + contents))


def zeros(count: int) -> bytes:
    """Return that many zeros, deflated, with a block of them repeated."""
    size = 1 << 22
    packing = zlib.compressobj(9, wbits=-15)
    block = packing.compress(bytes(size)) + packing.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, wbits=-15)
    end = rest.compress(bytes(count % size)) + rest.flush()
    # The Adler-32 of zeros is as plain as they are.
    return b"\x78\x9c" + block * (count // size) + end + struct.pack(">HH", count % 65521, 1)


def png(
    side: int, bits: int, colour: int, *, interlaced: bool = False, share: float = 1, more: bytes = b""
) -> bytes:
    """Return a black PNG, of which ``share`` of the data is there."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = 1 + (side * bits * samples + 7) // 8
    # Interlaced it has more rows, of a byte more each.
    data = zeros((row + 16 * interlaced) * side)
    parts = [
        b"\x89PNG\r\n\x1a\n",
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, interlaced)),
    ]
    if colour == 3:
        parts.append(png_chunk(b"PLTE", bytes(6)))
    parts += [more, png_chunk(b"IDAT", data[: int(share * len(data))]), png_chunk(b"IEND")]
    return b"".join(parts)


# HEIF, AVIF


def boxed(kind: str, side: int) -> bytes:
    """Return an HEIF or AVIF of a few pixels that says it has ``side`` by ``side``."""
    buffer = io.BytesIO()
    image = Image.new("RGB", (64, 64))
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(buffer)
    else:
        image.save(buffer, kind)
    data = bytearray(buffer.getvalue())
    at = data.find(b"ispe")
    while at >= 0:
        struct.pack_into(">II", data, at + 8, side, side)
        at = data.find(b"ispe", at + 4)
    return bytes(data)


# GIF, WebP, BMP, PPM, PSD, TGA


def gif(side: int, frames: int = 1) -> bytes:
    """Return a GIF of a black frame, and of more that have one pixel each."""
    head = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6)
    return head + gif_frame(side) + gif_frame(1) * (frames - 1) + b"\x3b"


def gif_frame(side: int) -> bytes:
    """Return a black frame."""
    data = lzw_zeros(side * side)
    blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
    packed = b"".join(bytes([len(block)]) + block for block in blocks)
    return b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\2" + packed + b"\0"


def lzw_zeros(count: int) -> bytes:
    """Return at least so many zeros as GIF packs them at two bits: each code stands for one more than the last."""
    codes = [(4, 3)]
    while count > 0:
        codes += [(0, 3), *((code, code.bit_length()) for code in range(6, 4095)), (4, 12)]
        count -= sum(range(2, 4091))
    packed, number, bits = bytearray(), 0, 0
    for code, width in [*codes[:-1], (5, 12)]:
        number, bits = number | code << bits, bits + width
        while bits >= 8:
            packed.append(number & 255)
            number, bits = number >> 8, bits - 8
    return bytes([*packed, number])


def riff_chunk(name: bytes, contents: bytes) -> bytes:
    """Return a chunk of a WebP, with its length, of an even number of bytes."""
    return name + struct.pack("<I", len(contents)) + contents + b"\0" * (len(contents) % 2)


def webp(width: int, height: int, frames: int = 0) -> bytes:
    """Return a lossless WebP of one colour, or an animation of such frames."""
    # Size, no transforms, no cache, no meta codes, five codes of one symbol each.
    bits = f"{height - 1:014b}"[-14:] + f"{width - 1:014b}"
    packed = "000" + "0" + bits + "00101111"  # read from its end: signature, width, height, alpha, version
    for _ in range(5):
        packed = "0001"[::1] + packed
    packed = packed.rjust(-(-len(packed) // 8) * 8, "0")
    data = int(packed, 2).to_bytes(len(packed) // 8, "little")
    image = riff_chunk(b"VP8L", data)
    if frames:
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        frame = riff_chunk(b"ANMF", bytes(6) + size + b"\x64\0\0\0" + image)
        image = riff_chunk(b"VP8X", b"\2\0\0\0" + size) + riff_chunk(b"ANIM", bytes(6)) + frame * frames
    return b"RIFF" + struct.pack("<I", len(image) + 4) + b"WEBP" + image


def bmp_rle(side: int) -> bytes:
    """Return a BMP of run lengths whose rows have one pixel each: the rest is filled by Pillow, byte by byte."""
    data = b"\1\1\0\0" * side + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(data), 0, 0, 54 + 1024) + head + bytes(1024) + data


def psd(side: int, channels: int = 3) -> bytes:
    """Return a Photoshop file of packed rows of black."""
    row = b"\x81\0" * -(-side // 128)
    counts = struct.pack(">H", len(row)) * (side * channels)
    mode = {1: 1, 3: 3, 4: 4}[channels]
    head = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", channels, side, side, 8, mode) + bytes(12)
    return head + b"\0\1" + counts + row * (side * channels)


def tga_rle(side: int) -> bytes:
    """Return a TGA of runs of black."""
    head = struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, side, side, 32, 8)
    row = b"\xff\0\0\0\xff" * (side // 128) + bytes([0x7F + side % 128]) + b"\0\0\0\xff"
    return head + row * side


# TIFF


def tiff(
    side: int,
    bits: tuple[int, ...],
    *,
    photometric: int,
    kind: int = 1,
    compression: int = 8,
    data: bytes = b"",
    pages: int = 1,
    more: dict[int, tuple[str, tuple[int, ...]]] | None = None,
) -> bytes:
    """Return a TIFF with one strip of zeros, deflated, or ``data``, on which all pages agree."""
    row = (side * sum(bits) + 7) // 8
    data = data or zeros(row * side)
    tags: dict[int, tuple[str, tuple[int, ...]]] = {
        256: ("I", (side,)),
        257: ("I", (side,)),
        258: ("H", bits),
        259: ("H", (compression,)),
        262: ("H", (photometric,)),
        273: ("I", (8,)),
        277: ("H", (len(bits),)),
        278: ("I", (side,)),
        279: ("I", (len(data),)),
        339: ("H", (kind,) * len(bits)),
        **(more or {}),
    }
    body = b"II*\0" + struct.pack("<I", 8 + len(data) + len(data) % 2) + data + b"\0" * (len(data) % 2)
    for number in range(pages):
        entries, behind = b"", b""
        after = len(body) + 2 + 12 * len(tags) + 4
        for tag, (code, values) in sorted(tags.items()):
            packed = struct.pack(f"<{len(values)}{code}", *values)
            if len(packed) > 4:
                place = after + len(behind)
                behind += packed + b"\0" * (len(packed) % 2)
                packed = struct.pack("<I", place)
            entries += struct.pack("<HHI", tag, 3 if code == "H" else 4, len(values)) + packed.ljust(4, b"\0")
        following = after + len(behind) if number < pages - 1 else 0
        body += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + behind
    return body


BOMBS = {
    "jpeg, 10,000 empty scans": Bomb(
        ".jpg", lambda: jpeg(SIDE, scans=jpeg_scan(1, 1, 63) * 10_000), "takes too long"
    ),
    "jpeg, 20,000 empty scans of 12 megapixels": Bomb(
        ".jpg", lambda: jpeg(3464, scans=jpeg_scan(1, 1, 63) * 20_000), "takes too long"
    ),
    "jpeg, 400 scans that refine": Bomb(
        ".jpg", lambda: jpeg(SIDE, scans=jpeg_scan(1, 1, 63, 1, 0) * 400), "takes too long"
    ),
    "jpeg, scans behind a lone marker": Bomb(
        ".jpg", lambda: jpeg(SIDE, scans=(b"\xff\x01" + jpeg_scan(1, 1, 63)) * 10_000), "takes too long"
    ),
    "jpeg, 5 million segments of EXIF": Bomb(
        ".jpg", lambda: jpeg(64, middle=jpeg_segment(0xE1, b"Exif\0\0") * 5_000_000), "corrupt"
    ),
    "jpeg, 16 million segments": Bomb(
        ".jpg", lambda: jpeg(64, middle=jpeg_segment(0xE5) * 16_000_000), "corrupt"
    ),
    "jpeg, 60 MB of FF": Bomb(".jpg", lambda: b"\xff\xd8" + b"\xff" * 60_000_000, "corrupt"),
    "jpeg, 900 full segments of EXIF": Bomb(
        ".jpg", lambda: jpeg(64, middle=jpeg_segment(0xE1, b"Exif\0\0".ljust(65_533, b"e")) * 900), ""
    ),
    "jpeg 2000, 16,384 components": Bomb(
        ".jp2", lambda: jpeg2000(1000, components=16_384, tile=17), "unsupported"
    ),
    "jpeg 2000, 62,500 tiles": Bomb(".jp2", lambda: jpeg2000(1000, tile=4), "unsupported"),
    "jpeg 2000, larger than it says": Bomb(".jp2", lambda: jpeg2000(60_000, said=1000), "corrupt"),
    "jpeg 2000, smaller than it says": Bomb(".jp2", lambda: jpeg2000(1000, said=2000), "corrupt"),
    "jpeg 2000, no data": Bomb(".jp2", lambda: jpeg2000(SIDE), "corrupt"),
    "jpeg, progressive, 200 megapixels": Bomb(".jpg", lambda: jpeg(SIDE), "decompression bomb"),
    "jpeg 2000, a precinct for each pixel": Bomb(
        ".jp2",
        lambda: jpeg2000(SIDE, cod=bytes([1, 0, 0, 1, 1, 5, 4, 4, 0, 0, *[0] * 6]), data=b"\0" * 64),
        "decompression bomb",
    ),
    "jpeg 2000, 65,535 layers": Bomb(
        ".jp2",
        lambda: jpeg2000(SIDE, cod=bytes([1, 0, 255, 255, 1, 5, 4, 4, 0, 0, *[0x55] * 6]), data=b"\0" * 64),
        "decompression bomb",
    ),
    "jpeg 2000, without levels": Bomb(
        ".jp2",
        lambda: jpeg2000(SIDE, cod=bytes([0, 0, 0, 1, 1, 0, 4, 4, 0, 0]), data=b"\0" * 64),
        "decompression bomb",
    ),
    "jpeg 2000, 200 megapixels": Bomb(".jp2", lambda: jpeg2000(SIDE, data=b"\0" * 64), ""),
    "png, 16 bits with alpha": Bomb(".png", lambda: png(SIDE, 16, 6), ""),
    "png, 16 bits of grey": Bomb(".png", lambda: png(SIDE, 16, 0), ""),
    "png, 16 bits, interlaced": Bomb(".png", lambda: png(SIDE, 16, 2, interlaced=True), ""),
    "png, one bit": Bomb(".png", lambda: png(SIDE, 1, 0), ""),
    "png, palette with transparency": Bomb(
        ".png", lambda: png(SIDE, 1, 3, more=png_chunk(b"tRNS", b"\x80\xff")), ""
    ),
    "png, end missing": Bomb(".png", lambda: png(SIDE, 16, 6, share=0.8), ""),
    "png, 4 million empty chunks": Bomb(
        ".png", lambda: png(64, 8, 2, more=png_chunk(b"teSt") * 4_000_000), "corrupt"
    ),
    "png, a profile of gigabytes": Bomb(
        ".png", lambda: png(64, 8, 2, more=png_chunk(b"iCCP", b"x\0\0" + zeros(4 << 30))), ""
    ),
    "apng, 2 billion frames": Bomb(
        ".png",
        lambda: png(
            SIDE,
            1,
            0,
            more=png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
            + png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, SIDE, SIDE, 0, 0, 1, 1, 0, 0)),
        ),
        "decompression bomb",
    ),
    "mpo, 4 billion images": Bomb(
        ".mpo",
        lambda: jpeg(
            3000,
            jpeg_segment(
                0xE2,
                b"MPF\0II*\0"
                + struct.pack("<IH", 8, 2)
                + struct.pack("<HHI4s", 0xB000, 7, 4, b"0100")
                + struct.pack("<HHII", 0xB001, 4, 1, 2**32 - 1)
                + bytes(4),
            ),
            progressive=False,
        ),
        "",
    ),
    "heif, 200 megapixels by its header": Bomb(".heic", lambda: boxed("HEIF", SIDE), "decompression bomb"),
    "heif, 4 billion by 4 billion": Bomb(".heic", lambda: boxed("HEIF", 2**32 - 1), "corrupt"),
    "avif, 200 megapixels by its header": Bomb(".avif", lambda: boxed("AVIF", SIDE), "decompression bomb"),
    "avif, 4 billion by 4 billion": Bomb(".avif", lambda: boxed("AVIF", 2**32 - 1), "corrupt"),
    "gif, 35 bytes": Bomb(".gif", lambda: gif(SIDE), ""),
    "gif, 100 empty frames": Bomb(".gif", lambda: gif(SIDE, 100), "decompression bomb"),
    "webp, 200 megapixels": Bomb(".webp", lambda: webp(16_383, 12_207), "decompression bomb"),
    "webp, 100 empty frames": Bomb(".webp", lambda: webp(16_383, 12_207, 100), "decompression bomb"),
    "webp, 100 empty frames of 40 megapixels": Bomb(
        ".webp", lambda: webp(6324, 6324, 100), "decompression bomb"
    ),
    "bmp, run lengths": Bomb(".bmp", lambda: bmp_rle(SIDE), "takes too long"),
    "ppm, 60 MB of blanks": Bomb(".ppm", lambda: b"P6" + b" " * 60_000_000 + b"1 1 255 abc", "corrupt"),
    "ppm, 60 MB of comment": Bomb(".ppm", lambda: b"P6 #" + b"c" * 60_000_000, "corrupt"),
    "ppm, 60 MB of digits": Bomb(".ppm", lambda: b"P3 7000 3000 255 " + b"0 " * 30_000_000, "takes too long"),
    "ppm, 60 MB of another scale": Bomb(
        ".pgm", lambda: b"P5 7000 8000 100 " + b"0" * 56_000_000, "takes too long"
    ),
    "ppm, no data": Bomb(".ppm", lambda: b"P6 14142 14142 255 ", "corrupt"),
    "psd, packed": Bomb(".psd", lambda: psd(SIDE), ""),
    "psd, packed inks": Bomb(".psd", lambda: psd(SIDE, 4), ""),
    "tga, packed": Bomb(".tga", lambda: tga_rle(SIDE), ""),
    "tiff, floating point": Bomb(
        ".tif", lambda: tiff(SIDE, (32,), photometric=1, kind=3), "decompression bomb"
    ),
    "tiff, 64 bits": Bomb(".tif", lambda: tiff(SIDE, (64,), photometric=1, kind=3), "decompression bomb"),
    "tiff, 32 samples": Bomb(
        ".tif",
        lambda: tiff(SIDE // 2, (8,) * 32, photometric=2, more={338: ("H", (0,) * 29)}),
        "decompression bomb",
    ),
    "tiff, 16 bits with alpha": Bomb(
        ".tif", lambda: tiff(SIDE, (16,) * 4, photometric=2, more={338: ("H", (2,))}), "decompression bomb"
    ),
    "tiff, 100 pages of one bit": Bomb(".tif", lambda: tiff(SIDE, (1,), photometric=1, pages=100), ""),
    "tiff, 14 million strips": Bomb(
        ".tif",
        lambda: tiff(
            SIDE, (1,), photometric=1, more={273: ("I", (8,) * 7_000_000), 279: ("I", (1,) * 7_000_000)}
        ),
        "corrupt",
    ),
    "tiff, a large tile": Bomb(
        ".tif",
        lambda: tiff(
            64,
            (8,) * 3,
            photometric=2,
            more={322: ("I", (SIDE,)), 323: ("I", (SIDE,)), 324: ("I", (8,)), 325: ("I", (9,))},
        ),
        "corrupt",
    ),
    "tiff, a JPEG of 10,000 scans": Bomb(
        ".tif",
        lambda: tiff(
            3464, (8,) * 3, photometric=2, compression=7, data=jpeg(3464, scans=jpeg_scan(1, 1, 63) * 10_000)
        ),
        "",
    ),
}
"""Each way to lie → a file that does."""
