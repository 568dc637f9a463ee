"""Pages of documents and moments of films by the server and the protocol: what they are called, and as examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imgsearch.client import KeptModel
from imgsearch.errors import InputError
from imgsearch.model import runtime
from imgsearch.search.examples import read_image
from imgsearch.tools.mcp.tools import TOOLS, Tools
from imgsearch.tools.server import resources
from imgsearch.tools.server.handlers import Handlers
from imgsearch.tools.server.resources import Resources
from imgsearch.types import Runtime, Silent
from support import drawn_documents, fakes
from support.cli import imgsearch
from support.drawn_documents import Drawn, draw
from support.fakes import FakeModel, paint, run

fake_model, drawn = fakes.fake_model, drawn_documents.drawn


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_model: FakeModel, drawn: Drawn) -> str:
    """Give an index of a PDF, a film, an archive and an image, and models that are fakes."""

    class Loaded:
        def __init__(self, spec: Any, notify: object) -> None:
            fake_model.loads += 1

        def encoder(self, spec: Any) -> fakes.FakeEncoder:
            return fake_model.encoder(spec.dim)

    files = tmp_path / "files"
    draw(files / "report.pdf", "red", "green", "blue")
    draw(files / "clip.mov", "0 white", "83.2 yellow", "90 yellow", "95.25 orange", kind="frame")
    draw(files / "comic.cbz", "pink", "cyan", kind="member")
    paint(files / "brown.png", "brown")
    draw(tmp_path / "other.pdf", "white", "blue")
    run(tmp_path / "index", files)
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "index"))
    monkeypatch.setattr(resources, "LoadedModel", Loaded)
    # Where a fake computes, torch need not say.
    monkeypatch.setattr(runtime, "choose", lambda *_: Runtime("cpu", "float32", ""))
    return str(tmp_path / "index")


@pytest.fixture
def server(folder: str) -> Handlers:
    """Give a server of that index."""
    return Handlers(Resources(folder, 60, print))


def asked(server: Handlers, kind: Any, **fields: Any) -> list[Any]:
    """Return the hits for a request, whose images are read first as the server does it."""
    read = [read_image(*file) for file in server.images_to_read(kind, fields)]
    return json.loads(json.dumps(getattr(server, kind)(fields, *read)))["hits"]  # type: ignore[no-any-return]


def called(mcp: Tools, name: str, **arguments: Any) -> Any:
    """Return what a tool of the protocol answers."""
    return mcp.call(next(tool for tool in TOOLS if tool.name == name), arguments)[0]


@pytest.mark.parametrize("words", ["orange", "cyan", "green", "brown"])
def test_hits_say_where_they_are_as_the_command_does(server: Handlers, words: str) -> None:
    """Page, time, member and kind are those that the command's JSON has."""
    (hit,) = asked(server, "query", text=words, n=1)
    assert [hit] == imgsearch("query", words, "-n", 1, "--json").objects
    expected = {
        "orange": {"kind": "frame", "page": 95250, "time": 95.25},
        "cyan": {"kind": "member", "page": 1, "member": "1.jpg"},
        "green": {"kind": "page", "page": 1},
        "brown": {"page": 0},
    }[words]
    assert {name: hit.get(name) for name in expected} == expected
    assert set(hit) & {"kind", "time", "member"} <= set(expected)


def test_a_page_or_moment_is_an_example(server: Handlers, tmp_path: Path, fake_model: FakeModel) -> None:
    """What is indexed answers from its vector, by /similar and as the words of a query; another page is embedded."""
    report, clip = f"{tmp_path}/files/report.pdf#page=3", f"{tmp_path}/files/clip.mov#t=95.25"
    before = fake_model.embedded
    (hit,) = asked(server, "similar", image=report, n=1)
    assert (hit["page"], round(hit["score"], 3)) == (2, 1.0)
    (hit,) = asked(server, "query", text=clip, n=1)
    assert (hit["time"], round(hit["score"], 3)) == (95.25, 1.0)
    assert fake_model.embedded == before
    (hit,) = asked(server, "similar", image=f"{tmp_path}/other.pdf#page=2", n=1)
    assert (hit["path"].endswith("report.pdf"), hit["page"]) == (True, 2)
    with pytest.raises(InputError, match="no such page"):
        asked(server, "similar", image=f"{tmp_path}/other.pdf#page=9", n=1)


def test_a_page_is_a_part_of_a_query(server: Handlers, tmp_path: Path) -> None:
    """Words and a page are added up, and the answer tells which page was taken."""
    fields: dict[str, Any] = {"text": f"{tmp_path}/other.pdf#page=2 + 0.01:red", "n": 1}
    read = [read_image(*file) for file in server.images_to_read("query", fields)]
    answer = server.query(fields, *read)
    assert answer["hits"][0]["page"] == 2
    assert answer["read"]["parts"][0]["page"] == 1


def test_more_like_a_page(server: Handlers, tmp_path: Path) -> None:
    """An example is named by path and page, in one text or two, and a moment by the nearest frame."""
    path, clip = f"{tmp_path}/files/report.pdf", f"{tmp_path}/files/clip.mov"
    one = asked(server, "query", text="red", more=[{"path": path, "page": 2}])
    assert one == asked(server, "query", text="red", more=[{"path": f"{path}#page=3"}])
    one = asked(server, "query", text="red", less=[{"path": f"{clip}#t=95"}])
    assert one == asked(server, "query", text="red", less=[{"path": clip, "page": 95250}])
    with pytest.raises(InputError, match="not in the index"):
        asked(server, "query", text="red", more=[{"path": f"{path}#page=9"}])


def test_the_protocol_names_places(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results tell their place, and a tool takes a page or a moment by name; one that is not there is no image."""
    monkeypatch.setattr(KeptModel, "load", lambda *_: fakes.FakeModel().encoder())
    mcp = Tools(folder, Silent())
    report, clip = f"{tmp_path}/files/report.pdf", f"{tmp_path}/files/clip.mov"
    (found,) = called(mcp, "search", text="orange", n=1)["images"]
    assert (found["kind"], found["time"]) == ("frame", 95.25)
    (found,) = called(mcp, "search", text="cyan", n=1)["images"]
    assert (found["kind"], found["member"]) == ("member", "1.jpg")
    (found, *_) = called(mcp, "similar", images=[f"{clip}#t=94"])["images"]
    assert found["path"] != clip  # an example is not among its own results
    assert called(mcp, "show", image=f"{report}#page=2")["path"] == report
    assert called(mcp, "thumbnail", image=f"{report}#page=3")["bytes"] > 0
    for name in (f"{report}#page=9", f"{tmp_path}/other.pdf#page=1"):
        with pytest.raises(InputError, match="not in the index"):
            called(mcp, "show", image=name)
