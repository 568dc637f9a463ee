"""The filters beside the images: values with counts, which follow what is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from web.conftest import PHONE

if TYPE_CHECKING:
    from support.page_api import PageApi
    from web.conftest import App


def test_a_filter_narrows_the_answer_and_the_other_counts(app: App, api: PageApi) -> None:
    """A chosen year filters the hits; cameras count that year, years count all."""
    page = app.open("?q=red")
    expect(page.locator("#meter")).to_be_visible()
    with page.expect_response("**/api/search"):
        page.get_by_role("button", name="2021 12").click()
    assert api.asked["search"][-1]["filters"] == {"on": "2021"}
    expect(page.get_by_role("button", name="X-T5 4")).to_be_visible()
    expect(page.get_by_role("button", name="2021 12", pressed=True)).to_be_focused()
    expect(page.get_by_role("button", name="2019 12", pressed=False)).to_be_visible()
    expect(page).to_have_url(f"{app.base}?q=red&on=2021")


def test_a_chosen_value_is_chosen_away(app: App, api: PageApi) -> None:
    """Pressing a chosen value again removes its filter."""
    page = app.open("?q=red&on=2021")
    expect(page.locator("#meter")).to_be_visible()
    with page.expect_response("**/api/search"):
        page.get_by_role("button", name="2021 12", pressed=True).click()
    assert api.asked["search"][-1]["filters"] == {}


def test_folders_and_types_are_added_up(app: App, api: PageApi) -> None:
    """Several folders, and several types, are all searched."""
    page = app.open("?q=red")
    page.get_by_role("button", name="Holidays 20").click()
    expect(page.get_by_role("button", name="Holidays 20", pressed=True)).to_be_visible()
    page.get_by_role("button", name="Work 20").click()
    page.locator("summary", has_text="Type").click()
    page.get_by_role("button", name="png", exact=False).click()
    with page.expect_response("**/api/search"):
        page.get_by_role("button", name="jpg", exact=False).click()
    assert api.asked["search"][-1]["filters"] == {
        "in": ["/home/me/Pictures/Holidays", "/home/me/Pictures/Work"],
        "type": "png,jpg",
    }


def test_ratings_count_what_has_as_many_stars_or_more(app: App, api: PageApi) -> None:
    """A rating finds better images too, and its count says so."""
    page = app.open("?q=red")
    page.locator("summary", has_text="Rating").click()
    with page.expect_response("**/api/search"):
        page.get_by_role("button", name="★★★★ and up 20").click()
    assert api.asked["search"][-1]["filters"] == {"rating": 4}


def test_clear_removes_all_filters(app: App) -> None:
    """One button removes all filters and leaves the query."""
    page = app.open("?q=red&on=2021&camera=X-T5")
    page.locator("#side").get_by_role("button", name="Clear").click()
    expect(page).to_have_url(f"{app.base}?q=red")


def test_filters_are_a_sheet_on_a_phone(app: App, api: PageApi) -> None:
    """On a narrow page the filters open in a sheet, which Escape closes; nothing is wider than the page."""
    app.page.set_viewport_size(PHONE)
    page = app.open("?q=red")
    expect(page.locator("#side")).to_be_hidden()
    page.get_by_role("button", name="Filters").click()
    sheet = page.get_by_role("dialog", name="Filters")
    sheet.get_by_role("button", name="2021 12").click()
    expect(sheet.get_by_role("button", name="2021 12", pressed=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    expect(page.get_by_role("button", name="Filters (1)")).to_be_focused()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
