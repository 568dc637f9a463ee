"""A reader of text in the place of the real one: it reads colours, and fails where it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imgsearch.index import image_text
from imgsearch.index.image_text import ImageText, TextLine
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.derived import ocr
from imgsearch.types import RGB
from support.fakes import COLOURS


@dataclass
class FakeReader:
    """Reads the name of an image's colour, in capitals; ``spoilt`` are colours that make it raise.

    ``read_of`` are the sizes of what it was shown; ``interrupted_at`` is at which of them Ctrl-C is pressed.
    """

    name: str = "fake 1"
    spoilt: frozenset[str] = frozenset()
    interrupted_at: int = 0
    read_of: list[tuple[int, int]] = field(default_factory=list)

    def read(self, pixels: RGB) -> Sequence[TextLine]:
        """Return one line, in the upper half; black has no text."""
        self.read_of.append((pixels.shape[1], pixels.shape[0]))
        if len(self.read_of) == self.interrupted_at:
            raise KeyboardInterrupt
        mean = pixels.reshape(-1, 3).mean(axis=0)
        colour = min(
            COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(mean, COLOURS[name], strict=True))
        )
        if colour in self.spoilt:
            raise RuntimeError("bad picture")
        return (
            [TextLine(f"COLOUR {colour.upper()}", (0, 0, 1, 0, 1, 0.5, 0, 0.5))] if colour != "black" else []
        )


def install(monkeypatch: pytest.MonkeyPatch) -> FakeReader:
    """Put a fresh fake in the place of the real reader, as if that was installed."""
    reader = FakeReader()
    monkeypatch.setattr(ocr, "load_reader", lambda: reader)
    monkeypatch.setattr(ocr, "is_installed", lambda: True)
    return reader


def write_texts(folder: str, texts: dict[str, str]) -> None:
    """Keep texts of the images of an index of one root, by the stems of their names, without reading anything."""
    line = (0.1, 0.1, 0.9, 0.1, 0.9, 0.2, 0.1, 0.2)
    with IndexWriter(folder) as writer:
        (root,) = writer.catalog.roots()
        files = {Path(row.path).stem: row.content or b"" for row in writer.catalog.files(root.id)}
        with writer.catalog.transaction() as db:
            read = [
                ImageText(files[name], 0, tuple(TextLine(one, line) for one in text.splitlines()), "t")
                for name, text in texts.items()
            ]
            image_text.put(db, read)
