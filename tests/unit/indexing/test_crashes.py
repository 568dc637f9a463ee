"""A file that ends imgsearch twice is skipped and named, and none of its neighbours is blamed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.indexing import decode
from imgsearch.indexing.crashes import CRASHED, NOTE, DecodingNote
from imgsearch.types import SourceFile
from support import TESTS, fakes
from support.fakes import FakeModel, Notes, indexed, paint, run

fake_model, gallery = fakes.fake_model, fakes.gallery

ALL = {"red.png", "green.png", "blue.jpg", "sub/yellow.png", "sub/white.png"}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


class Died(BaseException):
    """Stands for the end of the process: the note stays as a kill leaves it."""


def die(folder: str, gallery: Path, monkeypatch: pytest.MonkeyPatch, name: str, **options: object) -> None:
    """Index, and die as soon as a file is decoded."""
    kept = []
    real, close = decode.formats.load_pictures, DecodingNote.close

    def load_pictures(stream: object, path: str, *rest: object, **named: object) -> object:
        if path == name:
            kept.append(Path(folder, NOTE).read_bytes())
            raise Died
        return real(stream, path, *rest, **named)  # type: ignore[arg-type]

    def stay(note: DecodingNote) -> None:
        close(note)
        Path(folder, NOTE).write_bytes(kept[0])

    with monkeypatch.context() as patch:
        patch.setattr(decode.formats, "load_pictures", load_pictures)
        patch.setattr(DecodingNote, "close", stay)
        with pytest.raises(Died):
            run(folder, gallery, **options)


def test_a_file_that_ends_imgsearch_twice_is_skipped_and_named(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second death is its own; the run after it leaves the file out, says so, and indexes all others."""
    die(folder, gallery, monkeypatch, "green.png")
    die(folder, gallery, monkeypatch, "green.png")
    notes = Notes()
    result = run(folder, gallery, reporter=notes)
    assert result.skipped == Counter({CRASHED: 1})
    assert indexed(folder, gallery) == ALL - {"green.png"}
    assert f"skipped: {gallery / 'green.png'} (imgsearch ended twice" in notes.shell
    assert f"imgsearch index --index {folder} --reread {gallery / 'green.png'}" in notes.shell
    assert not os.path.exists(os.path.join(folder, NOTE))
    again = run(folder, gallery)
    assert (again.unchanged, again.unchanged_errors) == (4, 1)


@pytest.mark.parametrize("way", ["change", "retry", "reread"])
def test_it_is_tried_again_when_it_changes_or_somebody_asks(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Other bytes, or one of two options, have it decoded again."""
    for _ in range(2):
        die(folder, gallery, monkeypatch, "green.png")
    run(folder, gallery)
    if way == "change":
        paint(gallery / "green.png", "cyan")
    asked = {"retry": {"retry": True}, "reread": {"reread": (str(gallery),)}}.get(way, {})
    assert run(folder, gallery, **asked).indexed == 1
    assert indexed(folder, gallery) == ALL


def test_it_is_tried_at_once_when_somebody_asks(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after the second death the option decides, too."""
    for _ in range(2):
        die(folder, gallery, monkeypatch, "green.png")
    assert run(folder, gallery, retry=True).indexed == len(ALL)
    assert indexed(folder, gallery) == ALL


def test_one_death_costs_no_file(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in work at the first death is decoded the next time, and nothing is held against it."""
    die(folder, gallery, monkeypatch, "green.png")
    assert run(folder, gallery).skipped.total() == 0
    assert indexed(folder, gallery) == ALL
    assert not os.path.exists(os.path.join(folder, NOTE))
    paint(gallery / "green.png", "cyan")
    die(folder, gallery, monkeypatch, "green.png")
    assert run(folder, gallery).skipped.total() == 0


@pytest.mark.parametrize("ends", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_or_an_error_is_no_death(
    folder: str, gallery: Path, fake_model: FakeModel, ends: type[BaseException]
) -> None:
    """Ctrl-C and errors, however often, leave no suspicion."""

    def stop(embedded: int) -> None:
        raise ends

    for _ in range(3):
        fake_model.before = stop
        with pytest.raises(ends):
            run(folder, gallery)
        assert not os.path.exists(os.path.join(folder, NOTE))
    fake_model.before = None
    assert run(folder, gallery).skipped.total() == 0
    assert indexed(folder, gallery) == ALL


# ---- the note itself --------------------------------------------------------------------------------------------


def sources(folder: Path, *names: str) -> list[SourceFile]:
    """Make files, and return them as the walk does."""
    found = []
    for name in names:
        path = folder / name
        path.write_bytes(b"x")
        found.append(SourceFile(str(folder), name, 1, path.stat().st_mtime_ns))
    return found


def copied(folder: Path, to: Path) -> str:
    """Return an index folder with the note as a kill at this moment leaves it."""
    to.mkdir()
    (to / NOTE).write_bytes((folder / NOTE).read_bytes())
    return str(to)


def test_only_what_was_decoded_alone_is_guilty(tmp_path: Path) -> None:
    """Of several files in work all are suspects; whoever is in work alone at the next death is it."""
    a, b, c = sources(tmp_path, "a", "b", "c\udcff")
    (tmp_path / "1").mkdir()
    note = DecodingNote(str(tmp_path / "1"))
    with ExitStack() as stack:
        stack.enter_context(note.decoding(a))
        stack.enter_context(note.decoding(c))
        with note.decoding(b):
            pass
        second = copied(tmp_path / "1", tmp_path / "2")
    note = DecodingNote(second)
    assert [note.is_suspect(one) for one in (a, b, c)] == [True, False, True]
    assert not any(map(note.is_culprit, (a, b, c)))
    with note.decoding(a):
        pass
    with note.decoding(c):
        third = copied(tmp_path / "2", tmp_path / "3")
    note = DecodingNote(third)
    assert [note.is_culprit(one) for one in (a, b, c)] == [False, False, True]
    note.close()  # a run that did not come to it
    note = DecodingNote(third)
    assert note.is_culprit(c)
    note.settle(c)
    note.close()
    assert not os.path.exists(os.path.join(third, NOTE))


def test_what_changed_since_is_not_suspected(tmp_path: Path) -> None:
    """A file that is gone, or is another one now, leaves the note."""
    a, b = sources(tmp_path, "a", "b")
    (tmp_path / "1").mkdir()
    note = DecodingNote(str(tmp_path / "1"))
    with note.decoding(a), note.decoding(b):
        second = copied(tmp_path / "1", tmp_path / "2")
    os.unlink(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"longer")
    note = DecodingNote(second)
    assert not note.is_suspect(a)
    assert not note.is_suspect(b)


def test_the_note_stays_small_and_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files are decoded, the note is bounded, and still names what is in work."""
    monkeypatch.setattr("imgsearch.indexing.crashes._MOST_BYTES", 2000)
    held, *many = sources(tmp_path, *(f"{number}.jpg" for number in range(200)))
    (tmp_path / "1").mkdir()
    note = DecodingNote(str(tmp_path / "1"))
    with note.decoding(held):
        for source in many:
            with note.decoding(source):
                assert os.path.getsize(tmp_path / "1" / NOTE) <= 2500
        left = DecodingNote(copied(tmp_path / "1", tmp_path / "2"))
    assert [one for one in (held, *many) if left.is_suspect(one)] == [held]


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_a_note_that_is_no_file_of_ours_is_left_alone(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel, kind: str
) -> None:
    """Nothing is written or removed through what lies in its place, and the run does without."""
    run(folder, gallery / "sub")
    other = tmp_path / "other"
    other.write_bytes(b"not ours")
    place = Path(folder, NOTE)
    make: dict[str, Callable[[], object]] = {
        "link": lambda: place.symlink_to(other),
        "folder": place.mkdir,
        "pipe": lambda: os.mkfifo(place),
    }
    make[kind]()
    assert run(folder, gallery).indexed == 3
    assert other.read_bytes() == b"not ours"
    assert os.path.lexists(place)


LINES = st.one_of(
    st.binary(max_size=40),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=6),
    ).map(lambda found: json.dumps(found).encode()),
    st.tuples(st.sampled_from("+-"), st.text(max_size=3), st.integers(), st.integers(), st.booleans()).map(
        lambda found: json.dumps(found).encode()
    ),
)


@given(st.lists(LINES, max_size=8))
def test_whatever_the_note_holds_a_run_begins(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    """A note that somebody else wrote, or a kill cut off, is never an error."""
    folder = tmp_path_factory.mktemp("note")
    (folder / NOTE).write_bytes(b"\n".join(lines))
    note = DecodingNote(str(folder))
    (source,) = sources(folder, "a")
    with note.decoding(source):
        assert not note.is_culprit(source)
    note.close()


KILLED = """
import os, signal, sys
import pytest
from support import fakes
from imgsearch.indexing import decode
real = decode.formats.load_pictures
def load_pictures(stream, path, *rest, **named):
    if path == "green.png":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(stream, path, *rest, **named)
decode.formats.load_pictures = load_pictures
with pytest.MonkeyPatch.context() as patch:
    fakes.install(patch)
    fakes.run(*sys.argv[1:])
"""


def test_a_process_that_is_killed_twice_over_a_file_gets_past_it(folder: str, gallery: Path) -> None:
    """With real kills: two runs die over the same file, and the third one indexes the rest."""
    done = []
    for _ in range(3):
        command = [sys.executable, "-c", KILLED, folder, str(gallery)]
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        done.append(subprocess.run(command, env=environment, timeout=300, check=False).returncode)
    assert done == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert indexed(folder, gallery) == ALL - {"green.png"}
