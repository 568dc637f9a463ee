"""The page with its real server: what somebody does in it, from the one-time link to an image that was cropped."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from PIL import Image
from playwright.sync_api import expect

from support.page_site import HOSTILE, QUERY, Site
from web.test_page_examples import drop

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from web.conftest import App, Trouble


def hits(page: Page) -> Any:
    """Return the images of the results, best first."""
    return page.get_by_role("grid", name="Results").get_by_role("img")


def test_typing_finds_what_the_words_describe(live: App, served: Site) -> None:
    """A query that is typed shows images of what it describes first, as they are on the disk."""
    page = live.open()
    page.get_by_role("combobox", name="Search").press_sequentially(QUERY)
    first = hits(page).first
    expect(first).to_have_attribute("alt", re.compile("|".join(map(re.escape, served.matching))))
    expect(page.locator("#meter")).to_be_visible()
    expect(first).to_have_js_property("complete", True)
    assert first.evaluate("(image) => image.naturalWidth") > 100


def test_filters_count_and_narrow(live: App) -> None:
    """Years, cameras and folders are offered with counts, and a chosen one narrows the answer."""
    page = live.open(f"?q={QUERY}")
    expect(page.get_by_text("of 48 searched")).to_be_visible()
    page.get_by_role("button", name="Canon EOS R6").click()
    expect(page.get_by_text("of 24 searched")).to_be_visible()
    page.get_by_role("button", name="Remove the filter: Canon EOS R6").click()
    expect(page.get_by_text("of 48 searched")).to_be_visible()


def test_a_date_in_the_query_is_a_chip(live: App) -> None:
    """A date is read out of the words, and searched for as words when its chip is taken away."""
    page = live.open(f"?q={QUERY} from July 2022")
    chip = page.get_by_role("button", name="Search for it as words instead: taken 2022-07")
    expect(page.get_by_text("of 24 searched")).to_be_visible()
    chip.click()
    expect(page.get_by_text("of 48 searched")).to_be_visible()


def test_a_part_of_an_image_finds_the_image(live: App, served: Site) -> None:
    """An image that is dropped and cropped finds the one that it is from."""
    page = live.open()
    with Image.open(served.folder / "Holidays" / "009.jpg") as image:
        out = io.BytesIO()
        image.convert("RGB").save(out, "PNG")
    drop(page, content=out.getvalue())
    page.get_by_role("button", name="Bottom right corner of the crop").press("ArrowLeft")
    with page.expect_request("**/api/upload?x=0.0000*"):
        page.get_by_role("button", name="Search", exact=True).click()
    expect(hits(page).first).to_have_attribute("alt", "009.jpg")
    page.reload()
    expect(hits(page).first).to_have_attribute("alt", "009.jpg")


def test_a_file_that_is_no_image_is_refused_in_words(live: App, trouble: Trouble) -> None:
    """What can't be decoded leaves the page as it was, with the reason."""
    trouble.allow("status of 400")
    page = live.open()
    drop(page, name="letter.txt", kind="text/plain", content=b"Dear all")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="not an image")).to_be_visible()


def test_an_error_of_the_language_of_queries(live: App, trouble: Trouble) -> None:
    """What the server says of a query that can't be read is text under the box."""
    trouble.allow("status of 400")
    page = live.open("?q=- red")
    expect(page.locator("#problem")).to_have_text(
        "-: there is nothing before it; a query starts with what to find"
    )


def test_a_hostile_name_is_text_everywhere(live: App) -> None:
    """A file whose name is markup is named by it, in the results and beside the image."""
    page = live.open(f"?q={QUERY}")
    tile = page.get_by_role("grid", name="Results").get_by_role("img", name=HOSTILE, exact=True)
    expect(tile).to_be_visible()
    tile.click()
    expect(page.get_by_role("dialog").get_by_text(HOSTILE).first).to_be_visible()
    assert page.locator("img[src=x], [onerror]").count() == 0


def test_without_its_cookie_the_page_is_not_there(browser: Browser, served: Site) -> None:
    """Somebody who only has the address gets nothing but the way to open it."""
    context = browser.new_context()
    page = context.new_page()
    answer = page.goto(served.base)
    assert answer is not None
    assert answer.status == 401
    assert page.locator("#q").count() == 0
    context.close()


def test_the_page_is_painted_from_few_requests(live: App) -> None:
    """The page's own files are asked for once each, and none of them by another."""
    asked: list[str] = []
    live.page.on("request", lambda request: asked.append(request.url.removeprefix(live.base)))
    page = live.open(f"?q={QUERY}")
    expect(hits(page).first).to_be_visible()
    static = [path for path in asked if path.startswith("static/")]
    assert len(static) == len(set(static))
