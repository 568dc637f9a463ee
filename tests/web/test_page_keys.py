"""The page by the keyboard alone, and the map of its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from web.conftest import App


def focused(page: Page) -> Locator:
    """Return the image that has the focus."""
    return page.locator(".tile-link:focus")


def test_walk_by_the_keyboard_alone(app: App) -> None:
    """Search, go into the images, open one, select it, come back and search for similar ones without a mouse."""
    page = app.open()
    expect(page.get_by_role("grid", name="Timeline")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("grid", name="Timeline").get_by_role("link").first).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("red")
    first = page.get_by_role("grid", name="Results").get_by_role("link", name="IMG_1003.jpg")
    expect(first).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(first).to_be_focused()
    page.keyboard.press("Enter")
    box = page.get_by_role("dialog")
    expect(box.get_by_role("heading")).to_have_text("IMG_1003.jpg")
    page.keyboard.press("x")
    expect(page.locator(".selection")).to_contain_text("1 selected")
    page.keyboard.press("Escape")
    expect(first).to_be_focused()
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".selection")).to_contain_text("2 selected")
    page.keyboard.press("s")
    expect(page).to_have_url(f"{app.base}?like={focused_key(page)}")


def focused_key(page: Page) -> str:
    """Return the key of the image that a search goes by."""
    return str(page.evaluate("new URLSearchParams(location.search).get('like')"))


def test_arrows_move_in_two_dimensions(app: App) -> None:
    """Down and up go to the nearest image of the next row and back, End and Home to the ends."""
    page = app.open("?q=red")
    grid = page.get_by_role("grid", name="Results")
    expect(grid.get_by_role("gridcell").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    start = focused(page).bounding_box()
    page.keyboard.press("ArrowDown")
    below = focused(page).bounding_box()
    assert start
    assert below
    assert below["y"] > start["y"]
    assert below["x"] < start["x"] + start["width"]
    assert below["x"] + below["width"] > start["x"]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    expect(grid.get_by_role("gridcell").first.get_by_role("link")).to_be_focused()
    rows = grid.get_attribute("aria-rowcount") or ""
    page.keyboard.press("End")
    expect(grid).not_to_have_attribute("aria-rowcount", rows)  # those behind the first ones have come
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.closest('.tile').tile.index") == 59
    expect(focused(page)).to_be_in_viewport()


def test_the_focus_stays_in_a_window_that_shrinks(app: App) -> None:
    """What has the focus is seen whole after the window has become narrower and lower."""
    page = app.open("?q=red")
    expect(page.get_by_role("grid", name="Results").get_by_role("gridcell").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    kept = page.evaluate("document.activeElement.closest('.tile').tile.index")
    for width, height in ((640, 420), (640, 300), (1200, 300)):
        page.set_viewport_size({"width": width, "height": height})
        expect(focused(page)).to_be_in_viewport(ratio=0.9)
        assert page.evaluate("document.activeElement.closest('.tile').tile.index") == kept


def test_without_motion_a_size_holds_at_once(app: App) -> None:
    """With no motion asked for, a new height of the list holds at once, and scrolling after it reaches the end."""
    page = app.open("?q=red")
    page.emulate_media(reduced_motion="reduce")
    expect(page.get_by_role("grid", name="Results").get_by_role("gridcell").first).to_be_visible()
    grow = "grid => { grid.style.height = '9000px'; return grid.getBoundingClientRect().height }"
    assert page.get_by_role("grid", name="Results").evaluate(grow) == 9000


def test_one_image_is_in_the_tab_order(app: App) -> None:
    """Tab enters the grid at one image and leaves it with the next Tab."""
    page = app.open("?q=red")
    expect(page.get_by_role("grid", name="Results").get_by_role("gridcell").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.locator(".grid [tabindex='0']").count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.grid')") is None
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.closest('.tile').tile.index") == 1


def test_two_keys_go_to_a_view(app: App) -> None:
    """g and a letter go to a view, from wherever the focus is but in a field."""
    page = app.open("?q=red")
    expect(page.get_by_role("grid", name="Results").get_by_role("gridcell").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    for letter, name in (("o", "Overview"), ("d", "Duplicates"), ("t", "Timeline")):
        page.keyboard.press("g")
        page.keyboard.press(letter)
        expect(page.get_by_role("link", name=name, exact=True)).to_have_attribute("aria-current", "page")


def test_keys_are_text_in_a_field(app: App) -> None:
    """In the box the letters of the map are letters."""
    page = app.open()
    box = page.get_by_role("combobox", name="Search")
    box.press_sequentially("gt?x")
    expect(box).to_have_value("gt?x")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_question_mark_shows_the_map(app: App) -> None:
    """? shows all keys, and Escape puts the focus back."""
    page = app.open("?q=red")
    expect(page.get_by_role("grid", name="Results").get_by_role("gridcell").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("?")
    keyboard = page.get_by_role("dialog", name="Keyboard")
    for text in (
        "Find images similar to this one",
        "Select or deselect",
        "Show the file in its folder",
        "Timeline",
    ):
        expect(keyboard).to_contain_text(text)
    page.keyboard.press("Escape")
    expect(keyboard).to_have_count(0)
    expect(page.get_by_role("grid", name="Results").get_by_role("link").first).to_be_focused()
