"""doctor says how an index is doing and what to do for it; --recall measures what a search misses."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from imgsearch.errors import UsageError
from imgsearch.index import layout
from imgsearch.index.ann import search as ann
from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.ann.rabitq import Codes
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from imgsearch.mounts import Mounts
from imgsearch.tools.maintenance import doctor
from imgsearch.tools.maintenance.recall import measure_recall
from imgsearch.types import Vectors
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, run, sha, spec, state, unit

fake_model, gallery = fakes.fake_model, fakes.gallery

DIM = 256


def drawn(n: int, seed: int = 0) -> Vectors:
    """Return vectors (n, DIM) that differ in a few directions only, as those of pictures do."""
    made = unit(n, seed, 12) @ unit(12, 77, DIM)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def make(folder: Path, n: int, lost: int = 0) -> None:
    """Make an index of ``n`` pictures, with its ANN files; the files of the first ``lost`` are gone."""
    with IndexWriter(str(folder), spec(DIM)) as writer:
        drive = Mounts().drive(str(folder.parent))
        root = writer.catalog.put_root(str(folder.parent), {}, drive.point, drive.name)
        files = [state(root, f"{number:04}.jpg", sha(number)) for number in range(n)]
        writer.commit([(sha(number), 0, 1, 1) for number in range(n)], drawn(n), files)
        writer.catalog.drop_files(range(1, lost + 1))
        AnnBuilder(writer.data, writer.spec).finish()


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an index that counts as large: 6,000 pictures, searched through codes."""
    monkeypatch.setattr(ann, "EXACT_ROWS", 100)
    monkeypatch.setattr(ann, "shortlist_for", lambda k, dim, rows=0: 600)
    make(tmp_path / "index", 6000, lost=20)
    return tmp_path / "index"


def findings(folder: Path) -> dict[str, Any]:
    """Return what doctor says, by topic."""
    return {found["topic"]: found for found in imgsearch("doctor", "--json", "--index", folder).objects}


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


# ---- health ---------------------------------------------------------------------------------------------------


def test_a_healthy_index_is_well(gallery: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    """Nothing to do is exit code 0, a line each topic, and nothing is written."""
    run(tmp_path / "index", gallery)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "index").rglob("*.*")}
    done = imgsearch("doctor", "--index", tmp_path / "index")
    assert done.code == 0
    assert all(" OK " in line for line in done.lines)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    topics = [line.split()[0] for line in done.lines]
    assert topics == [
        "place",
        "writing",
        "disk",
        "format",
        "rebuild",
        "deleted",
        "search",
        "folders",
        "cores",
        "libraries",
    ]


def test_where_there_is_no_index_it_says_so(tmp_path: Path) -> None:
    """doctor of nothing is one line that says how to make an index."""
    done = imgsearch("doctor", "--index", tmp_path)
    assert done.code == 2
    assert "make one with: imgsearch index" in done.err


def test_a_network_file_system_is_named_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index on NFS is something to do something about."""
    make(tmp_path / "index", 3)
    monkeypatch.setattr(layout, "_mounts", lambda: [("/", "nfs4")])
    done = imgsearch("doctor", "--index", tmp_path / "index")
    assert done.code == 1
    assert "TO DO  " in done.lines[0]
    assert "network file system" in done.lines[0]


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less room than looking after the index takes is something to do something about."""
    make(tmp_path / "index", 3)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(100, 99, 1))
    assert findings(tmp_path / "index")["disk"]["well"] is False


def test_a_folder_that_is_away_is_said(tmp_path: Path, gallery: Path, fake_model: FakeModel) -> None:
    """A root that is not there now is named."""
    run(tmp_path / "index", gallery)
    gallery.rename(tmp_path / "away")
    done = imgsearch("doctor", "--index", tmp_path / "index")
    assert done.code == 1
    assert any(line.startswith("folder ") and str(gallery) in line for line in done.lines)


def test_an_unfinished_rebuild_is_said(tmp_path: Path) -> None:
    """With both ways out of it."""
    make(tmp_path / "index", 3)
    with IndexWriter(str(tmp_path / "index"), spec(DIM), rebuild=True):
        pass
    found = findings(tmp_path / "index")["rebuild"]
    assert found["well"] is False
    assert "index --rebuild" in found["text"]
    assert "compact --all" in found["text"]


def test_dead_vectors_are_counted_and_their_end_is_said(tmp_path: Path) -> None:
    """They are no trouble: they wait, and how to be rid of them is said."""
    make(tmp_path / "index", 8, lost=1)
    found = findings(tmp_path / "index")["gone"]
    assert found["well"] is True
    assert "1 of 8 embeddings" in found["text"]
    assert "compact --all" in found["text"]


def test_ann_files_that_are_not_right_are_said_with_the_reason(large: Path) -> None:
    """A damaged and a missing one leave searches slow, and the next index mends them."""
    assert "fast: 6,000 of 6,000" in findings(large)["search"]["text"]
    (path,) = (large / "faiss").iterdir()
    with open(path, "r+b") as file:
        file.seek(500)
        file.write(b"\0\1\2\3")
    found = findings(large)["search"]
    assert found["well"] is False
    assert "0 of 6,000" in found["text"]
    assert "does not match its checksum" in found["text"]
    path.unlink()
    assert "can't be read" in findings(large)["search"]["text"]


def test_an_index_that_can_not_be_opened_is_a_finding(tmp_path: Path) -> None:
    """The rest is still said, and the finding names what is damaged and what to do."""
    make(tmp_path / "index", 3)
    (tmp_path / "index" / "vectors" / "00000001.f16").unlink()
    done = imgsearch("doctor", "--index", tmp_path / "index")
    assert done.code == 1
    assert any("is missing" in line and "verify --repair" in line for line in done.lines)
    assert done.lines[-1].startswith("libraries")


def test_a_topic_is_told_by_its_own_words(tmp_path: Path) -> None:
    """The library returns what the command prints."""
    make(tmp_path / "index", 3)
    topics = [finding.topic for finding in doctor.examine(str(tmp_path / "index"))]
    assert topics == [
        "place",
        "writing",
        "disk",
        "format",
        "rebuild",
        "gone",
        "search",
        "folders",
        "cores",
        "libraries",
    ]


# ---- recall ---------------------------------------------------------------------------------------------------


def test_a_small_index_misses_nothing(tmp_path: Path) -> None:
    """Every vector is compared: recall is 1, and that this can't be otherwise is said."""
    make(tmp_path / "index", 50, lost=5)
    done = imgsearch("doctor", "--recall", "--sample", "20", "--index", tmp_path / "index")
    assert done.code == 0
    assert "1.0000 stored embeddings, 1.0000 text-like queries" in done.lines[0]
    assert "20 queries among 45 embeddings" in done.lines[1]
    assert any("nothing can be missed" in line for line in done.lines)
    assert done.lines[-1].endswith("nothing")


def test_fewer_pictures_than_ten_are_measured_too(tmp_path: Path) -> None:
    """One picture is found by all questions, and of none there is nothing to measure."""
    make(tmp_path / "one", 1)
    assert imgsearch("doctor", "--recall", "--index", tmp_path / "one").code == 0
    make(tmp_path / "none", 3, lost=3)
    done = imgsearch("doctor", "--recall", "--index", tmp_path / "none")
    assert done.code == 0
    assert "nothing to measure" in done.err


def test_an_index_searched_through_codes_is_measured(large: Path) -> None:
    """The strategy, the recall of both kinds of questions and the time of a query are said."""
    with ImageIndex(str(large)) as index:
        measured = measure_recall(index, 40)
    assert measured is not None
    assert measured.strategy.name == "codes"
    assert measured.recall.enough
    assert measured.recall.milliseconds > 0
    assert measured.trials == ()
    assert (measured.vectors, measured.questions) == (5980, 40)


def test_the_exact_answers_are_those_of_a_full_comparison(large: Path) -> None:
    """Against numpy in float64, for questions of both kinds; deleted pictures are none."""
    from imgsearch.tools.maintenance import recall

    rows = drawn(6000).astype(np.float16).astype(np.float64)[20:]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    questions = drawn(20, 9)
    with ImageIndex(str(large)) as index:
        found = index.with_views(lambda parts: recall._exact(index, parts, questions, lambda rows: None))
    expected = -np.sort(-(questions.astype(np.float64) @ rows.T), axis=1)[:, :10]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.fixture
def blind(large: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the codes hold the nearest back: only a longer shortlist than usual has them."""
    monkeypatch.setattr(ann, "shortlist_for", lambda k, dim, rows=0: 300)
    real = Codes.shortlist

    def shortlist(self: Codes, query: Vectors, count: int, mask: Any = None) -> Any:
        scores, rows = real(self, query, count, mask)
        if count <= 300:
            rows = np.where(np.arange(rows.shape[1]) % 2, rows, -1)
        return scores, rows

    monkeypatch.setattr(Codes, "shortlist", shortlist)
    return large


def test_what_would_help_is_measured_and_kept_if_asked(blind: Path) -> None:
    """Below 0.99 a longer shortlist is tried; --repair keeps it for all searches, and all is well then."""
    done = imgsearch("doctor", "--recall", "--sample", "30", "--index", blind)
    assert done.code == 1
    assert any(line.startswith("shortlist x 2") for line in done.lines)
    assert any(line.startswith("--exact     1.0000") for line in done.lines)
    assert done.lines[-1].endswith(f"imgsearch doctor --recall --repair --index {blind}")
    found = imgsearch("doctor", "--recall", "--sample", "30", "--repair", "--json", "--index", blind).objects[
        0
    ]
    assert found.keys() == {"vectors", "questions", "strategy", "recall", "trials", "best", "kept"}
    assert found["kept"] is True
    assert found["best"]["setting"] == "shortlist"
    assert found["recall"]["stored"] < 0.99
    again = imgsearch("doctor", "--recall", "--sample", "30", "--index", blind)
    assert again.code == 0
    with ImageIndex(str(blind)) as index:
        assert index.effective_shortlist_factor() == 2


def test_a_setting_that_makes_no_sense_is_passed_over(large: Path) -> None:
    """A damaged remark in the catalogue makes no search fail."""
    for kept in ("", "-3", "x", "99999999"):
        with IndexWriter(str(large)) as writer:
            writer.catalog.put_meta("shortlist", kept)
        with ImageIndex(str(large)) as index:
            assert index.effective_shortlist_factor() == 1
            assert len(index.search(drawn(1), 3)[0]) == 3


def test_looking_into_more_lists_is_measured_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where codes lie in lists and too few are looked into, twice as many help, and are kept."""
    from dataclasses import replace

    monkeypatch.setattr(ann, "EXACT_ROWS", 100)
    monkeypatch.setattr(ann, "LISTED_ROWS", 1000)
    monkeypatch.setattr(ann, "shortlist_for", lambda k, dim, rows=0: 700)
    folder = tmp_path / "index"
    make(folder, 12_000)
    with IndexWriter(str(folder)) as writer:
        (one,) = writer.catalog.ann_files().values()
        assert one.nlist > 4
        writer.catalog.put_ann_file(replace(one, nprobe=one.nlist // 2))
    done = imgsearch("doctor", "--recall", "--sample", "20", "--repair", "--json", "--index", folder)
    found = done.objects[0]
    assert found["recall"]["text_like"] < 0.99
    assert found["best"]["setting"] == "nprobe"
    assert found["kept"] is True
    with ImageIndex(str(folder)) as index:
        assert index.catalog.ann_files()[1].nprobe == one.nlist
    assert imgsearch("doctor", "--recall", "--sample", "20", "--index", folder).code == 0


def test_flags_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    """--repair belongs to --recall, and a sample has two questions at least."""
    make(tmp_path / "index", 3)
    done = imgsearch("doctor", "--repair", "--index", tmp_path / "index")
    assert done.code == 2
    assert "imgsearch verify --repair" in done.err
    with ImageIndex(str(tmp_path / "index")) as index, pytest.raises(UsageError, match="at least 2"):
        measure_recall(index, 1)


# ---- status ---------------------------------------------------------------------------------------------------


def test_status_says_how_searches_are_done_and_what_waits(large: Path, tmp_path: Path) -> None:
    """A line of text each, and figures in JSON."""
    lines = imgsearch("status", "--index", large).lines
    assert "search     fast: 6,000 of 6,000 embeddings covered" in lines
    assert any(line.startswith("deleted    20 embeddings kept for 30 days") for line in lines)
    found = imgsearch("status", "--json", "--index", large).objects[0]
    assert (found["files"], found["vectors"], found["dead"], found["covered"]) == (5980, 6000, 20, 6000)
    assert found["rebuilding"] is False
    make(tmp_path / "small", 7)
    lines = imgsearch("status", "--index", tmp_path / "small").lines
    assert "search     exact, 7 embeddings" in lines
    assert not any(line.startswith("deleted") for line in lines)
    os.remove(next((large / "faiss").iterdir()))
    assert imgsearch("status", "--json", "--index", large).objects[0]["covered"] == 0
