"""The page's search: typed, filtered, taken apart in chips, and kept in the address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from support.page_api import PageApi
    from web.conftest import App


def test_typing_shows_hits(app: App) -> None:
    """Words that are typed show their nearest images without another key."""
    page = app.open()
    page.get_by_role("combobox", name="Search").press_sequentially("red")
    expect(page.get_by_role("img", name="IMG_1003.jpg")).to_be_visible()
    expect(page).to_have_url(f"{app.base}?q=red")


def test_only_enter_stores_the_query(app: App, api: PageApi) -> None:
    """A query is sent as typing until Enter says that it is meant."""
    page = app.open()
    page.get_by_role("combobox").press_sequentially("red")
    expect(page.get_by_role("img", name="IMG_1003.jpg")).to_be_visible()
    assert all(body["typing"] for body in api.asked["search"])
    with page.expect_request(lambda request: "api/search" in request.url):
        page.keyboard.press("Enter")
    assert api.asked["search"][-1]["typing"] is False
