"""Writes JPEGs of flat blocks marker by marker: any components, sampling, scans and markers, by ITU-T T.81."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

END = b"\xff\xd9"
JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"


def segment(marker: int, contents: bytes) -> bytes:
    """Return a marker with a length and contents."""
    return struct.pack(">BBH", 0xFF, marker, len(contents) + 2) + contents


def adobe(transform: int) -> bytes:
    """Return Adobe's segment: 0 RGB or CMYK, 1 YCbCr, 2 YCCK."""
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def tables(*, wide: bool = False) -> bytes:
    """Return the quantisation table (all 8, in 16 bits if ``wide``) and Huffman's (four bits per size, one per end)."""
    quantisation = segment(0xDB, b"\x10" + b"\0\x08" * 64 if wide else b"\0" + b"\x08" * 64)
    return quantisation + segment(
        0xC4, b"\0\0\0\0\x09" + bytes(12) + bytes(range(9)) + b"\x10\1" + bytes(15) + b"\0"
    )


def jpeg(
    planes: Sequence[NDArray[Any]],
    *,
    size: tuple[int, int] = (64, 64),
    ids: Sequence[int] = (1, 2, 3, 4),
    factors: Sequence[tuple[int, int]] = ((1, 1),) * 4,
    before: bytes = JFIF,
    frame: int = 0xC0,
    height: int | None = None,
    separate: bool = False,
    restart: int = 0,
    wide: bool = False,
) -> bytes:
    """Return a JPEG; each plane holds the values of its blocks, at its own sampling.

    ``separate`` gives each component a scan; ``restart`` is how many units there are between restart markers.
    """
    count = len(planes)
    components = b"".join(bytes([ids[i], 16 * factors[i][0] + factors[i][1], 0]) for i in range(count))
    said = size[1] if height is None else height
    out = b"\xff\xd8" + before + tables(wide=wide)
    out += segment(frame, struct.pack(">BHHB", 8, said, size[0], count) + components)
    out += segment(0xDD, struct.pack(">H", restart)) if restart else b""
    for scan in [[i] for i in range(count)] if separate else [list(range(count))]:
        spectrum = b"\0\0\0" if frame == 0xC2 else b"\0\x3f\0"
        head = bytes([len(scan)]) + b"".join(bytes([ids[i], 0]) for i in scan) + spectrum
        steps = [(1, 1)] if len(scan) == 1 else [factors[i] for i in scan]
        out += segment(0xDA, head) + _scan([planes[i] for i in scan], steps, restart, ends=frame != 0xC2)
    return out + END


def _scan(planes: list[NDArray[Any]], steps: list[tuple[int, int]], restart: int, *, ends: bool) -> bytes:
    across, down = planes[0].shape[1] // steps[0][0], planes[0].shape[0] // steps[0][1]
    out, bits, last = b"", "", [0] * len(planes)
    for unit in range(across * down):
        if restart and unit and unit % restart == 0:
            out += _stuffed(bits) + bytes([0xFF, 0xD0 + (unit // restart - 1) % 8])
            bits, last = "", [0] * len(planes)
        for number, (plane, (wide, long)) in enumerate(zip(planes, steps, strict=True)):
            y, x = unit // across * long, unit % across * wide
            for value in plane[y : y + long, x : x + wide].ravel():
                difference = int(value) - 128 - last[number]
                last[number] = int(value) - 128
                length = abs(difference).bit_length()
                low = difference if difference >= 0 else difference + (1 << length) - 1
                bits += f"{length:04b}" + (f"{low:0{length}b}" if length else "") + ("0" if ends else "")
    return out + _stuffed(bits)


def _stuffed(bits: str) -> bytes:
    """Return bits as bytes, filled up with ones; a zero follows each byte of ones."""
    bits += "1" * (-len(bits) % 8)
    return np.packbits(np.array(list(bits), np.uint8)).tobytes().replace(b"\xff", b"\xff\0")


def blocks(colours: Any, across: int = 8, down: int = 8) -> NDArray[Any]:
    """Return four colours as (down, across, samples) values of blocks."""
    values = np.asarray(colours).reshape(2, 2, -1)
    return values.repeat(down // 2, 0).repeat(across // 2, 1)
