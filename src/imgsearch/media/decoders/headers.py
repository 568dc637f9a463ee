"""What headers of AVIF, JPEG 2000, BMP, TGA, PPM and Photoshop files tell that Pillow does not: colour, alpha, kind."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO, NamedTuple

from imgsearch.errors import PictureError
from imgsearch.media import colour
from imgsearch.media.decoders import jpeg2000
from imgsearch.media.splice import Piece, length, spliced

_MAX_BOXES = 1000


class Header(NamedTuple):
    """What a file is decoded from, and the colour profile that stands in it, if Pillow can't find it."""

    stream: BinaryIO
    profile: bytes | None = None
    has_alpha: bool = True
    """False where what looks like alpha is filling."""
    zeros_are_opaque: bool = False
    """True where an alpha that is 0 everywhere means that none was written."""
    negative: bool = False
    """True where black and white are the other way round."""
    bits: int = 8
    """How deep the samples are where Pillow only shifts them to 8 bits, which leaves white grey."""
    palette: tuple[str, bytes] | None = None
    """The mode and the colours of a palette that Pillow gets wrong."""
    codestream: jpeg2000.Codestream | None = None
    """What a JPEG 2000 is made of."""
    halves: bool = False
    """True where samples of 16 bits are decoded as two columns of 8, of which the first has the high bytes."""


def read_header(stream: BinaryIO, format: str) -> Header:
    """Read the header of a file; the stream that comes back is decoded in its place.

    Raises PictureError for a variant that is known and can't be read.
    """
    reader = _READERS.get(format)
    header = reader(stream) if reader else Header(stream)
    header.stream.seek(0)
    return header


def _boxes(stream: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the contents of the boxes of an ISO base media file."""
    for _ in range(_MAX_BOXES):
        stream.seek(start)
        head = stream.read(16)
        if len(head) < 8:
            return
        size, name = struct.unpack_from(">I4s", head)
        inside = start + 8
        if size == 1 and len(head) == 16:
            size, inside = struct.unpack_from(">Q", head, 8)[0], start + 16
        after = end if size == 0 else min(start + size, end)
        if after < inside:
            return
        yield name, inside, after
        start = after


def _in_boxes(stream: BinaryIO, path: tuple[tuple[bytes, int], ...], start: int, end: int) -> Iterator[bytes]:
    """Yield the contents of the boxes at a path of (name, bytes before the boxes inside it)."""
    (wanted, skip), *rest = path
    for name, inside, after in _boxes(stream, start, end):
        if name == wanted:
            if rest:
                yield from _in_boxes(stream, tuple(rest), inside + skip, after)
            elif after - inside <= colour.MAX_PROFILE:
                stream.seek(inside)
                yield stream.read(after - inside)


def _avif(stream: BinaryIO) -> Header:
    # An ICC profile, which Pillow finds, goes before.
    path = ((b"meta", 4), (b"iprp", 0), (b"ipco", 0), (b"colr", 0))
    found = list(_in_boxes(stream, path, 0, length(stream)))
    if any(box[:4] in (b"prof", b"rICC") for box in found):
        return Header(stream)
    for box in found:
        if box[:4] == b"nclx" and len(box) >= 8:
            return Header(stream, colour.from_cicp(*struct.unpack_from(">HH", box, 4)))
    return Header(stream)


def _jpeg2000(stream: BinaryIO) -> Header:
    """Find profile and palette, and check the codestream, which Pillow would decode without a look at its sizes."""
    end = length(stream)
    stream.seek(0)
    if stream.read(4) == b"\xff\x4f\xff\x51":
        codestream = jpeg2000.read(stream, 0, None)
        return Header(stream, bits=codestream.bits if codestream else 8, codestream=codestream)
    sizes = (box[:8] for box in _in_boxes(stream, ((b"jp2h", 0), (b"ihdr", 0)), 0, end) if len(box) >= 8)
    height, width = next((struct.unpack(">II", size) for size in sizes), (0, 0))
    start = next((inside for name, inside, _ in _boxes(stream, 0, end) if name == b"jp2c"), 0)
    codestream = jpeg2000.read(stream, start, (width, height)) if start else None
    profiles = (
        box[3:] for box in _in_boxes(stream, ((b"jp2h", 0), (b"colr", 0)), 0, end) if box[:1] in _ICC_METHODS
    )
    palette = next(map(_palette, _in_boxes(stream, ((b"jp2h", 0), (b"pclr", 0)), 0, end)), None)
    bits = codestream.bits if codestream and not palette else 8
    return Header(stream, next(profiles, None), bits=bits, palette=palette, codestream=codestream)


_ICC_METHODS = (b"\2", b"\3")


def _palette(box: bytes) -> tuple[str, bytes] | None:
    """Return the palette of a JPEG 2000 if its colours have 8 bits: Pillow leaves out colours that come twice."""
    if len(box) < 3:
        return None
    count, columns = struct.unpack_from(">HB", box)
    mode = {3: "RGB", 4: "RGBA"}.get(columns)
    if mode is None or box[3 : 3 + columns] != b"\7" * columns:
        return None
    return mode, box[3 + columns :][: count * columns]


def _bmp(stream: BinaryIO) -> Header:
    """Find the profile of a BMP of version 5; an alpha that is 0 everywhere is none, as GDI writes it."""
    head = stream.read(138)
    profile = None
    if len(head) == 138 and struct.unpack_from("<I", head, 14)[0] >= 124 and head[70:74] == b"DEBM":
        place, count = struct.unpack_from("<II", head, 126)
        if count <= colour.MAX_PROFILE:
            stream.seek(14 + place)
            profile = stream.read(count)
    return Header(stream, profile, zeros_are_opaque=True)


def _tga(stream: BinaryIO) -> Header:
    """Find out whether a TGA has alpha: by the descriptor's bits, and by the extension of version 2."""
    head = stream.read(18)
    has_alpha = len(head) == 18 and bool(head[17] & 15)
    end = length(stream)
    stream.seek(max(0, end - 26))
    footer = stream.read(26)
    if footer[8:24] == b"TRUEVISION-XFILE" and (place := struct.unpack_from("<I", footer)[0]):
        stream.seek(place + 494)
        # 3 is alpha, 4 is alpha that the colours are multiplied with; 0 … 2 are none.
        has_alpha = has_alpha and stream.read(1) in (b"\3", b"\4")
    return Header(stream, has_alpha=has_alpha, zeros_are_opaque=True)


# Photoshop's modes → how many channels the picture has; Pillow reads these at 8 bits (a bitmap at 1). Of 16 bits it
# is told that they are twice as many columns.
_PSD_CHANNELS = {0: 1, 1: 1, 2: 1, 3: 3, 4: 4, 8: 1, 9: 3}


def _psd(stream: BinaryIO) -> Header:
    """Leave of a Photoshop file what is needed for its picture: damage elsewhere must not cost it.

    The fourth channel of RGB is transparency only if the number of layers is negative; else a saved selection.
    """
    head = stream.read(26)
    version, channels, height, width, bits, mode = struct.unpack(">4xH6xHIIHH", head)
    used = _PSD_CHANNELS.get(mode)
    halves = bits == 16 and mode not in (0, 2)
    if used is None or (bits != (8 if mode else 1) and not halves):
        raise PictureError("unsupported", f"a Photoshop file of mode {mode} with {bits} bits per channel")
    colours = _section(stream, 26)
    resources = _section(stream, colours[1])
    layers = _section(stream, resources[1], 4 * version)
    stream.seek(layers[0])
    part = stream.read(min(6, layers[1] - layers[0]))
    if mode == 3 and channels > 3 and len(part) == 6 and struct.unpack(">4xh", part)[0] < 0:
        used = 4
    at = layers[1]
    stream.seek(at)
    compression = struct.unpack(">H", stream.read(2))[0]
    if compression > 1:
        raise PictureError("unsupported", f"a Photoshop file with compression {compression}")
    found = dict(_resources(stream, *resources))
    if found.get(_VERSION_INFO, b"")[4:5] == b"\0":
        raise PictureError(
            "unsupported",
            "a Photoshop file saved without Maximize Compatibility",
        )
    # Pillow expects the lengths of the packed rows of as many channels as it reads, and no more; and no large document.
    counted = 2 * version * height if compression else 0
    wide = 2 * width if halves else width
    read = struct.pack(">H6xHIIHH", 1, min(used, channels), height, wide, 8 if halves else bits, mode)
    lengths: Piece = (at + 2, at + 2 + counted * used)
    if compression and version == 2:
        lengths = _short_lengths(stream, at + 2, height * used)
    pieces: list[Piece] = [head[:4] + read, (26, colours[1]), b"\0" * 8, (at, at + 2), lengths]
    pieces.append((at + 2 + counted * channels, length(stream)))
    return Header(spliced(stream, pieces), found.get(_ICC), negative=mode == 0, halves=halves)


_MOST_ROWS = 2_000_000


def _short_lengths(stream: BinaryIO, at: int, rows: int) -> bytes:
    """Return the lengths of packed rows, which a large document has in four bytes each, in two."""
    if rows > _MOST_ROWS:
        raise PictureError("unsupported", f"a large document of Photoshop of {rows:,} rows")
    stream.seek(at)
    lengths = struct.unpack(f">{rows}I", stream.read(4 * rows))
    if max(lengths, default=0) > 0xFFFF:
        raise PictureError("unsupported", "a large document of Photoshop with rows of over 65,535 bytes")
    return struct.pack(f">{rows}H", *lengths)


_ICC, _VERSION_INFO = 1039, 1057


def _section(stream: BinaryIO, at: int, word: int = 4) -> tuple[int, int]:
    """Return start and end of what follows a length of four bytes, or eight."""
    stream.seek(at)
    size = stream.read(word)
    if len(size) < word:
        raise PictureError("corrupt", "its end is missing")
    return at + word, at + word + int.from_bytes(size)


IPTC, EXIF, XMP = 1028, 1058, 1060


def photoshop_metadata(stream: BinaryIO) -> dict[int, bytes]:
    """Return the contents of the resources IPTC, EXIF and XMP of a Photoshop file, those that are there."""
    colours = _section(stream, 26)
    return dict(_resources(stream, *_section(stream, colours[1]), (IPTC, EXIF, XMP)))


def _resources(
    stream: BinaryIO, at: int, end: int, numbers: Collection[int] = (_ICC, _VERSION_INFO)
) -> Iterator[tuple[int, bytes]]:
    """Yield number and contents of Photoshop's image resources of these numbers, as far as they can be read."""
    for _ in range(_MAX_BOXES):
        stream.seek(at)
        head = stream.read(7)
        if at >= end or len(head) < 7 or head[:4] != b"8BIM":
            return
        number = struct.unpack_from(">H", head, 4)[0]
        # The name's length and the name are an even number of bytes.
        stream.seek(at + 6 + (head[6] + 2) // 2 * 2)
        size = stream.read(4)
        if len(size) < 4:
            return
        count = struct.unpack(">I", size)[0]
        at = stream.tell() + count + count % 2
        if count <= colour.MAX_PROFILE and number in numbers:
            yield number, stream.read(count)


def _ppm(stream: BinaryIO) -> Header:
    head = stream.read(_MAX_PNM_HEADER)
    if head[:2] in (b"P7", b"PF"):
        raise PictureError("unsupported", "PAM" if head[:2] == b"P7" else "a portable float map in colour")
    # Pillow reads on behind a comment as if the number before it had not ended.
    found = re.match(
        rb"(P[1-6])" + _PNM_NUMBER * (2 if head[:2] in (b"P1", b"P4") else 3) + rb"(?:\s|#[^\n]*\n)", head
    )
    if found is None and head[1:2] in b"123456" and len(head) == _MAX_PNM_HEADER:
        raise PictureError("corrupt", "its header does not end")
    if found is None or b"#" not in found[0]:
        return Header(stream)
    plain = b"\n".join(found.groups()) + b"\n"
    return Header(spliced(stream, [plain, (found.end(), length(stream))]))


_MAX_PNM_HEADER = 1 << 16
_PNM_NUMBER = rb"(?:\s|#[^\n]*\n)+(\d+)"


_READERS: dict[str, Callable[[BinaryIO], Header]] = {
    "AVIF": _avif,
    "BMP": _bmp,
    "JPEG2000": _jpeg2000,
    "PPM": _ppm,
    "PSD": _psd,
    "TGA": _tga,
}
