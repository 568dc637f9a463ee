"""Decoding TIFF by its tags: all pages that are pictures, each by Pillow where that is right, else by tifffile."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgsearch.errors import PictureError
from imgsearch.installation import how_to_add
from imgsearch.media import colour
from imgsearch.media.decoders import raster
from imgsearch.media.decoders.tiff_codecs import CODECS, unpacked
from imgsearch.media.limits import DECODING, Cost, TooLong
from imgsearch.media.metadata import merged
from imgsearch.media.metadata.iptc import in_photoshop
from imgsearch.media.splice import length, spliced
from imgsearch.rgb import scaled, stretched
from imgsearch.text import error_line
from imgsearch.types import Metadata, Picture, PixelBudget

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAX_PAGES = 100
"""Pages of one file that are read, at most."""
_MAX_PAGE_PIXELS = 32_000_000
"""Pixels of all pages together, as the model sees them: they wait in memory until the file has been decoded."""
_MAX_DIRECTORIES = 4
"""For each page that is looked for."""
_MOST_DIRECTORIES = 10_000
_MAX_SUBPAGES = 16
_MOST_BYTES = 8
"""Bytes per pixel that tifffile may unpack of the largest image that is allowed; of smaller ones it may be more."""
_FEW_STRETCHES = 1000
_MAX_STRETCHES = 1_000_000
"""Strips and tiles of a page."""
_MAX_SAMPLES = 32
"""Samples per pixel, alpha and others included."""

# Tags, and values of them, by TIFF 6.0 and its supplements.
_SUBFILE, _OLD_SUBFILE, _MEANING, _ORIENTATION = 254, 255, 262, 274
_XMP, _IPTC, _PHOTOSHOP = 700, 33723, 34377
_TILE_WIDTH, _TILE_LENGTH, _EXTRA_SAMPLES, _ICC = 322, 323, 338, 34675
_PLACES = (273, 279, 324, 325)
"""Where the strips or tiles are, and how long."""
_REDUCED, _MASK = 1, 4
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB, _ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
_PHOTOMETRIC = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_PHOTOMETRIC |= {_LAB: 3, _ICC_LAB: 3}
"""What colours mean → how many samples they have."""
_UNSIGNED, _SIGNED, _FLOAT, _VOID = 1, 2, 3, 4
_ASSOCIATED, _UNASSOCIATED = 1, 2
_UNCOMPRESSED = 1
_BY_PILLOW = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000})
"""Compressions that the libtiff in Pillow's wheels unpacks."""
_BY_TIFFFILE = frozenset({1, 8, 32773, 32946, 34925})
"""Compressions that tifffile unpacks alone; for others it needs imagecodecs."""


def decode(
    stream: BinaryIO, format: str, budget: PixelBudget, max_pixels: int, pages: slice = slice(None)
) -> Iterator[Picture]:
    """Yield the ``pages`` of a TIFF, numbered from 0; thumbnails and masks are none. If there is only one, that one.

    A page that can't be read does not cost the others; the last has a note then. Raises PictureError if no page can
    be read: of the first, why.
    """
    held: Picture | None = None
    failure: Exception | None = None
    notes = []
    with _opened(stream) as file:
        most = max(1, min(MAX_PAGES, _MAX_PAGE_PIXELS // max(1, budget.max_pixels)))
        start = pages.start or 0
        wanted = most if pages.stop is None else min(most, pages.stop - start)
        found, more = _pages(file, start + wanted)
        more = more and (pages.stop is None or wanted < pages.stop - start)
        if len(found) == 1:
            start = 0  # no document but an image, and nobody has meant to leave that out
        for number, page in enumerate(found[start:], start):
            try:
                picture = _picture(stream, page, budget, max_pixels, number)
            except MemoryError:
                raise
            except TooLong:
                if held is None:
                    raise
                more, wanted = True, number - start
                break
            except Exception as error:  # of a decoder; formats.py gives it a reason if it is the only one
                failure = failure or error
                notes.append(f"page {number + 1} can't be read: {error_line(error, most=80)}")
                continue
            if held is not None:
                yield held
            held = picture
        beyond = start >= len(found)
    if held is None:
        if beyond:
            return
        raise failure or PictureError("corrupt", "it has no page")
    if more:
        first = f"{wanted} pages from page {start + 1} on" if start else f"first {wanted} pages"
        notes.append(f"only its {first} are read")
    yield replace(held, note="; ".join(filter(None, [held.note, *notes])))


def check(stream: BinaryIO, format: str, max_pixels: int) -> tuple[int, int]:
    """Return the first page's (width, height), upright, by its header, or raise what ``decode`` would for it."""
    with _opened(stream) as file:
        page = _pages(file, 1)[0][0]
        _check(page, max_pixels)
        if _is_for_pillow(page):
            with raster.opened(_at_page(stream, page), "TIFF", max_pixels):
                pass  # not closed by name: that would close the caller's stream
        return raster.upright((int(page.imagewidth), int(page.imagelength)), _number(page, _ORIENTATION, 1))


def metadata(stream: BinaryIO, format: str, max_pixels: int) -> Metadata:
    """Return what the first page's tags, EXIF, XMP and IPTC tell, or raise what parsing the header does."""
    stream.seek(0)
    exif = Image.Exif()
    exif.load_from_fp(stream)
    xmp = exif.get(_XMP)
    iptc = _iptc(stream) if _IPTC in exif or _PHOTOSHOP in exif else b""
    return merged(exif, xmp if isinstance(xmp, bytes) else None, iptc)


def _iptc(stream: BinaryIO) -> bytes:
    """Return the records of IPTC; b"" if there are none.

    By tifffile, since some programs declare them as numbers of 32 bits, of which Pillow's EXIF keeps the first.
    """
    records: object = b""
    stream.seek(0)
    with suppress(Exception), _opened(stream) as file:  # bytes of anybody; EXIF is read without it
        tags = _pages(file, 1)[0][0].tags
        records = tags.valueof(_IPTC) or in_photoshop(tags.valueof(_PHOTOSHOP) or b"")
    return records if isinstance(records, bytes) else b""


def _opened(stream: BinaryIO) -> TiffFile:
    import tifffile

    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    return tifffile.TiffFile(stream)


def _pages(file: TiffFile, most: int) -> tuple[list[TiffPage], bool]:
    """Return the pages that are pictures in full size, ``most`` at most, and whether there are more.

    A directory stands for the largest of itself and those below it. If all are reduced, the largest is the picture.
    """
    found: list[TiffPage] = []
    reduced: list[TiffPage] = []
    masks: list[TiffPage] = []
    for page in _directories(file, min(_MAX_DIRECTORIES * max(most, MAX_PAGES), _MOST_DIRECTORIES)):
        family = [page, *_below(page)]
        full = [member for member in family if _kind(member) == 0]
        if full and len(found) == most:
            return found, True
        found += [max(full, key=_area)] if full else []
        reduced += [member for member in family if _kind(member) & _MASK == 0]
        masks += [member for member in family if _kind(member) & _MASK]
    if not found and not reduced:
        raise PictureError(
            "unsupported" if masks else "corrupt", "it holds a mask only" if masks else "it has no page"
        )
    return found or [max(reduced, key=_area)], False


def _directories(file: TiffFile, most: int) -> Iterator[TiffPage]:
    """Yield a file's first directories as far as they can be read, each once."""
    seen = set()
    for number in range(most):
        try:
            page: Any = file.pages[number]
        except (IndexError, ValueError, struct.error):
            return
        if page.offset in seen:
            return
        seen.add(page.offset)
        yield page


def _below(page: TiffPage) -> list[TiffPage]:
    """Return the pages of a page's subdirectories."""
    if not page.subifds:
        return []
    try:
        pages: Any = page.pages
        return [pages[number] for number in range(min(len(page.subifds), _MAX_SUBPAGES))]
    except Exception:  # a pointer into nowhere must not cost the page itself
        return []


def _kind(page: TiffPage) -> int:
    """Return the bits of what a page is: 0 a picture in full size, _REDUCED and _MASK."""
    kind = _number(page, _SUBFILE, 0)
    return kind & (_REDUCED | _MASK) | (_number(page, _OLD_SUBFILE, 1) == 2)


def _area(page: TiffPage) -> int:
    return int(page.imagewidth) * int(page.imagelength)


def _number(page: TiffPage, tag: int, default: int) -> int:
    """Return the (first) whole number of a tag."""
    value = page.tags.valueof(tag, default)
    value = value[0] if isinstance(value, tuple) and value else value
    return int(value) if isinstance(value, int) else default


def _samples(page: TiffPage) -> tuple[int, int, int]:
    """Return photometric interpretation, bits and sample format; 0 bits where they differ between samples."""
    bits = page.bitspersample
    return _photometric(page), bits if isinstance(bits, int) else 0, int(page.sampleformat)


def _photometric(page: TiffPage) -> int:
    """Return what the colours mean; where the tag is missing, what is most usual."""
    return _number(page, _MEANING, _RGB if page.samplesperpixel > 2 else _BLACK_IS_ZERO)


def _check(page: TiffPage, max_pixels: int) -> None:
    """Raise PictureError for a size out of bounds, and for what neither of the two libraries reads."""
    raster.check_size((int(page.imagewidth), int(page.imagelength)), max_pixels)
    wide, long = _number(page, _TILE_WIDTH, 0), _number(page, _TILE_LENGTH, 0)
    if wide * long > max_pixels:
        # Whole tiles are allocated.
        raise PictureError("too many pixels", f"its tiles are {wide} × {long} pixels")
    _check_stretches(page)
    photometric, bits, kind = _samples(page)
    colours = _PHOTOMETRIC.get(photometric)
    said = f"TIFF of {bits or page.bitspersample} bits, compression {int(page.compression)}"
    if photometric in (32803, 34892):
        raise PictureError("unsupported", "a camera's raw data, not developed")
    if colours is None or not bits or kind not in (_UNSIGNED, _SIGNED, _FLOAT, _VOID):
        raise PictureError("unsupported", f"{said}, photometric interpretation {photometric}, format {kind}")
    if not colours <= page.samplesperpixel <= _MAX_SAMPLES or page.imagedepth > 1:
        raise PictureError("unsupported", f"{said}, {page.samplesperpixel} samples per pixel")
    if _is_for_pillow(page):
        return
    alone = int(page.compression) in CODECS and bits in (8, 16, 32, 64) and page.predictor in (1, 2)
    if not alone and not _is_packed(page) and not _has_imagecodecs():
        raise PictureError("unsupported", f"{said}; imagecodecs can read it, {how_to_add('tiff')}")
    pixels, weight = int(page.imagewidth) * int(page.imagelength), page.samplesperpixel * bits // 8
    if pixels * weight > _MOST_BYTES * max_pixels:
        raise PictureError("too many pixels", f"{pixels / 1e6:,.0f} megapixels of {weight} bytes each")
    if photometric == _YCBCR and not (bits == 8 and (_subsampling(page) == (1, 1) or _is_in_blocks(page))):
        raise PictureError("unsupported", f"{said}, YCbCr with subsampling")


def _has_imagecodecs() -> bool:
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        return False
    return True


def _extra(page: TiffPage) -> tuple[int, ...]:
    """Return what the samples besides the colours are, 0 (nothing in particular) where the tag is missing."""
    count = page.samplesperpixel - _PHOTOMETRIC[_photometric(page)]
    return (_named(page) + (0,) * count)[:count]


def _named(page: TiffPage) -> tuple[int, ...]:
    """Return what the tag tells of the samples besides the colours."""
    value = page.tags.valueof(_EXTRA_SAMPLES, ())
    return tuple(map(int, value if isinstance(value, tuple) else (value,)))


def _is_for_pillow(page: TiffPage) -> bool:
    """Tell whether Pillow decodes a page's numbers as its tags mean them."""
    photometric, bits, kind = _samples(page)
    compression = int(page.compression)
    if compression not in _BY_PILLOW or (page.parent.is_bigtiff and page.parent.byteorder == ">"):
        return False
    samples = page.samplesperpixel
    if photometric == _BLACK_IS_ZERO and samples == 1 and (kind, bits) in ((_SIGNED, 32), (_FLOAT, 32)):
        return True
    if kind not in (_UNSIGNED, _VOID):
        return False
    if _MEANING not in page.tags or (page.fillorder == 2 and bits > 8):
        return False
    planar = int(page.planarconfig) == 2 and samples > 1
    if photometric == _YCBCR:
        return bits == 8 and compression != _UNCOMPRESSED and not planar
    if samples == 1:
        depths = (1, 2, 4, 8, 16) if photometric == _BLACK_IS_ZERO else (1, 2, 4, 8)
        return bits in depths
    extra = _extra(page)
    if (
        len(extra) > (3 if bits == 8 else 1)
        or len(extra) < len(_named(page))
        or any(extra[1:])
        or not set(extra) <= {0, _ASSOCIATED, _UNASSOCIATED}
    ):
        return False
    if bits == 16 and planar and compression == _UNCOMPRESSED:
        # Of such planes Pillow takes every other byte.
        return False
    if photometric == _RGB:
        return bits in (8, 16)
    if photometric == _CMYK:
        return (bits == 8 and not any(extra)) or (bits == 16 and not extra)
    return bits == 8 and (
        (photometric == _LAB and not extra and not planar)
        or (photometric == _BLACK_IS_ZERO and len(_named(page)) == samples - 1 == 1)
    )


def _at_page(stream: BinaryIO, page: TiffPage) -> BinaryIO:
    """Return the file as if a page were its first: only the header's pointer differs."""
    file = page.parent
    first: Any = file.pages[0]
    if page.offset == first.offset:
        stream.seek(0)
        return stream
    head = (b"II" if file.byteorder == "<" else b"MM") + struct.pack(
        *(
            (f"{file.byteorder}HHHQ", 43, 8, 0, page.offset)
            if file.is_bigtiff
            else (f"{file.byteorder}HI", 42, page.offset)
        )
    )
    return spliced(stream, [head, (len(head), length(stream))], same_file=True)


def _picture(stream: BinaryIO, page: TiffPage, budget: PixelBudget, max_pixels: int, number: int) -> Picture:
    _check(page, max_pixels)
    tag = page.tags.get(_ICC)
    profile = bytes(tag.value) if tag is not None and tag.count <= colour.MAX_PROFILE else None
    if not _is_for_pillow(page):
        turn = _number(page, _ORIENTATION, 1)
        with DECODING.take(_cost(page), length(stream)):
            return raster.finished(_by_tifffile(page), budget, profile=profile, orientation=turn, page=number)
    with raster.opened(_at_page(stream, page), "TIFF", max_pixels) as image:
        cost = raster.finishing(image, budget)
        # TIFF turns itself upright while it loads.
        turned = _number(page, _ORIENTATION, 1) != 1
        more = _stretch_bytes(page) + turned * 4 * _area(page)
        with DECODING.take(Cost(cost.bytes + more, cost.reason), length(stream)):
            image.load()
            upright = image.size
            profile = profile or raster.embedded(image)
            if image.mode == "P":
                _repair_palette(image, page)
            # Pillow takes a fourth channel that no tag explains for alpha.
            opaque = image.mode == "RGBA" and not any(_extra(page))
            shown = raster.manageable(image, budget.max_pixels, opaque=opaque)
            return raster.finished(shown, budget, profile=profile, orientation=1, full=upright, page=number)


def _cost(page: TiffPage) -> Cost:
    """Return what tifffile and this module take for a page: its numbers, once more in another order, and as bytes."""
    _, bits, _ = _samples(page)
    numbers = page.samplesperpixel * (bits // 8 if bits in (8, 16, 32, 64) else 4)
    said = f"{int(page.imagewidth):,} × {int(page.imagelength):,} pixels of {numbers} bytes"
    return Cost((4 * numbers + 20) * _area(page) + _stretch_bytes(page), said)


def _stretch_bytes(page: TiffPage) -> int:
    """Return how many bytes one strip or tile has, which is unpacked as a whole."""
    _, bits, _ = _samples(page)
    rows = min(page.rowsperstrip or 1, int(page.imagelength))
    pixels = page.tilewidth * page.tilelength if page.is_tiled else rows * int(page.imagewidth)
    return pixels * page.samplesperpixel * bits // 8


def _check_stretches(page: TiffPage) -> None:
    """Raise PictureError for many more strips or tiles than a page has pixels for: each becomes an object."""
    counted = max((page.tags[tag].count for tag in _PLACES if tag in page.tags), default=0)
    planes = page.samplesperpixel if int(page.planarconfig) == 2 else 1
    if page.is_tiled:
        rows = -(-int(page.imagelength) // max(1, page.tilelength))
        wanted = rows * -(-int(page.imagewidth) // max(1, page.tilewidth))
    else:
        wanted = -(-int(page.imagelength) // max(1, page.rowsperstrip or 1))
    if counted > max(_FEW_STRETCHES, 2 * wanted * planes) or wanted * planes > _MAX_STRETCHES:
        raise PictureError(
            "corrupt", f"it has {counted:,} strips or tiles, where {wanted * planes:,} hold its pixels"
        )


def _repair_palette(image: Image.Image, page: TiffPage) -> None:
    """Give an image a palette whose entries have 8 bits, where TIFF wants 16: as some programs write it."""
    entries = np.asarray(page.colormap if page.colormap is not None else ())
    if entries.ndim == 2 and entries.any() and entries.max() < 256:
        image.putpalette(entries.T.astype(np.uint8).tobytes())


def _by_tifffile(page: TiffPage) -> Image.Image:
    """Return a page as one of the modes of ``rgb.eight_bits``, by tags: depth, format, photometric, alpha."""
    photometric, bits, kind = _samples(page)
    numbers = _numbers(page)
    colours = _PHOTOMETRIC[photometric]
    if photometric == _PALETTE:
        entries = np.asarray(page.colormap)
        entries = entries if entries.max() < 256 else entries >> 8
        return Image.fromarray(entries.T.astype(np.uint8)[numbers[..., 0].clip(0, entries.shape[1] - 1)])
    if photometric in (_LAB, _ICC_LAB):
        return _lab(numbers[..., :3], photometric, bits)
    planes = _to_bytes(numbers[..., :colours], bits, kind)
    if photometric == _WHITE_IS_ZERO:
        planes = 255 - planes
    mode = {1: "L", 3: "YCbCr" if photometric == _YCBCR else "RGB", 4: "CMYK"}[colours]
    image = Image.fromarray(np.ascontiguousarray(planes if colours > 1 else planes[..., 0]), mode)
    extra = _extra(page)
    alpha = next((i for i, it in enumerate(extra) if it in (_ASSOCIATED, _UNASSOCIATED)), None)
    if alpha is None or colours == 4 or photometric in (_YCBCR, _WHITE_IS_ZERO):
        return image
    image.putalpha(
        Image.fromarray(np.ascontiguousarray(_to_bytes(numbers[..., colours + alpha], bits, kind)))
    )
    if extra[alpha] == _ASSOCIATED:
        # The same bytes, called by the name of what they are.
        multiplied = Image.frombytes(image.mode[:-1] + "a", image.size, image.tobytes())
        return multiplied.convert(image.mode)
    return image


def _numbers(page: TiffPage) -> NDArray[Any]:
    """Return a page's numbers as (height, width, samples)."""
    if not page.databytecounts or 0 in page.databytecounts:
        # tifffile leaves the pixels of an empty strip at 0.
        raise PictureError("corrupt", "a strip or tile is empty")
    if _subsampling(page) != (1, 1):
        return _of_blocks(page)
    if _by_libtiff(page):
        import tifffile

        with tifffile.TiffFile(unpacked(page)) as file:
            copy: Any = file.pages[0]
            return _of_bits(copy) if _is_packed(page) else _of_bytes(copy)
    return _of_bits(page) if _is_packed(page) else _of_bytes(page)


def _by_libtiff(page: TiffPage) -> bool:
    """Tell whether a page must be unpacked before tifffile, alone, can read its numbers."""
    compression = int(page.compression)
    simple = compression == _UNCOMPRESSED or (compression in _BY_TIFFFILE and not _is_packed(page))
    return compression in CODECS and not (simple and page.fillorder == 1)


def _is_packed(page: TiffPage) -> bool:
    """Tell whether a page's numbers are whole ones that do not fill bytes, and can be had without imagecodecs."""
    _, bits, kind = _samples(page)
    packed = kind in (_UNSIGNED, _VOID) and bits < 32 and bits not in (8, 16)
    return packed and int(page.compression) in CODECS and page.predictor == 1


def _subsampling(page: TiffPage) -> tuple[int, int]:
    """Return how many columns and rows of YCbCr share their colours."""
    across, down = (page.subsampling or (1, 1)) if _photometric(page) == _YCBCR else (1, 1)
    return int(across), int(down)


def _is_in_blocks(page: TiffPage) -> bool:
    """Tell whether a page is uncompressed YCbCr in strips of blocks, which libtiff does not put together for Pillow."""
    across, down = _subsampling(page)
    plain = int(page.compression) == _UNCOMPRESSED and not page.is_tiled and int(page.planarconfig) == 1
    return plain and page.samplesperpixel == 3 and across in (1, 2, 4) and down in (1, 2, 4)


def _of_blocks(page: TiffPage) -> NDArray[Any]:
    """Return the numbers of YCbCr in blocks: the luma of each pixel, then its two colours (TIFF 6.0, section 21)."""
    across, down = _subsampling(page)
    height, width = int(page.imagelength), int(page.imagewidth)
    long, blocks = min(int(page.rowsperstrip), height), -(-width // across)
    out = np.empty((height, width, 3), np.uint8)
    for top, place, count in zip(range(0, height, long), page.dataoffsets, page.databytecounts, strict=False):
        part = out[top : top + long]
        shape = -(-len(part) // down), blocks, across * down + 2
        page.parent.filehandle.seek(place)
        data = np.frombuffer(page.parent.filehandle.read(min(count, math.prod(shape))), np.uint8)
        if len(data) < math.prod(shape):
            raise PictureError("corrupt", f"a strip has {len(data)} bytes of {math.prod(shape)}")
        units = data.reshape(shape)
        luma = units[..., :-2].reshape(*shape[:2], down, across).swapaxes(1, 2).reshape(shape[0] * down, -1)
        part[..., 0] = luma[: len(part), :width]
        part[..., 1:] = units[..., -2:].repeat(down, 0).repeat(across, 1)[: len(part), :width]
    return out


def _of_bytes(page: TiffPage) -> NDArray[Any]:
    planes, depth, height, width, samples = page.shaped
    found: NDArray[Any] = page.asarray(maxworkers=1).reshape(planes, depth, height, width, samples)
    return np.moveaxis(found[:, 0], 0, -2).reshape(height, width, planes * samples)


def _of_bits(page: TiffPage) -> NDArray[Any]:
    """Return the numbers of a page of packed bits that nobody has compressed; every row begins with a whole byte."""
    _, bits, _ = _samples(page)
    planes, _, height, width, samples = page.shaped
    wide, long = (
        (page.tilewidth, page.tilelength) if page.is_tiled else (width, min(page.rowsperstrip, height))
    )
    row = (wide * samples * bits + 7) // 8
    places = (
        (plane, y, x)
        for plane in range(planes)
        for y in range(0, height, long)
        for x in range(0, width, wide)
    )
    out = np.empty((planes, height, width, samples), np.uint16 if bits <= 16 else np.uint32)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(out.dtype)
    for (plane, y, x), place, count in zip(places, page.dataoffsets, page.databytecounts, strict=False):
        part = out[plane, y : y + long, x : x + wide]
        page.parent.filehandle.seek(place)
        data = page.parent.filehandle.read(min(count, len(part) * row))
        if len(data) < len(part) * row:
            raise PictureError("corrupt", f"a strip has {len(data)} bytes of {len(part) * row}")
        rows = np.frombuffer(data, np.uint8).reshape(-1, row)
        for start in range(0, len(rows), 64):
            ones = np.unpackbits(rows[start : start + 64], axis=1)[:, : wide * samples * bits]
            numbers = ones.reshape(len(ones), wide, samples, bits) @ weights
            part[start : start + 64] = numbers[:, : part.shape[1]]
    return np.moveaxis(out, 0, -2).reshape(height, width, -1)


def _to_bytes(numbers: NDArray[Any], bits: int, kind: int) -> NDArray[np.uint8]:
    """Return numbers of a depth and a format as 0 … 255."""
    if kind == _FLOAT:
        return stretched(numbers)
    if kind == _SIGNED:
        return scaled(numbers, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return numbers if numbers.dtype == np.uint8 and bits == 8 else scaled(numbers, 0, 2**bits - 1)


def _lab(numbers: NDArray[Any], photometric: int, bits: int) -> Image.Image:
    """Return CIE L*a*b* (a* and b* signed) or ICC's (with an offset) as Pillow's LAB."""
    if bits == 16:
        # 255 is white at 8 bits, 65280 or 65535 at 16; a* and b* are 256 times as large.
        numbers = numbers.astype(np.uint16) >> 8
    planes = numbers.astype(np.uint8)
    if photometric == _LAB:
        planes = planes ^ np.array([0, 128, 128], np.uint8)
    return Image.merge("LAB", [Image.fromarray(np.ascontiguousarray(planes[..., i])) for i in range(3)])
