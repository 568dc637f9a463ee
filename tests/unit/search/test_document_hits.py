"""Hits in documents: where in the file they are, one of each film, and pages as examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.media import thumbnail
from imgsearch.place import fragment, split
from imgsearch.search import thumbnails
from support import drawn_documents, fakes
from support.cli import imgsearch
from support.drawn_documents import Drawn, draw
from support.fakes import FakeModel, paint, run

fake_model, drawn = fakes.fake_model, drawn_documents.drawn


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_model: FakeModel, drawn: Drawn) -> str:
    """Give an index of a PDF, a film, an archive and an image."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "index"))
    files = tmp_path / "files"
    draw(files / "report.pdf", "red", "green", "blue")
    draw(files / "clip.mov", "0 white", "83.2 yellow", "90 yellow", "95.25 orange", kind="frame")
    draw(files / "comic.cbz", "pink", "cyan", kind="member")
    paint(files / "brown.png", "brown")
    run(tmp_path / "index", files)
    return str(tmp_path / "index")


def test_the_place_is_written_behind_the_path() -> None:
    """Pages count from 1 and times are in seconds, and what is written is understood."""
    assert fragment("page", 6) == fragment("member", 6) == fragment("", 6) == "#page=7"
    assert fragment("", 0) == ""
    assert (fragment("frame", 83200), fragment("frame", 0), fragment("frame", 5)) == (
        "#t=83.2",
        "#t=0",
        "#t=0.005",
    )
    assert fragment("raw", 0) == ""
    assert split("a/report.pdf#page=7") == ("a/report.pdf", 6)
    assert split("clip.mov#t=83.2") == ("clip.mov", 83200)
    for name in ("a.pdf#page=0", "a.pdf#page=x", "a.pdf", "#page=3", "a.mov#t=-1"):
        assert split(name) == (name, 0)


def test_a_file_of_such_a_name_is_itself(tmp_path: Path) -> None:
    """A name on the disk is never taken apart."""
    name = paint(tmp_path / "a#page=2.png", "red").rename(tmp_path / "a#page=2")
    assert split(str(name)) == (str(name), 0)


def test_hits_say_where_they_are(folder: str) -> None:
    """A page of a document has its number behind the path, a plain image has nothing there."""
    (line,) = imgsearch("query", "green", "-n", 1).lines
    assert line.endswith("/files/report.pdf#page=2")
    assert imgsearch("query", "brown", "-n", 1).lines[0].endswith("/files/brown.png")


def test_json_has_time_and_member_only_where_there_is_one(folder: str) -> None:
    """A frame has its time in seconds, an archive's image its name, and any other hit the fields it had before."""
    (frame,) = imgsearch("query", "orange", "-n", 1, "--json").objects
    assert (frame["page"], frame["time"]) == (95250, 95.25)
    (member,) = imgsearch("query", "cyan", "-n", 1, "--json").objects
    assert (member["page"], member["member"]) == (1, "1.jpg")
    (plain,) = imgsearch("query", "brown", "-n", 1, "--json").objects
    assert not {"time", "member", "kind", "name"} & set(plain)


def test_a_film_is_one_hit(folder: str) -> None:
    """Its best moment stands for it, and the other frames behind that."""
    found = imgsearch("query", "yellow", "-n", 8, "--json").objects
    films = [hit for hit in found if hit["path"].endswith("clip.mov")]
    assert len(films) == 1
    assert films[0]["time"] in (83.2, 90.0)
    assert {one["reason"] for one in films[0]["stack"]} == {"film"}
    assert len(films[0]["stack"]) == 3
    assert [hit["rank"] for hit in found] == list(range(1, len(found) + 1))
    assert sum(hit["path"].endswith("report.pdf") for hit in found) == 3
    stacked = imgsearch("query", "yellow", "-n", 8, "--stacks", "--json").objects
    assert sum(hit["path"].endswith("clip.mov") for hit in stacked) == 1


def test_paths_are_plain_paths(folder: str) -> None:
    """What other programs get is a file's name."""
    (path,) = imgsearch("query", "green", "-n", 1, "--paths").lines
    assert path.endswith("/files/report.pdf")


def test_a_page_and_a_moment_can_be_the_example(folder: str, fake_model: FakeModel) -> None:
    """Those that are indexed answer from their vectors; any other moment of a film is read and embedded."""
    embedded = fake_model.embedded
    (hit,) = imgsearch("similar", "files/report.pdf#page=3", "-n", 1, "--json").objects
    assert (hit["page"], round(hit["score"], 3)) == (2, 1.0)
    (hit,) = imgsearch("similar", "files/clip.mov#t=95.25", "-n", 1, "--json").objects
    assert (hit["time"], round(hit["score"], 3)) == (95.25, 1.0)
    assert fake_model.embedded == embedded


def test_a_page_of_a_document_that_is_not_indexed_can_be_the_example(
    folder: str, tmp_path: Path, fake_model: FakeModel
) -> None:
    """It is read and embedded as an image is."""
    draw(tmp_path / "other.pdf", "white", "blue")
    (hit,) = imgsearch("similar", "other.pdf#page=2", "-n", 1, "--json").objects
    assert (hit["path"].endswith("report.pdf"), hit["page"]) == (True, 2)
    (hit,) = imgsearch("similar", "other.pdf", "-n", 1, "--json").objects
    assert hit["path"].endswith("clip.mov")
    done = imgsearch("similar", "other.pdf#page=9", "-n", 1)
    assert done.code == 2
    assert "no such page" in done.err


def test_thumbnails_show_the_page(folder: str) -> None:
    """What is shown of a hit is the page that was found."""
    from imgsearch.index.reader import ImageIndex

    with ImageIndex(folder) as index:
        record = index.search(fakes.vector(fakes.COLOURS["blue"]), 1)[0][0][0]
    pixels = thumbnail.read_thumbnail(thumbnails.thumbnail(folder, record))
    assert (record.page, int(pixels[5, 5].argmax())) == (2, 2)


def test_a_type_can_be_one_of_documents(folder: str) -> None:
    """Documents are found by their extension, and RAW files and videos of any extension by these words."""
    for name, file in (
        ("pdf", "report.pdf"),
        ("video", "clip.mov"),
        ("film", "clip.mov"),
        ("cbz", "comic.cbz"),
    ):
        (hit, *_) = imgsearch("query", "brown", "--type", name, "--json").objects
        assert hit["path"].endswith(file)
    assert imgsearch("query", "brown", "--type", "raw").code == 1
    assert "pdf, raw, video" in imgsearch("query", "brown", "--type", "nonsense").err
