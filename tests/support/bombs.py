"""Draws files whose headers lie about their cost: small on disk, large in memory or long to decode."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

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
    """Return that many zeros, deflated."""
    packed = zlib.compressobj(9)
    block = b"\0" * (1 << 20)
    parts = [packed.compress(block) for _ in range(count >> 20)]
    return b"".join([*parts, packed.compress(b"\0" * (count & ((1 << 20) - 1))), packed.flush()])


def png(
    side: int, bits: int, colour: int, *, interlaced: bool = False, share: float = 1, more: bytes = b""
) -> bytes:
    """Return a black PNG, of which ``share`` of the data is there."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = 1 + (side * bits * samples + 7) // 8
    data = zeros(row * side)
    parts = [
        b"\x89PNG\r\n\x1a\n",
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, interlaced)),
    ]
    if colour == 3:
        parts.append(png_chunk(b"PLTE", bytes(6)))
    parts += [more, png_chunk(b"IDAT", data[: int(share * len(data))]), png_chunk(b"IEND")]
    return b"".join(parts)


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
}
"""Each way to lie → a file that does."""
