"""The thumbnail of an indexed image: from the store beside the index, else made of its file and kept there."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from imgsearch.errors import InputError, PictureError
from imgsearch.files import open_source
from imgsearch.index.thumbs import ThumbStore
from imgsearch.media.lookahead import look_ahead
from imgsearch.media.pictures import load_picture, recognise
from imgsearch.media.thumbnail import SIDES, budget_of, make_thumbnail
from imgsearch.text import Call, Message, display_path
from imgsearch.types import MAX_MEGAPIXELS, Hit, Picture, PixelBudget, Record

SMALL, LARGE = "s", "l"
"""The sizes: long sides of 320 and 1,600 pixels, less where the image is smaller."""
_AHEAD = 8


def thumbnail(folder: str, image: Record | Hit, size: str = SMALL) -> bytes:
    """Return an image of the index in ``folder`` as WebP, upright, in one of the sizes.

    What is not in the store is made of the first of the image's files that still has the bytes that were indexed, and
    stored where that is possible. Any number of threads may ask; of those that ask for the same one makes it. Two
    processes may both make it, and the last one's is kept: the same.
    Raises InputError, which names the file, where it is missing, has changed, or can't be decoded.
    """
    if size == LARGE and 0 < max(image.width, image.height) <= SIDES[SMALL]:
        size = SMALL  # it would be the same
    store = store_of(folder)
    if found := store.get(image.sha256, image.page, size):
        return found
    with _alone((store.folder, image.sha256, image.page, size)):
        if found := store.get(image.sha256, image.page, size):
            return found
        picture = decoded(folder, image, budget_of(size))
        made = make_thumbnail(picture.pixels, size)
        store.put(image.sha256, image.page, size, made)
        if size == LARGE and not store.has(image.sha256, image.page, SMALL):
            # The file is decoded: the small one costs little more.
            store.put(image.sha256, image.page, SMALL, make_thumbnail(picture.pixels, SMALL))
        return made


def thumbnails(
    folder: str, images: Iterable[Record | Hit], size: str = SMALL
) -> Generator[bytes | InputError, None, None]:
    """Yield the thumbnail of each image, in order, or why there is none; several are made at once."""

    def work(image: Record | Hit) -> bytes | InputError:
        try:
            return thumbnail(folder, image, size)
        except InputError as error:
            return error

    return look_ahead(work, images, _AHEAD)


@lru_cache(maxsize=16)
def store_of(folder: str) -> ThumbStore:
    """Return the store of the index in ``folder``: one a process, so that it knows how full it is."""
    return ThumbStore(folder)


_lock = threading.Lock()
_making: dict[tuple[str, bytes, int, str], tuple[threading.Lock, int]] = {}
"""What is being made: its lock, and how many have it or wait for it."""


@contextmanager
def _alone(key: tuple[str, bytes, int, str]) -> Iterator[None]:
    """Let the threads of this process into the block one at a time for each key."""
    with _lock:
        turn, waiting = _making.get(key, (threading.Lock(), 0))
        _making[key] = turn, waiting + 1
    try:
        with turn:
            yield
    finally:
        with _lock:
            turn, waiting = _making.pop(key)
            if waiting > 1:
                _making[key] = turn, waiting - 1


def decoded(folder: str, image: Record | Hit, budget: PixelBudget) -> Picture:
    """Return the image's pixels from the first of its files that still has the bytes that were indexed.

    Raises InputError, which names the file, where there is none, or it can't be decoded.
    """
    error: InputError | None = None
    paths = image.paths if isinstance(image, Record) else (image.path, *image.copies)
    for path in paths:
        try:
            return _decoded_from(folder, path, image, budget)
        except PictureError as failure:
            reason = "no such file" if failure.reason == "vanished" else str(failure)
            error = error or InputError(f"{display_path(path)}: {reason}")
        except InputError as failure:
            error = error or failure
    raise error or InputError("the index knows no file of this image")


def _decoded_from(folder: str, path: str, image: Record | Hit, budget: PixelBudget) -> Picture:
    # What was indexed with a higher limit may be decoded again.
    limit = max(MAX_MEGAPIXELS, image.width * image.height / 1e6 + 1)
    with open_source(path, lambda stream: recognise(stream, path)) as opened:
        if opened.sha256 != image.sha256:
            raise InputError(
                Message(
                    f"{display_path(path)} has changed since it was indexed; to update: ",
                    Call("index_pictures", {"folder": folder}),
                )
            )
        picture = load_picture(opened.stream, path, budget, image.page, max_megapixels=limit)
        if picture is not None:
            return picture
    raise InputError(f"{display_path(path)} has no page {image.page + 1}")
