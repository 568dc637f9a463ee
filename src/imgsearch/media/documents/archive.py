"""Archives of images by zipfile: ZIP, comic books, and what is a ZIP inside: EPUB, documents of office programs."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from imgsearch.errors import PictureError
from imgsearch.media import formats
from imgsearch.media.documents.contract import DocumentOptions, Place
from imgsearch.types import NO_METADATA, Metadata, Picture, PixelBudget

MAX_MEMBERS = 20_000
"""Images of one archive that are read, at most."""
MOST_BYTES = 256 << 20
"""Of a member, unpacked; the process that reads has not much more memory."""
_BOMB = 200
"""How many times its size in the archive a large member may have unpacked; images are compressed already."""
_LARGE = 16 << 20
COST = 64_000_000
"""Bytes that decoding an image takes, most often; the decoder asks for what it needs once it has seen the header."""
_NO_IMAGES = re.compile(
    r"(^|/)(__MACOSX/|\.)|^(docProps/thumbnail|Thumbnails/thumbnail|ObjectReplacements/)", re.IGNORECASE
)
"""Names of what is no image of its owner: a thumbnail of the first page, what systems keep beside a file."""
_LEADING = re.compile(r"^(\.{0,2}/)+")
_PLAIN = (".zip", ".cbz")
_SMALLEST = 64
"""Pixels of the short side that an image in a document needs: bullets, rules and buttons have fewer."""


def open_reader(stream: BinaryIO, name: str, options: DocumentOptions) -> _Archive:
    """Open an archive. Raises PictureError, also "encrypted", or what zipfile raises."""
    return _Archive(stream, name, options)


class _Archive:
    """A ``contract.Reader`` of an archive; its places are in the order that a person would number them."""

    def __init__(self, stream: BinaryIO, name: str, options: DocumentOptions) -> None:
        self._zip = zipfile.ZipFile(stream)
        self._max_megapixels = options.max_megapixels
        self._is_document = os.path.splitext(name)[1].lower() not in _PLAIN
        members = sorted(self._images(), key=lambda member: numbered(member.filename))
        if members and all(member.flag_bits & 1 for member in members):
            raise PictureError("encrypted", "archives with a password are not supported")
        self._members = members[:MAX_MEMBERS]
        self.places = [Place(number, None, member.filename) for number, member in enumerate(self._members)]
        self.note = f"only its first {MAX_MEMBERS:,} images are read" if len(members) > MAX_MEMBERS else ""
        self.cost = COST

    def _images(self) -> Iterator[zipfile.ZipInfo]:
        for member in self._zip.infolist():
            extension = os.path.splitext(member.filename)[1].lower()
            if extension not in formats.EXTENSIONS or is_left_out(member.filename) or member.is_dir():
                continue
            if not (self._is_document and self._is_small(member)):
                yield member

    def _is_small(self, member: zipfile.ZipInfo) -> bool:
        """Whether an image of a document is a bullet or a rule; one that can't be read isn't known to be."""
        try:
            with formats.picture_errors():
                size = formats.check_picture(io.BytesIO(self._read(member)), member.filename)
        except PictureError:
            return False
        return min(size) < _SMALLEST

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        """Decode a member as a file of its own would be; of one with several pages, the first."""
        member = self._members[place.page]
        data = io.BytesIO(self._read(member))
        limit = self._max_megapixels
        for picture in formats.load_pictures(data, member.filename, budget, max_megapixels=limit):
            return replace(picture, page=place.page)
        raise PictureError("corrupt", "it has no image")

    def _read(self, member: zipfile.ZipInfo) -> bytes:
        """Return a member's bytes: as many as it says, for zipfile unpacks no more."""
        if member.flag_bits & 1:
            raise PictureError("encrypted", "it needs a password")
        if member.file_size > MOST_BYTES:
            raise PictureError("too large a file", f"{member.file_size:,} bytes unpacked")
        if member.file_size > max(_LARGE, _BOMB * member.compress_size):
            said = f"{member.compress_size:,} bytes that unpack to {member.file_size:,}"
            raise PictureError("decompression bomb", said)
        return self._zip.read(member)

    def text(self, place: Place) -> str:
        """Return "": the text of such documents has no pages."""
        return ""

    def metadata(self) -> Metadata:
        """Return nothing: an archive tells of itself what its images don't."""
        return NO_METADATA

    def close(self) -> None:
        """Let go of the file."""
        self._zip.close()


def is_left_out(name: str) -> bool:
    """Whether a member is no image of its owner, or hidden; "./" and "../" before its name say nothing."""
    return bool(_NO_IMAGES.search(_LEADING.sub("", name)))


def numbered(name: str) -> list[tuple[int, str]]:
    """Return what sorts "page 10" behind "page 9", whatever the case."""
    return [(int(part) if part.isdecimal() else -1, part.lower()) for part in re.split(r"(\d{1,18})", name)]
