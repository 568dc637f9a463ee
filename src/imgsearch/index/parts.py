"""The part of an index for documents: an index of its own in a folder inside it, with a model for pages."""

from __future__ import annotations

import os

from imgsearch.fs import unusual
from imgsearch.index import manifest

PARTS = "parts"
"""The folder in an index's own that its parts are in."""
PHOTOS, DOCUMENTS = "photos", "documents"
"""What the index itself holds, and its one part."""
PAGE_MODEL = "tomaarsen/Qwen3-VL-Embedding-2B-vdr"
"""What a new part for documents is made with: a fine-tune for finding pages by questions."""


def part_of(index: str) -> str:
    """Return the folder of the part for documents of the index in a folder, whether or not there is one."""
    return os.path.join(index, PARTS, DOCUMENTS)


def has_part(index: str) -> bool:
    """Tell whether an index has a part for documents; one that a link leads to is none."""
    part = part_of(index)
    linked = unusual(os.path.dirname(part), folder=True) or unusual(part, folder=True)
    return not linked and is_index(part)


def searched(index: str) -> list[str]:
    """Return the folders that are searched for an index: its own and its part's, as far as these are there.

    Where neither is, its own, of which whoever opens it says what is wrong.
    """
    if not has_part(index):
        return [index]
    return [index, part_of(index)] if is_index(index) else [part_of(index)]


def is_index(folder: str) -> bool:
    """Tell whether there is an index in a folder."""
    return manifest.exists(folder)


def is_part(folder: str) -> bool:
    """Tell whether an index is the part of another."""
    return os.path.realpath(folder).endswith(os.path.join(os.sep, PARTS, DOCUMENTS))
