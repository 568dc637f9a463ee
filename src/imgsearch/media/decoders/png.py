"""Decoding PNG: its pixels and what they mean, without the chunks that are not needed or damaged."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile

from imgsearch.errors import PictureError
from imgsearch.media import colour
from imgsearch.media.decoders import raster
from imgsearch.media.limits import DECODING, Cost
from imgsearch.media.metadata import merged
from imgsearch.media.metadata.values import text_of
from imgsearch.media.splice import Piece, length, spliced
from imgsearch.types import Metadata, Picture, PixelBudget

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type → samples per pixel."""
_MAX_METADATA = 16 << 20
"""Bytes of the largest chunk of metadata that is read at all."""
_MAX_CHUNKS = 100_000
_BLOCK, _UNPACKED = 1 << 16, 1 << 20
"""Bytes of pixels that are read, and that are unpacked, at a time."""
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_CONTROL = {b"acTL": 8, b"fcTL": 26}
"""Chunks that control an animation → their size."""
_READ = (b"iCCP", b"cICP", b"gAMA", b"cHRM", b"sRGB", b"eXIf", b"tRNS", b"iTXt", b"zTXt", b"tEXt")
"""Ancillary chunks that are looked into; the pixels do not depend on any other."""
_BEFORE_PIXELS = frozenset({b"iCCP", b"cICP", b"gAMA", b"cHRM", b"sRGB", b"tRNS"})
"""Those that mean nothing behind the pixels."""
_XMP = "XML:com.adobe.xmp"
_ORIENTATION_TEXT = (_XMP, "Raw profile type exif")
"""Keywords of texts that may tell which way is up."""
_WORDS = ("Title", "Description", "Software")
"""Keywords of texts that tell of the picture."""


class _Chunk(NamedTuple):
    name: bytes
    start: int
    end: int
    """From the length to the checksum, as places in the file."""


@dataclass
class _Parts:
    """A PNG taken apart: what Pillow gets, and what was found out."""

    bits: int
    colour_type: int
    interlaced: bool
    header: list[Piece] = field(default_factory=lambda: [_SIGNATURE])
    """What comes before the pixels."""
    body: list[Piece] = field(default_factory=list)
    """The pixels and what comes after."""
    pixels: list[tuple[int, int]] = field(default_factory=list)
    """Where the pixels' data is, chunk by chunk, without length, name and checksum."""
    found: dict[bytes, bytes] = field(default_factory=dict)
    """The contents of the ancillary chunks that are in order; the first of each kind."""
    words: dict[str, str] = field(default_factory=dict)
    """The texts that tell of the picture, by their keywords."""
    texts: list[bytes] = field(default_factory=list)
    """Chunks of text, whole, that may hold the orientation."""

    def has_wide_key(self) -> bool:
        """Tell whether a colour of three times 16 bits is transparent: Pillow compares half of these."""
        return self.bits == 16 and self.colour_type == 2 and b"tRNS" in self.found

    def profile(self) -> bytes | None:
        """Return the colours' profile: cICP goes before iCCP, that before sRGB, that before gAMA and cHRM."""
        cicp = self.found.get(b"cICP", b"")
        if len(cicp) == 4 and (profile := colour.from_cicp(cicp[0], cicp[1], narrow=not cicp[3])):
            return profile
        if b"iCCP" in self.found:
            return _unpacked(self.found[b"iCCP"].partition(b"\0")[2])
        if b"sRGB" in self.found:
            return None
        gamma, primaries = self.found.get(b"gAMA", b""), self.found.get(b"cHRM", b"")
        exponent = struct.unpack(">I", gamma)[0] / 1e5 if len(gamma) == 4 else None
        corners = tuple(n / 1e5 for n in struct.unpack(">8I", primaries)) if len(primaries) == 32 else None
        return colour.from_gamma(exponent, corners) if exponent or corners else None


def decode(stream: BinaryIO, format: str, budget: PixelBudget, max_pixels: int) -> Iterator[Picture]:
    """Yield the image of a PNG, of an animation its most telling frame.

    Raises PictureError for a variant that can't be read, a size out of bounds and too much of the end missing,
    else whatever Pillow raises on broken bytes.
    """
    parts, note = _take_apart(stream), ""
    with (
        _opened(stream, parts, max_pixels) as image,
        DECODING.take(_cost(image, parts, budget), length(stream)),
    ):
        try:
            image.load()
            shown = raster.telling_frame(image)
            if parts.has_wide_key() and shown is image:
                shown = _without_key(shown, _low_bytes(stream, parts, max_pixels), parts.found[b"tRNS"])
        except (OSError, SyntaxError) as error:
            # The pixels are loaded once more: those of the first time are in the image, and in the error's frames.
            image.close()
            error.__traceback__ = error.__context__ = None
            pixels, note = _rescued(stream, parts, image.size, error)
            parts.body = [_chunk(b"IDAT", pixels), _chunk(b"IEND", b"")]
            shown = _opened(stream, parts, max_pixels)
            shown.load()
        yield raster.finished(
            shown,
            budget,
            profile=parts.profile() or raster.embedded(image),
            orientation=raster.orientation_of(image),
            note=note,
        )


def check(stream: BinaryIO, format: str, max_pixels: int) -> tuple[int, int]:
    """Return the upright image's (width, height) by its header, or raise what ``decode`` would raise for it."""
    parts = _take_apart(stream)
    with _opened(stream, parts, max_pixels) as image:
        # Asked of a PNG that does not tell, Pillow decodes it.
        told = b"eXIf" in parts.found or parts.texts
        return raster.upright(image.size, raster.orientation_of(image) if told else 1)


def _cost(image: ImageFile.ImageFile, parts: _Parts, budget: PixelBudget) -> Cost:
    cost = raster.finishing(image, budget)
    # Of an animation there are also its first frame, and the one before.
    more = 8 * bool(getattr(image, "is_animated", False)) + 30 * parts.has_wide_key()
    return Cost(cost.bytes + more * image.size[0] * image.size[1], cost.reason)


def metadata(stream: BinaryIO, format: str, max_pixels: int) -> Metadata:
    """Return what EXIF, XMP and texts tell, or raise what ``decode`` would raise for the header."""
    parts = _take_apart(stream)
    exif = Image.Exif()
    if b"eXIf" in parts.found:
        exif.load(b"Exif\0\0" + parts.found[b"eXIf"])
    told = {name: text_of(parts.words.get(name)) for name in _WORDS}
    texts = Metadata(title=told["Title"], description=told["Description"], software=told["Software"])
    return merged(exif, parts.words.get(_XMP)).over(texts)


def _opened(stream: BinaryIO, parts: _Parts, max_pixels: int) -> ImageFile.ImageFile:
    return raster.opened(spliced(stream, parts.header + parts.body), "PNG", max_pixels)


def _take_apart(stream: BinaryIO) -> _Parts:
    """Walk through the chunks of a PNG."""
    chunks = list(_chunks(stream))
    if chunks and chunks[0].name == b"CgBI":
        raise PictureError("unsupported", "a PNG as Apple's tools rewrite it for iOS (CgBI)")
    header = _contents(stream, chunks[0]) if chunks else b""
    if len(header) != 13 or chunks[0].name != b"IHDR":
        raise PictureError("corrupt", "its header (IHDR) is incomplete")
    parts = _Parts(*struct.unpack(">8xBB2xB", header))
    # An animation that is damaged still has its first picture.
    animated = all(
        chunk.end - chunk.start == 12 + _CONTROL[chunk.name] and _is_intact(stream, chunk)
        for chunk in chunks
        if chunk.name in _CONTROL
    )
    if not any(chunk.name == b"IDAT" for chunk in chunks):
        raise PictureError("corrupt", "it has no pixels")
    for chunk in chunks:
        if chunk.name == b"IDAT":
            parts.pixels.append((chunk.start + 8, chunk.end - 4))
        if chunk.name == b"PLTE" and parts.colour_type != 3:
            # Colours that are suggested for a screen of 256.
            continue
        if not chunk.name[0] & 32 or (animated and chunk.name in _ANIMATION):
            _append(parts.body if parts.pixels else parts.header, (chunk.start, chunk.end))
        elif chunk.name in _READ and chunk.end - chunk.start <= _MAX_METADATA:
            _read(stream, chunk, parts)
    if b"tRNS" in parts.found and not parts.has_wide_key():
        parts.header.append(_chunk(b"tRNS", parts.found[b"tRNS"]))
    parts.header += [_chunk(b"eXIf", parts.found[b"eXIf"])] if b"eXIf" in parts.found else parts.texts[:2]
    return parts


def _chunks(stream: BinaryIO) -> Iterator[_Chunk]:
    """Yield the chunks up to the end mark, or as far as there are any; the last may be cut off."""
    at = len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8:
            return
        size, name = struct.unpack(">I4s", head)
        yield _Chunk(name, at, at + size + 12)
        if name == b"IEND":
            return
        at += size + 12


def _read(stream: BinaryIO, chunk: _Chunk, parts: _Parts) -> None:
    """Take down what an ancillary chunk tells; one that is damaged tells nothing."""
    if chunk.name in parts.found or not _is_intact(stream, chunk):
        return
    if parts.pixels and chunk.name in _BEFORE_PIXELS:
        return
    contents = _contents(stream, chunk)
    if chunk.name == b"tRNS":
        key = _transparency(parts, contents)
        if key is None:
            return
        contents = key
    elif chunk.name in (b"iTXt", b"zTXt", b"tEXt"):
        keyword = contents.partition(b"\0")[0].decode("latin-1")
        text = _text(chunk.name, contents) if keyword in _ORIENTATION_TEXT + _WORDS else None
        if text is not None:
            parts.words.setdefault(
                keyword, text.decode("utf-8" if chunk.name == b"iTXt" else "latin-1", "replace")
            )
        if text is not None and keyword in _ORIENTATION_TEXT:
            parts.texts.append(_chunk(b"iTXt", keyword.encode("latin-1") + b"\0" * 5 + text))
        return
    parts.found[chunk.name] = contents


def _text(name: bytes, contents: bytes) -> bytes | None:
    """Return the text of a chunk, None if it can't be unpacked or is larger than a profile may be."""
    rest = contents.partition(b"\0")[2]
    if name == b"tEXt":
        return rest
    if name == b"zTXt":
        return _unpacked(rest)
    packed, rest = rest[:1] == b"\1", rest[1:]
    # The method of compression, then language and translated keyword, each ended by a zero.
    method, text = rest[:1], rest[1:].partition(b"\0")[2].partition(b"\0")[2]
    return _unpacked(method + text) if packed else text


def _transparency(parts: _Parts, contents: bytes) -> bytes | None:
    """Return a tRNS as Pillow needs it, None if it has the wrong size.

    Pillow compares the key with samples that it has scaled to 8 bits already, but for 16 bits.
    """
    if parts.colour_type == 3:
        return contents[:256] or None
    if len(contents) != {0: 2, 2: 6}.get(parts.colour_type):
        return None
    keys = struct.unpack(f">{len(contents) // 2}H", contents)
    if parts.colour_type == 0 and parts.bits in (2, 4):
        keys = tuple((key & (1 << parts.bits) - 1) * 255 // ((1 << parts.bits) - 1) for key in keys)
    return struct.pack(f">{len(keys)}H", *keys)


def _low_bytes(stream: BinaryIO, parts: _Parts, max_pixels: int) -> Image.Image:
    """Return the low bytes of samples of 16 bits, of which Pillow keeps the high ones."""
    image = _opened(stream, parts, max_pixels)
    # As if they were in the other order.
    image.tile = [image.tile[0]._replace(args="RGB;16L")]
    image.load()
    return image


def _without_key(high: Image.Image, low: Image.Image, key: bytes) -> Image.Image:
    """Return an image whose pixels of one colour are transparent: three samples of 16 bits."""
    same = (np.asarray(high) == list(key[::2])).all(axis=2) & (np.asarray(low) == list(key[1::2])).all(axis=2)
    image = high.convert("RGB")
    image.putalpha(Image.fromarray(np.where(same, 0, 255).astype(np.uint8)))
    return image


def _rescued(stream: BinaryIO, parts: _Parts, size: tuple[int, int], error: Exception) -> tuple[bytes, str]:
    """Return the pixels' data of a PNG that Pillow gives up on, repaired, and a note about it.

    Raises ``error`` where the data can't be unpacked, PictureError where too much of its end is missing or its
    checksums show that it is damaged.
    """
    width, height = size
    row = 1 + (width * parts.bits * _CHANNELS.get(parts.colour_type, 1) + 7) // 8
    if parts.interlaced:
        raise error
    inflate, packed, repaired = zlib.decompressobj(wbits=-15), zlib.compressobj(1), bytearray()
    # Behind zlib's header of two bytes begins the deflated data.
    got, skip, intact = 0, 2, True
    for start, end in parts.pixels:
        intact = intact and _is_intact(stream, _Chunk(b"IDAT", start - 8, end + 4))
        start, skip = min(start + skip, end), max(0, skip - (end - start))
        for place in range(start, end, _BLOCK):
            stream.seek(place)
            data = stream.read(min(_BLOCK, end - place))
            while data and got < row * height:
                try:
                    plain = inflate.decompress(data, max_length=min(row * height - got, _UNPACKED))
                except zlib.error:
                    raise error from None
                got += len(plain)
                repaired += packed.compress(plain)
                data = inflate.unconsumed_tail if plain else b""
    rows = got // row
    if rows == height and not intact:
        raise PictureError("corrupt", "the checksums of its pixels are wrong")
    note = raster.end_note(rows, height) if rows < height else "wrong checksum of all pixels together"
    repaired += packed.compress(b"\0" * (-got % row))
    for _ in range(-(-got // row), height):
        # What is missing looks like the row above it: filter 2 adds to that, and nothing is added.
        repaired += packed.compress(b"\2" + b"\0" * (row - 1))
    return bytes(repaired + packed.flush()), note


def _append(pieces: list[Piece], stretch: tuple[int, int]) -> None:
    """Add a stretch to the pieces of a stream, to the last of them if it follows on."""
    last = pieces[-1] if pieces else b""
    if isinstance(last, tuple) and last[1] == stretch[0]:
        pieces[-1] = (last[0], stretch[1])
    else:
        pieces.append(stretch)


def _chunk(name: bytes, contents: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    return struct.pack(">I", len(contents)) + name + contents + struct.pack(">I", zlib.crc32(name + contents))


def _contents(stream: BinaryIO, chunk: _Chunk) -> bytes:
    stream.seek(chunk.start + 8)
    return stream.read(chunk.end - chunk.start - 12)


def _unpacked(packed: bytes) -> bytes | None:
    """Return what follows a byte for the method (0 is deflate), None if it can't be unpacked or is too large."""
    inflate = zlib.decompressobj()
    try:
        contents = inflate.decompress(packed[1:], max_length=colour.MAX_PROFILE)
    except zlib.error:
        return None
    return contents if packed[:1] == b"\0" and inflate.eof else None


def _is_intact(stream: BinaryIO, chunk: _Chunk) -> bool:
    """Tell whether a chunk has its checksum."""
    stream.seek(chunk.start + 4)
    data = stream.read(chunk.end - chunk.start - 4)
    return len(data) == chunk.end - chunk.start - 4 and zlib.crc32(data[:-4]) == int.from_bytes(data[-4:])
