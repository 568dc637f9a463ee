"""RAW photos by LibRaw: the camera's own preview where it is large enough, else the photo developed at half size."""

from __future__ import annotations

import io
import math
from contextlib import suppress
from typing import IO, BinaryIO, cast

import numpy as np
import rawpy
from PIL import ExifTags, Image

from imgsearch.errors import PictureError
from imgsearch.media.decoders import raster
from imgsearch.media.documents.contract import DocumentOptions, Place
from imgsearch.media.metadata import merged
from imgsearch.media.splice import length
from imgsearch.types import NO_METADATA, RGB, Metadata, Picture, PixelBudget

_TURNS = {3: 2, 5: 1, 6: 3}
"""LibRaw's flip → quarter turns against the clock."""
_BACK = {3: 2, 6: 1, 8: 3}
"""EXIF's orientation → quarter turns against the clock that undo it."""
_SAME_SHAPE = 0.02
"""A preview may be cropped by this share, for a sensor has a few columns more than the photo."""
_LOOK_LIKE_TIFF = {b"IIRO": b"II*\0", b"IIRS": b"II*\0", b"MMOR": b"MM\0*", b"IIU\0": b"II*\0"}
"""How Olympus's and Panasonic's RAW files begin → as the TIFF that they are but for this."""
_TAIL = 1024
"""Bytes at the end of a preview that are looked for in the file."""
_LIBRAW = "dcraw v"
"""The program that made the EXIF which LibRaw puts before a preview that doesn't begin with its own."""
_PER_PIXEL, _SMALL_PHOTO = 8, 20_000_000
"""Bytes that a pixel of the sensor takes while its photo is developed at half size; those of one developed in full."""


def open_reader(stream: BinaryIO, name: str, options: DocumentOptions) -> _Raw:
    """Open a RAW photo. Raises PictureError: "unsupported", "too many pixels", or what LibRaw calls it."""
    try:
        photo = rawpy.imread(stream)
    except rawpy.LibRawFileUnsupportedError as error:
        raise PictureError("unsupported", "no kind of RAW photo that LibRaw knows") from error
    except rawpy.LibRawError as error:
        raise PictureError("corrupt", "its header can't be read") from error
    return _Raw(photo, stream, options)


class _Raw:
    """A ``contract.Reader`` of a RAW photo."""

    def __init__(self, photo: rawpy.RawPy, stream: BinaryIO, options: DocumentOptions) -> None:
        self._photo, self._stream = photo, stream
        self._max_pixels = int(options.max_megapixels * 1_000_000)
        sizes = photo.sizes
        self._turns = _TURNS.get(sizes.flip, 0)
        # A sensor whose pixels are no squares (aspect other than 1) is stretched when the photo is developed.
        wide, high = sizes.width, sizes.height
        if sizes.pixel_aspect > 1:
            wide = round(wide * sizes.pixel_aspect)
        elif sizes.pixel_aspect > 0:
            high = round(high / sizes.pixel_aspect)
        raster.check_size((wide, high), self._max_pixels)
        self._size = wide, high
        self.places = [Place(0)]
        self.note = ""
        self.cost = 2 * length(stream) + _PER_PIXEL * sizes.raw_width * sizes.raw_height + _SMALL_PHOTO

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        """Return the preview, turned as the RAW file says, if it has the budget's pixels; else the photo developed."""
        size = self._size[::-1] if self._turns % 2 else self._size
        pixels = self._preview(budget)
        if pixels is None:
            pixels = self._developed(budget)
        return Picture(pixels, *size, place.page)

    def text(self, place: Place) -> str:
        """Return "": a photo has none."""
        return ""

    def metadata(self) -> Metadata:
        """Return what the file's own EXIF and that of its preview tell together."""
        own, preview = Image.Exif(), NO_METADATA
        # Bytes of anybody. CR3 and RAF are no TIFF: their EXIF is in the preview alone.
        with suppress(Exception):
            self._stream.seek(0)
            head = self._stream.read(4)
            own.load_from_fp(cast("IO[bytes]", _Beginning(self._stream, _LOOK_LIKE_TIFF.get(head, head))))
        with suppress(Exception):
            thumb = self._photo.extract_thumb().data
            if isinstance(thumb, bytes):
                with Image.open(io.BytesIO(thumb), formats=["JPEG"]) as image:
                    if not str(image.getexif().get(ExifTags.Base.Software)).startswith(_LIBRAW):
                        preview = merged(image.getexif(), image.info.get("xmp"))
        packet = own.get(0x2BC)
        return merged(own, packet if isinstance(packet, bytes) else None).over(preview)

    def close(self) -> None:
        """Let go of the file."""
        self._photo.close()

    def _preview(self, budget: PixelBudget) -> RGB | None:
        """Return the preview's upright pixels; None where there is none that the model can do with."""
        try:
            thumb = self._photo.extract_thumb().data
        except rawpy.LibRawError:
            return None
        if not isinstance(thumb, bytes):  # one without compression
            size = thumb.shape[1], thumb.shape[0]
            return np.rot90(thumb, self._turns).copy() if self._is_enough(size, budget) else None
        from imgsearch.media.decoders import jpeg

        try:
            with raster.opened(io.BytesIO(thumb), "JPEG", self._max_pixels) as image:
                orientation = raster.orientation_of(image)
                if not self._is_enough(image.size, budget):
                    return None
                # Some cameras have turned it already. What its own EXIF says doesn't count: LibRaw gives it one.
                lies_as_stored = (image.width > image.height) == (self._size[0] > self._size[1])
            picture = next(jpeg.decode(io.BytesIO(thumb), "JPEG", budget, self._max_pixels))
        except Exception:  # a preview that is damaged costs the time to develop the photo
            return None
        if picture.note or not self._holds(thumb[-_TAIL:]):  # its end is missing
            return None
        turns = _BACK.get(orientation, 0) + (self._turns if lies_as_stored else 0)
        return np.rot90(picture.pixels, turns).copy()

    def _holds(self, data: bytes) -> bool:
        """Whether the file has these bytes: LibRaw fills a preview that is cut off with what its memory last held."""
        self._stream.seek(0)
        return data in self._stream.read()

    def _is_enough(self, size: tuple[int, int], budget: PixelBudget) -> bool:
        """Whether a preview of this (width, height) shows the whole photo, in as many pixels as the budget takes."""
        wide, high = sorted(size), sorted(self._size)
        same = abs(wide[1] / wide[0] / (high[1] / high[0]) - 1) <= _SAME_SHAPE if wide[0] else False
        return same and size[0] * size[1] >= min(budget.max_pixels, math.prod(self._size))

    def _developed(self, budget: PixelBudget) -> RGB:
        half = math.prod(self._size) >= 4 * budget.max_pixels
        # At half size four pixels of the sensor make one, and nothing is invented.
        pixels = self._photo.postprocess(half_size=half, use_camera_wb=True, output_bps=8)
        image = raster.reduced(Image.fromarray(pixels), budget.max_pixels)
        return raster.finished(image, budget, orientation=1).pixels


class _Beginning:
    """A stream whose first bytes are others."""

    def __init__(self, stream: BinaryIO, first: bytes) -> None:
        self._stream, self._first = stream, first
        stream.seek(0)

    def seek(self, to: int, whence: int = 0, /) -> int:
        return self._stream.seek(to, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1, /) -> bytes:
        at = self._stream.tell()
        data = self._stream.read(size)
        return self._first[at : at + len(data)] + data[max(0, len(self._first) - at) :]
