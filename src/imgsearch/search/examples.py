"""The images that a search starts from: read, decoded, or known to the index already."""

from __future__ import annotations

import os
from dataclasses import dataclass

from imgsearch import deep
from imgsearch.addresses import is_remote
from imgsearch.budgets import load_picture
from imgsearch.errors import FolderError, InputError, PictureError
from imgsearch.files import open_source, source_file
from imgsearch.fs import is_below
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileRow, is_current
from imgsearch.media.lookahead import aside
from imgsearch.names import known_as
from imgsearch.text import display_path, error_line
from imgsearch.types import RGB, PixelBudget, PixelBudgets, Vectors


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """An image file that has been read: its path, the sha256 of its bytes, a page of it as (h, w, 3) uint8.

    ``budget`` is the one that the model is to see it with; None is the model's own.
    """

    path: str
    sha256: bytes
    pixels: RGB
    page: int = 0
    budget: PixelBudget | None = None


def stored_vector(index: ImageIndex, path: str) -> Vectors | None:
    """Return the vector (1, dim) that the index already holds for a picture file, or None.

    Raises as ``content_of`` does.
    """
    return index.vector(content_of(index, path))


def content_of(index: ImageIndex, path: str) -> bytes:
    """Return the sha256 of a picture file's bytes: from the index while the file is as it was, else by reading it.

    A file that is away, as on a drive that is not mounted, has the one that it had. Raises FolderError if there is
    no such file and the index knows none, InputError if it can't be read.
    """
    content = content_by_path(index, path)
    if content is None:
        try:
            content = aside(lambda: _hash(path))
        except PictureError as error:
            raise InputError(f"{display_path(path)}: {_reason(error)}") from error
    return content


def nearest_page(index: ImageIndex, content: bytes, page: int) -> int:
    """Return a page of a file, or of a film the indexed frame that is nearest to a time in milliseconds."""
    records = index.catalog.pages(content)
    if not any(record.kind == "frame" for record in records):
        return page
    return min((record.page for record in records), key=lambda one: abs(one - page))


def _hash(path: str) -> bytes:
    with open_source(path) as opened:
        return opened.sha256


def content_by_path(index: ImageIndex, path: str) -> bytes | None:
    """Return the sha256 of a file's bytes as far as the index knows it by path; FolderError as ``stored_vector``."""
    roots = index.catalog.roots()
    own = known_as(path, roots, index.catalog).path
    state, failure = None, None
    try:
        state = None if is_remote(own) else deep.stat(path)
    except OSError as error:
        failure = error
    content: bytes | None = None
    for root in roots:
        if not is_below(own, root.path):
            continue
        relative = os.path.relpath(own, root.path)
        row = index.catalog.file(root.id, relative)
        if row and (state is None or _is_current(row, root.path, relative, state)):
            content = row.content
    if content is None and failure is not None:
        raise FolderError(
            f"{display_path(path)}: {error_line(failure)}; give the path of an image"
        ) from failure
    return content


def _is_current(row: FileRow, root: str, path: str, state: os.stat_result) -> bool:
    return is_current(row, source_file(root, path, state, reading=row.reading))[0]


def read_picture(
    path: str, budget: PixelBudget, max_megapixels: float = 200.0, page: int | None = None
) -> RGB:
    """Decode a page of a picture file, the first if none is given: (h, w, 3) uint8. Raises as ``read_image`` does."""
    return read_image(path, budget, max_megapixels, page).pixels


def read_image(
    path: str,
    budget: PixelBudget | PixelBudgets,
    max_megapixels: float = 200.0,
    page: int | None = None,
) -> ReadImage:
    """Read an image file or document, and decode a page of it, the first if none is given.

    Of two budgets it gets the one that it would be indexed with. Raises InputError that names the file and says what is
    wrong with it.
    """
    budgets = budget if isinstance(budget, PixelBudgets) else PixelBudgets(budget)

    def decode() -> ReadImage | None:
        with open_source(path) as opened:
            found = load_picture(opened.stream, path, budgets, page, max_megapixels=max_megapixels)
            picture, seen_with = found
            if picture is None:
                return None
            return ReadImage(path, opened.sha256, picture.pixels, page or 0, seen_with)

    try:
        read = aside(decode)
    except PictureError as error:
        raise InputError(f"{display_path(path)}: {_reason(error)}") from error
    if read is None:
        raise InputError(f"{display_path(path)}: {'contains no image' if not page else 'has no such page'}")
    return read


def _reason(error: PictureError) -> str:
    # What a walk calls vanished, somebody has mistyped here.
    return "no such file" if error.reason == "vanished" else str(error)
