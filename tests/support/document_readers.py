"""A kind of documents for tests: a line a page, whose words say what becomes of whoever reads it."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from datetime import datetime
from typing import BinaryIO

import numpy as np
import pytest

from imgsearch.errors import PictureError
from imgsearch.media import documents
from imgsearch.media.documents import DocumentFormat, DocumentOptions, Place
from imgsearch.types import Metadata, Picture, PixelBudget
from support import TESTS

BUDGET = PixelBudget(4, 64)
LINES = DocumentFormat("a list", "support.document_readers", "lines", rb"lines\n", seconds=2.0)
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def written(*pages: str) -> bytes:
    """Return the bytes of a document whose pages do what ``open_reader``'s reader makes of these words."""
    return "\n".join(["lines", *pages]).encode()


def install(patch: pytest.MonkeyPatch, row: DocumentFormat = LINES) -> None:
    """Let there be this kind of documents, for the processes that read them, too."""
    patch.setattr(documents, "DOCUMENTS", (row, *documents.DOCUMENTS))
    patch.setenv("PYTHONPATH", str(TESTS))


def open_reader(stream: BinaryIO, name: str, options: DocumentOptions) -> _Lines:
    return _Lines(stream, name, options)


class _Lines:
    """A picture of one colour a line; other words are what can go wrong."""

    def __init__(self, stream: BinaryIO, name: str, options: DocumentOptions) -> None:
        self._stream, self._options = stream, options
        self._pages = stream.read().decode().split("\n")[1:]
        self._begun = 0
        if self._pages == ["crash on opening"]:
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._pages and self._pages[0] == "encrypted" and "secret" not in options.passwords:
            raise PictureError("encrypted", "no password fits")
        self.places = [Place(number) for number in range(len(self._pages))]
        self.note = f"of {os.path.basename(name)}"
        self.cost = 1000

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        match self._pages[place.page].split():
            case ["crash"]:
                ctypes.string_at(0)
            case ["crash", "after", "another"] if self._begun:
                os.kill(os.getpid(), signal.SIGSEGV)
            case ["exit"]:
                os._exit(3)
            case ["spin"]:
                while True:
                    pass
            case ["sleep"]:
                time.sleep(1000)
            case ["allocate"]:
                np.ones(4 << 30, np.uint8)
            case ["raise"]:
                raise KeyError("nothing is known of b'such bytes'")
            case ["pid"]:
                return Picture(np.zeros((1, 1, 3), np.uint8), os.getpid(), 1, place.page)
            case ["four", "channels"]:
                return Picture(np.zeros((5, 5, 4), np.uint8), 5, 5, place.page)
            case ["answer", "nonsense"]:
                return Picture(np.zeros((0, 0, 3), np.uint8), 0, 0, place.page)
        self._begun += 1
        side = int(budget.max_pixels**0.5)
        colour = COLOURS.get(self._pages[place.page], (0, 0, 0))
        pixels = np.full((side, side, 3), colour, np.uint8)
        return Picture(pixels, 10 * side, 10 * side, place.page, f"line {place.page}")

    def metadata(self) -> Metadata:
        return Metadata(
            taken=datetime(2024, 5, 6, 7, 8, 9), taken_from="image", title="Ü\udc80", keywords=("a", "b")
        )

    def text(self, place: Place) -> str:
        return self._pages[place.page]

    def close(self) -> None:
        pass
