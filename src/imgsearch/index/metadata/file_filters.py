"""What confines a search to some of the files: their folder, name and type, and that they are screenshots."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import UsageError
from imgsearch.index.metadata.columns import Columns, ColumnsError, Mask
from imgsearch.index.metadata.filters import Condition
from imgsearch.index.metadata.named import CAMERA, TOLD, file_name, file_type, folded, matcher
from imgsearch.text import Option, display_path


@dataclass(frozen=True, slots=True)
class Place:
    """Where files are to be: ``path`` in a root, "" for all of it; ``file`` is the id of a file there, else 0."""

    root: int
    path: str
    file: int = 0


@dataclass(frozen=True, slots=True)
class Below:
    """In one of some ``places``; ``paths`` are what they are called."""

    places: tuple[Place, ...]
    paths: tuple[str, ...]

    of_files: ClassVar[bool] = True

    def condition(self) -> Condition:
        """Compare the paths; they do as bytes."""
        texts: list[str] = []
        values: list[object] = []
        for place in self.places:
            texts.append("(file.root = ?)")
            values.append(place.root)
            if place.path:
                texts[-1] = "(file.root = ? AND (file.path = ? OR file.path > ? AND file.path < ?))"
                name = os.fsencode(place.path)
                # "0" follows "/" in ASCII, so this is the range of everything that begins with path + "/".
                values += [name, name + b"/", name + b"0"]
        return " OR ".join(texts) or "FALSE", tuple(values)

    def passing(self, columns: Columns) -> Mask:
        """Compare the folders, and ids where a file is meant."""
        folders = {(place.root, place.path) for place in self.places if not place.file}

        def holds(folder: tuple[int, str]) -> bool:
            root, path = folder
            while path and (root, path) not in folders:
                path = os.path.dirname(path)
            return (root, path) in folders

        mask = columns.where("folder", holds)
        for place in self.places:
            if place.file:
                mask |= columns["file"] == place.file
        return mask

    def sentence(self) -> str:
        """Name the folders."""
        return f"in {' or '.join(map(display_path, self.paths))}"

    def as_json(self) -> dict[str, Any]:
        """Give the paths."""
        return {"in": list(self.paths)}


@dataclass(frozen=True, slots=True)
class Named:
    """With a file name that matches a pattern such as ``IMG_*.jpg``, whatever its case."""

    glob: str

    of_files: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Raise UsageError for what no name can match."""
        if not self.glob:
            raise UsageError("the pattern is empty")
        if "/" in self.glob:
            raise UsageError(
                f"{self.glob}: a file name has no slash; for folders: ", Option("below", metavar="FOLDER")
            )

    def condition(self) -> Condition:
        """Match each name."""
        return "file_matches(file.path, ?)", (self.glob,)

    def passing(self, columns: Columns) -> Mask:
        """Match each name, after a look at how it begins and ends."""
        return _matching(columns["names"].tobytes(), columns["name_end"], self.glob)

    def fits(self, path: str) -> bool:
        """Whether a file passes."""
        return matcher(self.glob)(file_name(os.fsencode(path))) is not None

    def sentence(self) -> str:
        """Give the pattern."""
        return f"named {self.glob}"

    def as_json(self) -> dict[str, Any]:
        """Give the pattern."""
        return {"name": self.glob}


@dataclass(frozen=True, slots=True)
class Typed:
    """With a file name that ends in one of ``extensions``, without the dot; ``names`` are what somebody calls them."""

    extensions: tuple[str, ...]
    names: tuple[str, ...]

    of_files: ClassVar[bool] = True

    def condition(self) -> Condition:
        """Compare each file's extension."""
        return f"file_type(file.path) IN ({', '.join('?' * len(self.extensions))})", self.extensions

    def passing(self, columns: Columns) -> Mask:
        """Compare each extension that there is."""
        return columns.where("type", self.extensions.__contains__)

    def fits(self, path: str) -> bool:
        """Whether a file passes."""
        return file_type(file_name(os.fsencode(path))) in self.extensions

    def sentence(self) -> str:
        """Name the types."""
        return f"of the type {' or '.join(self.names)}"

    def as_json(self) -> dict[str, Any]:
        """Give the types."""
        return {"type": ",".join(self.names)}


@dataclass(frozen=True, slots=True)
class Screenshot:
    """A screenshot, as ``named.is_screenshot`` tells; or anything else."""

    wanted: bool

    of_files: ClassVar[bool] = True

    def condition(self) -> Condition:
        """Ask about each file."""
        told = f"is_screenshot(file.path, {CAMERA}, {TOLD}, content.width, content.height)"
        return told if self.wanted else f"NOT {told}", ()

    def passing(self, columns: Columns) -> Mask:
        """Take what was found out when the columns were made."""
        return np.asarray((columns["screenshot"] != 0) == self.wanted)

    def sentence(self) -> str:
        """Say which."""
        return "that is a screenshot" if self.wanted else "that is not a screenshot"

    def as_json(self) -> dict[str, Any]:
        """Say which."""
        return {"screenshots": self.wanted}


def _places(names: bytes, part: bytes) -> list[int]:
    """Return where a part begins in all names, in the order of the names; one place for each at least."""
    places, place = [], names.find(part)
    while place >= 0:
        places.append(place)
        place = names.find(part, place + 1)
    return places


_LITERAL = re.compile(r"[^*?\[\]]*")


def _matching(names: bytes, ends: NDArray[np.int64], glob: str) -> Mask:
    """Return which names match a pattern: ``names`` are all of them in a row, ``ends`` where each ends there."""
    if len(ends) and (np.any(np.diff(ends, prepend=0) < 0) or ends[-1] != len(names)):
        raise ColumnsError("its names are out of range")
    text = np.frombuffer(names, np.uint8)
    starts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
    glob = folded(glob)
    match = _LITERAL.match(glob)
    head = match.group() if match else ""
    tail = "" if head == glob else re.split(r"[*?\[\]]", glob)[-1]
    first, last = head.encode(), tail.encode()
    found = np.flatnonzero(ends - starts >= len(first) + len(last))
    for place, byte in enumerate(first):
        found = found[text[starts[found] + place] == byte]
    for place, byte in enumerate(reversed(last), 1):
        found = found[text[ends[found] - place] == byte]
    middle = glob[len(head) : len(glob) - len(tail)]
    mask = np.zeros(len(ends), bool)
    if middle == "*":
        mask[found] = True
        return mask
    inner = middle.strip("*")
    if inner and _LITERAL.fullmatch(inner):
        # Most patterns say only what a name holds: there a search through all of them at once comes first.
        holding = np.zeros(len(ends), bool)
        holding[np.searchsorted(ends, _places(names, inner.encode()), side="right")] = True
        found = found[holding[found]]
    matches = matcher(glob)
    for number in found.tolist():
        mask[number] = matches(names[starts[number] : ends[number]].decode()) is not None
    return mask
