"""The views without a query: timeline, folders, recently added, random, overview and duplicates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from support.page_api import HOSTILE, PageApi, drawn_image
from web.conftest import PHONE

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from web.conftest import App, Axe

VIEWS = ("timeline", "folders", "recent", "random", "overview", "duplicates")


def view(page: Page, name: str) -> Locator:
    """Return the tab of a view."""
    return page.get_by_role("navigation", name="Views").get_by_role("link", name=name, exact=True)


def test_timeline_has_months(app: App) -> None:
    """Without a query everything stands by month, the newest first."""
    page = app.open()
    grid = page.get_by_role("grid", name="Timeline")
    expect(grid.get_by_role("heading").first).to_have_text("December 20231")
    expect(view(page, "Timeline")).to_have_attribute("aria-current", "page")
    taken = page.evaluate("[...document.querySelectorAll('.tile')].map((it) => it.tile.tile.taken)")
    assert taken == sorted(taken, reverse=True)


def test_month_stays_at_the_top(app: App, api: PageApi) -> None:
    """The heading of the month that is looked at stays below the bar while its images scroll by."""
    api.images = [
        {**drawn_image(n), "key": f"{n + 1}-{n:016x}", "taken": "2023-05-01T12:00:00"} for n in range(200)
    ]
    page = app.open()
    heading = page.get_by_role("grid", name="Timeline").get_by_role("heading", name="May 2023")
    expect(heading).to_be_visible()
    page.evaluate("scrollTo(0, 2000)")
    expect(heading).to_be_in_viewport()
    box, top = heading.bounding_box(), page.locator("header.top").bounding_box()
    assert box
    assert top
    assert box["y"] >= top["y"] + top["height"]


def test_scrubber_goes_to_a_month(app: App, api: PageApi) -> None:
    """The bar beside the timeline goes to a month by keys, and tells which one."""
    api.images = [drawn_image(number % 60) | {"key": f"{number + 1}-{number:016x}"} for number in range(600)]
    page = app.open()
    slider = page.get_by_role("slider", name="Month")
    slider.focus()
    expect(slider).to_have_attribute("aria-valuetext", "December 2023")
    page.keyboard.press("End")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("2019"))
    expect(page.get_by_role("heading", name=re.compile("January 2019"))).to_be_in_viewport()


def test_images_in_the_middle_are_fetched_when_looked_at(app: App, api: PageApi) -> None:
    """Of a long timeline only the pages that are looked at are asked for."""
    api.images = [drawn_image(number % 60) | {"key": f"{number + 1}-{number:016x}"} for number in range(3000)]
    page = app.open()
    expect(page.get_by_role("grid", name="Timeline").get_by_role("img").first).to_be_visible()
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
    grid = page.get_by_role("grid", name="Timeline")
    expect(grid.get_by_role("row").last).to_have_attribute("aria-rowindex", re.compile(r"\d{3}"))
    expect(grid.get_by_role("gridcell").last.get_by_role("img")).to_be_visible()
    assert len(api.asked["list"]) < 8


def test_folders_lead_to_their_images(app: App, api: PageApi) -> None:
    """A folder is a card with its count; it leads to its images."""
    page = app.open("?view=folders")
    page.get_by_role("link", name="Holidays 20 images").click()
    expect(page).to_have_url(re.compile(r"in=%2Fhome%2Fme%2FPictures%2FHolidays"))
    expect(page.get_by_role("grid", name="Timeline")).to_be_visible()
    assert api.asked["months"][-1]["filters"] == {"in": ["/home/me/Pictures/Holidays"]}


def test_random_is_shuffled(app: App, api: PageApi) -> None:
    """Shuffle shows other images first, and Back the ones before."""
    page = app.open("?view=random")
    first = page.get_by_role("grid", name="Random images").get_by_role("img").first
    expect(first).to_be_visible()
    seed = api.asked["list"][-1]["seed"]
    with page.expect_response("**/api/list"):
        page.get_by_role("button", name="Shuffle").click()
    assert api.asked["list"][-1]["seed"] != seed
    with page.expect_response("**/api/list"):
        page.go_back()
    assert api.asked["list"][-1]["seed"] == seed


def test_recently_added_is_by_its_date(app: App, api: PageApi) -> None:
    """Recently added images come by when they were added."""
    page = app.open("?view=recent")
    expect(page.get_by_role("grid", name="Recently added").get_by_role("img").first).to_have_attribute(
        "alt", "IMG_1059.jpg"
    )
    assert api.asked["list"][-1]["sort"] == "added"


def test_cluster_opens(app: App) -> None:
    """A cluster of the overview has a name, six images and a count, and leads to its images; Back returns."""
    page = app.open("?view=overview")
    card = page.get_by_role("link", name="Beach 20 images")
    assert card.locator("img").count() == 6
    card.click()
    expect(page.get_by_role("grid", name="Beach")).to_be_visible()
    expect(page).to_have_url(f"{app.base}?view=overview&cluster=0")
    page.reload()
    expect(page.get_by_role("heading", name="Beach")).to_be_visible()
    page.get_by_role("link", name="Overview", exact=True).last.click()
    expect(card).to_be_visible()


def test_overview_shows_how_far_it_is(app: App, api: PageApi) -> None:
    """While clusters are computed the page shows how far that is, and then the clusters."""
    answers: list[Any] = [{"state": "computing", "done": 300, "total": 1000}] * 2

    def compute(body: Any) -> Any:
        return answers.pop() if answers else api._overview(body)

    api.instead["overview"] = compute
    page = app.open("?view=overview")
    expect(page.get_by_role("progressbar", name="Grouping the images")).to_have_attribute("value", "300")
    expect(page.get_by_role("link", name="Beach 20 images")).to_be_visible()


def test_duplicates_say_why_and_what_to_keep(app: App) -> None:
    """Each group has its reason and the one to keep; the page tells the command that acts on them."""
    page = app.open("?view=duplicates")
    grid = page.get_by_role("grid", name="Duplicates")
    for reason in ("The same image", "A burst", "A smaller copy"):
        expect(grid.get_by_role("heading", name=reason)).to_be_visible()
    expect(grid.get_by_text("keep", exact=True)).to_have_count(3)
    expect(page.get_by_text("imgsearch duplicates --script review.sh")).to_be_visible()
    grid.get_by_role("link").nth(1).click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("IMG_1001.jpg")


def test_empty_index_says_what_to_do(app: App, api: PageApi) -> None:
    """Without an image every view leaves it to the page to say how to add some."""
    api.images = []
    page = app.open("?view=recent")
    expect(page.get_by_text("imgsearch index ~/Pictures")).to_have_count(1)
    expect(page.locator("#content")).to_have_text("")


def test_back_finds_the_place(app: App, api: PageApi) -> None:
    """Back to a view finds it where it was left."""
    api.images = [drawn_image(number % 60) | {"key": f"{number + 1}-{number:016x}"} for number in range(600)]
    page = app.open("?view=recent")
    expect(page.get_by_role("grid", name="Recently added")).to_be_visible()
    page.evaluate("scrollTo(0, 3000)")
    view(page, "Overview").click()
    expect(page.get_by_role("link", name="Beach 200 images")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("grid", name="Recently added")).to_be_visible()
    expect(page.locator("html")).to_have_js_property("scrollTop", 3000)


@pytest.mark.parametrize("name", VIEWS)
def test_hostile_name_is_text(app: App, api: PageApi, name: str) -> None:
    """A file or folder whose name is HTML is shown as that text in every view."""
    api.images = [
        drawn_image(7) | {"path": "/home/me/<svg onload=alert(1)>", "key": f"{n}-{n:016x}"} for n in range(6)
    ]
    page = app.open(f"?view={name}")
    text = "<svg onload=alert(1)>" if name == "folders" else "<b>Cats</b>" if name == "overview" else HOSTILE
    expect(
        page.locator("#content").get_by_text(text).or_(page.locator("#content").get_by_alt_text(text)).first
    ).to_be_attached()
    assert page.locator("#content svg[onload], #content b, #content img[src=x]").count() == 0


def test_hostile_name_in_the_lightbox(app: App) -> None:
    """The lightbox shows a file's name, path and keywords as text."""
    page = app.open("?open=8-0000000000000007")
    box = page.get_by_role("dialog")
    expect(box.get_by_role("heading")).to_have_text(HOSTILE)
    expect(box.locator(".path").first).to_have_text(f"/home/me/Pictures/Family/{HOSTILE}")
    assert box.locator("img[src=x], b").count() == 0


@pytest.mark.parametrize("name", [*VIEWS, "lightbox", "keyboard"])
def test_axe_finds_nothing_serious(axe: Axe, name: str) -> None:
    """axe finds nothing serious or critical in any view, in the lightbox and in the map of keys."""
    page = axe.open(
        "?open=8-0000000000000007" if name == "lightbox" else f"?view={name if name in VIEWS else 'timeline'}"
    )
    expect(page.locator("#content img").first).to_be_attached()
    if name == "lightbox":
        expect(page.get_by_role("dialog").get_by_text("XF 35mm f/2")).to_be_visible()
    if name == "keyboard":
        page.get_by_role("heading").last.evaluate("() => document.activeElement.blur()")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    assert axe.serious(page) == []


@pytest.mark.parametrize("name", VIEWS)
def test_nothing_is_wider_than_a_phone(app: App, page: Page, name: str) -> None:
    """At a width of 360 pixels no view scrolls sideways."""
    page.set_viewport_size(PHONE)
    app.open(f"?view={name}")
    expect(page.locator("#content img").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
