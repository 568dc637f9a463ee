"""The command line and the server are two doors to one answer: the same hits, and the same refusals."""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from imgsearch.cli.spelling import spelled
from imgsearch.errors import ImgsearchError
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.search import listing
from imgsearch.search.examples import read_image
from imgsearch.search.hits import CUTS, IMAGE_TEXT, SearchOptions
from imgsearch.search.language.filtering import NAMES
from imgsearch.search.ranking import order
from imgsearch.tools.server import api, resources, shapes
from imgsearch.tools.server.handlers import Handlers
from imgsearch.tools.server.resources import Resources
from imgsearch.tools.server.saved import SavedQueries
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run
from support.text_reader import write_texts

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
        ("query", {"text": "red", "rerank": 21}, "from 1 to 20 images"),
        ("query", {"text": "red + blue", "rerank": 2}, "a reranker reads a description"),
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


# The whole language of the command.


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["red + blue"], {"text": "red + blue"}),
        (["2:red", "-", "blue"], {"text": "2:red - blue"}),
        (["--literal", "red + blue"], {"text": "red + blue", "literal": True}),
        (["{}/pictures/red.png", "+", "blue"], {"text": "{}/pictures/red.png + blue"}),
        (
            ["{}/pictures/red.png", "+", "blue", "--include-examples"],
            {"text": "{}/pictures/red.png + blue", "include_examples": True},
        ),
        (["{}/new.png", "-", "white"], {"text": "{}/new.png - white"}),
        (["{}/pictures/red.png"], {"text": "{}/pictures/red.png"}),
        (["red", "July 2023"], {"text": "red July 2023"}),
        (["--literal", "red", "July 2023"], {"text": "red July 2023", "literal": True}),
        (["red", "July 2023", "--after", "2000"], {"text": "red July 2023", "after": "2000"}),
    ],
    ids=str,
)
def test_the_words_mean_the_same_by_both_doors(
    server: Handlers, tmp_path: Path, words: list[str], asked: dict[str, Any]
) -> None:
    """Signs, weights, images by absolute paths and dates among the words are read as by the command."""
    asked = {**asked, "text": asked["text"].format(tmp_path)}
    found = by_command_line_words([word.format(tmp_path) for word in words])
    read = [read_image(*file) for file in server.images_to_read("query", asked)]
    answered = server.query(asked, *read)
    assert answered["hits"] == [{name: hit[name] for name in hit if name != "read"} for hit in found]


def by_command_line_words(words: list[str]) -> Any:
    """Return the hits that `query` prints for words."""
    return imgsearch("query", "--json", *words).objects


def test_what_was_read_out_of_the_words_is_told(server: Handlers, tmp_path: Path) -> None:
    """The answer says which date was read, which parts there are, and which words are searched for."""
    assert server.query({"text": "red July 2023"})["read"] == {
        "text": "red",
        "after": "2023-07-01",
        "before": "2023-08-01",
    }
    image = str(tmp_path / "pictures" / "red.png")
    assert server.query({"text": f"2:blue - {image}"})["read"] == {
        "text": f'2 × "blue", without {image}',
        "parts": [{"text": "blue", "weight": 2.0}, {"image": image, "weight": -1.0}],
    }
    assert "read" not in server.query({"text": "red July 2023", "literal": True})
    assert "read" not in server.query({"text": "red"})


def test_a_saved_query_brings_its_words_and_options(
    server: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`@name` in a request is what the command line has saved; a field of the request wins."""
    saved = SavedQueries(
        lambda words: (["blue"], {"n": 1, "json": True, "type": "jpg"}), lambda: {"b": "blue"}
    )
    monkeypatch.setattr(server, "saved", saved)
    answered = server.query({"text": "@b"})
    assert [os.path.basename(hit["path"]) for hit in answered["hits"]] == ["blue.jpg"]
    assert answered["read"] == {"text": "blue", "saved": ["@b"]}
    assert os.path.basename(server.query({"text": "@b", "type": "png"})["hits"][0]["path"]) != "blue.jpg"


def test_more_and_less_move_the_answer(server: Handlers, tmp_path: Path) -> None:
    """An image in ``more`` draws the answer to it, and one in ``less`` is none of its results."""
    places = {name: {"path": str(tmp_path / "pictures" / name)} for name in ("blue.jpg", "red.png")}
    plain = [os.path.basename(hit["path"]) for hit in server.query({"text": "white"})["hits"]]
    asked = {"text": "white", "more": [places["blue.jpg"]], "less": [places["red.png"]]}
    moved = [os.path.basename(hit["path"]) for hit in server.query(asked)["hits"]]
    assert moved.index("blue.jpg") < plain.index("blue.jpg") or plain.index("blue.jpg") == 1
    assert "red.png" not in moved
    assert "red.png" in plain


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"text": "red + -"}, "-: the server reads no image from stdin"),
        ({"text": "red + https://example.org/a.jpg"}, "addresses are not fetched here"),
        ({"text": "red + /nowhere/a.jpg"}, "/nowhere/a.jpg: no such file"),
        ({"text": "- red"}, "there is nothing before it"),
        ({"text": "red", "more": [{"path": "a.jpg"}]}, "more: path: give an absolute path"),
        ({"text": "red", "more": [{"page": 1}]}, "more: path: is missing"),
        ({"text": "red", "more": ["/a.jpg"]}, "more: a request is a JSON object"),
        ({"text": "red", "literal": "yes"}, "literal: 'yes' is not true or false"),
    ],
    ids=str,
)
def test_words_that_cannot_be_answered_are_refused(
    server: Handlers, asked: dict[str, Any], message: str
) -> None:
    """A part that leads nowhere, to the server's own stdin or to the network is refused by name."""
    with pytest.raises(ImgsearchError, match=re.escape(message)):
        server.query(asked)


def test_a_file_beside_the_server_is_no_image_of_the_words(
    server: Handlers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path among the words is words: the server's folder is nobody's business."""
    monkeypatch.chdir(tmp_path)
    assert server.query({"text": "new.png + red"})["read"]["parts"] == [
        {"text": "new.png", "weight": 1.0},
        {"text": "red", "weight": 1.0},
    ]


# Lists, counts and single images.


def test_a_list_is_as_by_the_command(server: Handlers, tmp_path: Path) -> None:
    """The files come in the order and with the fields of `list --json`, and with their number."""
    printed = imgsearch("list", "--json", "--sort", "path", "--type", "png").objects
    asked = {"sort": "path", "type": "png"}
    assert server.listed(asked) == {"images": printed, "total": len(printed)}
    assert server.listed({**asked, "n": 1, "offset": 1}) == {"images": printed[1:2], "total": len(printed)}
    below = server.listed({"in": [str(tmp_path / "pictures" / "sub")]})
    assert {os.path.basename(file["path"]) for file in below["images"]} == {"yellow.png", "white.png"}


def test_counts_are_as_by_the_command(server: Handlers) -> None:
    """Years, cameras, folders and types are counted as by `facets --json`."""
    (printed,) = imgsearch("facets", "--json", "--type", "png").objects
    assert server.counted({"type": "png"}) == printed


def test_an_image_is_shown_as_by_the_command(server: Handlers, tmp_path: Path) -> None:
    """What is known of an image has the fields of `show --json`."""
    path = str(tmp_path / "pictures" / "red.png")
    (printed,) = imgsearch("show", "--json", path).objects
    assert server.shown({"image": path}) == printed


@pytest.mark.parametrize(
    ("address", "asked", "message"),
    [
        ("listed", {"n": 0}, "ask for at least one image"),
        ("listed", {"sort": "score"}, "choose one of newest, oldest, path"),
        ("listed", {"in": ["/nowhere"]}, "is not in an indexed folder"),
        ("counted", {"rating": "many"}, "rating: 'many' is not a number"),
        ("counted", {"n": 3}, "unknown fields: n"),
        ("shown", {}, "image: is missing"),
        ("shown", {"image": "/nowhere/a.jpg"}, "is not in the index"),
        ("shown", [], "a request is a JSON object"),
    ],
    ids=str,
)
def test_what_is_no_list_or_image_is_refused(
    server: Handlers, address: str, asked: Any, message: str
) -> None:
    """A request that can't be answered is refused with the reason."""
    with pytest.raises(ImgsearchError, match=message):
        getattr(server, address)(asked)


@pytest.mark.parametrize(
    ("address", "asked", "shape"),
    [
        ("query", {"text": "red - blue", "stacks": True, "explain": True, "cut": "auto"}, api.FoundByWords),
        ("similar", {"image": "{}/pictures/red.png"}, api.Found),
        ("listed", {}, api.Listed),
        ("counted", {}, api.Counted),
        ("shown", {"image": "{}/pictures/red.png"}, api.Shown),
        ("status", None, api.State),
    ],
)
def test_an_answer_is_of_its_type(
    server: Handlers, tmp_path: Path, address: str, asked: dict[str, Any] | None, shape: type[Any]
) -> None:
    """What an address gives has the fields that its type names, no others, and of these kinds."""
    if asked and "image" in asked:
        asked = {**asked, "image": asked["image"].format(tmp_path)}
    answered = api.versioned(getattr(server, address)(*([] if asked is None else [asked])))
    jsonschema.validate(json.loads(json.dumps(answered)), closed(shapes.schema(shape)))


def closed(schema: Any) -> Any:
    """Return a schema that lets no other fields pass."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    return {"additionalProperties": False, **inner} if schema.get("type") == "object" else inner


def test_words_in_images_are_found_without_a_model(
    server: Handlers, fake_model: FakeModel, tmp_path: Path
) -> None:
    """A request for the text in images alone is answered with quotes and boxes, as by the command."""
    write_texts(str(tmp_path / "index"), {"red": "SHOP\nTOTAL 23.20"})
    loads = fake_model.loads
    asked = {"text": "total 23.20", "image_text": "only"}
    (hit,) = server.query(asked)["hits"]
    assert (hit["quote"], len(hit["boxes"])) == ("… TOTAL 23.20", 2)
    assert imgsearch("query", "--json", "--text", "total", "23.20").objects == [hit]
    assert fake_model.loads == loads


def test_a_request_has_the_options_of_the_search() -> None:
    """What the library can be told of a search has the same name in a request, and the filters have all of theirs."""
    known = {field.attribute for field in shapes.fields(api.Query)}
    assert {field.name for field in fields(SearchOptions)} - known == {"below", "filters"}
    kinds = {
        shape: {field.name: get_args(field.kind) for field in shapes.fields(shape)}
        for shape in (api.Search, api.List)
    }
    assert kinds[api.Search]["cut"] == CUTS
    assert kinds[api.Search]["image_text"] == IMAGE_TEXT
    assert kinds[api.Search]["sort"] == order.SORTS
    assert kinds[api.List]["sort"] == listing.SORTS
    assert set(NAMES) <= {field.attribute for field in shapes.fields(api.Filters)}


def test_the_server_keeps_a_reranker(
    server: Handlers, tiny_reranker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rerank` has the best results judged by a reranker that stays in memory until it is idle."""
    found = Checkpoint(tiny_reranker, "Qwen/Qwen3-VL-Reranker-2B")
    monkeypatch.setattr(resources, "fetch_reranker", lambda name, reporter, download: found)
    asked = {"text": "red", "rerank": 2, "device": "cpu", "dtype": "float32"}
    hits = server.query(asked)["hits"]
    assert [("rerank" in hit) for hit in hits] == [True, True, False, False, False]
    assert hits[0]["rerank"] >= hits[1]["rerank"]
    assert all("rerank" not in hit for hit in server.query({"text": "red"})["hits"])
    kept = server.resources.rerankers
    assert not kept.unload_idle(60)
    assert kept.unload_idle(0)
    assert server.query(asked)["hits"] == hits
