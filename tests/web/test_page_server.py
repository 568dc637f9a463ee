"""The page when its server is slow, gone, has ended the session, or has nothing to search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from support.page_api import Refused

if TYPE_CHECKING:
    from support.page_api import PageApi
    from web.conftest import App, Trouble


def test_a_slow_search_shows_progress(app: App, api: PageApi) -> None:
    """A search that takes long shows that it is under way, until it is there."""
    api.held.add("search")
    page = app.open("?q=red")
    expect(page.get_by_role("progressbar", name="Searching")).to_be_visible()
    api.release()
    expect(page.get_by_role("progressbar")).to_be_hidden()
    expect(page.locator("#content").get_by_role("img").first).to_be_visible()


def test_a_model_that_loads_is_said(app: App, api: PageApi) -> None:
    """While the model is loaded for the first search, the page says why it takes long."""
    api.held.add("search")
    api.instead["status"] = lambda body: {**api._status(body), "loaded": False}
    page = app.open("?q=red")
    expect(page.get_by_text("Loading the model.")).to_be_visible()
    api.release()
    expect(page.get_by_text("Loading the model.")).to_be_hidden()


def test_a_server_that_is_gone_is_said_and_its_return_seen(app: App, api: PageApi, trouble: Trouble) -> None:
    """Without its server the page says what to run; it asks again by itself and repeats the search."""
    trouble.allow("ERR_CONNECTION_REFUSED")
    page = app.open("?q=red")
    expect(page.locator("#content").get_by_role("img").first).to_have_attribute("alt", "IMG_1003.jpg")
    api.gone = True
    page.get_by_role("combobox", name="Search").fill("blue")
    banner = page.get_by_role("alert").filter(has_text="The server does not answer.")
    expect(banner).to_contain_text("imgsearch web")
    api.gone = False
    banner.get_by_role("button", name="Try again").click()
    expect(banner).to_be_hidden()
    expect(page.locator("#content").get_by_role("img").first).not_to_have_attribute("alt", "IMG_1003.jpg")


def test_a_session_that_ended_is_said(app: App, api: PageApi, trouble: Trouble) -> None:
    """Where the server knows the session no more, the page says how to open it again."""
    trouble.allow("status of 401")

    def refuse(body: Any) -> Any:
        raise Refused(401, "session", "no session")

    api.instead["search"] = refuse
    page = app.open("?q=red")
    banner = page.get_by_role("alert").filter(has_text="This page's session has ended.")
    expect(banner).to_contain_text("Run imgsearch web again and open the link that it prints.")


def test_an_empty_index_says_how_to_fill_it(app: App, api: PageApi) -> None:
    """Without images the page shows the command that indexes some."""
    api.images = []
    page = app.open()
    expect(page.get_by_text("No images are indexed yet")).to_be_visible()
    expect(page.get_by_text("imgsearch index ~/Pictures")).to_be_visible()


@pytest.mark.parametrize(
    "name",
    [
        "<img src=x onerror=alert(1)>.jpg",
        "\"quotes' & <b>.jpg",
        "\u202egpj.exe",
        "{{7*7}}${7*7}.jpg",
        "a\u0301" * 40,
    ],
    ids=["markup", "quotes", "direction", "template", "marks"],
)
def test_a_hostile_name_is_text(app: App, api: PageApi, name: str) -> None:
    """Names of files, folders and cameras are shown as they are and never as anything else."""
    for image in api.images:
        image.update(name=name, camera=name, path=f"/home/me/{name}")
    api.saved = [{"name": name, "words": name}]
    page = app.open("?q=red")
    expect(page.locator("#content").get_by_role("img", name=name, exact=True).first).to_be_attached()
    expect(page.locator("#side").get_by_text(name, exact=True).first).to_be_attached()
    page.get_by_role("combobox", name="Search").fill("@")
    expect(page.locator("#suggestions [role=option]").first).to_contain_text(f"@{name}")
    assert page.locator("img[src=x], [onerror]").count() == 0
