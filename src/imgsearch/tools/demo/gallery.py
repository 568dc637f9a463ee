"""Unpacks the gallery of the demo: drawings of everyday things, and queries whose correct results are known."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass

from imgsearch.errors import StorageError

GALLERY = os.path.join(os.path.dirname(__file__), "gallery.zip")
"""The images, ``CONTENTS`` and ``ATTRIBUTION``."""
CONTENTS, ATTRIBUTION = "gallery.json", "ATTRIBUTION.md"
PICTURES = 300
RIGHT = 8  # images of the gallery that match each query


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and the paths of the images that are right."""

    text: str
    right: frozenset[str]


@dataclass(frozen=True, slots=True)
class Gallery:
    """The images of a demo by their paths, and what is asked of them.

    ``example`` is the image that similar ones are searched for; ``alike`` says what it shows, and which images do, too.
    ``absent`` is a query that no image answers.
    """

    pictures: tuple[str, ...]
    questions: tuple[Question, ...]
    example: str
    alike: Question
    absent: str


def unpack_gallery(folder: str) -> Gallery:
    """Write the gallery's images into ``folder`` and return what is asked of them; what is there already stays.

    Raises OSError if the folder can't be written, StorageError if the archive is damaged or missing.
    """
    try:
        with zipfile.ZipFile(GALLERY) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        contents = json.loads(files.pop(CONTENTS))
    except (FileNotFoundError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise StorageError(
            f"the demo's gallery is damaged in this installation ({GALLERY}); install imgsearch again"
        ) from error
    os.makedirs(folder, exist_ok=True)
    for name, content in files.items():
        _write(os.path.join(folder, name), content)

    def question(entry: dict[str, object]) -> Question:
        names = entry["right"]
        assert isinstance(names, list)
        return Question(str(entry["text"]), frozenset(os.path.join(folder, name) for name in names))

    return Gallery(
        pictures=tuple(os.path.join(folder, name) for name in files if name != ATTRIBUTION),
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
