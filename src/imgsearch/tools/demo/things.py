"""Unpacks the gallery of everyday things that ships with a demo model that knows them by name."""

from __future__ import annotations

import json
import os
import zipfile

from imgsearch.errors import StorageError
from imgsearch.tools.demo.gallery import Gallery, Question

GALLERY = os.path.join(os.path.dirname(__file__), "gallery.zip")
"""The images, ``CONTENTS`` and ``ATTRIBUTION``. Where it is missing, the demo draws shapes."""
CONTENTS, ATTRIBUTION = "gallery.json", "ATTRIBUTION.md"


def unpack_gallery(folder: str) -> Gallery:
    """Write the gallery's images into ``folder`` and return what is asked of them; what is there already stays.

    Raises OSError if the folder can't be written, StorageError if the archive is damaged.
    """
    os.makedirs(folder, exist_ok=True)
    try:
        with zipfile.ZipFile(GALLERY) as archive:
            contents = json.loads(archive.read(CONTENTS))
            names = [name for name in archive.namelist() if name != CONTENTS]
            for name in names:
                _write(os.path.join(folder, name), archive.read(name))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise StorageError(
            f"the demo's gallery is damaged in this installation ({GALLERY}); install imgsearch again"
        ) from error

    def question(entry: dict[str, object]) -> Question:
        names = entry["right"]
        assert isinstance(names, list)
        return Question(str(entry["text"]), frozenset(os.path.join(folder, name) for name in names))

    return Gallery(
        pictures=tuple(os.path.join(folder, name) for name in names if name != ATTRIBUTION),
        questions=tuple(map(question, contents["questions"])),
        example=os.path.join(folder, contents["example"]["file"]),
        alike=question(contents["example"]),
        absent=contents["absent"],
    )


def _write(path: str, content: bytes) -> None:
    """Write a file unless it has this content: an image that is as it was need not be read again by the index."""
    if os.path.exists(path):
        with open(path, "rb") as file:
            if file.read() == content:
                return
    with open(path, "wb") as file:
        file.write(content)
