"""Reads the text that stands in an image: RapidOCR's detection and recognition by ONNX Runtime, on the CPU, offline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from imgsearch.errors import MissingExtra
from imgsearch.index.image_text import TextLine
from imgsearch.types import RGB, PixelBudget

PIXELS = 1_500_000
"""The most pixels of an image that are looked at: print of 12 pixels on a page of 1000 × 1500 is read."""
_SHORT_SIDE, _MOST_PIXELS = 900, 4 * PIXELS
"""A long strip, as a tall screenshot, gets more pixels, so that its short side has so many."""
_LEAST_SIDE = 16
_DETECTION, _RECOGNITION, _TURNED = (
    "PP-OCRv6_det_small.onnx",
    "PP-OCRv6_rec_small.onnx",
    "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
)
"""The models that RapidOCR's wheel brings along."""
BUDGET = PixelBudget(_LEAST_SIDE * _LEAST_SIDE, PIXELS)
"""What an image is decoded for."""


class TextReader(Protocol):
    """What reads the text in an image."""

    @property
    def name(self) -> str:
        """Who it is, with its version."""

    def read(self, pixels: RGB) -> Sequence[TextLine]:
        """Return the lines of text in an upright image, from top to bottom; may be called from many threads."""


def is_installed() -> bool:
    """Whether the libraries are there that read text."""
    return find_spec("rapidocr") is not None and find_spec("onnxruntime") is not None


def check_installed() -> None:
    """Raise UsageError, with how to add them, unless the libraries that read text are there."""
    if not is_installed():
        raise MissingExtra("reading the text in images", "ocr")


@cache
def load_reader() -> TextReader:
    """Return the reader of text. Raises UsageError as ``check_installed`` does."""
    check_installed()
    return _RapidReader()


class _RapidReader:
    """RapidOCR with the models of its wheel."""

    def __init__(self) -> None:
        import cv2
        import rapidocr

        cv2.setNumThreads(1)  # many images are read at a time, each by one thread
        models = os.path.join(os.path.dirname(rapidocr.__file__), "models")
        params: dict[str, Any] = {
            # A model that is named is never downloaded.
            "Det.model_path": os.path.join(models, _DETECTION),
            "Rec.model_path": os.path.join(models, _RECOGNITION),
            "Cls.model_path": os.path.join(models, _TURNED),
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            # The size is chosen here.
            "Global.max_side_len": 1 << 16,
            "Det.limit_type": "max",
            "Det.limit_side_len": 1 << 16,
            "Global.log_level": "critical",
        }
        self._engine = rapidocr.RapidOCR(params=params)
        self._resize, self._area = cv2.resize, cv2.INTER_AREA
        self._name = f"rapidocr {metadata.version('rapidocr')}"

    @property
    def name(self) -> str:
        """RapidOCR's name and version."""
        return self._name

    def read(self, pixels: RGB) -> Sequence[TextLine]:
        """Return the lines of text in an upright image, from top to bottom."""
        height, width = pixels.shape[:2]
        if min(height, width) < _LEAST_SIDE:
            return ()
        factor = scale_for(width, height)
        seen: Any = np.ascontiguousarray(pixels[:, :, ::-1])  # OpenCV's order of colours
        if factor < 1:
            size = max(round(width * factor), 1), max(round(height * factor), 1)
            seen = self._resize(seen, size, interpolation=self._area)
        found = self._engine(seen)
        boxes, texts = getattr(found, "boxes", None), getattr(found, "txts", None)
        if boxes is None or texts is None:
            return ()
        whole = np.array([seen.shape[1], seen.shape[0]], float)
        corners = (np.asarray(boxes, float).reshape(-1, 4, 2) / whole).reshape(-1, 8).tolist()
        return [TextLine(text, tuple(where)) for text, where in zip(texts, corners, strict=True)]


def scale_for(width: int, height: int) -> float:
    """Return by how much an image is scaled down to be read; 1 if it is small enough."""
    pixels = width * height
    wanted = max(PIXELS / pixels, min((_SHORT_SIDE / min(width, height)) ** 2, _MOST_PIXELS / pixels))
    return min(float(np.sqrt(wanted)), 1.0)
