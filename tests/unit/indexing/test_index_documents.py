"""Documents are indexed page by page: bounded, resumable, and a page that fails costs that page only."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.errors import NothingToIndex, PictureError
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import UNFINISHED, FileRow
from imgsearch.indexing import ingest
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.tools.maintenance.verify import verify_index
from imgsearch.types import Record
from support import drawn_documents, fakes
from support.drawn_documents import Drawn, draw
from support.fakes import FakeModel, Notes, paint, run

fake_model, drawn = fakes.fake_model, drawn_documents.drawn


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    return tmp_path / "papers"


def file_of(folder: str, name: str) -> FileRow:
    with ImageIndex(folder) as index:
        row = index.catalog.file(index.catalog.roots()[0].id, name)
        assert row is not None
        return row


def pages_of(folder: str, name: str) -> list[Record]:
    with ImageIndex(folder) as index:
        return index.catalog.pages(file_of(folder, name).content or b"")


def is_sound(folder: str) -> bool:
    return not verify_index(folder).damages


def test_each_page_of_a_document_is_an_image(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """A document's pages are found each by itself, as pages of one file, beside plain images."""
    draw(papers / "a.pdf", "red", "green", "blue")
    paint(papers / "z.png", "yellow")
    result = run(folder, papers)
    assert (result.indexed, result.pages, result.lost_pages) == (2, 3, 0)
    assert [(page.page, page.kind, page.width) for page in pages_of(folder, "a.pdf")] == [
        (0, "page", 640),
        (1, "page", 640),
        (2, "page", 640),
    ]
    assert pages_of(folder, "z.png")[0].kind == ""
    assert file_of(folder, "a.pdf").reading == ""
    with ImageIndex(folder) as index:
        best = index.search(fakes.vector(fakes.COLOURS["green"]), 1)[0][0][0]
    assert (Path(best.paths[0]).name, best.page) == ("a.pdf", 1)
    assert is_sound(folder)
    assert drawn.open == 0


def test_an_unchanged_document_is_not_opened_again(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """The next run finds it current by size and time."""
    draw(papers / "a.pdf", "red", "green")
    run(folder, papers)
    result = run(folder)
    assert (result.unchanged, result.indexed, drawn.opened) == (1, 0, 1)


def test_frames_and_members_keep_what_they_are(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """A film's frame has its time in milliseconds as its page, and an archive's member its name."""
    draw(papers / "clip.mov", "0 red", "83.2 green", kind="frame")
    draw(papers / "comic.cbz", "blue", "white", kind="member")
    run(folder, papers)
    assert [(one.page, one.kind) for one in pages_of(folder, "clip.mov")] == [(0, "frame"), (83200, "frame")]
    assert [one.name for one in pages_of(folder, "comic.cbz")] == ["0.jpg", "1.jpg"]


def test_a_page_that_fails_costs_that_page_only(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """The others are indexed; the file says what is missing, and is not read again for it."""
    draw(papers / "a.pdf", "red", "! corrupt", "blue")
    result = run(folder, papers)
    assert (result.indexed, result.pages, result.lost_pages) == (1, 2, 1)
    assert [page.page for page in pages_of(folder, "a.pdf")] == [0, 2]
    assert file_of(folder, "a.pdf").detail == "corrupt: page 2"
    assert "1 page could not be read" in str(result.summary())
    assert run(folder).unchanged == 1
    assert is_sound(folder)


def test_a_page_without_a_finite_vector_costs_that_page_only(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """What the model can't embed is named, and the rest of the document kept."""
    fake_model.spoilt.add(fakes.COLOURS["pink"])
    draw(papers / "a.pdf", "red", "pink")
    assert run(folder, papers).lost_pages == 1
    assert file_of(folder, "a.pdf").detail == "no finite vector: page 2"


def test_a_document_without_a_readable_page_is_skipped(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """Its reason is that of its first page; a copy of it is skipped for the same."""
    paint(papers / "0.png", "yellow")
    draw(papers / "a.pdf", "! corrupt", "! takes too long")
    draw(papers / "b.pdf", "! corrupt", "! takes too long")
    draw(papers / "c.pdf")
    result = run(folder, papers)
    assert dict(result.skipped) == {"corrupt": 2, "contains no image": 1}
    assert file_of(folder, "a.pdf").error == "corrupt"
    assert is_sound(folder)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("pages", [1, 9, 32])
def test_a_run_that_is_killed_goes_on_within_the_document(
    folder: str,
    papers: Path,
    fake_model: FakeModel,
    drawn: Drawn,
    monkeypatch: pytest.MonkeyPatch,
    pages: int,
) -> None:
    """What was committed is found meanwhile and not read again, whatever page the run ended at; nothing is lost."""
    monkeypatch.setattr(ingest, "COMMIT_SECONDS", 0.0)
    draw(papers / "a.pdf", *["red", "green", "blue", "white"] * 10)

    def die(embedded: int) -> None:
        if embedded >= pages:
            raise Killed

    fake_model.before = die
    with pytest.raises(Killed):
        run(folder, papers)
    fake_model.before = None
    assert is_sound(folder)
    with ImageIndex(folder) as index:
        roots = index.catalog.roots()
        row = index.catalog.file(roots[0].id, "a.pdf") if roots else None
    done = pages_of(folder, "a.pdf") if row else []
    if row:
        assert row.reading == UNFINISHED
    drawn.read.clear()
    result = run(folder, papers)
    assert result.indexed == 1
    assert len(drawn.read) == 40 - len(done)
    assert fake_model.embedded == 40
    assert [page.page for page in pages_of(folder, "a.pdf")] == list(range(40))
    assert file_of(folder, "a.pdf").reading == ""
    assert file_of(folder, "a.pdf").detail == ""
    assert is_sound(folder)
    assert run(folder).unchanged == 1


def test_only_some_pages_are_in_memory(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """However many pages there are, reading is at most two batches ahead of the model."""
    draw(papers / "a.pdf", *["red", "green"] * 200)
    ahead = []
    fake_model.before = lambda embedded: ahead.append(len(drawn.read) - embedded)
    run(folder, papers)
    assert fake_model.embedded == 400
    assert max(ahead) <= 2 * 8 + 2 + 8


def test_copies_of_a_document_are_read_once(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """The second file of the same bytes costs no page, in the same run and in a later one."""
    draw(papers / "a.pdf", "red", "green")
    draw(papers / "b.pdf", "red", "green")
    result = run(folder, papers)
    assert (result.indexed, result.reused, fake_model.embedded) == (1, 1, 2)
    assert len(drawn.read) == 2
    draw(papers / "c.pdf", "red", "green")
    (papers / "a.pdf").unlink()
    result = run(folder, papers)
    assert (result.reused, result.pruned, len(drawn.read)) == (1, 1, 2)
    assert is_sound(folder)


def test_a_copy_keeps_the_note_about_lost_pages(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """What is missing of a document is missing of its copies, of the same run and of a later one."""
    for name in ("a", "b"):
        draw(papers / f"{name}.pdf", "red", "! corrupt")
    run(folder, papers)
    draw(papers / "c.pdf", "red", "! corrupt")
    run(folder, papers)
    details = {file_of(folder, f"{name}.pdf").detail for name in "abc"}
    assert details == {"corrupt: page 2"}
    assert len(drawn.read) == 2


def test_a_document_that_comes_back_is_not_read_again(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """Its pages are retained after it was deleted; nothing is rendered or embedded for it."""
    paint(papers / "z.png", "yellow")
    path = draw(papers / "a.pdf", "red", "green")
    run(folder, papers)
    path.unlink()
    assert run(folder, papers).pruned == 1
    draw(papers / "a.pdf", "red", "green")
    result = run(folder, papers)
    assert (result.reused, len(drawn.read), fake_model.embedded) == (1, 2, 3)
    assert len(pages_of(folder, "a.pdf")) == 2


def test_other_pages_are_read_when_they_are_asked_for(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """The choice of pages stays with the folder; another one reads what is missing and forgets what is too much."""
    draw(papers / "a.pdf", "red", "green", "blue")
    run(folder, papers, walk=WalkOverrides(pages="first"))
    assert [page.page for page in pages_of(folder, "a.pdf")] == [0]
    assert run(folder).unchanged == 1
    result = run(folder, papers, walk=WalkOverrides(pages="2-3"))
    assert [page.page for page in pages_of(folder, "a.pdf")] == [1, 2]
    assert fake_model.embedded == 3
    run(folder, papers, walk=WalkOverrides(pages="all"))
    assert [page.page for page in pages_of(folder, "a.pdf")] == [0, 1, 2]
    assert result.indexed == 1
    assert is_sound(folder)


def test_the_number_of_frames_concerns_films_alone(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """With another number of frames films are read again, and nothing else is."""
    draw(papers / "a.pdf", "red", "green")
    draw(papers / "clip.mov", "0 red", "1.5 green", "3 blue", kind="frame")
    run(folder, papers)
    result = run(folder, papers, walk=WalkOverrides(frames=2))
    assert (result.unchanged, result.reused) == (1, 1)
    assert [page.page for page in pages_of(folder, "clip.mov")] == [0, 1500]


def test_a_file_of_passwords_opens_what_is_encrypted(
    folder: str, papers: Path, tmp_path: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """An encrypted document is skipped, and tried again by the run that brings a file of passwords."""
    paint(papers / "z.png", "yellow")
    (papers / "a.pdf").write_text("%DRAWN encrypted\nred")
    assert run(folder, papers).skipped["encrypted"] == 1
    assert run(folder, papers).unchanged_errors == 1
    passwords = tmp_path / "passwords"
    passwords.write_text("wrong\nsecret\n")
    assert run(folder, papers, walk=WalkOverrides(pdf_password_file=str(passwords))).indexed == 1


def test_an_image_under_a_documents_name_is_an_image(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """What a file is, its first bytes tell; what is neither is named and skipped."""
    paint(papers / "a.png", "red").rename(papers / "a.pdf")
    (papers / "b.pdf").write_text("no such thing")
    result = run(folder, papers)
    assert (result.indexed, dict(result.skipped)) == (1, {"not an image": 1})


def test_documents_wait_for_their_extra(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """Without the library such files are counted by kind and the extras named at the end; with it, they are read."""
    drawn.installed = False
    paint(papers / "z.png", "yellow")
    draw(papers / "a.pdf", "red", "green")
    draw(papers / "b.mov", "0 red", kind="frame")
    (papers / "c.dds").write_text("")
    notes = Notes()
    result = run(folder, papers, reporter=notes)
    assert result.not_read == {"pdf": 1, "video": 1, "image": 1}
    assert "1 video and 1 PDF were not read; to read them: " in notes.lines[-2]
    assert "[pdf,video]" in notes.lines[-2]
    assert notes.lines[-1] == "1 image of another format was not read (not supported yet)"
    drawn.installed = True
    assert run(folder).indexed == 2


def test_nothing_but_documents_without_their_extra(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """A folder that holds only what needs an extra gives an error that names it."""
    drawn.installed = False
    draw(papers / "a.pdf", "red")
    with pytest.raises(NothingToIndex, match=r"1 PDF was not read; to read it: .*\[pdf\]"):
        run(folder, papers)


def test_what_was_read_stays_without_the_extra(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """A document that is indexed stays so when its library is gone, also if it has changed."""
    draw(papers / "a.pdf", "red", "green")
    draw(papers / "b.pdf", "blue")
    run(folder, papers)
    drawn.installed = False
    draw(papers / "b.pdf", "white", "red")
    result = run(folder, papers)
    assert (result.unchanged, result.pruned) == (1, 0)
    assert len(pages_of(folder, "b.pdf")) == 1
    drawn.installed = True
    assert run(folder).indexed == 1
    assert len(pages_of(folder, "b.pdf")) == 2


def test_a_page_that_failed_for_a_passing_reason_is_tried_again(
    folder: str, papers: Path, fake_model: FakeModel, drawn: Drawn
) -> None:
    """Memory that ran out says nothing about the page: the next run reads it, and it alone."""
    draw(papers / "a.pdf", "red", "green", "blue")

    def refuse(place: object) -> None:
        if place.page == 1:  # type: ignore[attr-defined]
            raise PictureError("out of memory")

    drawn.before = refuse
    assert run(folder, papers).lost_pages == 1
    drawn.before = None
    drawn.read.clear()
    assert run(folder).indexed == 1
    assert drawn.read == [("a.pdf", 1)]
    assert len(pages_of(folder, "a.pdf")) == 3
