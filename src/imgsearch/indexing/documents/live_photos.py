"""The video of a Live Photo: it is skipped for the still beside it, and read once that is gone."""

from __future__ import annotations

import os
from contextlib import suppress

from imgsearch.errors import PictureError
from imgsearch.files.open import open_regular
from imgsearch.media.live_photo import stills_of, why_part
from imgsearch.types import Skipped, SourceFile

PART = "part of a Live Photo"
"""Why such a video is skipped; the detail is its still's name, and in parentheses how that is known."""


def as_part(source: SourceFile) -> Skipped | None:
    """Return that a file is skipped for the still beside it that it is part of; None for one of its own."""
    path = os.path.join(source.root, source.path)
    folder, name = os.path.split(path)
    for still in stills_of(name):
        # A still that can't be read doesn't hide a video.
        with suppress(OSError, PictureError), open_regular(os.path.join(folder, still)) as beside:
            with open_regular(path) as video:
                why = why_part(video, beside, still)
            if why:
                return Skipped(source, PART, f"{still} ({why})")
    return None


def has_still(source: SourceFile, detail: str) -> bool:
    """Whether the still that is named in the detail of a skipped video lies beside it."""
    still = detail.rpartition(" (")[0]
    folder = os.path.dirname(os.path.join(source.root, source.path))
    return os.path.lexists(os.path.join(folder, still))
