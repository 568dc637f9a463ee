"""Decoding HEIC and HEIF through pillow-heif, which is imported on use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from imgsearch.errors import PictureError
from imgsearch.media import colour
from imgsearch.media.decoders.raster import check_size, finished
from imgsearch.media.limits import DECODING, Cost
from imgsearch.media.metadata import merged
from imgsearch.media.splice import length
from imgsearch.types import Metadata, Picture, PixelBudget


def decode(stream: BinaryIO, format: str, budget: PixelBudget, max_pixels: int) -> Iterator[Picture]:
    """Yield the file's primary picture in full size.

    pillow-heif's own classes are used instead of its Pillow plugin, so nothing has to be registered and no
    state is shared between threads. libheif applies rotation and mirroring itself; the EXIF orientation
    that repeats it must not be applied again.

    Raises PictureError where pillow-heif is missing or the size is out of bounds, else what libheif raises.
    """
    container = _opened(stream, max_pixels)
    with DECODING.take(_cost(container), length(stream)):
        nclx = container.info.get("nclx_profile") or {}
        profile = container.info.get("icc_profile") or colour.from_cicp(
            nclx.get("color_primaries", 2), nclx.get("transfer_characteristics", 2)
        )
        if container.mode == "RGB" and not colour.moves("RGB", profile):
            # As libheif has it: to Pillow and back is a tenth of the time.
            pixels = np.asarray(container)
            yield Picture(pixels, pixels.shape[1], pixels.shape[0])
        else:
            yield finished(container.to_pillow(), budget, profile=profile, orientation=1)


def check(stream: BinaryIO, format: str, max_pixels: int) -> tuple[int, int]:
    """Return the image's (width, height) by its header, or raise what ``decode`` would raise for it."""
    width, height = _opened(stream, max_pixels).size
    return width, height


def _cost(container: Any) -> Cost:
    width, height = container.size
    # The planes of the decoder, their colours, and what is made of these.
    return Cost(24 * width * height, f"{width:,} × {height:,} pixels of HEIF")


def metadata(stream: BinaryIO, format: str, max_pixels: int) -> Metadata:
    """Return what EXIF and XMP tell, or raise what ``decode`` would raise for the header."""
    info = _opened(stream, max_pixels).info
    return merged(_exif(info), info.get("xmp"))


def exif_of(stream: BinaryIO, max_pixels: int) -> Image.Exif:
    """Return a file's EXIF, or raise what ``decode`` would raise for the header."""
    return _exif(_opened(stream, max_pixels).info)


def _exif(info: dict[str, Any]) -> Image.Exif:
    exif = Image.Exif()
    if info.get("exif"):
        exif.load(info["exif"])
    return exif


def _opened(stream: BinaryIO, max_pixels: int) -> Any:
    try:
        import pillow_heif
    except ImportError as error:
        raise PictureError("needs pillow-heif", "pip install pillow-heif") from error
    container = pillow_heif.open_heif(stream, convert_hdr_to_8bit=True)
    check_size(container.size, max_pixels)
    return container
