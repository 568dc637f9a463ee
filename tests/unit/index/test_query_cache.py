"""Remembered questions: what they save, what they may never change, and what becomes of a damaged memory."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imgsearch.index import side_db
from imgsearch.index.side_db import CachedQuery
from imgsearch.index.writer import IndexWriter
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, run, unit, unprivileged

fake_model, gallery = fakes.fake_model, fakes.gallery

DIM = 5
ASKED = CachedQuery("f" * 64, "Represent the user's input.", "a red car", DIM)


@pytest.fixture
def index(fake_model: FakeModel, gallery: Path, tmp_path: Path) -> str:
    """Give an index of the gallery that nobody has asked yet."""
    folder = str(tmp_path / "index")
    run(folder, gallery)
    fake_model.loads = fake_model.asked = 0
    return folder


def test_a_repeated_question_loads_no_model_and_has_the_same_answer(
    fake_model: FakeModel, index: str
) -> None:
    """The second time the answer comes byte for byte as the first time, and the model is not loaded."""
    first = imgsearch("query", "red", "--json", "--index", index)
    second = imgsearch("query", "red", "--json", "--index", index)
    assert (first.code, first.out) == (second.code, second.out)
    assert fake_model.loads == 1


def test_of_several_questions_only_new_ones_are_computed(fake_model: FakeModel, index: str) -> None:
    """Of a list of questions those asked before come from memory, and each gets its own answer."""
    imgsearch("query", "red", "--index", index)
    done = imgsearch("query", "-", "--paths", "-n", "1", "--index", index, stdin="green\nred\nblue\nred\n")
    assert [Path(line).stem for line in done.lines] == ["green", "red", "blue", "red"]
    assert fake_model.asked == 3


def test_no_remember_neither_looks_up_nor_keeps(fake_model: FakeModel, index: str) -> None:
    """With --no-remember the model answers each time, and nothing of the question stays."""
    for _ in range(2):
        assert imgsearch("query", "red", "--no-remember", "--index", index).code == 0
    assert fake_model.loads == 2
    imgsearch("query", "red", "--index", index)
    assert fake_model.loads == 3


def test_what_was_asked_in_another_dtype_is_not_the_answer(fake_model: FakeModel, index: str) -> None:
    """A question that asks for a dtype is not answered by a vector that was computed in another."""
    imgsearch("query", "red", "--index", index)
    imgsearch("query", "red", "--dtype", "float32", "--index", index)
    assert fake_model.loads == 2


def test_a_question_with_a_picture_is_always_computed(
    fake_model: FakeModel, index: str, gallery: Path
) -> None:
    """Only words alone are remembered: a file's bytes may change under its name."""
    for _ in range(2):
        imgsearch("query", "red", "--image", gallery / "blue.jpg", "--index", index)
    assert fake_model.loads == 2


def test_questions_are_answered_while_an_index_is_written(fake_model: FakeModel, index: str) -> None:
    """Remembering takes no writer lock: under a running writer a question is answered and kept."""
    with IndexWriter(index):
        assert imgsearch("query", "red", "--index", index).code == 0
    imgsearch("query", "red", "--index", index)
    assert fake_model.loads == 1


def test_only_its_owner_can_read_the_memory(index: str) -> None:
    """queries.sqlite has mode 0600 whatever the umask, also when an older version had made it readable."""
    path = os.path.join(index, side_db.NAME)
    os.chmod(path, 0o644)
    before = os.umask(0)
    try:
        imgsearch("query", "red", "--index", index)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        os.unlink(path)
        imgsearch("query", "red", "--index", index)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    finally:
        os.umask(before)


def test_the_memory_does_not_tell_what_was_asked(index: str) -> None:
    """The words of a question stand nowhere in the index's folder."""
    imgsearch("query", "red unmistakable", "--index", index)
    for folder, _, names in os.walk(index):
        for name in names:
            assert b"unmistakable" not in Path(folder, name).read_bytes()


def test_the_oldest_questions_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than MAX_CACHED_QUERIES vectors are kept, and they are those of the newest questions."""
    monkeypatch.setattr(side_db, "MAX_CACHED_QUERIES", 3)
    vectors = unit(6, dim=DIM)
    asked = [CachedQuery("f" * 64, "", str(number), DIM) for number in range(6)]
    for question, vector in zip(asked, vectors, strict=True):
        side_db.cache_vector(str(tmp_path), question, vector)
    found = [side_db.cached_vector(str(tmp_path), question) is not None for question in asked]
    assert found == [False, False, False, True, True, True]


@given(
    st.tuples(*[st.text(max_size=5)] * 3, st.integers(1, 9), *[st.sampled_from(["auto", "cpu"])] * 2),
    st.tuples(*[st.text(max_size=5)] * 3, st.integers(1, 9), *[st.sampled_from(["auto", "cpu"])] * 2),
)
def test_two_questions_that_differ_in_anything_are_two(
    one: tuple[str, str, str, int, str, str], other: tuple[str, str, str, int, str, str]
) -> None:
    """Questions share a key exactly when all that their vectors depend on is the same, lone surrogates too."""
    assert (CachedQuery(*one).key() == CachedQuery(*other).key()) == (one == other)
    assert CachedQuery("", "", "\udcff", 1).key() != CachedQuery("", "", "?", 1).key()


@given(st.integers(0, 10**6), st.integers(0, 7))
@example(4062, 7)  # in the schema: SQLite's message about it is no UTF-8
def test_a_damaged_vector_is_never_the_answer(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    """With any bit of the file flipped, a question's vector comes back as it was or not at all; the next is taken."""
    folder = str(tmp_path_factory.mktemp("memory"))
    (vector,) = unit(1, dim=DIM)
    side_db.cache_vector(folder, ASKED, vector)
    path = Path(folder, side_db.NAME)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    found = side_db.cached_vector(folder, ASKED)
    assert found is None or np.array_equal(found, vector[None])
    side_db.cache_vector(folder, ASKED, vector)


@pytest.mark.parametrize("rubbish", [b"", b"no database at all" * 400])
def test_a_ruined_memory_is_begun_anew(fake_model: FakeModel, index: str, rubbish: bytes) -> None:
    """Where queries.sqlite is no database, the question is answered all the same and the next one is remembered."""
    imgsearch("query", "red", "--index", index)
    Path(index, side_db.NAME).write_bytes(rubbish)
    assert imgsearch("query", "red", "--index", index).code == 0
    assert imgsearch("query", "red", "--index", index).code == 0
    assert fake_model.loads == 2


def test_an_index_that_may_not_be_written_is_asked_all_the_same(tmp_path: Path) -> None:
    """In a read-only folder nothing is remembered and nothing is said of it."""
    code = """
import numpy as np
from imgsearch.index import side_db
from imgsearch.index.side_db import CachedQuery
asked = CachedQuery("f" * 64, "", "red", 2)
os.mkdir(sys.argv[1]); os.chmod(sys.argv[1], 0o555)
side_db.cache_vector(sys.argv[1], asked, np.zeros(2, np.float32))
print(side_db.cached_vector(sys.argv[1], asked), os.listdir(sys.argv[1]))
"""
    assert unprivileged(code, tmp_path / "folder").strip() == "None []"


def test_another_writer_of_the_memory_is_not_waited_for_long(tmp_path: Path) -> None:
    """While another process writes, a question is not remembered, and what was remembered is still found."""
    (vector,) = unit(1, dim=DIM)
    side_db.cache_vector(str(tmp_path), ASKED, vector)
    other = sqlite3.connect(tmp_path / side_db.NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    side_db.cache_vector(str(tmp_path), CachedQuery("e" * 64, "", "new", DIM), vector)
    assert np.array_equal(side_db.cached_vector(str(tmp_path), ASKED), vector[None])  # type: ignore[arg-type]
    other.execute("ROLLBACK")
    other.close()
    assert side_db.cached_vector(str(tmp_path), CachedQuery("e" * 64, "", "new", DIM)) is None
