"""Writes TIFF and PNG tag by tag and chunk by chunk, with whatever a test wants in them; four fields of colour each."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from support.pictures import QUADRANTS, encode

GREYS = (40, 100, 170, 230)
"""The shades of fields(GREYS), of 255."""


def fields(
    colours: Sequence[Any] = QUADRANTS, size: tuple[int, int] = (64, 48), dtype: Any = np.uint8
) -> NDArray[Any]:
    """Return (height, width) or (height, width, samples) numbers whose four quarters have these values."""
    width, height = size
    values = np.asarray(colours, dtype)
    grid = values.reshape(2, 2, *values.shape[1:])
    return grid.repeat(height // 2, 0).repeat(width // 2, 1)


def pack(values: NDArray[Any], bits: int, *, big: bool = False) -> bytes:
    """Return whole numbers (rows, numbers per row) of a depth as bytes; of 8, 16 and 32 bits in a byte order."""
    if bits in (8, 16, 32, 64):
        return values.astype(f"{'>' if big else '<'}u{bits // 8}").tobytes()
    flat = values.reshape(len(values), -1).astype(np.uint64)
    ones = (flat[..., None] >> np.arange(bits - 1, -1, -1, dtype=np.uint64)) & np.uint64(1)
    return np.packbits(ones.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


Tags = Mapping[int, Any]
"""Tag → a whole number, several, or bytes; a page for tag 330; None for a tag that is left out."""
Page = tuple[Tags, "bytes | Sequence[bytes]"]
"""Tags, and the bytes of the one strip, or of several strips or tiles."""


def tiff(*pages: Page, big: bool = False, bigtiff: bool = False) -> bytes:
    """Return a TIFF of pages; ``big`` is Motorola's byte order.

    A page in the value of tag 330 becomes a subdirectory. Sizes, places and lengths are filled in where absent;
    with a tile's width (322) the data is tiles.
    """
    order = ">" if big else "<"
    head = struct.pack(order + "2sHHHQ", b"MM" if big else b"II", 43, 8, 0, 0)
    if not bigtiff:
        head = struct.pack(order + "2sHI", b"MM" if big else b"II", 42, 0)
    out = bytearray(head)
    word = "Q" if bigtiff else "I"
    pointer = len(head) - struct.calcsize(word)

    def write(tags: Tags, data: bytes | Sequence[bytes]) -> tuple[int, int]:
        """Append a directory; return its place, and the place of its pointer to the next."""
        everything = {256: 64, 257: 48, 258: 8, 259: 1, 262: 1, 277: 1, **tags}
        below = everything.pop(330, None)
        if below is not None:
            everything[330] = write(*below)[0]
        strips, places = [data] if isinstance(data, bytes) else data, []
        for strip in strips:
            places.append(len(out))
            out.extend(strip + b"\0" * (len(strip) % 2))
        counts = [len(strip) for strip in strips]
        where = (
            {324: places, 325: counts} if 322 in tags else {273: places, 279: counts, 278: everything[257]}
        )
        entries = []
        for tag, value in sorted((where | everything).items()):
            if value is None:
                continue
            if isinstance(value, bytes):
                kind, count, contents = 7, len(value), value
            else:
                numbers = value if isinstance(value, (list, tuple)) else [value]
                letter = "H" if max(numbers) < 1 << 16 and tag not in (273, 279, 324, 325, 330) else "I"
                kind, count = {"H": 3, "I": 4}[letter], len(numbers)
                contents = struct.pack(f"{order}{count}{letter}", *numbers)
            if len(contents) > struct.calcsize(word):
                place = len(out)
                out.extend(contents + b"\0" * (len(contents) % 2))
                contents = struct.pack(order + word, place)
            entries.append(
                struct.pack(f"{order}HH{word}", tag, kind, count)
                + contents.ljust(struct.calcsize(word), b"\0")
            )
        place = len(out)
        out.extend(struct.pack(order + ("Q" if bigtiff else "H"), len(entries)) + b"".join(entries))
        out.extend(b"\0" * struct.calcsize(word))
        return place, len(out) - struct.calcsize(word)

    for tags, data in pages:
        place, following = write(tags, data)
        struct.pack_into(order + word, out, pointer, place)
        pointer = following
    return bytes(out)


def packed(raw: bytes, way: str) -> bytes:
    """Return bytes in a compression of bytes as Pillow writes it."""
    data = encode(Image.frombytes("L", (len(raw), 1), raw), ".tiff", compression=way)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page: Any = file.pages[0]
        return data[page.dataoffsets[0] : page.dataoffsets[0] + page.databytecounts[0]]


def tiles(values: NDArray[Any], bits: int, side: int = 32, *, big: bool = False) -> list[bytes]:
    """Return numbers as tiles, the last of them filled up."""
    values = values.reshape(48, 64, -1)
    values = np.pad(values, ((0, -48 % side), (0, -64 % side), (0, 0)), mode="edge")
    return [
        pack(values[y : y + side, x : x + side].reshape(side, -1), bits, big=big)
        for y in range(0, len(values), side)
        for x in range(0, values.shape[1], side)
    ]


def chunk(name: bytes, contents: bytes, *, checksum: int | None = None) -> bytes:
    """Return a chunk of a PNG, with a checksum of your own if you like."""
    right = zlib.crc32(name + contents)
    return (
        struct.pack(">I", len(contents))
        + name
        + contents
        + struct.pack(">I", right if checksum is None else checksum)
    )


def png(
    values: NDArray[Any],
    bits: int = 8,
    colour_type: int = 2,
    *,
    before: bytes = b"",
    after: bytes = b"",
    pixels: bytes | None = None,
) -> bytes:
    """Return a PNG of (height, width[, samples]) whole numbers, with chunks of yours before and after its pixels."""
    height, width = values.shape[:2]
    rows = pack(values.reshape(height, -1), bits, big=True)
    row = len(rows) // height
    raw = b"".join(b"\0" + rows[at : at + row] for at in range(0, len(rows), row))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    packed = chunk(b"IDAT", zlib.compress(raw) if pixels is None else pixels)
    return b"\x89PNG\r\n\x1a\n" + header + before + packed + after + chunk(b"IEND", b"")
