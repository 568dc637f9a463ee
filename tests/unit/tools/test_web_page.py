"""The page's server: what it answers to the page, as a browser asks it."""

from __future__ import annotations

import csv
import gzip
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imgsearch import search
from imgsearch.index import side_db
from imgsearch.search.ranking import stacks as stacks_module
from imgsearch.tools import desktop
from imgsearch.tools.web import answers, app
from support import fakes
from support.fakes import paint
from support.page_server import Browser, PageServer, indexed_gallery, page_server
from support.serving import until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """Give a server over six pictures of one colour each; tests don't change them."""
    with pytest.MonkeyPatch.context() as patch:
        model = fakes.install(patch)
        index = indexed_gallery(tmp_path_factory.mktemp("page"))
        with page_server(index, model) as running:
            yield running


@pytest.fixture
def browser(server: PageServer) -> Browser:
    """Give a browser that has opened the page."""
    return server.opened()


def keys(server: PageServer, browser: Browser) -> dict[str, str]:
    """Return the key of each picture by its name."""
    return {tile["name"]: tile["key"] for tile in browser.post("api/list", {}).json["images"]}


def test_the_page_and_its_files_are_there(browser: Browser) -> None:
    """The page is HTML with a policy, and each of the files that it names is there, compressed if that is asked for."""
    page = browser.get("?q=red&view=timeline")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "require-trusted-types-for 'script'" in page.headers["content-security-policy"]
    for name in [part.split(b'"')[0].decode() for part in page.body.split(b'"static/')[1:]]:
        plain, packed = browser.get(f"static/{name}"), browser.get(f"static/{name}", accept_encoding="gzip")
        assert plain.status == 200, name
        assert gzip.decompress(packed.body) == plain.body
        assert browser.get(f"static/{name}", if_none_match=plain.headers["etag"]).status == 304


def test_words_find_images(browser: Browser) -> None:
    """A query for a colour has the image of that colour first, with its score and the cut beside it."""
    answer = browser.post("api/search", {"q": "red", "n": 3}).json
    assert next(hit["name"] for hit in answer["hits"]) == "red.png"
    assert answer["total"] == 6
    assert answer["more"] is True
    assert (answer["hits"][0]["width"], answer["hits"][0]["height"]) == (96, 64)
    assert answer["scores"]["counts"]


def test_parts_are_told_and_taken_away(browser: Browser) -> None:
    """A query of parts says which they are."""
    answer = browser.post("api/search", {"q": "white - blue"}).json
    assert answer["read"] == [{"kind": "part", "label": "white"}, {"kind": "part", "label": "blue"}]
    assert answer["hits"][0]["name"] != "blue.png"


def test_a_date_in_the_words_is_a_chip_until_it_is_unread(browser: Browser) -> None:
    """A date in a query filters and is told; unread, its words are searched for."""
    read = browser.post("api/search", {"q": "red in 2019"}).json
    assert [one["kind"] for one in read["read"]] == ["date"]
    assert (read["text"], read["total"]) == ("red", 0)
    unread = browser.post("api/search", {"q": "red in 2019", "unread": ["date"]}).json
    assert (unread["read"], unread["text"]) == ([], "red in 2019")


def test_an_image_of_the_index_is_an_example(server: PageServer, browser: Browser) -> None:
    """An example by its key needs no model; more like it alone is the same."""
    found = keys(server, browser)
    before = server.model.asked, server.model.embedded
    like = browser.post("api/search", {"examples": [{"image": found["red.png"], "weight": 1}]}).json
    more = browser.post("api/search", {"more": [found["red.png"]]}).json
    assert (server.model.asked, server.model.embedded) == before
    assert [hit["name"] for hit in like["hits"]] == [hit["name"] for hit in more["hits"]]
    assert "red.png" not in [hit["name"] for hit in like["hits"]]


def test_less_like_an_image_is_none_of_the_hits(server: PageServer, browser: Browser) -> None:
    """What is not liked does not come back."""
    less = browser.post("api/search", {"q": "red", "less": [keys(server, browser)["red.png"]]}).json
    assert "red.png" not in [hit["name"] for hit in less["hits"]]


@pytest.mark.parametrize(("n", "stacks"), [(1, True), (2, True), (4, False), (6, True)])
def test_all_parts_of_an_answer_have_each_image_once(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, n: int, stacks: bool
) -> None:
    """Behind the images that are put into stacks the others follow, and none is left out or comes twice."""
    for module in (answers, stacks_module, search):
        monkeypatch.setattr(module, "MOST", 3)
    names: list[str] = []
    more = True
    while more:
        answer = browser.post("api/search", {"q": "red", "n": n, "offset": len(names), "stacks": stacks}).json
        names += [hit["name"] for hit in answer["hits"]]
        more = answer["more"]
        assert len(names) <= 6
    assert len(names) == len(set(names)) == 6


def test_words_that_are_typed_are_not_remembered(server: PageServer, browser: Browser) -> None:
    """A query on the way is looked up and not stored; one that was sent is stored."""

    def remembered() -> int:
        return int(
            side_db.read(server.index, lambda db: db.execute("SELECT count(*) FROM question").fetchone())[0]
        )

    browser.post("api/search", {"q": "cyan"})
    before = remembered()
    assert browser.post("api/search", {"q": "pink", "typing": True}).status == 200
    assert remembered() == before
    browser.post("api/search", {"q": "pink"})
    assert remembered() == before + 1


def test_the_next_part_of_typed_words_needs_no_model(server: PageServer, browser: Browser) -> None:
    """Of words that are not remembered on the disk the vector stays in memory as long as the session."""
    browser.post("api/search", {"q": "brown pink", "typing": True, "n": 2})
    asked = server.model.asked
    assert (
        len(browser.post("api/search", {"q": "brown pink", "typing": True, "n": 2, "offset": 2}).json["hits"])
        == 2
    )
    assert server.model.asked == asked


def test_a_remembered_query_does_not_wait_for_the_model(
    server: PageServer, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the model computes something else, lists, images and remembered queries are answered."""
    browser.post("api/search", {"q": "yellow"})
    held, begun = threading.Event(), threading.Event()
    embed = fakes.FakeEncoder.embed

    def slow(self: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        begun.set()
        assert held.wait(60)
        return embed(self, inputs, *args, **options)

    monkeypatch.setattr(fakes.FakeEncoder, "embed", slow)
    given: list[Any] = []
    waiting = threading.Thread(target=lambda: given.append(browser.post("api/search", {"q": "brown"})))
    waiting.start()
    try:
        assert begun.wait(60)
        assert browser.post("api/search", {"q": "yellow"}).json["hits"][0]["name"] == "yellow.png"
        found = keys(server, browser)
        assert browser.get(f"thumb/{found['red.png']}").status == 200
        assert browser.post("api/facets", {}).status == 200
    finally:
        held.set()
        waiting.join()
    assert given[0].status == 200


def test_a_query_that_was_overtaken_is_not_embedded(
    server: PageServer, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of queries that are typed while the model is busy only the last is embedded."""
    held, begun = threading.Event(), threading.Event()
    embed = fakes.FakeEncoder.embed
    texts: list[str] = []

    def slow(self: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        texts.extend(item.text for item in inputs)
        begun.set()
        assert held.wait(60)
        return embed(self, inputs, *args, **options)

    monkeypatch.setattr(fakes.FakeEncoder, "embed", slow)
    statuses: dict[str, int] = {}

    def ask(words: str) -> threading.Thread:
        def work() -> None:
            statuses[words] = browser.post("api/search", {"q": words, "typing": True}).status

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    first = ask("orange o")
    assert begun.wait(60)
    threads = [first]
    typed = [0]
    embed_asked = app.run_in

    async def counted(request: Any, pool: Any, work: Any, *args: Any) -> Any:
        if work.__name__ == "embed":
            typed[0] += 1
        return await embed_asked(request, pool, work, *args)

    monkeypatch.setattr(app, "run_in", counted)
    for number, words in enumerate(("orange or", "orange ora"), start=1):
        threads.append(ask(words))
        until(lambda number=number: typed[0] == number)
    held.set()
    for thread in threads:
        thread.join()
    assert statuses == {"orange o": 200, "orange or": 409, "orange ora": 200}
    assert texts == ["orange o", "orange ora"]


def test_counts_and_lists_follow_the_filters(browser: Browser) -> None:
    """A filter leaves fewer images in the list and in the counts, and one that is unknown is refused."""
    filters = {"name": "r*.png"}
    assert browser.post("api/list", {"filters": filters}).json["total"] == 1
    counts = browser.post("api/facets", {"filters": filters}).json
    assert (counts["images"], counts["rating"]) == (1, [{"rating": None, "images": 1}])
    refused = browser.post("api/list", {"filters": {"shape": "round"}})
    assert (refused.status, refused.json["error"]["kind"]) == (400, "UsageError")
    assert browser.post("api/list", {"filters": {"path": "/"}}).status == 400


def test_the_timeline_counts_each_image_once(server: PageServer, browser: Browser) -> None:
    """Months count the images, and their offsets lead into the list, newest first."""
    months = browser.post("api/months", {}).json["months"]
    assert sum(month["count"] for month in months) == 6
    assert months[0]["offset"] == 0
    first = browser.post("api/list", {"sort": "random", "seed": 5, "n": 3}).json
    second = browser.post("api/list", {"sort": "random", "seed": 5, "n": 3, "offset": 3}).json
    assert {tile["key"] for tile in first["images"] + second["images"]} == set(keys(server, browser).values())


def test_an_image_is_told_and_shown(server: PageServer, browser: Browser) -> None:
    """All that is known of an image, its thumbnail, and the file itself, byte for byte."""
    key = keys(server, browser)["blue.png"]
    told = browser.get(f"api/image/{key}").json
    assert (told["name"], told["width"], told["original"]) == ("blue.png", 96, "image/png")
    small = browser.get(f"thumb/{key}?size=s")
    assert small.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(small.body)).size == (96, 64)
    original = browser.get(f"original/{key}")
    assert original.headers["content-type"] == "image/png"
    assert original.body == Path(told["path"]).read_bytes()


def test_an_upload_is_searched_by_and_not_kept(server: PageServer, browser: Browser, tmp_path: Path) -> None:
    """An image that is dropped on the page finds what looks like it; of it nothing but a vector stays."""
    picture = paint(tmp_path / "new.png", (250, 30, 30), size=(80, 40))
    before = {path for path, _, names in os.walk(server.index) for _ in names}
    answer = browser.post("api/upload", body=picture.read_bytes()).json
    assert (answer["width"], answer["height"]) == (80, 40)
    found = browser.post("api/search", {"examples": [{"upload": answer["upload"], "weight": 1}]}).json
    assert found["hits"][0]["name"] == "red.png"
    assert {path for path, _, names in os.walk(server.index) for _ in names} == before
    other = server.opened()
    assert other.post("api/search", {"examples": [{"upload": answer["upload"]}]}).status == 400


def test_a_part_of_an_upload_is_searched_by(browser: Browser, tmp_path: Path) -> None:
    """Of an upload that is cropped only the part counts."""
    picture = paint(tmp_path / "four.png", "red", "green", "blue", "white", size=(80, 80))
    answer = browser.post("api/upload?x=0.5&y=0&w=0.5&h=0.5", body=picture.read_bytes()).json
    found = browser.post("api/search", {"examples": [{"upload": answer["upload"], "weight": 1}]}).json
    assert found["hits"][0]["name"] == "green.png"


def test_what_is_no_image_is_refused_in_a_line(browser: Browser) -> None:
    """An upload of something else says what it is."""
    refused = browser.post("api/upload", body=b"%PDF-1.7 and so on" * 10)
    assert (refused.status, refused.json["error"]["kind"]) == (400, "InputError")
    assert "\n" not in refused.json["error"]["message"]


def test_a_selection_is_exported(server: PageServer, browser: Browser) -> None:
    """As paths, as a table, and as a ZIP with the files as they are."""
    found = keys(server, browser)
    chosen = [found["red.png"], found["blue.png"]]
    paths = browser.post("api/export", {"keys": chosen, "as": "paths"}).body.decode().splitlines()
    assert [os.path.basename(path) for path in paths] == ["red.png", "blue.png"]
    table = list(
        csv.DictReader(io.StringIO(browser.post("api/export", {"keys": chosen, "as": "csv"}).body.decode()))
    )
    assert [row["path"] for row in table] == paths
    packed = browser.post("api/export", {"keys": chosen, "as": "zip"})
    assert "attachment" in packed.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(packed.body)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["red.png", "blue.png"]
        assert archive.read("red.png") == Path(paths[0]).read_bytes()


def test_an_image_is_shown_in_the_file_manager(
    server: PageServer, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desktop gets the path of the image, and the page only word that it has."""
    shown: list[str] = []
    monkeypatch.setattr(desktop, "reveal", shown.append)
    key = keys(server, browser)["red.png"]
    assert browser.post("api/reveal", {"key": key}).status == 200
    assert [os.path.basename(path) for path in shown] == ["red.png"]


def test_an_image_is_opened_in_its_viewer(
    server: PageServer, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desktop gets the path of the image and its page."""
    shown: list[Any] = []
    monkeypatch.setattr(desktop, "open_files", lambda *given: shown.append(given))
    key = keys(server, browser)["red.png"]
    assert browser.post("api/open", {"key": key}).status == 200
    (((path,), pages),) = shown
    assert (os.path.basename(path), pages) == ("red.png", [0])


def test_the_overview_has_clusters_that_can_be_listed(server: PageServer, browser: Browser) -> None:
    """The clusters hold all images together, and each of them can be listed."""
    answers: list[Any] = []
    until(lambda: answers.append(browser.post("api/overview", {}).json) or answers[-1]["state"] == "ready")
    overview = answers[-1]
    assert overview["images"] == sum(cluster["count"] for cluster in overview["clusters"]) == 6
    for cluster in overview["clusters"]:
        listed = browser.post("api/list", {"cluster": cluster["id"]}).json
        assert listed["total"] == cluster["count"]
        assert {tile["key"] for tile in cluster["images"]} <= {tile["key"] for tile in listed["images"]}
    assert browser.post("api/list", {"cluster": 1}).status == 400


def test_duplicates_are_groups_of_tiles(browser: Browser) -> None:
    """Groups of images that show the same; there are none among pictures of six colours."""
    answer = browser.post("api/duplicates", {}).json
    assert answer["groups"] == []
    assert answer["total"] == 0


def test_the_status_names_the_index_and_the_model(server: PageServer, browser: Browser) -> None:
    """The page can tell whether the model is in memory."""
    status = browser.get("api/status").json
    assert (status["index"], status["images"], status["model"]) == (server.index, 6, fakes.MODEL)
