"""Which images count as pages, and get the pixel budget of pages."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from imgsearch.budgets import PAGE, SCAN, SCREENSHOT, load_picture, of_image, page_reason
from imgsearch.types import DEFAULT_BUDGET, NO_METADATA, PAGE_BUDGET, Metadata, PixelBudgets
from support.pictures import encode, scene

BOTH = PixelBudgets(DEFAULT_BUDGET, PAGE_BUDGET)
SCANNER, CAMERA = Metadata(make="EPSON", model="Perfection V600 Scanner"), Metadata(make="Canon", model="EOS")


@pytest.mark.parametrize(
    ("kind", "name", "size", "metadata", "reason"),
    [
        ("page", "report.pdf", (1241, 1754), NO_METADATA, PAGE),
        ("", "Screenshot from 2023.jpg", (700, 500), NO_METADATA, SCREENSHOT),
        ("", "a.png", (1920, 1080), NO_METADATA, SCREENSHOT),
        ("", "a.jpg", (1920, 1080), NO_METADATA, ""),
        ("", "a.jpg", (4032, 3024), CAMERA, ""),
        ("", "Screenshot.png", (1920, 1080), CAMERA, ""),
        ("", "IMG_1.jpg", (2480, 3508), NO_METADATA, SCAN),
        ("", "IMG_1.jpg", (3508, 2481), NO_METADATA, SCAN),
        ("", "letter.tif", (1700, 2190), NO_METADATA, SCAN),
        ("", "letter.jpg", (1500, 2118), SCANNER, SCAN),
        ("", "holiday.jpg", (3600, 2400), SCANNER, ""),
        ("", "Scan_0007.jpg", (1300, 1840), NO_METADATA, SCAN),
        ("", "scan.jpg", (130, 184), NO_METADATA, ""),
        ("frame", "Screenshot.mp4", (1920, 1080), NO_METADATA, ""),
        ("raw", "scan.dng", (2480, 3508), NO_METADATA, ""),
        ("member", "word/media/screenshot1.png", (800, 600), NO_METADATA, SCREENSHOT),
    ],
)
def test_what_counts_as_a_page(
    kind: str, name: str, size: tuple[int, int], metadata: Metadata, reason: str
) -> None:
    """Pages of documents, screenshots and scanned sheets count as pages; photos don't, also those from a scanner."""
    assert page_reason(kind, name, *size, metadata) == reason


def test_a_screenshot_is_known_by_its_header() -> None:
    """The budget of an image file follows from name and header, and an index without pages' budget has but one."""
    stream = io.BytesIO(encode(scene(3, (1280, 720)), ".png"))
    assert of_image(stream, "x.png", NO_METADATA, BOTH) == (PAGE_BUDGET, SCREENSHOT)
    assert of_image(stream, "x.png", CAMERA, BOTH) == (DEFAULT_BUDGET, "")
    assert of_image(stream, "x.png", NO_METADATA, PixelBudgets(DEFAULT_BUDGET)).budget == DEFAULT_BUDGET
    assert load_picture(stream, "x.png", BOTH)[1] == PAGE_BUDGET
    assert load_picture(stream, "x.jpg", BOTH)[1] == DEFAULT_BUDGET


def test_a_damaged_header_leaves_the_error_to_decoding() -> None:
    """Choosing a budget raises nothing for a file that can't be read."""
    assert of_image(io.BytesIO(b"\x89PNG\r\n\x1a\nx"), "x.png", NO_METADATA, BOTH).budget == DEFAULT_BUDGET
    assert (BOTH.largest, replace(BOTH, page=None).largest) == (PAGE_BUDGET, DEFAULT_BUDGET)
