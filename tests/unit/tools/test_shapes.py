"""Types as the shape of JSON: what is read, what is refused, and the page that is made of them."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import UsageError
from imgsearch.tools.server import api, shapes
from imgsearch.tools.server.app import make_app
from imgsearch.tools.server.handlers import Handlers
from imgsearch.tools.server.resources import Resources
from imgsearch.tools.server.shapes import AbsolutePath, read, schema
from support import ROOT


@dataclass(frozen=True)
class Inner:
    """An object in a request."""

    weight: float = 1.0


@dataclass(frozen=True)
class Asked:
    """A request with a field of each kind."""

    text: Annotated[str, "Words"]
    in_: Annotated[list[AbsolutePath], "Folders"] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    n: int = 10
    score: float | None = None
    exact: bool = False
    sort: Literal["up", "down"] = "up"
    one: Inner | None = None
    more: list[Inner] = field(default_factory=list)


class Told(TypedDict):
    """An answer."""

    score: Annotated[float | None, "The score"]
    why: NotRequired[Annotated[list[str], "Reasons"]]


def test_json_becomes_a_dataclass() -> None:
    """Each kind is read, an underscore is for Python alone, null is not given, and ~ is the user's home."""
    found = read(
        Asked,
        {
            "text": "red",
            "in": ["/a", "~"],
            "n": None,
            "score": 1,
            "sort": "down",
            "one": {"weight": 2},
            "more": [{}],
        },
    )
    assert found.in_[0] == "/a"
    assert found.in_[1].startswith("/")
    assert (found.n, found.score, found.sort) == (10, 1, "down")
    assert (found.one, found.more) == (Inner(2), [Inner()])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "a request is a JSON object"),
        ({}, "text: is missing"),
        ({"text": "x", "colour": 1}, "unknown fields: colour; known: exact, in, more"),
        ({"text": 3}, "text: 3 is not text"),
        ({"text": "x", "n": 1.5}, "n: 1.5 is not a number"),
        ({"text": "x", "n": True}, "n: True is not a number"),
        ({"text": "x", "n": 10**30}, "n: the number is out of range"),
        ({"text": "x", "score": "1"}, "score: '1' is not a number"),
        ({"text": "x", "exact": 1}, "exact: 1 is not true or false"),
        ({"text": "x", "sort": "left"}, "sort='left': choose up or down"),
        ({"text": "x", "in": "/a"}, "in: give a list of paths"),
        ({"text": "x", "in": ["a"]}, "in: give an absolute path"),
        ({"text": "x", "in": ["/a\0"]}, "in: a path can't have such characters"),
        ({"text": "x", "in": ["/\ud800"]}, "in: a path can't have such characters"),
        ({"text": "x", "in": ["https://example.org"]}, "in: the server fetches no addresses"),
        ({"text": "x", "words": [1]}, "words: give a list of texts"),
        ({"text": "x", "one": {"weight": "1"}}, "one: weight: '1' is not a number"),
        ({"text": "x", "more": {}}, "more: give a list of objects"),
    ],
    ids=str,
)
def test_what_is_of_another_kind_is_refused_by_name(data: Any, message: str) -> None:
    """An error names the field and says what there should be."""
    with pytest.raises(UsageError) as refused:
        read(Asked, data)
    assert message in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.dictionaries(st.sampled_from([f.name for f in shapes.fields(api.Query)]), JSON, max_size=5))
def test_whatever_arrives_is_read_or_refused(data: dict[str, Any]) -> None:
    """No JSON makes anything but a request or a UsageError."""
    try:
        asked = read(api.Query, data)
    except UsageError:
        return
    assert set(asdict(asked)) == {f.attribute for f in shapes.fields(api.Query)}


def test_a_shape_is_a_schema() -> None:
    """A request lets no other fields pass; an answer lets new ones pass, and says what may be null or left out."""
    asked, told = schema(Asked), schema(Told)
    assert asked["required"] == ["text"]
    assert asked["additionalProperties"] is False
    assert asked["properties"]["in"] == {
        "type": "array",
        "items": {"type": "string"},
        "description": "Folders",
    }
    assert asked["properties"]["sort"] == {"type": "string", "enum": ["up", "down"], "default": "up"}
    assert asked["properties"]["one"]["properties"] == {"weight": {"type": "number", "default": 1.0}}
    assert told == {
        "type": "object",
        "properties": {
            "score": {"anyOf": [{"type": "number"}, {"type": "null"}], "description": "The score"},
            "why": {"type": "array", "items": {"type": "string"}, "description": "Reasons"},
        },
        "required": ["score"],
    }


def test_each_address_has_its_types(tmp_path: Any) -> None:
    """The server answers the addresses that are documented, and besides them those of imgsearch's own."""
    app = make_app(Handlers(Resources(str(tmp_path), 60, print)), "/socket", None)
    routes = {route.path for route in app.routes}  # type: ignore[attr-defined]
    assert routes - {"/web"} == {address.path for address in api.ADDRESSES} | set(api.OWN)


def test_the_page_is_what_the_types_say() -> None:
    """docs/http.md is as made by `python docs/http.py --write`."""
    found = importlib.util.spec_from_file_location("http_page", ROOT / "docs" / "http.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page()


@pytest.mark.parametrize("shape", [one for a in api.ADDRESSES for one in (a.request, a.answer) if one])
def test_every_field_is_explained(shape: type[Any]) -> None:
    """Each field of the interface has a meaning."""
    assert [f.name for f in shapes.fields(shape) if not f.meaning] == []


def test_an_address_is_a_folder_and_no_image() -> None:
    """A bucket's prefix confines a search, while an image in it would have to be fetched for a client."""
    assert read(Asked, {"text": "red", "in": ["s3://photos/trip", "/a"]}).in_ == ["s3://photos/trip", "/a"]
    with pytest.raises(UsageError, match="path: give an absolute path"):
        read(api.Example, {"path": "s3://photos/a.png"})
