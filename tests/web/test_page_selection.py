"""The selection: ticked by mouse and keyboard, kept while the page searches, and exported."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from support.page_api import PageApi
    from web.conftest import App

RED = "/home/me/Pictures/Holidays/IMG_1003.jpg"


def cell(page: Page, number: int) -> Locator:
    """Return a hit, counted from 0."""
    return page.get_by_role("grid", name="Results").get_by_role("gridcell").nth(number)


def bar(page: Page) -> Locator:
    """Return the bar of the selection."""
    return page.get_by_role("region", name="Selection")


@pytest.fixture
def two(app: App) -> Page:
    """Open the page with its first two hits selected."""
    page = app.open("?q=red")
    for number in (0, 1):
        cell(page, number).hover()
        cell(page, number).get_by_role("checkbox").click()
    expect(bar(page)).to_contain_text("2 selected")
    return page


def test_shift_selects_a_range(app: App) -> None:
    """A click with shift selects everything from the image that was selected before."""
    page = app.open("?q=red")
    cell(page, 0).hover()
    cell(page, 0).get_by_role("checkbox").click()
    cell(page, 5).click(modifiers=["Shift"])
    expect(bar(page)).to_contain_text("6 selected")
    expect(cell(page, 3)).to_have_attribute("aria-selected", "true")
    expect(cell(page, 6)).to_have_attribute("aria-selected", "false")


def test_selection_outlives_a_search(two: Page) -> None:
    """Another query and another view keep what is selected."""
    two.get_by_role("combobox", name="Search").fill("blue")
    expect(cell(two, 0).get_by_role("img")).not_to_have_attribute("alt", "IMG_1003.jpg")
    expect(bar(two)).to_contain_text("2 selected")
    two.get_by_role("link", name="Timeline").click()
    expect(two.get_by_role("grid", name="Timeline")).to_be_visible()
    expect(bar(two)).to_contain_text("2 selected")
    bar(two).get_by_role("button", name="Clear the selection").click()
    expect(bar(two)).to_be_hidden()


def test_all_are_selected(app: App) -> None:
    """Ctrl+A in the grid selects every hit, and Escape none."""
    page = app.open("?q=red")
    expect(cell(page, 0)).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Control+a")
    expect(bar(page)).to_contain_text("60 selected")
    page.keyboard.press("Escape")
    expect(bar(page)).to_be_hidden()


def test_paths_are_copied(two: Page) -> None:
    """The paths of the selected images are put on the clipboard, one a line."""
    bar(two).get_by_role("button", name="Copy paths").click()
    expect(two.get_by_text("2 paths copied")).to_be_visible()
    copied = two.evaluate("navigator.clipboard.readText()").splitlines()
    assert copied[0] == RED
    assert len(copied) == 2


def test_export_as_paths(two: Page) -> None:
    """The selected images are downloaded as a text file of paths."""
    with two.expect_download() as download:
        bar(two).get_by_role("button", name="Paths", exact=True).click()
    assert download.value.suggested_filename == "imgsearch-paths.txt"
    assert download.value.path().read_text().splitlines()[0] == RED


def test_export_as_csv(two: Page) -> None:
    """The selected images are downloaded as a table."""
    with two.expect_download() as download:
        bar(two).get_by_role("button", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 3
    assert RED in lines[1]


def test_export_as_zip(two: Page) -> None:
    """The selected images are downloaded as an archive that has them all."""
    with two.expect_download() as download:
        bar(two).get_by_role("button", name="ZIP").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        assert "IMG_1003.jpg" in archive.namelist()
        assert len(archive.namelist()) == 2


def test_failed_export_says_why(two: Page, api: PageApi, trouble: object) -> None:
    """What the server says against an export is shown."""
    from support.page_api import Refused

    def refuse(body: object) -> object:
        raise Refused(413, "UsageError", "too many images for an archive")

    trouble.allow("413")  # type: ignore[attr-defined]
    api.instead["export"] = refuse
    bar(two).get_by_role("button", name="ZIP").click()
    expect(two.get_by_text("too many images for an archive")).to_be_visible()
