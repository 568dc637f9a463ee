"""The page's search: typed, stored by Enter, kept in the address, and honest about what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from support.page_api import Refused

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from support.page_api import PageApi
    from web.conftest import App, Trouble

RED, BLUE = "IMG_1003.jpg", "IMG_1050.jpg"


def box(page: Page) -> Any:
    """Return the box that is typed into."""
    return page.get_by_role("combobox", name="Search")


def picture(page: Page, name: str) -> Any:
    """Return the image of a hit."""
    return page.locator("#content").get_by_role("img", name=name)


def test_typing_shows_hits(app: App) -> None:
    """Words that are typed show their nearest images without another key."""
    page = app.open()
    box(page).press_sequentially("red")
    expect(picture(page, RED)).to_be_visible()
    expect(page).to_have_url(f"{app.base}?q=red")


def test_only_enter_stores_the_query(app: App, api: PageApi) -> None:
    """A query is sent as typing until Enter says that it is meant."""
    page = app.open()
    box(page).press_sequentially("red")
    expect(picture(page, RED)).to_be_visible()
    assert all(body["typing"] for body in api.asked["search"])
    with page.expect_response(lambda response: "api/search" in response.url):
        page.keyboard.press("Enter")
    assert api.asked["search"][-1]["typing"] is False


def test_an_answer_that_is_late_is_dropped(app: App, api: PageApi) -> None:
    """What an older search brings is not shown once another one was typed."""
    page = app.open()
    api.held.add("search")
    with page.expect_request("**/api/search"):
        box(page).fill("red")
    with page.expect_request("**/api/search"):
        box(page).fill("blue")
    api.release()
    expect(page.locator("#content").get_by_role("img").first).not_to_have_attribute("alt", RED)
    assert [body["q"] for body in api.asked["search"]] == ["red", "blue"]


def test_back_brings_the_last_query_again(app: App) -> None:
    """Back goes from one query to the one before it, forward returns."""
    page = app.open()
    box(page).fill("red")
    page.keyboard.press("Enter")
    expect(picture(page, RED)).to_be_visible()
    box(page).fill("blue")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{app.base}?q=blue")
    page.go_back()
    expect(box(page)).to_have_value("red")
    expect(page.locator("#content").get_by_role("img").first).to_have_attribute("alt", RED)
    page.go_forward()
    expect(box(page)).to_have_value("blue")


def test_letters_of_one_query_are_one_step_back(app: App) -> None:
    """Back leaves a query that was typed letter by letter at once."""
    page = app.open()
    box(page).press_sequentially("red", delay=60)
    expect(picture(page, RED)).to_be_visible()
    page.go_back()
    expect(box(page)).to_have_value("")
    expect(page).to_have_url(app.base)


def test_reload_keeps_everything_that_was_asked(app: App, api: PageApi) -> None:
    """After a reload the same query is asked, with its filters, images and cut."""
    query = (
        "?q=red+-+blue&unread=date&like=2-0000000000000001&more=3-0000000000000002&on=2021&in=%2Fhome%2Fme%2FPictures%2FWork"
        "&rating=2&sort=newest&cut=0.4"
    )
    page = app.open(query)
    expect(page.get_by_role("slider")).to_have_value("0.4")
    before = api.asked["search"][-1]
    page.reload()
    expect(page.get_by_role("slider")).to_have_value("0.4")
    assert api.asked["search"][-1] == before
    assert before["filters"] == {"on": "2021", "in": ["/home/me/Pictures/Work"], "rating": 2}
    assert (before["q"], before["unread"], before["more"]) == ("red - blue", ["date"], ["3-0000000000000002"])
    assert before["examples"] == [{"image": "2-0000000000000001", "weight": 1}]
    assert before["sort"] == "newest"


def test_an_error_of_the_query_is_text_under_the_box(app: App, api: PageApi, trouble: Trouble) -> None:
    """What the language of queries refuses is said under the box, and what was found before stays."""
    trouble.allow("status of 400")

    def refuse(body: Any) -> Any:
        if body["q"].startswith("-"):
            raise Refused(
                400, "InputError", "-: there is nothing before it; a query starts with what to find <b>"
            )
        return api._search(body)

    api.instead["search"] = refuse
    page = app.open("?q=red")
    expect(picture(page, RED)).to_be_visible()
    box(page).fill("- red")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="what to find <b>")).to_be_visible()
    expect(box(page)).to_have_attribute("aria-invalid", "true")
    box(page).fill("red")
    expect(page.locator("#problem")).to_be_hidden()


def test_half_an_operator_is_not_sent(app: App, api: PageApi) -> None:
    """A minus at the end waits for what it takes away."""
    page = app.open()
    with page.expect_request("**/api/search"):
        box(page).fill("red -")
    expect(picture(page, RED)).to_be_visible()
    assert api.asked["search"][-1]["q"] == "red"


def test_nothing_that_stands_out_is_said(app: App, api: PageApi) -> None:
    """Where chance brings images as near, the page says so and shows the nearest."""

    def none(body: Any) -> Any:
        answer = api._search(body)
        return {**answer, "cut": {**answer["cut"], "count": 0, "score": None}}

    api.instead["search"] = none
    page = app.open("?q=red")
    expect(page.get_by_text("Nothing stands out")).to_be_visible()
    expect(picture(page, RED)).to_be_visible()


def test_no_image_that_passes_is_said(app: App, api: PageApi) -> None:
    """An answer without images says that the filters are the reason."""
    page = app.open("?q=red&on=1999")
    expect(page.get_by_role("strong").filter(has_text="No images found")).to_be_visible()
    expect(page.get_by_text("No image passes these filters. Take one away above.")).to_be_visible()


def test_slash_goes_to_the_box(app: App) -> None:
    """The slash key leads to the box from anywhere but a field."""
    page = app.open("?q=red")
    expect(picture(page, RED)).to_be_visible()
    page.get_by_role("slider").focus()
    page.locator("main").focus()
    page.keyboard.press("/")
    expect(box(page)).to_be_focused()
    expect(box(page)).to_have_value("red")


def test_escape_empties_the_box(app: App) -> None:
    """Escape in the box, or its cross, takes the query away."""
    page = app.open("?q=red")
    expect(picture(page, RED)).to_be_visible()
    box(page).press("Escape")
    expect(page).to_have_url(app.base)
    expect(page.locator("#meter")).to_be_hidden()


def test_saved_queries_are_offered_behind_an_at(app: App) -> None:
    """An @ lists the saved queries; arrow keys and Enter take one."""
    page = app.open()
    box(page).press_sequentially("@ca")
    offered = page.get_by_role("listbox", name="Saved queries").get_by_role("option")
    expect(offered).to_have_text(["@catscat + kitten", "@carsred car"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(offered.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(box(page)).to_have_value("@cars")
    expect(page.get_by_role("listbox", name="Saved queries")).to_be_hidden()
    expect(page).to_have_url(f"{app.base}?q=%40cars")


# ---- chips -------------------------------------------------------------------------------------------------


def test_a_date_that_was_read_can_be_searched_as_words(app: App, api: PageApi) -> None:
    """Taking the chip of a date away searches for it as words; the chip in its place undoes that."""
    page = app.open("?q=red+2021")
    expect(page.locator("#meter")).to_be_visible()
    with page.expect_response("**/api/search"):
        page.get_by_role("button", name="Search for it as words instead: taken 2021").click()
    assert api.asked["search"][-1]["unread"] == ["date"]
    expect(page.get_by_text("taken 2021")).to_be_hidden()
    with page.expect_response("**/api/search"):
        page.get_by_role("button", name="Read the date again").click()
    assert api.asked["search"][-1]["unread"] == []


def test_a_part_of_the_query_can_be_taken_away(app: App) -> None:
    """The chip of a part takes it out of the box; what is left begins with something to find."""
    page = app.open("?q=red+-+blue+%2B+green")
    page.get_by_role("button", name="Take away: red").click()
    expect(box(page)).to_have_value("green - blue")
    page.get_by_role("button", name="Take away: blue").click()
    expect(box(page)).to_have_value("green")
    expect(page.locator("#chips")).to_be_hidden()


def test_a_filter_can_be_taken_away(app: App, api: PageApi) -> None:
    """The chip of a filter removes it."""
    page = app.open("?q=red&camera=X-T5&in=%2Fhome%2Fme%2FPictures%2FHolidays")
    expect(page.locator("#meter")).to_be_visible()
    with page.expect_response("**/api/search"):
        page.get_by_role("button", name="Remove the filter: X-T5").click()
    assert api.asked["search"][-1]["filters"] == {"in": ["/home/me/Pictures/Holidays"]}


# ---- the cut -----------------------------------------------------------------------------------------------


def test_the_cut_is_moved_by_keys_and_reset(app: App) -> None:
    """Arrow keys move the cut, the address keeps it, and a button makes it automatic again."""
    page = app.open("?q=red")
    slider = page.get_by_role("slider", name="Cut")
    expect(slider).to_have_attribute("aria-valuetext", "0.45, 14 images")
    slider.focus()
    for _ in range(10):
        slider.press("ArrowRight")
    expect(page.locator("#meter")).to_contain_text("9 images at 0.50 or more")
    expect(page).to_have_url(f"{app.base}?q=red&cut=0.5")
    page.get_by_role("button", name="Automatic").click()
    expect(page.locator("#meter")).to_contain_text("14 images stand out")
    expect(page).to_have_url(f"{app.base}?q=red")


def test_another_query_has_its_own_cut(app: App) -> None:
    """A cut that was set for one query does not apply to the next."""
    page = app.open("?q=red&cut=0.5")
    expect(page.get_by_role("slider")).to_have_value("0.5")
    box(page).fill("blue")
    expect(page).to_have_url(f"{app.base}?q=blue")
    expect(page.locator("#meter")).to_contain_text("stand out")


def test_results_have_another_order(app: App, api: PageApi) -> None:
    """The order is chosen beside the count, kept in the address, and the choice keeps the focus."""
    page = app.open("?q=red")
    page.get_by_role("combobox", name="Order").focus()
    with page.expect_response("**/api/search"):
        page.get_by_role("combobox", name="Order").select_option("Newest first")
    assert api.asked["search"][-1]["sort"] == "newest"
    expect(page).to_have_url(f"{app.base}?q=red&sort=newest")
    expect(page.get_by_role("combobox", name="Order")).to_be_focused()
