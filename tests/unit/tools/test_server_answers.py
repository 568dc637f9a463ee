"""The command line and the server are two doors to one answer: the same hits, and the same refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from imgsearch.cli.spelling import spelled
from imgsearch.errors import ImgsearchError
from imgsearch.tools.server import resources
from imgsearch.tools.server.handlers import Handlers
from imgsearch.tools.server.resources import Resources
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run

fake_model, gallery = fakes.fake_model, fakes.gallery


@pytest.fixture
def server(fake_model: FakeModel, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Handlers:
    """Give the handlers of a server of an indexed gallery, and let the command line find that index too."""

    class Loaded:
        def __init__(self, spec: Any, notify: object) -> None:
            fake_model.loads += 1

        def encoder(self, spec: Any) -> fakes.FakeEncoder:
            return fake_model.encoder(spec.dim)

    folder = str(tmp_path / "index")
    run(folder, gallery)
    (gallery / "note.jpg").write_text("no picture")
    paint(tmp_path / "new.png", "orange")
    monkeypatch.setattr(resources, "LoadedModel", Loaded)
    monkeypatch.setenv("IMGSEARCH_INDEX", folder)
    monkeypatch.chdir(tmp_path)
    return Handlers(Resources(folder, 60, print))


def by_command_line(kind: str, asked: dict[str, Any]) -> Any:
    """Return the hits that the command line prints for a request, or its error."""
    words: list[object] = [asked.get("text", "") if kind == "query" else asked.get("image", "")]
    for name, value in asked.items():
        if isinstance(value, bool):
            words += [f"--{name}" if value else f"--no-{name}"]
        elif name == "in":
            words += [word for path in value for word in ("--in", path)]
        elif name != "text" and not (name == "image" and kind == "similar"):
            words += ["-n" if name == "n" else "--" + name.replace("_", "-"), value]
    done = imgsearch(kind, "--json", *words)
    return done.err.splitlines()[-1].removeprefix("imgsearch: ") if done.code == 2 else done.objects


def by_server(server: Handlers, kind: str, asked: dict[str, Any]) -> Any:
    """Return the hits that the server gives for a request, or its error as the command line spells it."""
    try:
        return json.loads(json.dumps(getattr(server, kind)(asked)))["hits"]
    except ImgsearchError as error:
        return spelled(error.as_message)


def placed(asked: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Return a request with the test's folder before its paths, which the server wants absolute."""
    asked = dict(asked)
    if asked.get("image"):
        asked["image"] = os.path.join(tmp_path, asked["image"])
    if "in" in asked:
        asked["in"] = [os.path.join(tmp_path, path) for path in asked["in"]]
    return asked


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("query", {"text": "red"}),
        ("query", {"text": "  red ", "n": 2}),
        ("query", {"text": "red", "min_score": 0.9}),
        ("query", {"text": "red", "min_score": 2.0}),
        ("query", {"text": "red", "within": 20, "exact": True}),
        ("query", {"text": "red", "dim": 3}),
        ("query", {"text": "red", "stacks": True}),
        ("query", {"text": "red", "cut": "auto"}),
        ("query", {"text": "red", "explain": True, "n": 3}),
        ("query", {"text": "red sub", "names": 3}),
        ("query", {"text": "red", "in": ["pictures/sub"]}),
        ("query", {"text": "red", "in": ["pictures/../pictures/sub", "pictures/red.png"]}),
        ("query", {"text": "red", "n": 3, "sort": "path", "offset": 1}),
        ("query", {"text": "red", "type": "png,jpg", "name": "*R*", "screenshots": False, "landscape": True}),
        (
            "similar",
            {"image": "pictures/red.png", "sort": "oldest", "min_size": "10x8", "screenshots": False},
        ),
        ("query", {"text": "red", "image": "new.png"}),
        ("query", {"image": "new.png"}),
        ("query", {"text": " ", "image": "new.png"}),
        ("similar", {"image": "new.png"}),
        ("similar", {"image": "pictures/red.png", "n": 1}),
        ("similar", {"image": "pictures/red.png", "stacks": True}),
        ("similar", {"image": "pictures/red.png", "within": 5, "in": ["pictures/sub"]}),
    ],
    ids=str,
)
def test_both_doors_give_the_same_hits(
    server: Handlers, tmp_path: Path, kind: str, asked: dict[str, Any]
) -> None:
    """A request gets the same hits by the command line and by the server."""
    asked = placed(asked, tmp_path)
    hits = by_server(server, kind, asked)
    assert isinstance(hits, list)
    assert hits == by_command_line(kind, asked)
    assert bool(hits) == (asked.get("min_score") != 2.0)


@pytest.mark.parametrize(
    ("kind", "asked", "message"),
    [
        ("query", {"text": ""}, "the query is empty"),
        ("query", {"text": " \n"}, "the query is empty"),
        ("query", {"text": "red", "n": 0}, "ask for at least one image"),
        ("query", {"text": "", "n": 0}, "ask for at least one image"),
        ("query", {"text": "red", "within": 101}, "from 0 to 100"),
        ("query", {"text": "red", "within": -1, "dim": 0}, "from 0 to 100"),
        ("query", {"text": "red", "min_score": float("nan")}, "must be a number"),
        ("query", {"text": "red", "dim": 0}, "dimensions"),
        ("query", {"text": "red", "dim": 9999, "in": ["elsewhere"]}, "dimensions"),
        (
            "query",
            {"text": "red", "in": ["elsewhere"], "image": "gone.png"},
            "is not in an indexed folder",
        ),
        ("query", {"text": "red", "sort": "best"}, "--sort best: choose one of score, newest, oldest, path"),
        ("query", {"text": "red", "cut": "0.4"}, "--cut 0.4: choose one of auto, mark, off"),
        ("query", {"text": "red", "offset": -1}, "--offset -1: must be 0 or more"),
        ("query", {"text": "red", "type": "xyz"}, "--type: xyz: there is no such type"),
        ("query", {"text": "red", "min_size": "big"}, "--min-size big: not a size"),
        ("query", {"text": "red", "name": "a/b"}, "--name: a/b: a file name has no slash"),
        ("query", {"text": "red", "landscape": True, "portrait": True}, "exclude each other"),
        ("query", {"text": "red", "near": ","}, "not a place"),
        ("query", {"text": "red", "near": "91,0"}, "a latitude is from -90 to 90"),
        ("query", {"text": "red", "near": "0,0", "within_km": -1}, "kilometres above 0"),
        ("query", {"text": "red", "within_km": 5}, "around which place"),
        ("query", {"text": "red", "names": -1}, "0 leaves names out"),
        ("query", {"text": "red", "image": "gone.png"}, "no such file"),
        ("query", {"text": "red", "image": "pictures/note.jpg"}, "note.jpg"),
        ("query", {"text": "red", "image": "pictures"}, "pictures"),
        ("similar", {"image": "gone.png"}, "No such file"),
        ("similar", {"image": "pictures/note.jpg"}, "note.jpg"),
        ("similar", {"image": "gone.png", "dim": 0}, "dimensions"),
        ("similar", {"image": "gone.png", "in": ["elsewhere"]}, "is not in an indexed folder"),
        ("similar", {"image": "gone.png", "n": -1}, "ask for at least one image"),
    ],
    ids=str,
)
def test_both_doors_refuse_with_the_same_words(
    server: Handlers,
    fake_model: FakeModel,
    tmp_path: Path,
    kind: str,
    asked: dict[str, Any],
    message: str,
) -> None:
    """What can't be answered is refused by both doors for the same reason, before a model is loaded."""
    fake_model.loads = 0
    asked = placed(asked, tmp_path)
    refusal = by_server(server, kind, asked)
    assert message in refusal
    assert refusal == by_command_line(kind, asked)
    assert fake_model.loads == 0


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"landscape": "yes"}, "landscape: 'yes' is not true or false"),
        ({"screenshots": 1}, "screenshots: 1 is not true or false"),
        ({"sort": 3}, "sort: 3 is not text"),
        ({"type": ["jpg"]}, r"type: \['jpg'\] is not text"),
        ({"offset": 1.5}, "offset: 1.5 is not a number"),
    ],
)
def test_a_field_of_another_kind_is_refused(server: Handlers, asked: dict[str, Any], message: str) -> None:
    """What only a program can get wrong, as a text where there is to be true or false, is named."""
    with pytest.raises(ImgsearchError, match=message):
        server.query({"text": "red", **asked})


def test_an_empty_path_is_no_picture(server: Handlers) -> None:
    """An empty --image, as of a variable that is not set, is refused and not left out of the question."""
    for words in (("query", "red", "--image", ""), ("similar", "")):
        done = imgsearch(*words)
        assert (done.code, done.out) == (2, b"")
        assert "the path is empty" in done.err


def test_the_answer_tells_where_it_ends_only_if_that_is_asked(server: Handlers) -> None:
    """With "cut": "auto" it has the fields cut and nearest; of so small an index that nothing is judged."""
    answered = server.query({"text": "red", "cut": "auto"})
    assert answered["cut"] == {"count": 0, "score": None, "more": True, "expected": 0.0, "judged": False}
    assert answered["nearest"] == []
    assert set(server.query({"text": "red"})) == {"hits"}
