"""JPEG XL by libjxl, through pillow-jxl-plugin: what its header says, its pixels in sRGB, its metadata.

libjxl decodes in one call that nobody can interrupt, and its files can have any number of layers: this runs in the
process for that alone. What the header says is read here, since the plugin tells it after decoding (ISO 18181-1, annex
D, and 18181-2).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pillow_jxl
from PIL import Image

from imgsearch.errors import PictureError
from imgsearch.media.decoders import jpeg
from imgsearch.media.decoders.raster import check_size, finished, upright
from imgsearch.media.documents.contract import DocumentOptions, Place
from imgsearch.media.metadata import MAX_BLOCK, merged
from imgsearch.media.splice import length
from imgsearch.types import Metadata, Picture, PixelBudget

_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_MOST_BOXES = 10_000
_HEAD_BYTES = 128
"""Of the codestream: far more than what is read of its header."""
_PER_PIXEL = 24
"""Bytes that a pixel takes: 7 in libjxl, and what comes out of it and is made of that."""
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_BITS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def open_reader(stream: BinaryIO, name: str, options: DocumentOptions) -> _Jxl:
    """Open a JPEG XL. Raises PictureError: "corrupt", "unsupported" (an animation), and as ``check_size`` does."""
    return _Jxl(stream, int(options.max_megapixels * 1_000_000))


class _Jxl:
    """A ``contract.Reader`` of a JPEG XL, which is one image."""

    def __init__(self, stream: BinaryIO, max_pixels: int) -> None:
        self._stream, self._max_pixels = stream, max_pixels
        self._boxes = list(_boxes(stream))
        header = _header(_codestream(stream, self._boxes))
        check_size(header.size, max_pixels)
        if header.is_animated:
            raise PictureError("unsupported", "a JPEG XL animation")
        self._size = header.size
        self._decoded: Any = None
        self.places = [Place(0)]
        self.note = ""
        self.cost = 2 * length(stream) + _PER_PIXEL * header.size[0] * header.size[1]

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        """Return the image; a JPEG that was packed without loss is read as that JPEG."""
        is_jpeg, info, data, profile = self._decode()
        if is_jpeg:
            return next(jpeg.decode(io.BytesIO(data), "JPEG", budget, self._max_pixels))
        if (info.width, info.height) != self._size:
            raise PictureError("corrupt", "its size is not that of its header")
        # libjxl has turned it already.
        return finished(_image(info, data), budget, profile=profile or None, orientation=1, page=place.page)

    def _decode(self) -> Any:
        if self._decoded is None:
            self._stream.seek(0)
            try:
                is_jpeg, info, data, profile, _ = pillow_jxl.Decoder(num_threads=0)(self._stream.read())
            except RuntimeError as error:  # it says how libjxl is built to say more
                raise PictureError("corrupt", "its data is damaged, or its end is missing") from error
            self._decoded = is_jpeg, info, data, profile
        return self._decoded

    def metadata(self) -> Metadata:
        """Return what EXIF and XMP tell; of a packed JPEG all that it tells. Compressed boxes are not read."""
        if any(box.name == b"jbrd" for box in self._boxes):
            return jpeg.metadata(io.BytesIO(self._decode()[2]), "JPEG", self._max_pixels)
        found = {box.name: box for box in reversed(self._boxes) if box.end - box.start <= MAX_BLOCK}
        exif = Image.Exif()
        if box := found.get(b"Exif"):
            data = _bytes(self._stream, box)
            # Four bytes say how far behind them the TIFF begins; some programs leave them out.
            exif.load(data if data[:4] in (b"II*\0", b"MM\0*") else data[4 + int.from_bytes(data[:4]) :])
        xmp = found.get(b"xml ")
        return merged(exif, _bytes(self._stream, xmp) if xmp else None)

    def text(self, place: Place) -> str:
        """Return "": an image has none."""
        return ""

    def close(self) -> None:
        """Let go of the pixels."""
        self._decoded = None


class _Box(NamedTuple):
    """A part of the container: its name, and where its contents begin and end."""

    name: bytes
    start: int
    end: int


def _boxes(stream: BinaryIO) -> Iterator[_Box]:
    """Yield the container's boxes; none for a bare codestream."""
    size = length(stream)
    stream.seek(0)
    if stream.read(len(_CONTAINER)) != _CONTAINER:
        return
    at = len(_CONTAINER)
    for _ in range(_MOST_BOXES):
        stream.seek(at)
        head = stream.read(16)
        if len(head) < 8:
            return
        whole, start = int.from_bytes(head[:4]), at + 8
        if whole == 1:
            whole, start = int.from_bytes(head[8:16]), at + 16
        end = at + whole if whole else size  # 0: it is the last
        if end < start:
            return
        yield _Box(head[4:8], start, min(end, size))
        at = end


def _bytes(stream: BinaryIO, box: _Box) -> bytes:
    stream.seek(box.start)
    return stream.read(box.end - box.start)


def _codestream(stream: BinaryIO, boxes: list[_Box]) -> bytes:
    """Return the beginning of the codestream: in parts, a box may have a few bytes of it."""
    if not boxes:
        stream.seek(0)
        return stream.read(_HEAD_BYTES)
    found = b""
    for box in boxes:
        if box.name in (b"jxlc", b"jxlp") and len(found) < _HEAD_BYTES:
            found += _bytes(stream, box._replace(end=min(box.end, box.start + _HEAD_BYTES)))[
                4 if box.name == b"jxlp" else 0 :
            ]
    return found


class _Header(NamedTuple):
    """(width, height) upright, in pixels, and whether there are several frames to be shown in turn."""

    size: tuple[int, int]
    is_animated: bool


class _Bits:
    """The bits of some bytes, each byte's lowest first."""

    def __init__(self, data: bytes) -> None:
        self._rest, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def read(self, count: int) -> int:
        """Return the number that the next bits are. PictureError if there are no more."""
        self._left -= count
        if self._left < 0:
            raise PictureError("corrupt", "its header is cut off")
        value = self._rest & (1 << count) - 1
        self._rest >>= count
        return value

    def choice(self, *ways: tuple[int, int]) -> int:
        """Return a number of one of four lengths, as two bits say: each (bits, what is added)."""
        bits, more = ways[self.read(2)]
        return self.read(bits) + more


def _header(codestream: bytes) -> _Header:
    """Read size, orientation and whether it is animated. Raises PictureError."""
    if codestream[:2] != b"\xff\x0a":
        raise PictureError("corrupt", "it has no codestream")
    bits = _Bits(codestream[2:])
    size, orientation, is_animated = _size(bits), 1, False
    # Not all as usual, and some of it what few files have.
    if not bits.read(1) and bits.read(1):
        orientation = 1 + bits.read(3)
        if bits.read(1):  # the size that it is meant to be shown at
            _size(bits)
        if bits.read(1):
            _skip_preview(bits)
        is_animated = bool(bits.read(1))
    return _Header(upright(size, orientation), is_animated)


def _size(bits: _Bits) -> tuple[int, int]:
    """Read a (width, height); the former may be given as a ratio."""
    in_eights = bits.read(1)

    def side() -> int:
        return 8 * (1 + bits.read(5)) if in_eights else bits.choice((9, 1), (13, 1), (18, 1), (30, 1))

    height = side()
    ratio = bits.read(3)
    if not ratio:
        return side(), height
    over, under = _RATIOS[ratio - 1]
    return height * over // under, height


def _skip_preview(bits: _Bits) -> None:
    """Read over the size of a preview."""
    in_eights = bits.read(1)

    def side() -> int:
        if in_eights:
            return bits.choice((0, 16), (0, 32), (5, 1), (9, 33))
        return bits.choice((6, 1), (8, 65), (10, 321), (12, 1345))

    side()
    if not bits.read(3):
        side()


def _image(info: Any, data: bytes) -> Image.Image:
    """Make an image of the pixels that come out of the plugin: of some, numbers of more bits than it says."""
    size = info.width, info.height
    if info.mode not in _BITS:
        return Image.frombytes("F" if info.mode.startswith("F") else info.mode, size, data)
    channels = _BITS[info.mode]
    match len(data) // (size[0] * size[1] * channels):
        case 2:
            numbers = np.frombuffer(data, np.uint16) >> 8
        case 4:
            numbers = np.rint(np.clip(np.frombuffer(data, np.float32), 0, 1) * 255)
        case _:
            return Image.frombytes(info.mode, size, data)
    return Image.frombytes(info.mode, size, numbers.astype(np.uint8).tobytes())
