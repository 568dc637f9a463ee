"""A page of a TIFF without its compression: unpacked by the libtiff in Pillow, whatever its numbers mean."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import TiffImagePlugin

if TYPE_CHECKING:
    from tifffile import TiffPage

CODECS = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})
"""None, LZW, Deflate, PackBits, LZMA and Zstandard: what they pack are bytes, so a page may pass for 8-bit grey."""
_KEPT = (256, 257, 258, 262, 277, 278, 284, 320, 322, 323, 338, 339, 530)
"""The tags that say what the numbers mean; not compression, predictor and order of bits, which are undone."""
_MOST = 64 << 20
"""Bytes that are unpacked at once, unless a single strip is larger."""


def unpacked(page: TiffPage) -> BinaryIO:
    """Return a TIFF of one page, which is this one without compression. Its compression must be one of CODECS."""
    tags = {tag: page.tags.valueof(tag) for tag in _KEPT}
    return io.BytesIO(_written(page.parent.byteorder, tags, list(_segments(page)), bool(page.is_tiled)))


def _segments(page: TiffPage) -> Iterator[bytes]:
    """Yield the bytes of each strip or tile."""
    bits, samples = int(page.bitspersample), page.samplesperpixel if int(page.planarconfig) == 1 else 1
    height = int(page.imagelength)
    width, rows = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    row, rows = (
        (int(width) * samples * bits + 7) // 8,
        min(int(rows), height) if not page.is_tiled else int(rows),
    )
    down = -(-height // rows)
    handle = page.parent.filehandle
    places = list(zip(page.dataoffsets, page.databytecounts, strict=True))

    def shape(number: int) -> tuple[int, int]:
        """Return how many rows a segment has, and which of the runs that are unpacked at once it belongs to."""
        last = not page.is_tiled and number % down == down - 1
        return (height - rows * (down - 1) if last else rows), number * rows * row // _MOST

    for (count, _), numbers in groupby(range(len(places)), shape):
        packed = []
        for number in numbers:
            place, length = places[number]
            handle.seek(place)
            packed.append(handle.read(length))
        pose = {256: row, 257: count * len(packed), 258: 8, 262: 1, 277: 1, 278: count}
        pose |= {259: int(page.compression), 266: int(page.fillorder)}
        with TiffImagePlugin.TiffImageFile(io.BytesIO(_written("<", pose, packed, False))) as image:
            data = image.tobytes()
        if page.predictor == 2:
            # Each sample less the one to its left.
            numbers_type = np.dtype(f"{page.parent.byteorder}u{bits // 8}")
            lines = np.frombuffer(data, numbers_type).reshape(-1, int(width), samples)
            data = np.cumsum(lines, axis=1, dtype=numbers_type).tobytes()
        for start in range(0, len(data), count * row):
            yield data[start : start + count * row]


def _written(order: str, tags: Mapping[int, Any], segments: Sequence[bytes], tiled: bool) -> bytes:
    """Return a BigTIFF of one page: BigTIFF by Adobe and others, https://www.awaresystems.be/imaging/tiff/bigtiff.html."""
    out = bytearray(struct.pack(f"{order}2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, 0))
    places = []
    for segment in segments:
        places.append(len(out))
        out += segment
    where = {324 if tiled else 273: places, 325 if tiled else 279: [len(segment) for segment in segments]}
    entries = b""
    for tag, value in sorted((dict(tags) | where).items()):
        if value is None:
            continue
        values = [int(number) for number in value] if isinstance(value, (tuple, list)) else [int(value)]
        contents = struct.pack(f"{order}{len(values)}Q", *values)
        if len(values) > 1:
            place = len(out)
            out += contents
            contents = struct.pack(f"{order}Q", place)
        # 16 is a whole number of 8 bytes, which readers take for shorter ones.
        entries += struct.pack(f"{order}HHQ", tag, 16, len(values)) + contents
    struct.pack_into(f"{order}Q", out, 8, len(out))
    out += struct.pack(f"{order}Q", len(entries) // 20) + entries + bytes(8)
    return bytes(out)
