"""Documents are read in a process of their own: what crosses to it and back, and what becomes of it."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from imgsearch.errors import PictureError, UsageError
from imgsearch.media import documents
from imgsearch.media.documents import DocumentOptions, Place, child, close_readers, guest, open_document
from imgsearch.media.documents.child import READERS
from imgsearch.types import Metadata, PixelBudget
from support import TESTS
from support.document_readers import LINES, install, written

BUDGET = PixelBudget(4, 64)


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.fixture(autouse=True, scope="module")
def ended() -> Iterator[None]:
    yield
    close_readers()


def _opened(*pages: str, options: DocumentOptions = documents.AS_USUAL):  # type: ignore[no-untyped-def]
    return open_document(io.BytesIO(written(*pages)), "some/list.lines", options)


def _error(*pages: str, page: int = 0, after: int | None = None) -> PictureError:
    with _opened(*pages) as document:
        if after is not None:
            document.picture(Place(after), BUDGET)
        with pytest.raises(PictureError) as caught:
            document.picture(Place(page), BUDGET)
        return caught.value


def _pid(document: documents.Document, page: int = 0) -> int:
    return document.picture(Place(page), BUDGET).width


def test_pictures_come_across_as_the_reader_made_them() -> None:
    """Pixels, sizes, page and note of each page are the reader's."""
    with _opened("red", "blue") as document:
        assert document.places == [Place(0), Place(1)]
        for place, colour in zip(document.places, [(255, 0, 0), (0, 0, 255)], strict=True):
            picture = document.picture(place, BUDGET)
            assert picture.pixels.shape == (8, 8, 3)
            assert (picture.pixels == np.array(colour)).all()
            assert (picture.width, picture.height, picture.page) == (80, 80, place.page)
            assert picture.note == f"line {place.page}"


def test_halves_of_characters_do_not_come_across() -> None:
    """What is told is Unicode in every field, whatever a file holds; whole characters stay."""
    answer = child._cleaned(
        {
            "text": "a\ud800b",
            "lines": [["\udfff", None], ["naïve 😀", [0.5, 1]]],
            "metadata": {"title": "\udc80"},
        }
    )
    assert answer == {
        "text": "a\ufffdb",
        "lines": [["\ufffd", None], ["naïve 😀", [0.5, 1]]],
        "metadata": {"title": "\ufffd"},
    }


def test_text_note_and_metadata_come_across() -> None:
    """What else a reader tells is told, with dates as dates, and what is no Unicode as U+FFFD."""
    with _opened("naïve € text") as document:
        assert document.text(Place(0)) == "naïve € text"
        assert document.lines(Place(0)) == [("naïve € text", None)]
        assert document.note == "of list.lines"
        assert document.metadata == Metadata(
            taken=datetime(2024, 5, 6, 7, 8, 9), taken_from="image", title="Ü\ufffd", keywords=("a", "b")
        )


def test_a_file_is_read_where_it_is_and_its_position_stays(tmp_path: Path) -> None:
    """A file is handed over, not copied, and whoever opened it reads on where they were."""
    path = tmp_path / "list.lines"
    path.write_bytes(written("red", "x" * 200_000))
    with path.open("rb") as file, open_document(file, str(path)) as document:
        file.seek(100)
        assert document.text(Place(1)) == "x" * 200_000
        assert file.read(3) == b"xxx"
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        document.text(Place(1))
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0


@pytest.mark.parametrize(
    ("word", "reason", "detail"),
    [
        ("crash", "crashed the reader", "page 2: it ended by SIGSEGV"),
        ("exit", "crashed the reader", "page 2: it ended with 3"),
        ("allocate", "out of memory", "page 2: not enough memory to decode it"),
        (
            "raise",
            "unsupported",
            'page 2: the decoder does not support this variant ("nothing is known of …")',
        ),
        ("four channels", "crashed the reader", "page 2: its answer makes no sense"),
        ("answer nonsense", "crashed the reader", "page 2: its answer makes no sense"),
    ],
)
def test_a_bad_page_costs_that_page(word: str, reason: str, detail: str) -> None:
    """Whatever a page does to its reader, the page has a reason, and the pages around it are read."""
    with _opened("red", word, "blue") as document:
        assert document.picture(Place(0), BUDGET).pixels[0, 0].tolist() == [255, 0, 0]
        with pytest.raises(PictureError) as caught:
            document.picture(Place(1), BUDGET)
        assert document.picture(Place(2), BUDGET).pixels[0, 0].tolist() == [0, 0, 255]
    assert caught.value.reason == reason
    assert caught.value.detail == detail


def test_a_page_that_computes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes too long of the processor is ended, and the next page is read."""
    install(monkeypatch, LINES._replace(seconds=0.2))
    monkeypatch.setattr(child, "_WALL", 1000)
    with _opened("spin", "blue") as document:
        with pytest.raises(
            PictureError, match=r"takes too long: page 1: given up after 0\.2 seconds of reading"
        ):
            document.picture(Place(0), BUDGET)
        assert document.picture(Place(1), BUDGET).pixels[0, 0].tolist() == [0, 0, 255]


def test_a_page_that_waits_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that waits for what never comes is ended by the clock, and the next page is read."""
    with _opened("sleep", "blue") as document:
        with monkeypatch.context() as patch:
            patch.setattr(child, "_WALL", 0.1)
            with pytest.raises(
                PictureError, match=r"takes too long: page 1: given up after 0\.2 seconds of waiting"
            ):
                document.picture(Place(0), BUDGET)
        assert document.picture(Place(1), BUDGET).pixels[0, 0].tolist() == [0, 0, 255]


def test_a_page_is_asked_again_where_others_have_spoilt_its_process() -> None:
    """A crash after other pages is no fault of the page: a new process reads it."""
    with _opened("red", "crash after another") as document:
        document.picture(Place(0), BUDGET)
        assert document.picture(Place(1), BUDGET).note == "line 1"


def test_a_page_that_took_long_to_crash_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time would take as long: a page costs its time once."""
    times = iter(range(0, 10_000, 10))
    monkeypatch.setattr(child, "_clock", lambda: next(times))
    with _opened("red", "crash after another") as document:
        document.picture(Place(0), BUDGET)
        with pytest.raises(PictureError, match="crashed the reader: page 2"):
            document.picture(Place(1), BUDGET)


def test_a_document_of_slow_pages_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After three in a row that took too long the rest is not tried; one that is read in between counts them anew."""
    with _opened("spin", "spin", "red", "spin", "spin", "spin", "blue") as document:
        document.picture(Place(2), BUDGET)
        monkeypatch.setattr(document, "_format", LINES._replace(seconds=0.05))
        for number in (0, 1, 2, 3, 4, 5, 6):
            if number == 2:
                monkeypatch.setattr(document, "_format", LINES)
                document.picture(Place(2), BUDGET)
                monkeypatch.setattr(document, "_format", LINES._replace(seconds=0.05))
                continue
            with pytest.raises(PictureError, match=f"takes too long: page {number + 1}: ") as caught:
                document.picture(Place(number), BUDGET)
    assert caught.value.detail == "page 7: not tried after 3 in a row that took too long"


def test_a_document_that_crashes_on_opening_has_a_reason() -> None:
    """A crash at the start is the whole file's, and the next file is read."""
    with (
        pytest.raises(PictureError, match="crashed the reader: it ended by SIGSEGV"),
        _opened("crash on opening"),
    ):
        pass
    with _opened("red") as document:
        assert document.picture(Place(0), BUDGET).width == 80


def test_passwords_cross() -> None:
    """A reader gets the passwords, and what it says without them is what is raised."""
    with pytest.raises(PictureError, match="encrypted: no password fits"), _opened("encrypted"):
        pass
    with _opened("encrypted", options=DocumentOptions(passwords=("wrong", "secret"))) as document:
        assert len(document.places) == 1


def test_a_process_reads_one_file_after_another() -> None:
    """The next document of a kind comes to the process that waits."""
    with _opened("pid") as document:
        first = _pid(document)
    with _opened("pid") as document:
        assert _pid(document) == first
        with _opened("pid") as other:
            assert _pid(other) != first


def test_a_process_ends_after_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that leaks does not have for ever: a process is replaced after some documents."""
    close_readers()
    monkeypatch.setattr("imgsearch.media.documents.child._DOCUMENTS", 2)
    pids = []
    for _ in range(3):
        with _opened("pid") as document:
            pids.append(_pid(document))
    assert pids[0] == pids[1] != pids[2]


def test_a_process_that_has_died_waiting_is_replaced() -> None:
    """Somebody may have ended the process that waits; the next document is read all the same."""
    with _opened("pid") as document:
        first = _pid(document)
    os.kill(first, signal.SIGKILL)
    with _opened("pid") as document:
        assert _pid(document) != first


def test_only_a_few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of processes that have nothing to do a few are kept, and none once they are closed."""
    monkeypatch.setattr("imgsearch.media.documents.child._KEPT", 2)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(_opened("red"))
    assert len(READERS._waiting) == 2
    close_readers()
    assert READERS._waiting == []


def test_pages_are_chosen_for_all_readers() -> None:
    """``pages`` decides which places there are; the document still answers for others."""
    for pages, expected in (("all", [0, 1, 2]), ("first", [0]), ("2-9", [1, 2]), ("3", [2]), ("5-9", [])):
        with _opened("red", "red", "red", options=DocumentOptions(pages=pages)) as document:
            assert [place.page for place in document.places] == expected


@pytest.mark.parametrize("pages", ["", "0", "0-3", "-3", "9-3", "a", "1-2-3", "1,2", "٣", "9" * 30])
def test_pages_that_mean_nothing_are_refused(pages: str) -> None:
    """A choice of pages that is none is an error of the caller."""
    with pytest.raises(UsageError), _opened("red", options=DocumentOptions(pages=pages)):
        pass


def test_a_films_moments_are_no_pages() -> None:
    """The choice of pages leaves the places of a film alone."""
    places = [Place(0, 0.0), Place(1500, 1.5)]
    assert documents.choose(places, "first") == places


def test_places_are_said_as_people_count() -> None:
    """Pages count from 1; moments are seconds, and members have names."""
    assert [documents.said(place) for place in (Place(6), Place(83_200, 83.2), Place(3, None, "a.jpg"))] == [
        "page 7",
        "83.2 s",
        "a.jpg",
    ]


def test_a_missing_library_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library of a kind is missing, the error names the extra and how to add it."""
    install(monkeypatch, LINES._replace(library="not_there_at_all", extra="lines"))
    with (
        pytest.raises(PictureError, match=r"needs imgsearch-vl\[lines\]: add them with: .*lines"),
        _opened("red"),
    ):
        pass


def test_what_is_no_document_is_not_opened() -> None:
    """An empty file and an image are refused before any process is started."""
    for data, reason in ((b"", "empty file"), (b"\xff\xd8\xff\xe0", "not an image")):
        with pytest.raises(PictureError) as caught, open_document(io.BytesIO(data), "x.jpg"):
            pass
        assert caught.value.reason == reason


def test_a_killed_run_leaves_no_process() -> None:
    """The reader of a process that is killed ends with it, even while it hangs."""
    code = """
        import io, os, signal, sys, pytest
        from support.document_readers import install, written, BUDGET
        from imgsearch.media.documents import Place, open_document
        install(pytest.MonkeyPatch())
        with open_document(io.BytesIO(written("pid", "sleep")), "x.lines") as document:
            print(document.picture(Place(0), BUDGET).width, flush=True)
            document.picture(Place(1), BUDGET)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    ) as run:
        assert run.stdout is not None
        reader = int(run.stdout.readline())
        # The handle outlives the number, which the system gives to others.
        handle = os.pidfd_open(reader) if hasattr(os, "pidfd_open") else None
        run.kill()
    if handle is not None:
        import select

        assert select.select([handle], [], [], 60)[0]
        os.close(handle)


def test_nobody_asking_ends_the_wait() -> None:
    """A process that is asked nothing for a while, or whose other side has gone, is done."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.settimeout(0.001)
        assert guest.receive(theirs) is None
        ours.close()
        assert guest.receive(theirs) is None


def test_the_reader_loads_little() -> None:
    """What the process imports before its reader is quick to load: no Pillow, no torch, no numpy."""
    code = "import sys, imgsearch.media.documents.guest; print(*{'PIL', 'torch', 'numpy', 'psutil'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
