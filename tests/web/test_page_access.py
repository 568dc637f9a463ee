"""The page is open to everybody: axe finds nothing serious, it fits a phone, and a zoom of 200 %."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from support.page_api import Refused
from web.conftest import PHONE
from web.test_page_examples import drop

if TYPE_CHECKING:
    from support.page_api import PageApi
    from web.conftest import App, Axe

FOCUS = """(() => {
    const at = document.activeElement;
    const outlined = getComputedStyle(at).outlineStyle !== "none" || ["q", "cut"].includes(at.id);
    return [at.closest("#form, #side, #chips, #meter")?.id ?? "", outlined];
})()"""
"""The part of the page that has the focus, and whether it shows; the box and the slider show it otherwise."""
FULL = "?q=red+-+blue+2021&on=2021&in=%2Fhome%2Fme%2FPictures%2FWork&like=2-0000000000000001&unlike=5-0000000000000004"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("query", ["", "?q=red", FULL])
def test_axe_finds_nothing_serious(axe: Axe, query: str, scheme: str) -> None:
    """A search with all that can be in it has no serious fault, light or dark."""
    page = axe.open(query, color_scheme=scheme)
    expect(page.locator("#side").get_by_role("button", name="2021")).to_be_visible()
    if query:
        expect(page.get_by_role("slider")).to_be_visible()
    assert axe.serious(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_dialog_of_a_crop(axe: Axe, scheme: str) -> None:
    """Nor has the dialog in which an image is cropped."""
    page = axe.open(color_scheme=scheme)
    drop(page)
    expect(page.get_by_role("group", name="Crop")).to_be_visible()
    assert axe.serious(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_a_phone(axe: Axe, scheme: str) -> None:
    """Nor has the sheet of filters."""
    page = axe.open(FULL, viewport=PHONE, color_scheme=scheme)
    assert axe.serious(page) == []
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_role("dialog", name="Filters")).to_be_visible()
    assert axe.serious(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_what_went_wrong(axe: Axe, api: PageApi, scheme: str) -> None:
    """Nor have an error under the box, a banner and the list of saved queries."""

    def refuse(body: object) -> object:
        raise Refused(400, "InputError", "the query is empty")

    api.instead["search"] = refuse
    page = axe.open("?q=red", color_scheme=scheme)
    expect(page.locator("#problem")).to_be_visible()
    api.gone = True
    page.get_by_role("combobox", name="Search").fill("blue")
    expect(page.locator("#banner")).to_be_visible()
    assert axe.serious(page) == []


@pytest.mark.parametrize("size", [PHONE, {"width": 640, "height": 400}, {"width": 320, "height": 256}])
def test_nothing_is_wider_than_the_page(app: App, size: dict[str, int]) -> None:
    """A phone, and a desk at a zoom of 200 and 400 %, scroll in one direction only."""
    app.page.set_viewport_size(size)  # type: ignore[arg-type]
    page = app.open(FULL)
    expect(page.get_by_role("slider")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_everything_is_reached_by_the_tab_key(app: App) -> None:
    """The tab key goes through the box, its images, the filters, the chips and the cut, each with a visible focus."""
    page = app.open(FULL)
    expect(page.get_by_role("slider")).to_be_visible()
    page.locator("#q").focus()
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        part, visible = page.evaluate(FOCUS)
        assert visible or not part, page.evaluate("document.activeElement.outerHTML")
        seen.add(part)
    assert seen >= {"form", "side", "chips", "meter"}
