"""Decoding the raster formats that Pillow reads, and turning every pixel mode into upright 8-bit RGB."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    PsdImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from imgsearch.errors import PictureError
from imgsearch.media.lookahead import DECODING
from imgsearch.types import MAX_ASPECT, Picture, PixelBudget

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
_lock = threading.Lock()
_silenced = False


def decode(stream: BinaryIO, format: str, budget: PixelBudget, max_pixels: int) -> Iterator[Picture]:
    """Yield the first frame of a file of the given format (a key of the table above).

    Raises PictureError where the size is out of bounds, else whatever Pillow raises on broken bytes.
    """
    with _opened(stream, format, max_pixels) as image:
        full = image.size
        if image.format == "JPEG":
            _skip_detail(image, budget.max_pixels)
        drafted = image.size != full
        with DECODING.take(image.size[0] * image.size[1]):
            image.load()
            orientation = _orientation(image)
            rgb = to_rgb(image)
            if orientation in _UPRIGHT:
                rgb = rgb.transpose(_UPRIGHT[orientation])
            if not drafted:
                # TIFF turns itself upright while it loads: only the result knows its size.
                full = rgb.size
            elif orientation in _SIDEWAYS:
                full = (full[1], full[0])
            pixels = np.array(rgb)
            del rgb
            yield Picture(pixels, *full)


def check(stream: BinaryIO, format: str, max_pixels: int) -> None:
    """Read a file's header only, and raise what ``decode`` would raise for it."""
    _opened(stream, format, max_pixels).close()


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


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded image of any mode as mode RGB, what is transparent over white; it is not turned."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray(_scaled(np.asarray(image), 65535))
    elif image.mode in ("I", "F"):
        image = Image.fromarray(_stretched(np.asarray(image)))
    elif image.mode == "LAB":
        image = _from_lab(image)
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        flat = Image.new("RGB", image.size, "white")
        flat.paste(with_alpha, mask=with_alpha)
        return flat
    return image if image.mode == "RGB" else image.convert("RGB")


def _opened(stream: BinaryIO, format: str, max_pixels: int) -> ImageFile.ImageFile:
    """Parse a file's header and refuse a size that is out of bounds; nothing is decoded yet."""
    _prepare_pillow(max_pixels)
    try:
        image = _OPENERS[format](stream)
    except Image.DecompressionBombError as error:
        raise PictureError("too many pixels", str(error)) from error
    try:
        check_size(image.size, max_pixels)
        if image.format == "TIFF":
            _check_tile(image, max_pixels)
    except BaseException:
        image.close()
        raise
    return image


def _prepare_pillow(max_pixels: int) -> None:
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


def _skip_detail(image: ImageFile.ImageFile, max_pixels: int) -> None:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its sides where the budget leaves much less than that.

    At least four times the budget's pixels remain, so each side is at least twice the final one and the
    resize that follows still averages. The mode is left as it is: colours must not depend on the scale.
    """
    width, height = image.size
    for scale in (8, 4, 2):
        if (width // scale) * (height // scale) >= 4 * max_pixels:
            image.draft(None, (width // scale, height // scale))
            return


def _check_tile(image: ImageFile.ImageFile, max_pixels: int) -> None:
    """Refuse a TIFF whose tiles are far larger than it: libtiff allocates a whole one."""
    tags = getattr(image, "tag_v2", {})
    width, height = tags.get(TiffImagePlugin.TILEWIDTH), tags.get(TiffImagePlugin.TILELENGTH)
    if isinstance(width, int) and isinstance(height, int) and width * height > max_pixels:
        raise PictureError("too many pixels", f"its tiles are {width} × {height} pixels")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none or it can't be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # metadata of anybody, parsed by others: it must not lose the picture
        return 1
    return value if isinstance(value, int) else 1


def _scaled(values: NDArray[np.generic], top: int) -> NDArray[np.uint8]:
    """Map 0 … top to 0 … 255 and clip the rest."""
    out = np.empty(values.shape, np.uint8)
    # Row by row in blocks: a float copy of a large scan would take eight times its bytes.
    for start in range(0, len(values), 256):
        block = values[start : start + 256].astype(np.float32)
        out[start : start + 256] = np.clip(block * np.float32(255 / top) + np.float32(0.5), 0, 255)
    return out


def _stretched(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Map 32-bit numbers to 0 … 255 by what their range looks like: the file does not say what white is.

    Whole numbers are taken as 16 bit, floats as 0 … 1 or 0 … 255 where they fit; anything else is stretched
    from its smallest to its largest finite value.
    """
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    whole = values.dtype.kind in "iu"
    for top in (65535,) if whole else (1, 255):
        if low >= 0 and high <= top:
            return _scaled(np.nan_to_num(values, nan=0, posinf=top, neginf=0), top)
    spread = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low) - low
    return _scaled(spread / max(high - low, 1e-300), 1)


def _from_lab(image: Image.Image) -> Image.Image:
    """Return a CIE L*a*b* picture as sRGB; Pillow's convert() does not know the mode."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    turned = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert turned is not None
    return turned
