"""Where in a file an image is, as people write it behind the path: ``report.pdf#page=7``, ``clip.mov#t=83.2``."""

from __future__ import annotations

import os
import re

_WRITTEN = re.compile(
    r"(?P<path>.+)#(?:page=(?P<page>[1-9]\d{0,8})|t=(?P<time>\d{1,8}(?:\.\d{1,6})?))", re.DOTALL
)
_PAGED = ("page", "member")


def fragment(kind: str, page: int) -> str:
    """Return what stands behind the path of an image of a kind (types.KINDS); "" where the path says it all.

    The first page of an image file is what everybody takes for the image.
    """
    if kind == "frame":
        return f"#t={page / 1000:.3f}".rstrip("0").rstrip(".")
    return f"#page={page + 1}" if kind in _PAGED or (page and not kind) else ""


def label(kind: str, page: int) -> str:
    """Return the same for a person: "page 7", "1:23" or "2:03:04"; "" where the file has but this image."""
    if kind == "frame":
        minutes, seconds = divmod(page // 1000, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f"page {page + 1}" if kind in _PAGED or page else ""


def split(name: str) -> tuple[str, int]:
    """Return the path and the page that a name means, the time in milliseconds of a frame; 0 where none is given.

    A file that has such a name is itself.
    """
    return (name, 0) if os.path.lexists(name) else parted(name)


def parted(name: str) -> tuple[str, int]:
    """Return what ``split`` does without a look at the disk, where a file may have the whole name."""
    found = _WRITTEN.fullmatch(name)
    if found is None:
        return name, 0
    page, time = found["page"], found["time"]
    return found["path"], int(page) - 1 if page else round(1000 * float(time))
