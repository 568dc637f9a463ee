"""Decoding JPEG: what its header tells that Pillow does not, without damaged metadata, and with the end missing."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from PIL import Image, ImageChops, ImageFile

from imgsearch.errors import PictureError
from imgsearch.media import colour
from imgsearch.media.decoders import raster
from imgsearch.media.limits import DECODING, Cost
from imgsearch.media.metadata import MAX_BLOCK, merged
from imgsearch.media.metadata.iptc import in_photoshop
from imgsearch.media.splice import Piece, length, spliced
from imgsearch.types import Metadata, Picture, PixelBudget

_START, _END = b"\xff\xd8", b"\xff\xd9"
_SCAN, _HIERARCHICAL, _JPEG_LS = 0xDA, 0xDE, 0xF7
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers that give size, bits and components, and the way of coding."""
_CODINGS = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive", 0xC3: "lossless", 0xC9: "arithmetic"}
_CODINGS[0xCA] = "arithmetic progressive"
_PROGRESSIVE = (0xC2, 0xCA)
"""Those that libjpeg-turbo decodes; the others are differential, or lossless with arithmetic coding."""
_LONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""
_PHOTOSHOP = b"Photoshop 3.0\0"
_MAX_SEGMENTS = 10_000
_MAX_EXIF = 32
"""Segments of EXIF that are kept; each has at most 64 KiB."""
_NOISE = bytes(range(1, 255)) * 16
"""Bytes that continue no image and hold no marker."""
_NEXT_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
_MAX_SCANS = 500
"""A progressive JPEG has about ten; each goes over all of the image again, and takes a few bytes if it is empty."""
_MAX_VISITS = 5_000_000_000
"""Coefficients that all scans together touch: some five seconds. 200 megapixels with ten scans have a fifth of it."""
_ARITHMETIC = 6
"""How many times as long a coefficient takes with arithmetic coding."""
_BLOCK = 1 << 20
_MAX_ZEROS = 64 << 20
"""Bytes at the end of a file that are looked through for where the data ends."""


@dataclass
class _Header:
    """What comes before the pixels of a JPEG, and where these are."""

    pieces: list[Piece] = field(default_factory=lambda: [b"\xff\xd8"])
    """The header without what the pixels do not need."""
    start: int = 0
    """Where the first scan begins; 0 if there is none."""
    end: int = 0
    """Where the data ends: zeros at the end of the file do not count unless an end mark comes before them."""
    coding: int = 0
    components: bytes = b""
    """Their numbers."""
    samples: dict[int, int] = field(default_factory=dict)
    """Component → how many samples it has."""
    profile: dict[int, bytes] = field(default_factory=dict)
    parts: int = 0
    """How many parts the profile has, by the last of them."""
    scan: bytes = b""
    """The components of the first scan."""
    photoshop: bytes = b""
    """Photoshop's image resources, among which are IPTC's records; MAX_BLOCK bytes at most."""

    @property
    def is_progressive(self) -> bool:
        """Whether each scan adds detail to the ones before."""
        return self.coding in _PROGRESSIVE

    @property
    def is_whole(self) -> bool:
        """Whether libjpeg keeps the coefficients of the whole image, of which each scan gives a part."""
        return self.is_progressive or set(self.scan) != set(self.components)

    def colours(self) -> bytes | None:
        """Return the profile, put together; None unless all of it is there."""
        if self.parts == len(self.profile) == 1:
            return next(iter(self.profile.values()))
        if set(self.profile) != set(range(1, self.parts + 1)):
            return None
        return b"".join(self.profile[number] for number in sorted(self.profile)) or None


def decode(stream: BinaryIO, format: str, budget: PixelBudget, max_pixels: int) -> Iterator[Picture]:
    """Yield the picture of a JPEG, in less detail where the budget leaves much less.

    If the end of the file is missing, the picture has a note. Raises PictureError for a variant that can't be
    read, a size out of bounds and too much of the end missing, else whatever Pillow raises on broken bytes.
    """
    header, note = _read_header(stream), ""
    with _opened(stream, header, max_pixels) as image:
        full = image.size
        _skip_detail(image, budget.max_pixels)
        _read_much(image, header)
        with DECODING.take(_cost(image, header, budget), length(stream)):
            shown: Image.Image = image
            try:
                image.load()
            except OSError as error:
                shown, note = _without_end(stream, header, budget, max_pixels, error)
            yield raster.finished(
                shown,
                budget,
                profile=header.colours() or raster.embedded(image),
                orientation=raster.orientation_of(image),
                full=full,
                note=note,
            )


def check(stream: BinaryIO, format: str, max_pixels: int) -> tuple[int, int]:
    """Return the upright image's (width, height) by its header, or raise what ``decode`` would raise for it."""
    with _opened(stream, _read_header(stream), max_pixels) as image:
        return raster.upright(image.size, raster.orientation_of(image))


def _cost(image: ImageFile.ImageFile, header: _Header, budget: PixelBudget) -> Cost:
    """Return what it takes to decode an opened image; libjpeg keeps coefficients in full size, whatever the scale."""
    cost = raster.finishing(image, budget)
    if not header.is_whole:
        return cost
    samples = sum(header.samples.values())
    return Cost(cost.bytes + 2 * samples, f"{samples / 1e6:,.0f} million samples in several scans")


def metadata(stream: BinaryIO, format: str, max_pixels: int) -> Metadata:
    """Return what EXIF, XMP and IPTC tell, or raise what ``decode`` would raise for the header."""
    header = _read_header(stream)
    with _opened(stream, header, max_pixels) as image:
        return merged(image.getexif(), image.info.get("xmp"), in_photoshop(header.photoshop))


def exif_of(stream: BinaryIO, max_pixels: int) -> Image.Exif:
    """Return a file's EXIF, or raise what ``decode`` would raise for the header."""
    with _opened(stream, _read_header(stream), max_pixels) as image:
        return image.getexif()


def _opened(stream: BinaryIO, header: _Header, max_pixels: int, ending: bytes = b"") -> ImageFile.ImageFile:
    pieces = [*header.pieces, (header.start, header.end), ending]
    return raster.opened(spliced(stream, pieces), "JPEG", max_pixels)


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


def _read_much(image: ImageFile.ImageFile, header: _Header) -> None:
    """Have libjpeg fed with 1 MiB at a time in place of 64 KiB, where one pass over the bytes is all that there is.

    Between the pieces Python's lock is needed, for which the other threads wait: with 16 of them it was the limit.
    """
    if not header.is_whole:
        image.decodermaxblock = _BLOCK


def _read_header(stream: BinaryIO) -> _Header:
    """Read the segments up to the first scan.

    Raises PictureError for a variant that can't be read, and for what has no scan: Pillow takes a minute for millions
    of segments.
    """
    header, size = _Header(), length(stream)
    at, exif = 2, 0
    for _ in range(_MAX_SEGMENTS):
        marker, at = _next_marker(stream, at)
        if marker in _LONE:
            continue
        stream.seek(at)
        head = stream.read(2)
        if marker == -1 or len(head) < 2:
            break
        after = at + max(2, struct.unpack(">H", head)[0])
        if marker == _SCAN:
            count = stream.read(1)
            header.scan = stream.read(2 * count[0])[::2] if count else b""
            header.start, header.end = at - 2, _end_of_data(stream, size)
            if header.is_whole:
                _check_scans(stream, header)
            return header
        if marker in (_HIERARCHICAL, _JPEG_LS):
            raise PictureError("unsupported", "hierarchical JPEG" if marker == _HIERARCHICAL else "JPEG-LS")
        if marker in _FRAMES:
            _check_frame(marker, stream.read(after - at - 2), header)
        if marker >= 0xE0:
            # Of an application, a comment, or reserved.
            start = stream.read(min(14, after - at - 2))
            if marker == 0xE2 and start.startswith(b"ICC_PROFILE\0"):
                _read_profile(stream, start, after, header)
            if marker == 0xED and start == _PHOTOSHOP and len(header.photoshop) < MAX_BLOCK:
                header.photoshop += stream.read(after - at - 2 - len(start))
            exif += start.startswith(b"Exif\0\0")
            if not _is_needed(marker, start, exif):
                at = after
                continue
        header.pieces.append((at - 2, after))
        at = after
    raise PictureError("corrupt", "its pixels do not begin: it ends before, or its header does not end")


def _next_marker(stream: BinaryIO, at: int) -> tuple[int, int]:
    """Return the next marker from a place on, and the place behind it; -1 at the end of the file."""
    stream.seek(at)
    block = 64
    while True:
        data, block = stream.read(block), 1 << 16
        for found in re.finditer(rb"\xff([\x01-\xfe])", data):
            return found[1][0], at + found.end()
        if len(data) < 2:
            return -1, at
        # The last byte may be the first of a marker.
        at += len(data) - 1
        stream.seek(at)


def _check_frame(marker: int, frame: bytes, header: _Header) -> None:
    """Raise PictureError for a way of coding, a depth or a number of components that libjpeg does not decode."""
    if len(frame) < 6:
        raise PictureError("corrupt", "its frame header is too short")
    bits, height, _, count = struct.unpack_from(">BHHB", frame)
    coding = _CODINGS.get(marker)
    problem = (
        "a hierarchical JPEG, or a lossless one with arithmetic coding"
        if coding is None
        else f"{coding} JPEG of {bits} bits per sample"
        if bits != 8
        else f"JPEG of {count} components"
        if count not in (1, 3, 4)
        else "JPEG whose height stands at its end (DNL)"
        if not height
        else ""
    )
    if problem:
        raise PictureError("unsupported", problem)
    header.coding, header.components = marker, frame[6 : 6 + 3 * count : 3]
    width = struct.unpack_from(">H", frame, 3)[0]
    factors = [(both >> 4 or 1, both & 15 or 1) for both in frame[7 : 6 + 3 * count : 3]]
    most = max(h for h, _ in factors) * max(v for _, v in factors)
    parts = [width * height * h * v // most for h, v in factors]
    header.samples = dict(zip(header.components, parts, strict=False))


def _check_scans(stream: BinaryIO, header: _Header) -> None:
    """Raise PictureError where the scans, which need not have any data, would take too long."""
    visits = 0
    for count, scan in enumerate(_scans(stream, header), start=1):
        visits += _visits(scan, header)
        if count > _MAX_SCANS or visits > _MAX_VISITS:
            raise PictureError("takes too long", f"a JPEG of {count:,} scans or more")


def _visits(scan: bytes, header: _Header) -> int:
    """Return how many coefficients a scan touches: of one that refines, or is coded arithmetically, all of its band."""
    if len(scan) < 4 + 2 * scan[0]:
        return 0
    first, last, refined = scan[1 + 2 * scan[0] :][:3]
    arithmetic = header.coding in (0xC9, 0xCA)
    band = max(1, min(last, 63) - first + 1) if refined >> 4 or arithmetic else 4
    samples = sum(header.samples.get(number, 0) for number in set(scan[1 : 1 + 2 * scan[0] : 2]))
    return samples // 64 * band * (_ARITHMETIC if arithmetic else 1)


def _scans(stream: BinaryIO, header: _Header) -> Iterator[bytes]:
    """Yield the header of each scan of the image: how many components it has, which, and what of them."""
    for marker, _, contents in _markers(stream, header):
        if marker == _SCAN and len(contents) > 2:
            yield contents[2:]


def _markers(stream: BinaryIO, header: _Header) -> Iterator[tuple[int, int, bytes]]:
    """Yield each marker from the first scan on, its place, and 14 bytes behind it; a mark of start or end is last."""
    stream.seek(header.start)
    data = stream.read(header.end - header.start)
    at = 0
    while found := _NEXT_MARKER.search(data, at):
        at = found.end()
        yield found[1][0], header.start + found.start(), data[at : at + 14]
        if found[1][0] in (_START[1], _END[1]):
            return
        if len(data) >= at + 2:
            at += struct.unpack_from(">H", data, at)[0]


def _is_needed(marker: int, start: bytes, exif: int) -> bool:
    """Tell whether the pixels or their orientation depend on an application's segment."""
    if marker == 0xE0:
        return start.startswith(b"JFIF\0") and len(start) >= 14
    if marker == 0xE1:
        return (start.startswith(b"Exif\0\0") and exif <= _MAX_EXIF) or start == b"http://ns.adob"
    # Adobe's tells how the colours are coded.
    return marker == 0xEE and start.startswith(b"Adobe") and len(start) >= 12


def _read_profile(stream: BinaryIO, start: bytes, after: int, header: _Header) -> None:
    """Take down one part of a profile: its number, how many there are, and its bytes."""
    taken = sum(map(len, header.profile.values()))
    if len(start) == 14 and taken <= colour.MAX_PROFILE:
        header.parts = start[13]
        header.profile.setdefault(start[12], stream.read(after - stream.tell()))


def _end_of_data(stream: BinaryIO, size: int) -> int:
    """Return where the data ends, without zeros that stand in place of an end."""
    end = size
    while end > max(0, size - _MAX_ZEROS):
        start = max(0, end - (1 << 16))
        stream.seek(start)
        block = stream.read(end - start).rstrip(b"\0")
        if block:
            # FF 00 is a byte of the data.
            end = min(end, start + len(block) + block.endswith(b"\xff"))
            break
        end = start
    stream.seek(max(0, end - 2))
    return size if stream.read(2) == _END else end


def _without_end(
    stream: BinaryIO, header: _Header, budget: PixelBudget, max_pixels: int, error: OSError
) -> tuple[Image.Image, str]:
    """Return the picture of a JPEG that stops before its end mark, and a note about it.

    Raises ``error`` where that is not what is wrong with it, PictureError if too much is missing.
    """
    # Another image may follow on one that has no end.
    *_, (marker, place, _) = _markers(stream, header)
    header.end = place if marker == _START[1] else header.end
    try:
        image, other = (
            _loaded(stream, header, budget, max_pixels, ending) for ending in (_END, _NOISE + _END)
        )
    except OSError:
        raise error from None
    # Pixels that depend on what follows the data are not in it.
    differing = ImageChops.difference(image, other).getbbox()
    height = image.size[1]
    if differing is None:
        return image, raster.end_note(height, height)
    if not header.is_progressive and set(header.scan) == set(header.components):
        return _filled(image, differing[1]), raster.end_note(differing[1], height)
    if not _has_coarse_picture(stream, header):
        raise PictureError("corrupt", "end missing, before the first scan of all rows was complete")
    return image, "end missing, all rows read but not all detail"


def _filled(image: Image.Image, rows: int) -> Image.Image:
    """Return an image whose first rows are there, with the last of these in place of the others.

    The grey that libjpeg leaves there moves an embedding several times as far.
    """
    width, height = image.size
    if rows:
        last = image.crop((0, rows - 1, width, rows))
        image.paste(last.resize((width, height - rows), Image.Resampling.NEAREST), (0, rows))
    return image


def _loaded(
    stream: BinaryIO, header: _Header, budget: PixelBudget, max_pixels: int, ending: bytes
) -> Image.Image:
    image = _opened(stream, header, max_pixels, ending)
    _skip_detail(image, budget.max_pixels)
    _read_much(image, header)
    image.load()
    return image


def _has_coarse_picture(stream: BinaryIO, header: _Header) -> bool:
    """Tell whether the scans before the last, which is incomplete, hold the mean of every block of every component."""
    scans = list(_scans(stream, header))
    coarse = set()
    for scan in scans[:-1]:
        count = scan[0] if scan else 0
        # Behind the components: the first and last coefficient, and how many bits an earlier scan had.
        if len(scan) >= 4 + 2 * count and scan[1 + 2 * count] == 0 and scan[3 + 2 * count] >> 4 == 0:
            coarse |= set(scan[1 : 1 + 2 * count : 2])
    return coarse >= set(header.components)
