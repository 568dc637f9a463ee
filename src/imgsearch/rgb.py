"""A Pillow image of any mode as 8-bit RGB: what numbers of other depths mean, and the ground of what is transparent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

_FAINT = 60
"""A colour that is nowhere further than this from its ground can't be told from it."""
_SEEN = 0.01
"""The share of what is drawn that must be told on a ground."""
_STRIP = 1_000_000
"""Pixels of a strip in which large images are converted."""
Span: TypeAlias = tuple[float, float]
"""The smallest and the largest number of an image."""
_DRAWN = 32
"""An alpha from which on a pixel counts as drawn, of 255."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded image of any mode as mode RGB, what is transparent on a ground; it is not turned."""
    return flat(eight_bits(image))


def eight_bits(image: Image.Image, span: Span | None = None) -> Image.Image:
    """Return a loaded image in one of the modes L, LA, RGB, RGBA and CMYK.

    ``span`` is that of the whole, as ``span_of`` finds it, where ``image`` is a part of another with 32-bit numbers.
    """
    match image.mode:
        case "1" | "L" | "RGB" | "P" if image.has_transparency_data:
            return image.convert("LA" if image.mode == "L" else "RGBA")
        case "L" | "LA" | "RGB" | "RGBA" | "CMYK":
            return image
        case "1":
            return image.convert("L")
        case "La" | "RGBa":
            return image.convert(image.mode[:-1] + "A")
        case "PA":
            return image.convert("RGBA")
        case "LAB":
            return _from_lab(image)
        case "I" | "F":
            grey = Image.new("L", image.size)
            span = span or span_of(image)
            for top, strip in strips(image):
                grey.paste(Image.fromarray(_stretched(np.asarray(strip), span)), (0, top))
            return grey
        case mode if mode.startswith("I;16"):
            numbers = np.asarray(image)
            grey = Image.fromarray(scaled(numbers, 0, 65535))
            key = image.info.get("transparency")
            if isinstance(key, int):
                grey.putalpha(Image.fromarray(np.where(numbers == key, np.uint8(0), np.uint8(255))))
            return grey
    return image.convert("RGB")


def flat(image: Image.Image) -> Image.Image:
    """Return an image of the modes of ``eight_bits`` as RGB: what is transparent is white, or black.

    The ground is white unless nothing of the drawing could be told on it, and something can on black: as of a white
    drawing on nothing.
    """
    if image.mode == "RGB":
        return image
    if image.mode not in ("LA", "RGBA"):
        return image.convert("RGB")
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    image = image.convert("RGBA")
    on_white = _over("white", image)
    if _is_told(ImageChops.invert(on_white), alpha):
        return on_white
    on_black = _over("black", image)
    return on_black if _is_told(on_black, alpha) else on_white


def _over(ground: str, image: Image.Image) -> Image.Image:
    """Return an RGBA image laid on a colour."""
    laid = Image.new("RGB", image.size, ground)
    laid.paste(image, mask=image)
    return laid


def _is_told(on_black: Image.Image, alpha: Image.Image) -> bool:
    """Tell whether anything of what is drawn differs from the black that it lies on."""
    red, green, blue = on_black.split()
    told = sum(ImageChops.lighter(ImageChops.lighter(red, green), blue).histogram()[_FAINT + 1 :])
    return told > _SEEN * sum(alpha.histogram()[_DRAWN:])


def scaled(values: NDArray[np.generic], black: float, white: float) -> NDArray[np.uint8]:
    """Map ``black`` … ``white`` to 0 … 255 and clip the rest; NaN becomes black."""
    out = np.empty(values.shape, np.uint8)
    factor = np.float32(255 / (white - black))
    # Row by row in blocks: a float copy of a large scan would take eight times its bytes.
    for start in range(0, len(values), 256):
        with np.errstate(over="ignore", invalid="ignore"):
            block = values[start : start + 256].astype(np.float32)
            if black:
                block -= np.float32(black)
            block *= factor
            block += np.float32(0.5)
        if values.dtype.kind == "f":
            block = np.nan_to_num(block, copy=False, nan=0, posinf=255, neginf=0)
        out[start : start + 256] = np.clip(block, 0, 255, out=block)
    return out


def stretched(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Map 32-bit numbers to 0 … 255 by what their range looks like: the file does not tell what white is.

    Whole numbers are taken as 16 bit, floats as 0 … 1 or 0 … 255 where they fit; anything else is stretched
    from its smallest to its largest finite value.
    """
    return _stretched(values, _span([values[start : start + 256] for start in range(0, len(values), 256)]))


def span_of(image: Image.Image) -> Span:
    """Return the smallest and the largest finite number of an image of the modes I and F."""
    return _span(np.asarray(strip) for _, strip in strips(image))


def strips(image: Image.Image, multiple: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield an image in strips of a megapixel or so, each with the row that it begins at: a multiple of that number."""
    width, height = image.size
    rows = max(1, _STRIP // (width * multiple)) * multiple
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(height, top + rows)))


def _span(blocks: Iterable[NDArray[Any]]) -> Span:
    low, high = np.inf, -np.inf
    for block in blocks:
        finite = block[np.isfinite(block)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _stretched(values: NDArray[Any], span: Span) -> NDArray[np.uint8]:
    low, high = span
    whole = values.dtype.kind in "iu"
    for top in (65535,) if whole else (1, 255):
        if low >= 0 and high <= top:
            return scaled(values, 0, top)
    out = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), 256):
        block = values[start : start + 256].astype(np.float64)
        spread = np.nan_to_num(block, nan=low, posinf=high, neginf=low) - low
        out[start : start + 256] = scaled(spread / max(high - low, 1e-300), 0, 1)
    return out


def _from_lab(image: Image.Image) -> Image.Image:
    """Return a CIE L*a*b* picture as sRGB; Pillow's convert() does not know the mode."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    turned = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert turned is not None
    return turned
