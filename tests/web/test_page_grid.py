"""The grid of images: only what is in the window is in the page, pages of hits, stacks, what is said of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from support.page_api import PageApi
    from web.conftest import App

MANY = 10_000


@pytest.fixture
def many(api: PageApi) -> PageApi:
    """Let every query have 10,000 hits."""
    answer = api._search(
        {"q": "", "examples": [], "more": [], "filters": {}, "offset": 0, "n": 60, "unread": []}
    )
    hits = [
        {
            **answer["hits"][number % 60],
            "key": f"{number + 1}-{number:016x}",
            "name": f"{number}.jpg",
            "score": 1 - number / MANY,
        }
        for number in range(MANY)
    ]

    def search(body: Any) -> Any:
        last = body["offset"] + body["n"]
        return answer | {"hits": hits[body["offset"] : last], "more": last < MANY}

    api.instead["search"] = search
    return api


def results(page: Page) -> Locator:
    """Return the grid of hits."""
    return page.get_by_role("grid", name="Results")


def tiles(page: Page) -> Locator:
    """Return the hits that are in the page."""
    return results(page).get_by_role("gridcell")


def test_ten_thousand_hits_are_a_few_hundred_nodes(app: App, many: PageApi) -> None:
    """Of 10,000 hits those in and around the window are in the page, at its top and at its end."""
    page = app.open("?q=red")
    expect(tiles(page).first).to_be_visible()
    page.keyboard.press("ArrowDown")
    most = 0
    for _ in range(200):
        page.keyboard.press("End")
        most = max(most, page.evaluate("document.querySelectorAll('*').length"))
        if (
            len(many.asked["search"]) >= MANY // 1000
            and tiles(page).last.evaluate("(it) => it.tile.index") == MANY - 1
        ):
            break
        page.wait_for_timeout(20)
    assert tiles(page).last.evaluate("(it) => it.tile.index") == MANY - 1
    expect(tiles(page).last.get_by_role("img")).to_be_visible()
    expect(tiles(page).last.get_by_role("img")).to_have_attribute("alt", f"{MANY - 1}.jpg")
    assert most < 1500


def test_next_hits_are_fetched_before_the_end(app: App, many: PageApi) -> None:
    """The second page of hits is asked for while the first one is not yet scrolled through."""
    page = app.open("?q=red")
    expect(tiles(page).first).to_be_visible()
    assert [body["offset"] for body in many.asked["search"]] == [0]
    with page.expect_response("**/api/search"):
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight - 2.5 * innerHeight)")
    assert many.asked["search"][-1]["offset"] == many.asked["search"][0]["n"] < 90
    expect(results(page)).not_to_have_attribute("aria-rowcount", "0")


def test_rows_fill_the_width(app: App) -> None:
    """The images of a row have one height, keep their shapes, and end where the grid ends."""
    page = app.open("?q=red")
    expect(tiles(page).first).to_be_visible()
    row = results(page).get_by_role("row").first
    boxes = [tile.bounding_box() for tile in row.get_by_role("gridcell").all()]
    grid = results(page).bounding_box()
    assert grid
    assert all(boxes)
    assert len({box["height"] for box in boxes if box}) == 1
    assert abs(boxes[-1]["x"] + boxes[-1]["width"] - grid["x"] - grid["width"]) <= 2  # type: ignore[index]


def test_tile_says_what_there_is_to_say(app: App, api: PageApi) -> None:
    """Copies, a missing file and a stack are shown on the image and told to screen readers."""
    api.images[3] |= {"copies": 2, "missing": True}
    page = app.open("?q=red")
    tile = tiles(page).first
    expect(tile).to_contain_text("+2")
    expect(tile).to_contain_text("missing")
    expect(tile.get_by_role("link")).to_have_accessible_name(
        "IMG_1003.jpg, score 0.62, stands out, 4 April 2022, 2 copies, missing now"
    )


def test_stack_opens_in_place(app: App, api: PageApi) -> None:
    """What is stacked behind a hit comes right after it, and goes again."""
    behind = [
        {
            **{name: api.images[number][name] for name in ("key", "name", "width", "height")},
            "score": 0.6,
            "reason": "burst",
        }
        for number in (10, 11)
    ]
    api.images[3]["stack"] = [{**one, "key": f"9{one['key']}"} for one in behind]
    page = app.open("?q=red")
    before = tiles(page).nth(1).get_by_role("img").get_attribute("alt")
    button = tiles(page).first.get_by_role("button", name="2 similar images behind IMG_1003.jpg")
    expect(button).to_have_attribute("aria-expanded", "false")
    button.click()
    expect(tiles(page).nth(1).get_by_role("img")).to_have_attribute("alt", behind[0]["name"])
    expect(tiles(page).nth(2).get_by_role("img")).to_have_attribute("alt", behind[1]["name"])
    expect(tiles(page).first.get_by_role("link")).to_be_focused()
    page.keyboard.press("e")
    expect(tiles(page).nth(1).get_by_role("img")).to_have_attribute("alt", before or "")


def test_hits_below_the_cut_are_dimmed(app: App) -> None:
    """Hits behind the cut are dimmed, below a heading."""
    page = app.open("?q=red")
    expect(results(page).get_by_role("heading", name="Below the cut")).to_be_attached()
    expect(tiles(page).first).not_to_have_class("is-below")
    assert page.locator(".tile.is-below").count() > 0


def test_thumbnail_that_fails_shows_the_name(app: App, page: Page, api: PageApi, trouble: object) -> None:
    """Where a thumbnail can't be made the image's name stands in its place."""
    trouble.allow("404")  # type: ignore[attr-defined]
    app_page = page
    app_page.route("**/thumb/4-*", lambda route: route.fulfill(status=404))
    app.open("?q=red")
    expect(tiles(page).first.locator(".tile-name")).to_have_text("IMG_1003.jpg")
    expect(tiles(page).first.locator(".tile-name")).to_be_visible()
