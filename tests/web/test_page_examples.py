"""Images in the query: dropped, pasted, picked, cropped, taken away, and gone after a reload."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from support.page_api import Refused
from support.pictures import encode, quadrants

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from support.page_api import PageApi
    from web.conftest import App, Trouble

PNG = encode(quadrants((320, 240)), ".png")


def transfer(page: Page, name: str = "quarters.png", kind: str = "image/png", content: bytes = PNG) -> Any:
    """Return a DataTransfer of the page that holds an image file, as a drop or the clipboard has it."""
    return page.evaluate_handle(
        """([text, name, type]) => {
            const made = new DataTransfer();
            made.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name, { type }));
            return made;
        }""",
        [base64.b64encode(content).decode(), name, kind],
    )


def drop(page: Page, **file: Any) -> None:
    """Drop an image file on the page."""
    data = transfer(page, **file)
    page.dispatch_event("main", "dragover", {"dataTransfer": data})
    expect(page.get_by_text("Drop an image to search by it")).to_be_visible()
    page.dispatch_event("main", "drop", {"dataTransfer": data})
    expect(page.get_by_text("Drop an image to search by it")).to_be_hidden()


def searched(page: Page) -> Any:
    """Wait for a search."""
    return page.expect_response("**/api/search")


def test_a_dropped_image_is_searched_by(app: App, api: PageApi) -> None:
    """An image that is dropped is shown in a dialog, and by Enter as a whole searched by."""
    page = app.open()
    drop(page)
    expect(page.get_by_role("button", name="Search", exact=True)).to_be_focused()
    with searched(page):
        page.keyboard.press("Enter")
    assert api.asked["upload"] == [{}]
    assert api.asked["search"][-1]["examples"] == [{"upload": "upload-1", "weight": 1}]
    expect(page.get_by_role("button", name="Uploaded image 1: added")).to_be_visible()


def test_a_pasted_image_is_searched_by(app: App, api: PageApi) -> None:
    """An image from the clipboard opens the same dialog."""
    page = app.open()
    page.evaluate(
        "(clipboardData) => document.body.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }))",
        transfer(page),
    )
    with searched(page):
        page.get_by_role("button", name="Search", exact=True).click()
    assert len(api.asked["upload"]) == 1


def test_pasted_words_are_words(app: App) -> None:
    """Pasting text into the box is nothing special."""
    page = app.open()
    page.evaluate("navigator.clipboard.writeText('red')")
    page.get_by_role("combobox", name="Search").press("Control+V")
    expect(page).to_have_url(f"{app.base}?q=red")


def test_a_picked_image_is_cropped_by_keys(app: App, api: PageApi) -> None:
    """Arrow keys on a corner crop, on the frame they move; the part is sent in fractions."""
    page = app.open()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Search by an image").click()
    chosen.value.set_files({"name": "quarters.png", "mimeType": "image/png", "buffer": PNG})
    corner = page.get_by_role("button", name="Bottom right corner of the crop")
    for _ in range(6):
        corner.press("Shift+ArrowLeft")
        corner.press("Shift+ArrowUp")
    frame = page.get_by_role("group", name="Crop: 52 by 52 percent of the image")
    frame.press("ArrowRight")
    with searched(page):
        page.get_by_role("button", name="Search", exact=True).click()
    assert api.asked["upload"] == [{"x": ["0.0200"], "y": ["0.0000"], "w": ["0.5200"], "h": ["0.5200"]}]


def test_an_image_is_cropped_by_the_pointer(app: App, api: PageApi) -> None:
    """A corner that is dragged crops freely, and never past the image."""
    page = app.open()
    drop(page)
    corner = page.get_by_role("button", name="Top left corner of the crop")
    whole = page.locator(".crop-frame").bounding_box()
    assert whole is not None
    corner.hover()
    page.mouse.down()
    page.mouse.move(whole["x"] + whole["width"] / 2, whole["y"] + whole["height"] / 4, steps=4)
    page.mouse.up()
    expect(page.get_by_role("group", name="Crop: 50 by 75 percent")).to_be_visible()
    corner.hover()
    page.mouse.down()
    page.mouse.move(0, 0, steps=4)
    page.mouse.up()
    expect(page.get_by_role("group", name="Crop: 100 by 100 percent")).to_be_visible()


def test_escape_calls_it_off(app: App, api: PageApi) -> None:
    """Escape in the dialog sends nothing."""
    page = app.open()
    drop(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert "upload" not in api.asked


def test_an_image_that_the_browser_cannot_show_is_sent_whole(app: App, api: PageApi) -> None:
    """A format that only the server reads has no frame to crop with, and is searched by all the same."""
    page = app.open()
    drop(page, name="raw<b>.nef", kind="image/x-nikon-nef", content=b"no browser reads this")
    expect(page.get_by_text("This browser can't show the image.")).to_be_visible()
    with searched(page):
        page.get_by_role("button", name="Search", exact=True).click()
    assert api.asked["upload"] == [{}]


def test_what_the_server_refuses_is_said(app: App, api: PageApi, trouble: Trouble) -> None:
    """A file that is no image leaves the query as it was, and the reason is shown."""
    trouble.allow("status of 400")

    def refuse(body: Any) -> Any:
        raise Refused(400, "InputError", "not an image")

    api.instead["upload"] = refuse
    page = app.open()
    drop(page, name="letter.txt", kind="text/plain", content=b"Dear all")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="not an image")).to_be_visible()
    expect(page).to_have_url(app.base)


def test_images_are_added_and_taken_away(app: App, api: PageApi) -> None:
    """Each image of the query can count against it, and be removed."""
    page = app.open("?q=red&like=2-0000000000000001&more=3-0000000000000002")
    expect(page.locator("#meter")).to_be_visible()
    with searched(page):
        page.get_by_role("button", name="Image 1: added").click()
    assert api.asked["search"][-1]["examples"] == [{"image": "2-0000000000000001", "weight": -1}]
    expect(page).to_have_url(f"{app.base}?q=red&unlike=2-0000000000000001&more=3-0000000000000002")
    with searched(page):
        page.get_by_role("button", name="More like this 2: added").click()
    assert (api.asked["search"][-1]["more"], api.asked["search"][-1]["less"]) == ([], ["3-0000000000000002"])
    with searched(page):
        page.get_by_role("button", name="Remove: Image 1").click()
    assert api.asked["search"][-1]["examples"] == []


def test_an_upload_is_still_known_after_a_reload(app: App, api: PageApi) -> None:
    """The history keeps an upload's token, so that a reload searches by it again."""
    page = app.open()
    drop(page)
    with searched(page):
        page.keyboard.press("Enter")
    with searched(page):
        page.reload()
    assert api.asked["search"][-1]["examples"] == [{"upload": "upload-1", "weight": 1}]


def test_an_address_cannot_bring_an_upload(app: App) -> None:
    """Where the address tells of an upload that nobody has, the page says so."""
    page = app.open("?q=red&uploads=1")
    expect(page.get_by_text("The image you searched with is not in the address.")).to_be_visible()
