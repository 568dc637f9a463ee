"""The lightbox: one image large, its neighbours, what is known of it, and the way out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from web.conftest import PHONE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from support.page_api import PageApi
    from web.conftest import App


def hit(page: Page, number: int) -> Locator:
    """Return the link of a hit, counted from 0."""
    return page.get_by_role("grid", name="Results").get_by_role("gridcell").nth(number).get_by_role("link")


def names(page: Page) -> list[str]:
    """Return the names of the hits in the page."""
    images = page.get_by_role("grid", name="Results").get_by_role("img")
    return [str(image.get_attribute("alt")) for image in images.all()]


def test_lightbox_walks_the_neighbours(app: App) -> None:
    """The arrow keys show the next and the previous image, and the address names each."""
    page = app.open("?q=red")
    hit(page, 0).click()
    box, found = page.get_by_role("dialog"), names(page)
    expect(box.get_by_role("heading")).to_have_text(found[0])
    expect(page).to_have_url(re.compile("open=4-"))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(box.get_by_role("heading")).to_have_text(found[2])
    page.keyboard.press("ArrowLeft")
    expect(box.get_by_role("heading")).to_have_text(found[1])
    expect(box.get_by_text(re.compile(r"^2 of \d+"))).to_be_visible()
    expect(box.get_by_role("img", name=found[1])).to_have_attribute("src", re.compile("size=l"))


def test_neighbours_are_fetched_ahead(app: App, page: Page) -> None:
    """The large images on both sides are fetched while one is looked at."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    app.open("?q=red")
    hit(page, 1).click()
    keys = [re.search("open=([^&]+)", str(hit(page, number).get_attribute("href"))) for number in (0, 2)]
    expect(page.get_by_role("dialog")).to_be_visible()
    for key in keys:
        assert key
        assert any(f"thumb/{key[1]}?size=l" in url for url in asked)


def test_escape_returns_the_focus(app: App) -> None:
    """Escape closes the lightbox and puts the focus on the image that was shown last."""
    page = app.open("?q=red")
    hit(page, 0).click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(hit(page, 1)).to_be_focused()
    expect(page).to_have_url(f"{app.base}?q=red")


def test_back_closes_the_lightbox_and_keeps_the_results(app: App, api: PageApi) -> None:
    """Back closes the lightbox without another search."""
    page = app.open("?q=red")
    hit(page, 0).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(hit(page, 0)).to_be_visible()
    assert len(api.asked["search"]) == 1


def test_reload_opens_the_same_image(app: App) -> None:
    """The address of an open image shows it again, with its neighbours."""
    page = app.open("?q=red")
    hit(page, 1).click()
    name = names(page)[1]
    page.reload()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(name)
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("IMG_1003.jpg")


def test_address_of_an_image_that_is_not_a_hit(app: App) -> None:
    """An address that names an image outside the results shows it alone."""
    page = app.open("?q=red&camera=X-T5&open=2-0000000000000001")
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("IMG_1001.jpg")
    page.keyboard.press("Escape")
    expect(page).to_have_url(f"{app.base}?q=red&camera=X-T5")


def test_lightbox_tells_what_is_known(app: App) -> None:
    """Path, date, camera, lens, place, size, keywords, score and why are shown, as text."""
    page = app.open("?q=red")
    hit(page, 0).click()
    box = page.get_by_role("complementary", name="Details")
    for text in (
        "/Pictures/Holidays/IMG_1003.jpg",
        "4 April 2022, 12:00",
        "X-T5",
        "XF 35mm f/2",
        "Nairobi, Kenya",
    ):
        expect(box).to_contain_text(text)
    expect(box).to_contain_text("1600 × 900, 3.5 MB")
    expect(box).to_contain_text("<b>lion</b>")
    expect(box).to_contain_text("0.62")
    expect(box).to_contain_text("5.3 spreads above chance")


def test_zoom_shows_the_images_own_pixels(app: App, api: PageApi) -> None:
    """z and a click show one pixel of the image on each of the screen's; dragging moves it, and z takes it back."""
    api.images[3] |= {"width": 4000, "height": 3000}
    page = app.open("?q=red")
    hit(page, 0).click()
    image = page.get_by_role("dialog").get_by_role("img", name="IMG_1003.jpg")
    expect(image).to_be_visible()
    page.keyboard.press("z")
    box = image.bounding_box()
    assert box
    assert round(box["width"]) == 4000
    expect(image).to_have_attribute("src", re.compile("original/"))
    page.mouse.move(400, 400)
    page.mouse.down()
    page.mouse.move(300, 350)
    page.mouse.up()
    moved = image.bounding_box()
    assert moved
    assert (round(moved["x"] - box["x"]), round(moved["y"] - box["y"])) == (-100, -50)
    page.keyboard.press("z")
    expect(page.get_by_role("button", name="Actual pixels")).to_have_attribute("aria-pressed", "false")
    page.mouse.click(400, 400)
    expect(page.get_by_role("button", name="Actual pixels")).to_have_attribute("aria-pressed", "true")


def test_path_is_copied(app: App) -> None:
    """c copies the path of the image that is shown."""
    page = app.open("?q=red")
    hit(page, 0).click()
    page.keyboard.press("c")
    expect(page.get_by_text("Path copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "/home/me/Pictures/Holidays/IMG_1003.jpg"


def test_file_is_revealed(app: App, api: PageApi) -> None:
    """r asks the server to show the file in its folder."""
    page = app.open("?q=red")
    hit(page, 0).click()
    page.keyboard.press("r")
    expect(page.get_by_text("Shown in the file manager")).to_be_visible()
    assert api.asked["reveal"] == [{"key": "4-0000000000000003"}]


def test_a_page_is_named_quoted_and_boxed(app: App, api: PageApi) -> None:
    """A page of a document has its number behind the name, the words that were found marked, and boxes around them."""
    api.images[3] |= {
        "where": "page 7",
        "quote": "… TOTAL 23.20 …",
        "quote_parts": ["… ", "TOTAL", " 23.20 …"],
    }
    api.images[3]["boxes"] = [[0.25, 0.5, 0.5, 0.625]]
    api.instead["open"] = lambda body: {}
    page = app.open("?q=red")
    expect(hit(page, 0)).to_have_accessible_name(
        re.compile("^IMG_1003.jpg · page 7, .*text: … TOTAL 23.20 …")
    )
    hit(page, 0).click()
    box = page.get_by_role("dialog")
    expect(box.get_by_role("heading")).to_have_text("IMG_1003.jpg · page 7")
    expect(box.locator(".quote mark")).to_have_text(["TOTAL"])
    image, words = (box.locator(f".lightbox-{name}").bounding_box() for name in ("image", "words i"))
    assert image
    assert words
    assert abs(words["x"] - (image["x"] + image["width"] / 4)) < 2
    assert abs(words["y"] - (image["y"] + image["height"] / 2)) < 2
    assert abs(words["height"] - image["height"] / 8) < 2
    page.keyboard.press("o")
    expect(page.get_by_text("Opening IMG_1003.jpg")).to_be_visible()
    assert api.asked["open"] == [{"key": "4-0000000000000003"}]


def test_more_like_this_refines_the_query(app: App, api: PageApi) -> None:
    """More and less like this are asked of the server with the words, and stand in the address."""
    page = app.open("?q=red")
    hit(page, 0).click()
    page.get_by_role("button", name="More like this", exact=True).click()
    expect(page).to_have_url(f"{app.base}?q=red&more=4-0000000000000003")
    expect(page.get_by_role("dialog")).to_have_count(0)
    hit(page, 1).hover()
    page.get_by_role("button", name="Less like this").click()
    expect(page).to_have_url(re.compile(r"\?q=red&more=4-0{15}3&less="))
    assert api.asked["search"][-1]["more"] == ["4-0000000000000003"]
    assert len(api.asked["search"][-1]["less"]) == 1


def test_similar_is_a_new_search(app: App, api: PageApi) -> None:
    """Similar images are searched for by that image alone."""
    page = app.open("?q=red")
    hit(page, 0).hover()
    page.get_by_role("button", name="Find images similar").click()
    expect(page).to_have_url(f"{app.base}?like=4-0000000000000003")
    assert api.asked["search"][-1]["examples"] == [{"image": "4-0000000000000003", "weight": 1}]
    assert api.asked["search"][-1]["q"] == ""


def test_swipe_shows_the_next_image(browser: Browser, api: PageApi) -> None:
    """On a touch screen a swipe to the left shows the next image."""
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, reduced_motion="reduce")
    page = context.new_page()
    api.serve(page)
    page.goto(f"{api.base}?q=red")
    hit(page, 0).tap()
    box, name = page.get_by_role("dialog"), names(page)[1]
    expect(box.get_by_role("img").first).to_be_visible()
    touch = context.new_cdp_session(page)
    for kind, x in (("touchStart", 280), ("touchMove", 180), ("touchMove", 80), ("touchEnd", None)):
        points = [] if x is None else [{"x": x, "y": 300}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(box.get_by_role("heading")).to_have_text(name)
    context.close()
