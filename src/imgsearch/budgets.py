"""Which pixel budget an image gets, that of photos or that of pages, by what is known of it before it is decoded."""

from __future__ import annotations

import os
import re
from typing import BinaryIO, NamedTuple

from imgsearch.errors import PictureError
from imgsearch.index.metadata.named import file_type, folded, is_screenshot
from imgsearch.media import documents, formats, pictures, tiles
from imgsearch.media.tiles import Grid
from imgsearch.types import MAX_MEGAPIXELS, NO_METADATA, Metadata, Picture, PixelBudget, PixelBudgets

PAGE, SCREENSHOT, SCAN = "a page of a document", "a screenshot", "a scan"
_SCANNED = r"scan|numeris|numéris|escane|digitaliz|スキャン|扫描|сканир"
"""How scanners, and programs that scan, call themselves and their files; folded."""
_SHEETS = ((210, 297), (215.9, 279.4), (215.9, 355.6), (148, 210), (297, 420))
"""A4, Letter, Legal, A5 and A3, in millimetres."""
_DPI = (100, 150, 200, 240, 300, 400, 600)
_SHEET_SIZES = tuple((short / 25.4 * dpi, long / 25.4 * dpi) for short, long in _SHEETS for dpi in _DPI)
_SLACK = 2
"""Pixels by which a scan may miss the size of its sheet."""
_SHAPE = 0.015
"""The part by which its proportions may."""
_SHORTEST = 700
"""The shorter side of a sheet whose text can be read, in pixels."""


class Chosen(NamedTuple):
    """A pixel budget, and why it is that of pages; "" where it is that of photos."""

    budget: PixelBudget
    reason: str = ""


def page_reason(kind: str, name: str, width: int, height: int, metadata: Metadata = NO_METADATA) -> str:
    """Say why an image counts as a page, whose text is to be read; "" for a photo.

    ``kind`` is one of types.KINDS, ``name`` that of its file or of the member of an archive; width and height in
    pixels. What is a screenshot is decided as a search decides it.
    """
    if kind == "page":
        return PAGE
    if kind in ("frame", "raw"):
        return ""
    name, camera = folded(os.path.basename(name)), f"{metadata.make} {metadata.model}"
    told = f"{metadata.software} {metadata.title} {metadata.description}"
    if is_screenshot(name, camera, told, width, height):
        return SCREENSHOT
    return SCAN if _is_scan(name, folded(camera), folded(told), width, height) else ""


def _is_scan(name: str, camera: str, told: str, width: int, height: int) -> bool:
    """Whether an image shows a sheet of paper, by its proportions, and comes from a scanner."""
    short, long = sorted((width, height))
    if short < _SHORTEST or not any(abs(long / short * low / high - 1) <= _SHAPE for low, high in _SHEETS):
        return False
    if re.search(_SCANNED, camera):
        return True
    if camera.strip():
        return False
    exact = any(abs(short - low) <= _SLACK and abs(long - high) <= _SLACK for low, high in _SHEET_SIZES)
    return exact or file_type(name) in ("tif", "tiff") or bool(re.search(_SCANNED, f"{name} {told}"))


def of_image(
    stream: BinaryIO,
    path: str,
    metadata: Metadata,
    budgets: PixelBudgets,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Chosen:
    """Return the budget of an image file, open as ``stream``, with what is known of it; its pixels are not decoded.

    A file whose header can't be read gets that of photos: decoding it tells what is wrong.
    """
    camera = folded(f"{metadata.make} {metadata.model}")
    if budgets.page is None or (camera.strip() and not re.search(_SCANNED, camera)):
        return Chosen(budgets.image)
    try:
        size = formats.check_picture(stream, path, max_megapixels=max_megapixels)
    except PictureError:
        return Chosen(budgets.image)
    return _chosen(page_reason("", path, *size, metadata), budgets)


def grid_of(width: int, height: int, reason: str, metadata: Metadata = NO_METADATA) -> Grid | None:
    """Return how an image that was chosen for ``reason`` is cut into tiles; None if it is small enough, or a photo.

    An image that no camera has made and that is as tall as no photo counts as a screenshot, whatever its name.
    """
    tall = height > width and not f"{metadata.make}{metadata.model}".strip()
    if not (reason or tall):
        return None
    return tiles.grid_of(width, height, is_sheet=reason == PAGE)


def of_place(kind: str, budgets: PixelBudgets) -> Chosen:
    """Return the budget of an image in a document by its kind, one of types.KINDS; a member's size may change it."""
    return _chosen(page_reason(kind, "", 0, 0), budgets)


def of_member(name: str, picture: Picture, budgets: PixelBudgets) -> Chosen:
    """Return the budget of an archive's member by its name and size; who made it is not known."""
    return _chosen(page_reason("member", name, picture.width, picture.height), budgets)


def load_picture(
    stream: BinaryIO,
    path: str,
    budgets: PixelBudgets,
    page: int | None = None,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> tuple[Picture | None, PixelBudget]:
    """Return what ``pictures.load_picture`` does, with the budget that an index would see it with, and that budget.

    Raises as that does.
    """
    chosen = Chosen(budgets.image)
    if budgets.page is not None:
        if not pictures.recognise(stream, path):
            metadata = formats.load_metadata(stream, path, max_megapixels=max_megapixels)
            chosen = of_image(stream, path, metadata, budgets, max_megapixels)
        else:
            stream.seek(0)
            format = documents.document_format(stream.read(pictures.HEAD_BYTES), path)
            stream.seek(0)
            if format is not None and format.extra == "pdf":
                chosen = of_place("page", budgets)
    found = pictures.load_picture(stream, path, chosen.budget, page, max_megapixels=max_megapixels)
    return found, chosen.budget


def _chosen(reason: str, budgets: PixelBudgets) -> Chosen:
    return Chosen(budgets.page, reason) if reason and budgets.page else Chosen(budgets.image, reason)
