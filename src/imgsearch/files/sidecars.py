"""Files beside an image that tell of it: XMP sidecars, and the JSON that Google Takeout writes."""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from imgsearch import deep
from imgsearch.files.open import open_regular

_XMP, _JSON = ".xmp", ".json"
_TAKEOUT = ".supplemental-metadata"
"""Before .json, cut short where the whole name would have more than 51 characters; older exports have none."""


def sidecars_among(names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """Return, by the names of images or their stems, the sidecars among a folder's files.

    A name that ends in .xmp or .json, whatever its case, counts for the image whose name stands before that
    (``a.jpg.xmp``), and an .xmp for every image of that stem (``a.xmp``), as Lightroom and darktable name them.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        stem, extension = os.path.splitext(name)
        if extension.lower() == _XMP:
            found[stem].append(name)
        elif extension.lower() == _JSON:
            image, last = os.path.splitext(stem)
            found[image if last and _TAKEOUT.startswith(last.lower()) else stem].append(name)
    return {key: tuple(sorted(values)) for key, values in found.items()}


def sidecars_of(image: str, sidecars: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the sidecars of an image by its name: its own XMP before its stem's, then Takeout's JSON."""
    if not sidecars:
        return ()
    own = sidecars.get(image, ())
    stem = sidecars.get(os.path.splitext(image)[0], ())
    xmp = [name for name in (*own, *stem) if name.lower().endswith(_XMP)]
    return (*xmp[:1], *(name for name in own if name.lower().endswith(_JSON)))


def state_of(folder: str, sidecars: Iterable[str]) -> int:
    """Return a number that changes when one of the sidecars in a folder does: a crc32 of names, sizes and times."""
    state = 0
    for name in sidecars:
        try:
            status = deep.stat(os.path.join(folder, name))
        except OSError:
            continue
        state = zlib.crc32(f"{os.fsencode(name)!r} {status.st_size} {status.st_mtime_ns}".encode(), state)
    return state


def read_sidecars(image: str, sidecars: Iterable[str], most: int) -> list[tuple[str, bytes]]:
    """Return (name, contents) of the sidecars of the image at a path, without those of over ``most`` bytes.

    One that can't be read tells nothing: it costs no image.
    """
    found = []
    for name in sidecars:
        try:
            with open_regular(os.path.join(os.path.dirname(image), name)) as file:
                data = file.read(most + 1)
        except OSError:
            continue
        if len(data) <= most:
            found.append((name, data))
    return found
