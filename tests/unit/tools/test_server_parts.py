"""An index with a part for documents, by the server and the protocol: both are asked, as by the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imgsearch.client import KeptModel
from imgsearch.errors import InputError, UsageError
from imgsearch.index.parts import part_of
from imgsearch.model import runtime
from imgsearch.tools.mcp import tools
from imgsearch.tools.mcp.tools import TOOLS, Tools
from imgsearch.tools.server import resources
from imgsearch.tools.server.handlers import Handlers
from imgsearch.tools.server.resources import Resources
from imgsearch.types import ModelOptions, Runtime, Silent
from support import drawn_documents, fakes
from support.cli import imgsearch
from support.drawn_documents import Drawn, draw
from support.fakes import FakeModel, paint, run

fake_model, drawn = fakes.fake_model, drawn_documents.drawn
PHOTOS, PAGES = ("red", "blue", "green"), ("pink", "orange", "cyan")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_model: FakeModel, drawn: Drawn) -> Path:
    """Give an index of photos with a part of pages, and models that are fakes."""

    class Loaded:
        def __init__(self, spec: Any, notify: object) -> None:
            fake_model.loads += 1

        def encoder(self, spec: Any) -> fakes.FakeEncoder:
            return fake_model.encoder(spec.dim)

    for name in PHOTOS:
        paint(tmp_path / "photos" / f"{name}.png", name)
    draw(tmp_path / "papers" / "report.pdf", *PAGES)
    run(tmp_path / "ix", tmp_path / "photos")
    run(part_of(str(tmp_path / "ix")), tmp_path / "papers", model=ModelOptions("fake/pages"))
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "ix"))
    monkeypatch.setattr(resources, "LoadedModel", Loaded)
    # Where a fake computes, torch need not say.
    monkeypatch.setattr(runtime, "choose", lambda *_: Runtime("cpu", "float32", ""))
    monkeypatch.setattr(resources, "fits", lambda folder, device: True)
    monkeypatch.setattr(tools, "fits", lambda folder, device: True)
    monkeypatch.setattr(KeptModel, "load", lambda *_: fake_model.encoder())
    return tmp_path / "ix"


@pytest.fixture
def server(index: Path) -> Handlers:
    """Give a server of that index."""
    return Handlers(Resources(str(index), 60, print))


def called(mcp: Tools, name: str, **arguments: Any) -> Any:
    """Return what a tool of the protocol answers."""
    return mcp.call(next(tool for tool in TOOLS if tool.name == name), arguments)[0]


@pytest.mark.parametrize(
    "asked", [{"text": "red"}, {"text": "orange", "n": 2}, {"text": "pink", "stacks": True}]
)
def test_both_are_asked_as_by_the_command(server: Handlers, asked: dict[str, Any]) -> None:
    """The hits are those of the command, merged by rank, and each tells its part."""
    flags = ["--stacks"] if "stacks" in asked else []
    done = imgsearch("query", asked["text"], "-n", asked.get("n", 10), "--json", *flags)
    assert done.code == 0, done.err
    assert json.loads(json.dumps(server.query(asked)))["hits"] == done.objects


def test_one_part_can_be_named(server: Handlers, index: Path) -> None:
    """Where the part is named as the index, it alone is asked."""
    hits = server.query({"text": "red", "index": part_of(str(index))})["hits"]
    assert {Path(hit["path"]).name for hit in hits} == {"report.pdf"}
    assert all("index" not in hit for hit in hits)


def test_both_models_stay_loaded(server: Handlers, fake_model: FakeModel) -> None:
    """Where there is room for two models, a query loads none that an earlier one has loaded."""
    before = fake_model.loads
    for words in ("red", "blue"):
        server.query({"text": words, "remember": False})
    assert fake_model.loads == before + 2


def test_examples_are_of_either_part(server: Handlers, index: Path, tmp_path: Path) -> None:
    """More like a page asks the part of pages; one that neither has is refused."""
    report = f"{tmp_path}/papers/report.pdf"
    hits = server.query({"text": "red", "more": [{"path": f"{report}#page=2"}]})["hits"]
    assert {Path(hit["path"]).name for hit in hits} == {"report.pdf"}
    assert len(server.similar({"image": f"{tmp_path}/photos/red.png"})["hits"]) == 6
    paint(tmp_path / "new.png", "brown")
    with pytest.raises(InputError, match="not in the index"):
        server.query({"text": "red", "more": [{"path": f"{tmp_path}/new.png"}]})


def test_files_are_listed_counted_and_shown_of_both(server: Handlers, tmp_path: Path) -> None:
    """A list has the files of both in one order, counts are added up, and a file of either is shown."""
    papers = f"{tmp_path}/papers"
    listed = server.listed({"sort": "path"})
    assert [Path(file["path"]).name for file in listed["images"]] == [
        "report.pdf",
        "blue.png",
        "green.png",
        "red.png",
    ]
    assert listed["total"] == 4
    for sort in ("newest", "oldest", "random", "added"):
        assert len(server.listed({"sort": sort})["images"]) == 4
        assert len(server.listed({"sort": sort, "n": 2, "offset": 3})["images"]) == 1
    assert server.listed({"in": [papers]})["total"] == 1
    with pytest.raises(UsageError, match="not in an indexed folder"):
        server.listed({"in": ["/nowhere"]})
    counted = server.counted({})
    assert (counted["images"], len(counted["folder"])) == (4, 2)
    assert server.shown({"image": f"{papers}/report.pdf#page=2"})["pages"] == 3
    assert server.shown({"image": f"{tmp_path}/photos/red.png"})["pages"] == 1
    with pytest.raises(InputError, match="not in the index"):
        server.shown({"image": f"{tmp_path}/new.png"})


def test_the_protocol_sees_both(index: Path, tmp_path: Path) -> None:
    """Results, lists and counts are of both, and whatever one of them has can be named."""
    mcp = Tools(str(index), Silent())
    report = f"{tmp_path}/papers/report.pdf"
    found = called(mcp, "search", text="orange", n=6, stacks=False)["images"]
    assert len(found) == 6
    page = next(one for one in found if one["path"] == report)
    for name in (page["id"], str(page["number"]), report):
        assert called(mcp, "show", image=name)["pages"] == 3
    assert called(mcp, "thumbnail", image=page["id"])["bytes"] > 0
    assert {one["path"] for one in called(mcp, "similar", images=[page["id"]])["images"]} == {report}
    assert len(called(mcp, "list")["images"]) == 4
    assert called(mcp, "facets")["images"] == 4
    assert called(mcp, "facets", **{"in": [f"{tmp_path}/papers"]})["images"] == 1
    with pytest.raises(InputError, match="not in the index"):
        called(mcp, "show", image=f"{tmp_path}/photos/new.png")
