"""`imgsearch web`: the link that it prints, the server that it starts or asks, and what it says without either."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from imgsearch.client import protocol
from imgsearch.tools.server import app
from support import fakes
from support.cli import imgsearch
from support.fakes import paint
from support.page_server import PageServer, indexed_gallery, page_server
from support.serving import running

LINK = re.compile(r"http://127\.0\.0\.1:\d+/open/[\w-]{43}")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageServer]:
    """Give a server that runs where this user's commands look for it."""
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    with pytest.MonkeyPatch.context() as patch:
        model = fakes.install(patch)
        with page_server(indexed_gallery(tmp_path), model) as found:
            monkeypatch.setenv("IMGSEARCH_RUNTIME_DIR", found.address.folder)
            yield found


def test_a_running_server_is_asked_for_a_link(server: PageServer) -> None:
    """With a server running, the command prints a new link to its page and ends."""
    done = imgsearch("web", "--no-browser", "--index", server.index)
    assert done.code == 0, done.err
    link = done.out.decode().strip()
    assert LINK.fullmatch(link)
    assert link != server.link
    assert server.opened(link).get("api/status").json["index"] == server.index


def test_a_server_without_a_port_opens_one_for_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that serves no HTTP listens on loopback as soon as the page is asked for, and on one port only."""
    with pytest.MonkeyPatch.context() as patch:
        model = fakes.install(patch)
        index = indexed_gallery(tmp_path)
        with page_server(index, model, page=None) as found:
            monkeypatch.setenv("IMGSEARCH_RUNTIME_DIR", found.address.folder)
            first = imgsearch("web", "--no-browser", "--index", index, "--port", 0).out.decode().strip()
            second = imgsearch("web", "--no-browser", "--index", index).out.decode().strip()
            assert first.rpartition("/")[0] == second.rpartition("/")[0]
            found.link = first
            assert found.opened(second).get().status == 200
            other = imgsearch("web", "--no-browser", "--index", index, "--port", 1)
            assert (other.code, other.out) == (2, b"")
            assert "--port" in other.err


def test_another_index_is_shown_by_the_same_server(server: PageServer, tmp_path: Path) -> None:
    """The page shows the index of whoever asked for it, whichever is the server's own."""
    paint(tmp_path / "others" / "orange.png", "orange")
    index = str(tmp_path / "another")
    fakes.run(index, tmp_path / "others")
    link = imgsearch("web", "--no-browser", "--index", index).out.decode().strip()
    assert server.opened(link).get("api/status").json["images"] == 1


def test_over_ssh_the_way_to_the_page_is_told(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is logged in from elsewhere gets the line for a tunnel, and no browser is opened here."""
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 51000 192.0.2.1 2222")
    done = imgsearch("web", "--index", server.index)
    assert LINK.fullmatch(done.out.decode().strip())
    assert f"-p 2222 -L {server.port}:127.0.0.1:{server.port}" in done.err
    assert "@192.0.2.1" in done.err


def test_a_server_of_another_version_is_told(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that another version has started is not asked; the line tells how to stop it."""
    answered, version = app.json_response, protocol.version().encode()

    def by_another(data: Any, status: int = 200) -> Response:
        answer = answered(data, status)
        answer.body = bytes(answer.body).replace(version, b"9" * len(version))
        return answer

    monkeypatch.setattr(app, "json_response", by_another)
    done = imgsearch("web", "--no-browser", "--index", server.index)
    assert (done.code, done.out) == (2, b"")
    assert "is imgsearch 9" in done.err
    assert "kill" in done.err


def test_without_an_index_there_is_no_page(tmp_path: Path) -> None:
    """Nothing is started where there is nothing to show."""
    done = imgsearch("web", "--no-browser", "--index", tmp_path / "none")
    assert (done.code, done.out) == (2, b"")
    assert "make one with: imgsearch index" in done.err


@pytest.mark.slow("starts a server in a process of its own")
def test_it_serves_until_ctrl_c(tmp_path: Path) -> None:
    """Without a server the command is one itself: it prints the link, answers other commands, and ends at Ctrl-C."""
    with pytest.MonkeyPatch.context() as patch:
        fakes.install(patch)
        index = indexed_gallery(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    program = ("-m", "imgsearch", "web", "--no-browser", "--port", "0", "--index", index)
    with running(folder, program=program, ready="/open/") as found:
        assert LINK.fullmatch(found.wait_for("/open/").strip())
        assert found.ask("/status")[0] == 200
        assert found.end(signal.SIGINT) == 0
