"""Archives by tarfile: the shards of a WebDataset, whose images are their members, and comic books (CBT)."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from imgsearch.errors import PictureError
from imgsearch.media import formats
from imgsearch.media.documents.archive import COST, MOST_BYTES, is_left_out, numbered
from imgsearch.media.documents.contract import DocumentOptions, Place
from imgsearch.media.splice import length
from imgsearch.types import NO_METADATA, Metadata, Picture, PixelBudget

MAX_MEMBERS = 100_000
"""Images of one file that are read, at most; what is known of each stays in memory while it is open."""
MOST_MEMBERS = 1_000_000
"""Members of one file that are walked over, whatever they are: a file can hold ten million empty ones."""
_BEHIND = 1 << 20
"""Bytes behind the end in which another tar is looked for; tar itself fills at most a part of them with zeros."""
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"(\xb5/\xfd": "zstd"}


def open_reader(stream: BinaryIO, name: str, options: DocumentOptions) -> _Tar:
    """Open an archive. Raises PictureError, or what tarfile raises."""
    return _Tar(stream, name, options)


class _Tar:
    """A ``contract.Reader``; places are in the order of the file, so that a shard is read from front to back.

    Those of a comic book are as a person would number them. Nothing is ever written under a member's name, so that
    an absolute path is as good as any.
    """

    def __init__(self, stream: BinaryIO, name: str, options: DocumentOptions) -> None:
        self._stream, self._length = stream, length(stream)
        stream.seek(0)
        head = stream.read(8)
        if packed := next((how for start, how in _PACKED.items() if head.startswith(start)), ""):
            raise PictureError("unsupported", f"the tar is packed by {packed}; unpack it to a plain tar")
        stream.seek(0)
        # Without "r:" tarfile would look for a compression, and unpack what it finds.
        self._tar = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115
        self._max_megapixels = options.max_megapixels
        self.note = ""
        members = list(self._images())
        if os.path.splitext(name)[1].lower() == ".cbt":
            members.sort(key=lambda member: numbered(member.name))
        self._members = members
        self.places = [Place(number, None, member.name) for number, member in enumerate(members)]
        self.cost = COST

    def _images(self) -> Iterator[tarfile.TarInfo]:
        """Yield the members that are images, as far as the file goes: one that is cut short has lost its end only."""
        found = seen = 0
        try:
            while (member := self._tar.next()) is not None:
                self._tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep each one
                seen += 1
                if seen > MOST_MEMBERS:
                    self.note = f"only its first {MOST_MEMBERS:,} members are read"
                    return
                if member.size < 0 or self._tar.offset <= member.offset:
                    raise tarfile.ReadError("a member has a negative size")
                if member.offset_data + member.size > self._length and not member.issparse():
                    self.note = "it is cut short: the rest is missing"
                    return
                if not self._is_image(member):
                    continue
                if found == MAX_MEMBERS:
                    self.note = f"only its first {MAX_MEMBERS:,} images are read"
                    return
                found += 1
                yield member
        # What a header of nonsense makes tarfile raise, beside its own.
        except (tarfile.TarError, ValueError, OverflowError, RecursionError, MemoryError):
            if not found:
                raise
            self.note = f"it is damaged or cut short: what comes after its image number {found:,} is not read"
            return
        if not self._ends_well():
            self.note = "it is damaged or cut short: there may be images that are not read"
        elif any(self._stream.read(_BEHIND)):
            self.note = "there is more behind its end, as where tars were joined: that is not read"

    def _is_image(self, member: tarfile.TarInfo) -> bool:
        """Whether it is a file, not a link or device, that is called like an image and isn't hidden."""
        extension = os.path.splitext(member.name)[1].lower()
        return member.isreg() and extension in formats.EXTENSIONS and not is_left_out(member.name)

    def _ends_well(self) -> bool:
        """Whether a block of zeros stands where tarfile saw the end; it takes damage for the end, too."""
        self._stream.seek(self._tar.offset)
        block = self._stream.read(tarfile.BLOCKSIZE)
        return len(block) == tarfile.BLOCKSIZE and not any(block)

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        """Decode a member as a file of its own would be; of one with several pages, the first."""
        member = self._members[place.page]
        if member.size > MOST_BYTES:
            raise PictureError("too large a file", f"{member.size:,} bytes")
        if member.issparse():
            raise PictureError("unsupported", "it is stored with holes, as no image is")
        file = self._tar.extractfile(member)
        assert file is not None  # it is a file
        data, limit = io.BytesIO(file.read()), self._max_megapixels
        for picture in formats.load_pictures(data, member.name, budget, max_megapixels=limit):
            return replace(picture, page=place.page)
        raise PictureError("corrupt", "it has no image")

    def text(self, place: Place) -> str:
        """Return "": a caption beside an image is another file."""
        return ""

    def metadata(self) -> Metadata:
        """Return nothing: an archive tells of itself what its images don't."""
        return NO_METADATA

    def close(self) -> None:
        """Let go of the file."""
        self._tar.close()
