"""Decoding the raster formats that Pillow reads, and finishing every decoded image: sRGB, 8 bits, upright."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    PsdImagePlugin,
    QoiImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from imgsearch.errors import PictureError
from imgsearch.media import colour
from imgsearch.media.decoders import headers
from imgsearch.media.decoders.animation import most_telling
from imgsearch.media.decoders.headers import Header, read_header
from imgsearch.media.decoders.jpeg2000 import Codestream
from imgsearch.media.limits import DECODING, Cost
from imgsearch.media.metadata import merged
from imgsearch.media.splice import length
from imgsearch.rgb import eight_bits, flat, span_of, strips
from imgsearch.types import DEFAULT_BUDGET, MAX_ASPECT, NO_METADATA, Metadata, Picture, PixelBudget

# The classes are called instead of Image.open: the format is known by then, their errors say what is wrong
# where Image.open says "cannot identify", and nothing but this list can run: no EPS, no PDF, no WMF. An MPO
# (several JPEGs in a row) is read as the JPEG that it starts with.
_OPENERS: dict[str, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
    "AVIF": AvifImagePlugin.AvifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "JPEG2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "PSD": PsdImagePlugin.PsdImageFile,
    "QOI": QoiImagePlugin.QoiImageFile,
    "TGA": TgaImagePlugin.TgaImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what puts the picture upright."""

_SIDEWAYS = frozenset({5, 6, 7, 8})
_WORTH_REDUCING = 0.8
"""An image is reduced to this share of its sides, or less, before its colours are converted."""
_ANIMATED = frozenset({"AVIF", "GIF", "WEBP"})
_WITH_METADATA = frozenset({"AVIF", "PSD", "WEBP"})
"""The formats here whose metadata Pillow finds."""
LEAST_ROWS = 0.75
"""The share of its rows that an image must have when its end is missing; benchmarks/LOG.md has the reason."""
_LARGE = 40_000_000
"""Pixels from which on an image is reduced before anything else is done with it, so that no copies of it are made."""
_STRIPS = 50_000_000
"""Bytes that the strips take in which that is done."""
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2}
"""Pillow's mode → bytes of a pixel in memory; all others have four."""
_CODED_WHOLE = frozenset({"AVIF", "WEBP"})
"""Formats whose decoders hold the whole image several times."""
_lock = threading.Lock()
_silenced = False


def decode(stream: BinaryIO, format: str, budget: PixelBudget, max_pixels: int) -> Iterator[Picture]:
    """Yield the image of a file, of an animation its most telling frame.

    Raises PictureError where the size is out of bounds, else whatever Pillow raises on broken bytes.
    """
    header = read_header(stream, format)
    with opened(header.stream, format, max_pixels, halves=header.halves) as image:
        full = _size(image, header.halves)
        levels = _skip_levels(image, header.codestream, budget.max_pixels) if header.codestream else 0
        with DECODING.take(_cost(image, format, header, budget, levels), length(stream)):
            image.load()
            profile = header.profile or embedded(image)
            orientation = orientation_of(image)
            if header.palette and image.mode in ("P", "PA"):
                mode, colours = header.palette
                image.putpalette(colours, mode)
            shown = telling_frame(image) if format in _ANIMATED else image
            if header.halves:
                shown = Image.fromarray(np.asarray(image)[:, ::2], image.mode)
            shown = manageable(shown, budget.max_pixels, opaque=not _has_alpha(shown, header))
            if header.bits < 8:
                step, top = 1 << 8 - header.bits, (1 << header.bits) - 1
                shown = shown.point(
                    [min(255, 255 * value // (step * top)) for value in range(256)] * len(shown.mode)
                )
            if header.negative:
                shown = ImageChops.invert(shown)
            yield finished(shown, budget, profile=profile, orientation=orientation, full=full)


def check(stream: BinaryIO, format: str, max_pixels: int) -> tuple[int, int]:
    """Return the upright image's (width, height) by its header, or raise what ``decode`` would raise for it."""
    header = read_header(stream, format)
    with opened(header.stream, format, max_pixels, halves=header.halves) as image:
        return upright(_size(image, header.halves), orientation_of(image))


def _cost(image: ImageFile.ImageFile, format: str, header: Header, budget: PixelBudget, levels: int) -> Cost:
    """Return what it takes to decode an opened image, a JPEG 2000 without some of its levels."""
    pixels = image.size[0] * image.size[1]
    cost = finishing(image, budget, 1 << levels)
    if header.codestream:
        # Of a tile the numbers that come out of the wavelets, and the samples made of them.
        tile = min(pixels, header.codestream.tile[0] * header.codestream.tile[1])
        samples = 6 * header.codestream.components * tile >> 2 * levels
        return Cost(cost.bytes + samples + header.codestream.bookkeeping, f"{cost.reason}, JPEG 2000")
    if format in _CODED_WHOLE or (format in _ANIMATED and getattr(image, "is_animated", False)):
        return Cost(cost.bytes + 16 * pixels, f"{cost.reason}, and the decoder's own copies")
    return cost


def finishing(image: Image.Image, budget: PixelBudget, scale: int = 1) -> Cost:
    """Return what an image takes once it is loaded, with its sides divided by ``scale``, until it is a Picture."""
    width, height = (-(-side // scale) for side in image.size)
    held = _BYTES.get(image.mode, 4)
    factor = _factor((width, height), budget.max_pixels)
    rest = width * height // factor**2
    strips = _STRIPS if factor > 1 else 0
    # Laying it on a ground takes several copies.
    transparent = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or image.has_transparency_data
    return Cost(
        held * width * height + (28 if transparent else 14) * rest + strips,
        f"{width:,} × {height:,} pixels of mode {image.mode}",
    )


def _factor(size: tuple[int, int], max_pixels: int) -> int:
    """Return by what the sides of a loaded image are divided before anything else is done with it; mostly 1."""
    pixels = size[0] * size[1]
    return max(1, math.isqrt(pixels // (4 * max_pixels))) if pixels > _LARGE else 1


def manageable(image: Image.Image, max_pixels: int, *, opaque: bool = False) -> Image.Image:
    """Return a loaded image in a mode of ``rgb.eight_bits``; a large one reduced, strip by strip.

    Each side stays at least twice the final one, so that the resize that follows still averages. ``opaque`` drops
    its alpha.
    """
    factor = _factor(image.size, max_pixels)
    if factor == 1:
        return _opaque(eight_bits(image)) if opaque else eight_bits(image)
    span = span_of(image) if image.mode in ("I", "F") else None
    smaller: Image.Image | None = None
    for top, strip in strips(image, factor):
        part = eight_bits(strip, span)
        part = (_opaque(part) if opaque else part).reduce(factor)
        if smaller is None:
            smaller = Image.new(part.mode, (part.width, -(-image.height // factor)))
        smaller.paste(part, (0, top // factor))
    assert smaller is not None
    return smaller


def _opaque(image: Image.Image) -> Image.Image:
    return image.convert(image.mode[:-1]) if image.mode in ("LA", "RGBA") else image


def _skip_levels(image: ImageFile.ImageFile, codestream: Codestream, max_pixels: int) -> int:
    """Have a large JPEG 2000 decoded at a half, a quarter … of its sides; return how often they are halved."""
    levels = min(_factor(image.size, max_pixels).bit_length() - 1, codestream.levels)
    if levels:
        image.reduce = levels  # type: ignore[method-assign, assignment]
    return levels


def metadata(stream: BinaryIO, format: str, max_pixels: int) -> Metadata:
    """Return what EXIF and XMP tell, or raise what ``decode`` would raise for the header."""
    if format not in _WITH_METADATA:
        return NO_METADATA
    if format == "PSD":
        blocks = headers.photoshop_metadata(stream)
        exif = Image.Exif()
        exif.load(blocks.get(headers.EXIF, b""))
        return merged(exif, blocks.get(headers.XMP), blocks.get(headers.IPTC))
    with opened(read_header(stream, format).stream, format, max_pixels) as image:
        return merged(image.getexif(), image.info.get("xmp"))


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Raise PictureError where a (width, height) read from a header is nothing to decode."""
    width, height = size
    if min(width, height) < 1:
        raise PictureError("corrupt", f"its size is {width} × {height} pixels")
    if width * height > max_pixels:
        raise PictureError(
            "too many pixels", f"{width} × {height}, over the limit of {max_pixels / 1e6:,.0f} megapixels"
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PictureError(f"aspect ratio over {MAX_ASPECT}", f"{width} × {height} pixels")


def finished(
    image: Image.Image,
    budget: PixelBudget,
    *,
    profile: bytes | None = None,
    orientation: int | None = None,
    full: tuple[int, int] | None = None,
    page: int = 0,
    note: str = "",
) -> Picture:
    """Make a Picture of a loaded image: its colours in sRGB, on a ground, upright.

    ``orientation`` is EXIF's, None if the image is to be asked; ``full`` is the (width, height) of the image before
    its decoder left out detail.
    """
    if orientation is None:
        orientation = orientation_of(image)
    width, height = upright(full or image.size, orientation)
    image = manageable(image, budget.max_pixels)
    if colour.moves(image.mode, profile):
        # Of a picture whose every colour changes, only as many pixels as matter.
        image = colour.to_srgb(reduced(image, budget.max_pixels), profile)
    image = flat(image)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    return Picture(np.array(image), width, height, page, note)


def upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the (width, height) of an image once it has been turned by its EXIF orientation."""
    return size[::-1] if orientation in _SIDEWAYS else size


def embedded(image: Image.Image) -> bytes | None:
    """Return the colour profile that Pillow has found in a file, or that its EXIF stands for."""
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        return profile
    try:
        index = image.getexif().get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex)
    except Exception:  # as in orientation_of
        return None
    return colour.adobe_rgb() if str(index).startswith("R03") else None


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none or it can't be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # metadata of anybody, parsed by others: it must not lose the picture
        return 1
    # As a byte, which some programs write, Pillow has it as bytes.
    return value[0] if isinstance(value, bytes) and value else value if isinstance(value, int) else 1


def _has_alpha(image: Image.Image, header: Header) -> bool:
    """Tell whether the alpha of a loaded image, if there is any, is meant."""
    if not header.zeros_are_opaque or not image.has_transparency_data:
        return header.has_alpha
    with_alpha = image if image.mode in ("LA", "RGBA") else eight_bits(image)
    return header.has_alpha and with_alpha.getchannel("A").getextrema() != (0, 0)


def telling_frame(image: ImageFile.ImageFile) -> Image.Image:
    """Return the frame that stands for a loaded image: the image itself unless it is an animation that begins empty."""
    return most_telling(image, lambda frame: flat(manageable(frame, DEFAULT_BUDGET.max_pixels))).image


def end_note(rows: int, height: int) -> str:
    """Return the note for an image of which only the first rows are there; PictureError if these are too few."""
    # Rounded down: "100 %" is said of all rows only.
    said = f"end missing, {100 * rows // height} % of rows read"
    if rows < LEAST_ROWS * height:
        raise PictureError("corrupt", said)
    return said


def reduced(image: Image.Image, max_pixels: int) -> Image.Image:
    """Return an image with four times the budget's pixels, if it has many more: each side twice the final one."""
    width, height = image.size
    scale = math.sqrt(4 * max_pixels / (width * height))
    if scale > _WORTH_REDUCING:
        return image
    size = (math.ceil(width * scale), math.ceil(height * scale))
    return image.resize(size, Image.Resampling.BOX, reducing_gap=1.0)


def opened(stream: BinaryIO, format: str, max_pixels: int, *, halves: bool = False) -> ImageFile.ImageFile:
    """Parse a file's header and refuse a size that is out of bounds; nothing is decoded yet.

    ``halves`` is that of a Header.
    """
    prepare_pillow(max_pixels)
    try:
        image = _OPENERS[format](stream)
    except Image.DecompressionBombError as error:
        raise PictureError("too many pixels", str(error)) from error
    try:
        check_size(_size(image, halves), max_pixels)
    except BaseException:
        image.close()
        raise
    return image


def _size(image: ImageFile.ImageFile, halves: bool) -> tuple[int, int]:
    """Return the (width, height) of an image of which two columns may be one."""
    return (image.width // 2, image.height) if halves else image.size


def prepare_pillow(max_pixels: int) -> None:
    """Let Pillow open what our own limit allows, and keep it silent.

    Pillow's limit is a global of its module, and some plugins (WebP's canvas, GIF's frame, TIFF's tile)
    allocate right after asking it, so it can't be switched off. It is raised to the largest limit that any
    call has allowed and never lowered: then one thread can't break another's decoding, sizes that are
    allowed pass without a warning, and the rest still meets a guard (Pillow refuses over twice the limit).
    """
    global _silenced
    limit = Image.MAX_IMAGE_PIXELS
    if _silenced and (limit is None or limit >= max_pixels):
        return
    with _lock:
        if not _silenced:
            # Once, before the first decode: warnings.catch_warnings would not be safe between threads.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            logging.getLogger("PIL").addHandler(logging.NullHandler())
            # libtiff writes to stderr from C unless it is told not to. Looked up through Pillow's own extension,
            # which finds the copy that Pillow uses; where it is linked in without a name, it goes on talking.
            with contextlib.suppress(OSError, AttributeError):
                imaging = ctypes.CDLL(sys.modules["PIL._imaging"].__file__)
                imaging.TIFFSetErrorHandler(None)
                imaging.TIFFSetWarningHandler(None)
            _silenced = True
        if Image.MAX_IMAGE_PIXELS is not None:
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
