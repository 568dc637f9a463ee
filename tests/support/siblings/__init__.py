"""Files of the kinds that readers often get wrong, drawn by code, each with what a correct reader makes of it.

`python -m support.siblings FOLDER`, called in tests/, writes them with a manifest.json for benchmarks/kinds.py.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from imgsearch.errors import PictureError
from support.decoded import off, pages
from support.pictures import QUADRANTS


@dataclass(frozen=True)
class Right:
    """What a correct reader makes of a file: pages of four fields of colour, or a reason."""

    pages: tuple[Sequence[Any], ...] = (QUADRANTS,)
    """The four colours, or greys, of each page."""
    tolerance: int = 6
    size: tuple[int, int] = (64, 48)
    skipped: str = ""
    """The only right reason, where no page is right."""
    or_skipped: str = ""
    """A reason that is honest too: the file is intact and not read."""
    differ: int = 0
    """Where not 0: only that the first two fields are at least so far apart from the last two."""


def fields_of(*pages: Sequence[Any], **options: Any) -> Right:
    """Return the outcome of pages with these colours."""
    return Right(pages=pages, **options)


QUARTERS = Right()
UNSUPPORTED = Right(pages=(), skipped="unsupported")

Drawn = Iterator[tuple[str, bytes, Right]]
"""File name, contents, what is right."""


@dataclass(frozen=True)
class Sibling:
    """One file of a kind."""

    kind: str
    name: str
    data: bytes
    right: Right

    def judge(self) -> tuple[str, str]:
        """Return "right", "skipped" (honestly), "refused" or "wrong", and what there is to say about it."""
        right = self.right
        try:
            found = pages(self.data, self.name)
        except PictureError as error:
            honest = error.reason in filter(None, (right.skipped, right.or_skipped))
            return "skipped" if honest else "refused", str(error)
        if len(found) != len(right.pages):
            return "wrong", f"{len(found)} pages, not {len(right.pages)}"
        for picture, colours in zip(found, right.pages, strict=True):
            if (picture.width, picture.height) != right.size:
                return "wrong", f"{picture.width} × {picture.height}"
            if right.differ:
                apart = abs(picture.pixels[:24].mean() - picture.pixels[24:].mean())
                if apart < right.differ:
                    return "wrong", f"drawing and ground differ by {apart:.0f}"
            elif (apart := off(picture, colours)) > right.tolerance:
                return "wrong", f"a field is off by {apart}"
        return "right", found[-1].note

    def row(self) -> dict[str, Any]:
        """Return the row of a manifest, as benchmarks/kinds.py reads it."""
        right = self.right
        width, height = right.size

        def page(colours: Sequence[Any]) -> dict[str, Any]:
            regions = [
                {
                    "box": [x + 6, y + 6, x + width // 2 - 6, y + height // 2 - 6],
                    "rgb": np.broadcast_to(rgb, 3).tolist(),
                }
                for (y, x), rgb in zip(
                    itertools.product((0, height // 2), (0, width // 2)), colours, strict=True
                )
            ]
            return {
                "outcome": "picture",
                "size": [width, height],
                "regions": regions,
                "tolerance": right.tolerance,
            }

        if right.differ:
            halves = {"drawing": [[0, 0, width, height // 2]], "ground": [[0, height // 2, width, height]]}
            said: dict[str, Any] = {"outcome": "drawing-seen", "least_difference": right.differ, **halves}
        elif right.skipped:
            said = {"outcome": "skipped", "reason": right.skipped}
        elif len(right.pages) == 1:
            said = page(right.pages[0])
        else:
            said = {"outcome": "pages", "pages": [page(colours) for colours in right.pages]}
        return {
            "file": f"{self.kind}/{self.name}",
            "kind": self.kind,
            "right": said,
            "or_skipped": right.or_skipped,
        }


_MODULES = {
    "tiff_numbers": ("tiff-depth-and-photometric", "tiff-one-plane-a-colour", "tiff-alpha-and-more-channels"),
    "tiff_layouts": ("tiff-colour-models", "tiff-layout-and-compression", "several-pages"),
    "png_files": (
        "png-large-metadata",
        "png-damaged-where-it-does-not-matter",
        "png-depth-and-transparent-colour",
        "png-colour-without-profile",
    ),
    "jpeg_files": ("jpeg-samples-and-colour-models", "jpeg-cut-or-padded", "damaged-metadata"),
    "other_files": ("other-formats-depth", "other-formats-layout"),
    "what_is_seen": (
        "light-drawing-on-transparency",
        "alpha-that-is-none",
        "first-frame-is-empty",
        "end-is-missing",
    ),
    "colour_files": ("colour-profile", "hdr", "orientation", "heif-variants"),
}
"""Which module draws which kinds: its function has the kind's name, with underscores."""
KINDS = [kind for kinds in _MODULES.values() for kind in kinds]


def drawn(kind: str) -> list[Sibling]:
    """Draw all siblings of a kind."""
    module = next(name for name, kinds in _MODULES.items() if kind in kinds)
    function = getattr(import_module(f"support.siblings.{module}"), kind.replace("-", "_"))
    return [Sibling(kind, *file) for file in function()]


def write(folder: str) -> None:
    """Write all siblings and their manifest into a folder."""
    rows = []
    for sibling in (file for kind in KINDS for file in drawn(kind)):
        row = sibling.row()
        path = os.path.join(folder, row["file"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(sibling.data)
        rows.append(row)
    with open(os.path.join(folder, "manifest.json"), "w", encoding="utf-8") as manifest:
        json.dump(rows, manifest)
