"""RAW+JPEG, one photo in two files: the RAW file is skipped for the other, and read once that is gone."""

from __future__ import annotations

import os
from contextlib import suppress

from imgsearch.errors import PictureError
from imgsearch.files import RAW, kind_of
from imgsearch.files.open import open_regular
from imgsearch.files.walk import RAW_TOO
from imgsearch.media import formats
from imgsearch.types import Skipped, SourceFile

PAIR = "RAW file of another image"
"""Why such a file is skipped; the detail is the image's name, and in parentheses how that is known."""
_BESIDE = (".jpg", ".jpeg", ".heic", ".heif", ".hif")
"""What cameras store beside a RAW file."""


def as_pair(source: SourceFile) -> Skipped | None:
    """Return that a RAW file is skipped for the image of the same stem beside it; None for one of its own."""
    if kind_of(source.path) != RAW or source.reading == RAW_TOO:
        return None
    folder, name = os.path.split(os.path.join(source.root, source.path))
    stem = os.path.splitext(name)[0]
    for other in (stem + spelled for beside in _BESIDE for spelled in (beside, beside.upper())):
        # An image that can't be read hides nothing.
        with suppress(OSError, PictureError), open_regular(os.path.join(folder, other)) as image:
            formats.check_picture(image, other)
            return Skipped(source, PAIR, f"{other} (same name)")
    return None
