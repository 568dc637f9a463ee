"""The page asks the part for documents of an index, too, and shows what it finds there."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.index.parts import part_of
from imgsearch.model import runtime
from imgsearch.types import ModelOptions, Runtime
from support import drawn_documents, fakes
from support.drawn_documents import Drawn, draw
from support.fakes import FakeModel, run
from support.page_server import indexed_gallery, page_server

fake_model, drawn = fakes.fake_model, drawn_documents.drawn


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page").mkdir()
    # Where a fake computes, torch need not say.
    monkeypatch.setattr(runtime, "choose", lambda *_: Runtime("cpu", "float32", ""))


def test_documents_alone_are_a_page_of_their_own(tmp_path: Path, fake_model: FakeModel, drawn: Drawn) -> None:
    """Where there are no photos, the page is that of the documents."""
    draw(tmp_path / "papers" / "report.pdf", "pink", "orange")
    run(part_of(str(tmp_path / "ix")), tmp_path / "papers")
    with page_server(str(tmp_path / "ix"), fake_model) as running:
        browser = running.opened()
        assert browser.get("api/status").json["images"] == 2
        assert browser.post("api/search", {"q": "orange"}).json["hits"][0]["where"] == "page 2"
        assert browser.post("api/list", {}).json["total"] == 1  # a file


def test_documents_are_found_and_shown(tmp_path: Path, fake_model: FakeModel, drawn: Drawn) -> None:
    """Results are of both, merged by rank; thumbnails, facts and examples are of either."""
    index = indexed_gallery(tmp_path / "page")
    draw(tmp_path / "papers" / "report.pdf", "pink", "orange", "cyan")
    run(part_of(str(index)), tmp_path / "papers", model=ModelOptions("fake/pages"))
    with page_server(index, fake_model) as running:
        browser = running.opened()
        answer = browser.post("api/search", {"q": "orange", "n": 20, "stacks": False}).json
        assert answer["total"] == 9
        found = {(hit["name"], hit["where"]): hit for hit in answer["hits"]}
        assert len(found) == 9
        assert (answer["cut"], answer["scores"]) == (None, None)
        page = found["report.pdf", "page 2"]
        told = browser.get(f"api/image/{page['key']}").json
        assert (told["where"], told["fragment"], told["kind"], told["pages"]) == (
            "page 2",
            "#page=2",
            "page",
            3,
        )
        assert browser.get(f"thumb/{page['key']}").status == 200
        assert browser.get(f"original/{page['key']}").headers["content-type"] == "image/webp"
        table = browser.post("api/export", {"keys": [hit["key"] for hit in found.values()], "as": "csv"})
        assert table.body.count(b"report.pdf") == 3
        liked = browser.post("api/search", {"q": "orange", "more": [page["key"]]}).json
        assert {hit["name"] for hit in liked["hits"]} == {"report.pdf"}
        assert browser.post("api/search", {"q": "pink", "typing": True}).json["total"] == 9
        assert browser.get("thumb/1-0000000000000000").status == 404
