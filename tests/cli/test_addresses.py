"""Example images by their address, as they are typed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import fakes
from support.cli import Done, imgsearch
from support.fakes import FakeModel, paint, run
from support.web_server import WebServer, ok

fake_model = fakes.fake_model


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> str:
    """Give an index of images in one colour, and of two colours."""
    for colour in ("red", "green", "blue"):
        paint(tmp_path / "photos" / f"{colour}.png", colour)
    paint(tmp_path / "photos" / "red-green.png", "red", "red", "green", "green")
    run(tmp_path / "ix", tmp_path / "photos")
    return str(tmp_path / "ix")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    """Give a server of an indexed image, of another one, and of a text."""
    paint(tmp_path / "web" / "red.png", "red")
    paint(tmp_path / "web" / "cyan.png", "cyan")
    answers = {f"/{path.name}": ok(path.read_bytes()) for path in (tmp_path / "web").iterdir()}
    with WebServer({**answers, "/text.png": ok(b"this is definitely text")}) as server:
        yield server


def ask(index: str, *argv: object) -> Done:
    """Run a search of this machine's addresses."""
    return imgsearch(*argv, "--index", index, "--json", "--allow-private")


def names(done: Done) -> list[str]:
    """Return the names of the images that were found, best first."""
    assert done.code == 0, done.err
    return [Path(json.loads(line)["path"]).stem for line in done.lines]


def test_an_address_is_an_example(index: str, web: WebServer) -> None:
    """`similar`, `query` alone, `--image` and a part of a query take an address where they take a file."""
    red = f"{web.url}/red.png"
    assert names(ask(index, "similar", red))[0] == "red"
    assert names(ask(index, "query", red))[0] == "red"
    assert names(ask(index, "query", "--image", red))[0] == "red"
    assert set(names(ask(index, "query", "green", "+", red))[:2]) == {"green", "red-green"}
    assert names(ask(index, "similar", red, f"{web.url}/cyan.png", "--include-examples"))
    assert len(web.requests) == 6


def test_an_example_that_was_fetched_is_left_out_as_a_file_is(index: str, web: WebServer) -> None:
    """An address of an indexed image is known by its bytes."""
    assert "red" not in names(ask(index, "query", "green", "+", f"{web.url}/red.png"))


def test_no_file_of_a_fetch_is_left(index: str, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched is deleted after the search, also after one that failed."""
    folder = tempfile.mkdtemp()
    monkeypatch.setattr(tempfile, "tempdir", folder)
    for name in ("red.png", "text.png", "missing.png"):
        ask(index, "similar", f"{web.url}/{name}")
    assert list(Path(folder).iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.png", "not an image"),
        ("missing.png", "the server answers 404 (Not Found); download the image and give the file"),
    ],
)
def test_an_address_that_gives_no_image_is_one_line(
    index: str, web: WebServer, name: str, message: str
) -> None:
    """The message names the address, never the temporary file."""
    for argv in (["similar"], ["query"], ["query", "red", "+"], ["query", "red", "--image"]):
        done = ask(index, *argv, f"{web.url}/{name}")
        assert done.code == 2
        last = done.err.splitlines()[-1]
        assert last.startswith(f"imgsearch: {web.url}/{name}: ")
        assert message in last
        assert "/imgsearch-" not in last


def test_this_machine_is_asked_only_if_that_was_said(index: str, web: WebServer) -> None:
    """Without the option a local address is an error that names it, and nothing is sent."""
    done = imgsearch("similar", f"{web.url}/red.png", "--index", index)
    assert done.code == 2
    assert done.err == (
        f"imgsearch: {web.url}/red.png: 127.0.0.1 is on this machine or its local network; "
        "to fetch it anyway: --allow-private\n"
    )
    assert web.requests == []


def test_an_address_is_fetched_only_where_it_was_typed_as_an_image(index: str, web: WebServer) -> None:
    """An address among words shows how to combine them; with --literal, and in lines on stdin, it is text."""
    red = f"{web.url}/red.png"
    done = ask(index, "query", "green", red)
    assert done.code == 2
    assert f"{red} is an address; to search by words and image: imgsearch query green + {red}" in done.err
    imgsearch("query", red, "--literal", "--index", index)
    imgsearch("query", "-", "--index", index, stdin=f"{red}\ngreen + {red}\n")
    assert web.requests == []


def test_without_an_index_nothing_is_fetched(web: WebServer, tmp_path: Path) -> None:
    """A search that can't be answered sends no request."""
    done = ask(str(tmp_path / "none"), "similar", f"{web.url}/red.png")
    assert done.code == 2
    assert web.requests == []


def test_stdin_gives_one_thing(index: str) -> None:
    """Queries and an example image can't both come from stdin."""
    done = imgsearch("query", "-", "--image", "-", "--index", index, stdin=b"")
    assert done.code == 2
    assert "stdin gives either the queries or the image" in done.err
