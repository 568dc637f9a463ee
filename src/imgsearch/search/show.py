"""All that an index knows of one image."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from imgsearch import deep
from imgsearch.errors import InputError
from imgsearch.index import image_text, metadata
from imgsearch.index.reader import ImageIndex
from imgsearch.names import known_as
from imgsearch.text import display_path
from imgsearch.types import NO_METADATA, Metadata, Record, path_json, paths_json, place_json


@dataclass(frozen=True, slots=True)
class ShownImage:
    """An image of a document: where it is, as of a Record, its size in pixels, and whether text was found in it."""

    page: int
    kind: str
    name: str
    width: int
    height: int
    has_text: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        size = {"width": self.width, "height": self.height}
        return {
            "page": self.page,
            **place_json(self.kind, self.page, self.name),
            **size,
            "text": self.has_text,
        }


@dataclass(frozen=True, slots=True)
class Shown:
    """One indexed file: its absolute ``path``, its size in ``bytes`` and its time (ns) when it was read.

    ``sizes`` are (width, height) in pixels of its pages, (0, 0) where nobody knows. ``error`` is why it was skipped, ""
    if it was not; ``detail`` what is to be said of either. ``copies`` are the other files with its bytes. ``text`` are
    the lines that stand in it, None if nobody has read any. ``images`` are those of a document or a file of several.
    """

    path: str
    bytes: int
    mtime_ns: int
    missing: bool
    sha256: str
    sizes: tuple[tuple[int, int], ...]
    copies: tuple[str, ...]
    metadata: Metadata
    error: str = ""
    detail: str = ""
    text: tuple[str, ...] | None = None
    images: tuple[ShownImage, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it: what is unknown is null or empty; the date is local time in ISO's form."""
        told = asdict(self.metadata)
        told["taken"] = iso(self.metadata)
        told["keywords"] = list(self.metadata.keywords)
        width, height = self.sizes[0] if self.sizes else (0, 0)
        return {
            **path_json(self.path),
            **paths_json(self.copies, "copies"),
            "missing": self.missing,
            "bytes": self.bytes,
            "modified": self.mtime_ns / 1e9,
            "sha256": self.sha256,
            "width": width,
            "height": height,
            "pages": len(self.sizes),
            "error": self.error or None,
            "detail": self.detail,
            **told,
            **({} if self.text is None else {"text": list(self.text)}),
            **({"images": [image.as_json() for image in self.images]} if self.images else {}),
        }


def show(index: ImageIndex, path: str) -> Shown:
    """Return what the index knows of the file at a path, by whatever name leads to it; no file is opened.

    Raises InputError for a folder, and for a path that the index does not know.
    """
    catalog = index.catalog
    roots = catalog.roots()
    name = known_as(path, roots, catalog).path
    for root in roots:
        if not name.startswith(os.path.join(root.path, "")):
            continue
        row = catalog.file(root.id, os.path.relpath(name, root.path))
        if row is None:
            continue
        pictures = catalog.pages(row.content) if row.content else ()
        texts = image_text.lines_of(catalog.database, [picture.id for picture in pictures])
        paths = {path for picture in pictures for path in picture.paths} - {name}
        return Shown(
            path=name,
            bytes=row.size,
            mtime_ns=row.mtime_ns,
            missing=not deep.exists(name),
            sha256=(row.content or b"").hex(),
            sizes=tuple((one.width, one.height) for one in pictures if one.kind != "tile"),
            copies=tuple(sorted(paths)),
            metadata=(metadata.get(catalog.database, row.content) if row.content else None) or NO_METADATA,
            error=row.error or "",
            detail=row.detail,
            text=tuple(line.text for one in pictures for line in texts.get(one.id, ())) or None,
            images=_images(pictures, texts),
        )
    if deep.isdir(path):
        raise InputError(f"{display_path(path)} is a folder; give the path of an image")
    raise InputError(f"{display_path(path)} is not in the index")


def show_part(indexes: Sequence[ImageIndex], path: str) -> Shown:
    """Return what the first of an index and its part that knows a file knows of it. Raises as ``show`` does."""
    for index in indexes[:-1]:
        with suppress(InputError):
            return show(index, path)
    return show(indexes[-1], path)


def _images(pictures: Sequence[Record], texts: Collection[int]) -> tuple[ShownImage, ...]:
    """Return the images of a document; none of an image file that holds but one."""
    if len(pictures) < 2 and not any(one.kind and one.kind != "raw" for one in pictures):
        return ()
    return tuple(
        ShownImage(one.page, one.kind, one.name, one.width, one.height, one.id in texts) for one in pictures
    )


def iso(known: Metadata) -> str | None:
    """Return when an image was taken in ISO's form, with the offset if it is known; None without a date."""
    if known.taken is None:
        return None
    offset = None if known.offset is None else timezone(timedelta(minutes=known.offset))
    moment: datetime = known.taken.replace(tzinfo=offset)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
