"""RAW photos, drawn: a DNG of a sensor with a Bayer pattern, with or without the preview of a camera."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from tifffile import TiffWriter

from imgsearch.types import RGB

_COLOURS = np.array([[0, 1], [1, 2]])
"""Of the pixels of a Bayer sensor: red, green, green, blue."""


def dng(
    colours: RGB,
    *,
    orientation: int = 1,
    preview: RGB | None = None,
    preview_orientation: int = 0,
    tags: tuple[tuple[Any, ...], ...] = (),
) -> bytes:
    """Return a DNG of a picture that is (h, w, 3) uint8, as the sensor lies; with a preview as JPEG, if it has one."""
    height, width = colours.shape[:2]
    linear = (colours / 255.0) ** 2.2
    sensor = np.take_along_axis(linear, np.tile(_COLOURS, (height // 2, width // 2))[..., None], axis=2)[
        ..., 0
    ]
    rational = lambda *values: [part for value in values for part in (round(value * 10_000), 10_000)]  # noqa: E731
    # From CIE XYZ to the camera's colours, which are sRGB's here.
    matrix = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570]
    own: list[tuple[Any, ...]] = [
        (271, 2, 0, "Maker", True),
        (272, 2, 0, "Model X", True),
        (274, 3, 1, orientation, True),
        (50706, 1, 4, b"\1\4\0\0", True),  # DNGVersion
        (50708, 2, 0, "Maker Model X", True),  # UniqueCameraModel
        (33421, 3, 2, (2, 2), True),  # CFARepeatPatternDim
        (33422, 1, 4, b"\0\1\1\2", True),  # CFAPattern
        (50714, 3, 1, 0, True),  # BlackLevel
        (50717, 4, 1, 65535, True),  # WhiteLevel
        (50721, 10, 9, rational(*matrix), True),  # ColorMatrix1
        (50728, 5, 3, rational(1, 1, 1), True),  # AsShotNeutral
        (50778, 3, 1, 21, True),  # CalibrationIlluminant1: daylight
        *tags,
    ]
    out = io.BytesIO()
    writer: Any = TiffWriter  # its constructor has no types
    with writer(out) as file:
        data = np.round(sensor * 65535).astype(np.uint16)
        file.write(data, photometric="cfa", extratags=own, metadata=None, software=False)
    return (
        _with_preview(out.getvalue(), preview, preview_orientation) if preview is not None else out.getvalue()
    )


def _jpeg(pixels: RGB, orientation: int) -> bytes:
    """Return a JPEG, saying in its EXIF when it was taken and how it lies, if it does."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2023:07:01 12:30:00"
    if orientation:
        exif[274] = orientation
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, exif=exif)
    return b"\xff\xd8" + out.getvalue()[20:]  # as from a camera: without JFIF's header


def _with_preview(file: bytes, preview: RGB, orientation: int) -> bytes:
    """Return a TIFF with a second directory behind its first, of a JPEG in one strip, as cameras have it."""
    image = _jpeg(preview, orientation)
    height, width = preview.shape[:2]
    at = len(file) + len(file) % 2
    entries = [
        (254, 4, 1, 1),  # NewSubfileType: reduced
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, 0),
        (259, 3, 1, 7),  # Compression: JPEG
        (262, 3, 1, 6),  # YCbCr
        (273, 4, 1, 0),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, len(image)),
    ]
    bits = at + 2 + 12 * len(entries) + 4
    values = {258: bits, 273: bits + 6}
    directory = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        directory += struct.pack("<HHII", tag, kind, count, values.get(tag, value))
    directory += struct.pack("<I", 0) + struct.pack("<3H", 8, 8, 8)
    (first,) = struct.unpack_from("<I", file, 4)
    (count,) = struct.unpack_from("<H", file, first)
    link = first + 2 + 12 * count
    return (
        file[:link] + struct.pack("<I", at) + file[link + 4 :].ljust(at - link - 4, b"\0") + directory + image
    )
