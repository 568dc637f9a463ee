"""What the codestream of a JPEG 2000 says, and so what it takes to decode: Pillow trusts the file around it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from imgsearch.errors import PictureError

_MAX_COMPONENTS = 4
_MAX_TILES = 16_384
"""OpenJPEG allocates some 10 KB for each, before it reads the first."""
_MAX_SEGMENTS = 10_000
_MAX_PARTS = 100_000
_LEAST_TILES = 0.75
"""The share of its tiles that must have data, as of a JPEG's rows."""
_SIZ, _COD, _COC, _SOT, _SOD = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93


@dataclass(frozen=True, slots=True)
class Codestream:
    """The main header: sizes as (width, height) in pixels."""

    size: tuple[int, int]
    tile: tuple[int, int]
    components: int
    levels: int
    """How many times the size can be halved while decoding."""
    block: int
    """Pixels of a code block."""
    bits: int
    """How deep the samples of the first component are."""
    packets: int
    """How many packets there can be: precincts of all levels and components, times the layers."""

    @property
    def bookkeeping(self) -> int:
        """Bytes that OpenJPEG allocates for code blocks, precincts and packets, however few there are in the file."""
        blocks = self.size[0] * self.size[1] * self.components // self.block
        return 200 * blocks + 100 * self.packets


def read(stream: BinaryIO, at: int, said: tuple[int, int] | None) -> Codestream | None:
    """Read the codestream that begins at a place; None if its main header is incomplete, which Pillow puts into words.

    ``said`` is the (width, height) that the file gives elsewhere. Raises PictureError if that is another one, for more
    components or tiles than there is any use for, and if the data of many tiles is missing.
    """
    siz, cod, coc, sot = b"", b"", b"", 0
    for marker, inside, after in _segments(stream, at):
        stream.seek(inside)
        if marker == _SIZ:
            siz = stream.read(min(after - inside, 37))
        elif marker == _COD:
            cod = stream.read(min(after - inside, 64))
        elif marker == _COC:
            coc += stream.read(3)[2:]
        elif marker == _SOT:
            sot = inside - 4
            break
    if len(siz) < 37 or len(cod) < 10:
        return None
    right, low, left, top, wide, high, tiles_left, tiles_top, components = struct.unpack_from(">8IH", siz, 2)
    size = right - left, low - top
    if said and size != said:
        raise PictureError(
            "corrupt", f"{said[0]} × {said[1]} pixels by its header, {size[0]} × {size[1]} by its data"
        )
    if components > _MAX_COMPONENTS:
        raise PictureError("unsupported", f"JPEG 2000 of {components:,} components")
    if min(wide, high, components, *size) < 1:
        raise PictureError("corrupt", "its sizes are not valid")
    tiles = -(-(right - tiles_left) // wide) * -(-(low - tiles_top) // high)
    if tiles > _MAX_TILES:
        raise PictureError("unsupported", f"JPEG 2000 of {tiles:,} tiles, over the limit of {_MAX_TILES:,}")
    if sot and _with_data(stream, sot) < _LEAST_TILES * tiles:
        raise PictureError("corrupt", "its data is missing")
    layers, least = max(1, struct.unpack_from(">H", cod, 2)[0]), min(cod[5], *coc) if coc else cod[5]
    tile = min(wide, size[0]), min(high, size[1])
    block, bits = 1 << min(cod[6] + cod[7] + 4, 20), (siz[36] & 0x7F) + 1
    packets = _precincts(size, tiles, cod) * components * layers
    return Codestream(size, tile, components, least, block, bits, packets)


def _precincts(size: tuple[int, int], tiles: int, cod: bytes) -> int:
    """Return how many precincts the levels of one component have."""
    levels, sizes = cod[5], cod[10:] if cod[0] & 1 else b""
    total = 0
    for level in range(min(levels, 32) + 1):
        exponents = sizes[level] if level < len(sizes) else 0xFF
        wide, high = (side >> (levels - level) for side in size)
        total += max(tiles, ((wide >> (exponents & 15)) + 1) * ((high >> (exponents >> 4)) + 1))
    return total


def _segments(stream: BinaryIO, at: int) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the contents of the segments behind the one that begins a codestream."""
    at += 2
    for _ in range(_MAX_SEGMENTS):
        stream.seek(at)
        head = stream.read(4)
        if len(head) < 4:
            return
        marker, size = struct.unpack(">HH", head)
        yield marker, at + 4, at + 2 + size
        if marker == _SOD:
            return
        at += 2 + max(2, size)


def _with_data(stream: BinaryIO, at: int) -> int:
    """Return how many tiles have data, from the first tile part on."""
    found = set()
    for _ in range(_MAX_PARTS):
        stream.seek(at)
        head = stream.read(12)
        if len(head) < 12:
            break
        marker, _, tile, size = struct.unpack(">HHHI", head[:10])
        if marker != _SOT:
            break
        start = next(
            (inside - 2 for marker, inside, _ in _segments(stream, at - 2) if marker == _SOD), at + size
        )
        stream.seek(start)
        # Of no stated size is what reaches to the end mark.
        data = stream.read(3)
        if (size == 0 or start < at + size) and data[:2] not in (b"", b"\xff\xd9", b"\xff"):
            found.add(tile)
        if size < 14:
            break
        at += size
    return len(found)
