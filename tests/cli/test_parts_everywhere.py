"""Commands see the part for documents of an index, too, unless that is named; what show and facets tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.index.parts import part_of
from imgsearch.types import ModelOptions
from support import drawn_documents, fakes
from support.cli import Done, imgsearch
from support.drawn_documents import Drawn, draw
from support.fakes import FakeModel, paint, run
from support.text_reader import write_texts

fake_model, drawn = fakes.fake_model, drawn_documents.drawn


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_model: FakeModel, drawn: Drawn) -> Path:
    """Give an index of photos with a part of documents."""
    for name in ("red", "blue"):
        paint(tmp_path / "photos" / f"{name}.png", name)
    draw(tmp_path / "papers" / "report.pdf", "pink", "! corrupt", "cyan", "green")
    draw(tmp_path / "papers" / "clip.mov", "0 white", "83.2 yellow", kind="frame")
    run(tmp_path / "ix", tmp_path / "photos")
    run(part_of(str(tmp_path / "ix")), tmp_path / "papers", model=ModelOptions("fake/pages"))
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "ix"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ix"


def told_by(done: Done) -> str:
    """Return what a command has printed."""
    return "\n".join(done.lines)


def test_list_and_facets_are_of_both(index: Path) -> None:
    """Files of both are listed in any order, and counted together; a named part is itself."""
    names = {"red.png", "blue.png", "report.pdf", "clip.mov"}
    for argv in ([], ["--sort", "path"], ["--sort", "newest"], ["-n", "all"]):
        assert {Path(line).name for line in imgsearch("list", *argv, "--paths").lines} == names
    (found,) = imgsearch("facets", "--json").objects
    assert found["images"] == 4
    assert found["kind"] == [{"kind": "frame", "images": 1}, {"kind": "page", "images": 1}]
    (found,) = imgsearch("facets", "--json", "--index", part_of(str(index))).objects
    assert found["images"] == 2
    assert imgsearch("facets", "papers", "--json").objects[0]["images"] == 2
    assert "videos" in told_by(imgsearch("facets"))


def test_status_tells_of_the_part(index: Path) -> None:
    """It says how many documents there are and by which model; --errors lists those of both."""
    done = imgsearch("status")
    assert "part       documents: 5 distinct, in 2 files; fake/pages" in told_by(done)
    (told,) = imgsearch("status", "--json").objects
    assert told["parts"][0]["files"] == 2
    assert told["files"] == 2
    assert "corrupt: page 2" in told_by(imgsearch("status", "--errors"))


def test_verify_checks_both(index: Path, tmp_path: Path) -> None:
    """Damage in the part is damage, and files of a path are compared where they are indexed."""
    done = imgsearch("verify")
    assert (done.code, done.err.count("OK: ")) == (0, 2)
    done = imgsearch("verify", "--files", "papers")
    assert (done.code, done.err.count("all as they were indexed")) == (0, 1)
    (segment,) = Path(part_of(str(index))).rglob("*.f16")
    with segment.open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"\xff" * 8)
    assert imgsearch("verify").code == 2


def test_remove_takes_from_both(index: Path, tmp_path: Path) -> None:
    """What either has is removed; what neither has is said once."""
    done = imgsearch("remove", "papers/report.pdf", "photos/red.png", "other.png")
    assert done.code == 0, done.err
    assert "2 images removed" in done.err
    assert done.err.count("not in the index") == 1
    assert {Path(line).name for line in imgsearch("list", "--paths").lines} == {"blue.png", "clip.mov"}


def test_show_lists_the_pages_of_a_document(index: Path) -> None:
    """Which pages there are, which have text and which could not be read; of a film its moments."""
    done = imgsearch("show", "papers/report.pdf#page=3")
    assert done.code == 0, done.err
    assert "pages        1, 3-4" in told_by(done)
    assert "corrupt: page 2" in told_by(done)
    (told,) = imgsearch("show", "papers/report.pdf", "--json").objects
    assert [image["page"] for image in told["images"]] == [0, 2, 3]
    assert told["images"][0] == {"page": 0, "kind": "page", "width": 640, "height": 480, "text": False}
    assert "frames       0:00, 1:23" in told_by(imgsearch("show", "papers/clip.mov"))
    (told,) = imgsearch("show", "photos/red.png", "--json").objects
    assert "images" not in told


def test_text_is_counted_and_shown(index: Path) -> None:
    """Files with text are counted once, and the pages with text are told."""
    write_texts(part_of(str(index)), {"report": "TOTAL 23.20"})
    (found,) = imgsearch("facets", "--json").objects
    assert found["text"] == 1
    assert "with text in them" in told_by(imgsearch("facets"))
    assert "with text" in told_by(imgsearch("show", "papers/report.pdf"))
