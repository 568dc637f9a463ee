"""Documents for tests that are drawn by a few words of text, read in this process instead of one of their own.

    %DRAWN page          or frame, member, raw
    red
    red green blue white
    ! corrupt            a page that can't be read, and why

Each line is an image, of one colour or of four quarters. A frame's line begins with its time in seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from imgsearch.errors import PictureError
from imgsearch.media import documents
from imgsearch.media.documents import DocumentFormat, DocumentOptions, Place, choose
from imgsearch.types import NO_METADATA, Metadata, Picture, PixelBudget
from support.fakes import COLOURS

EXTENSIONS = "pdf mov cbz"
"""Such as the filters and the words for kinds of files know."""


@dataclass
class Drawn:
    """What was read: ``opened`` documents, ``read`` (name, page), those ``open`` now and at most; ``installed`` or not.

    ``texts`` are pages' own text. ``before`` is called with the place ahead of each reading and may raise.
    """

    opened: int = 0
    read: list[tuple[str, int]] = field(default_factory=list)
    open: int = 0
    most: int = 0
    installed: bool = True
    before: Any = None
    texts: dict[int, str] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)


class _Document:
    def __init__(self, drawn: Drawn, name: str, lines: Sequence[str], options: DocumentOptions) -> None:
        self._drawn, self._name = drawn, name
        kind, *pages = lines
        places, self._pages = [], []
        for number, line in enumerate(pages):
            if kind == "frame":
                time, line = line.split(maxsplit=1)
                places.append(Place(round(1000 * float(time)), float(time)))
            else:
                places.append(Place(number, None, f"{number}.jpg" if kind == "member" else ""))
            self._pages.append(line)
        self._all = places
        self.places = choose(places, options.pages)
        if kind == "frame" and options.frames:
            self.places = self.places[: max(options.frames, 0)]
        self.note = ""
        self.metadata: Metadata = NO_METADATA

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        with self._drawn.lock:
            self._drawn.read.append((self._name, place.page))
        if self._drawn.before:
            self._drawn.before(place)
        line = self._pages[self._all.index(place)]
        if line.startswith("!"):
            raise PictureError(line[1:].strip(), documents.said(place))
        names = line.split()
        pixels = np.zeros((48, 64, 3), np.uint8)
        quarters = names * 4 if len(names) == 1 else names
        for number, name in enumerate(quarters):
            top, left = number // 2 * 24, number % 2 * 32
            pixels[top : top + 24, left : left + 32] = COLOURS[name]
        return Picture(pixels, 640, 480, place.page)

    def text(self, place: Place) -> str:
        return self._drawn.texts.get(place.page, "")

    def lines(self, place: Place) -> list[tuple[str, None]]:
        return [(line, None) for line in self.text(place).splitlines()]


def install(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Let drawn documents be the only ones."""
    drawn = Drawn()

    @contextmanager
    def open_document(
        stream: BinaryIO, name: str, options: DocumentOptions | None = None
    ) -> Iterator[_Document]:
        if not drawn.installed:
            raise PictureError("needs imgsearch-vl[pdf]")
        stream.seek(0)
        lines = stream.read().decode().removeprefix("%DRAWN ").strip().splitlines()
        with drawn.lock:
            drawn.opened += 1
            drawn.open += 1
            drawn.most = max(drawn.most, drawn.open)
        try:
            if lines[0] == "encrypted" and not (options and "secret" in options.passwords):
                raise PictureError("encrypted")
            yield _Document(drawn, name, lines, options or DocumentOptions())
        finally:
            with drawn.lock:
                drawn.open -= 1

    rows = [
        DocumentFormat("a drawing", "none", name, rb"%DRAWN ", extra=extra, library="none")
        for name, extra in zip(EXTENSIONS.split(), ("pdf", "video", ""), strict=True)
    ]
    monkeypatch.setattr(documents, "DOCUMENTS", tuple(rows))
    monkeypatch.setattr(documents, "is_installed", lambda row: drawn.installed)
    monkeypatch.setattr(documents, "open_document", open_document)
    return drawn


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Give the reader of drawn documents, which stands in the place of all others during a test."""
    return install(monkeypatch)


def draw(path: Path, *pages: str, kind: str = "page") -> Path:
    """Write a document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([f"%DRAWN {kind}", *pages]))
    return path
