"""A run brings the index to what the folders hold: nothing embedded twice, nothing lost, nothing kept too long."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgsearch import search
from imgsearch.cli.spelling import spelled
from imgsearch.errors import (
    CheckpointError,
    FolderError,
    IndexMismatch,
    NothingToIndex,
    PictureError,
    StorageError,
    UsageError,
)
from imgsearch.index import side_db
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing import decode, ingest
from imgsearch.indexing.edit import remove_paths
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.indexing.run import index_pictures
from imgsearch.media import documents
from imgsearch.types import Input, ModelOptions, PixelBudget, Runtime, Silent
from support import fakes, mounted
from support.bombs import BOMBS
from support.fakes import FakeModel, paint
from support.mounted import MountTable
from support.pictures import encode, scene

fake_model, gallery = fakes.fake_model, fakes.gallery
table = mounted.table


class Notes(Silent):
    """A reporter that remembers what was said, and may do something when the plan is told."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.lines: list[str] = []
        self.then = then

    def say(self, line: str) -> None:
        self.lines.append(line)
        if "image" in line and self.then:
            self.then()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def run(folder: str, *paths: str | Path, reporter: Notes | None = None, **options: Any) -> IndexResult:
    return index_pictures([str(path) for path in paths], folder, IndexOptions(**options), reporter)


def indexed(folder: str) -> dict[str, bytes]:
    """Return the content of every indexed file by absolute path; a path that is there twice fails."""
    found: dict[str, bytes] = {}
    with ImageIndex(folder) as index:
        for root in index.catalog.roots():
            for row in index.catalog.files(root.id):
                path = os.path.join(root.path, row.path)
                if row.content is not None:
                    assert path not in found, f"{path} is in the index twice"
                    assert index.catalog.locate(row.content) is not None
                    found[path] = row.content
    return found


def skipped(folder: str) -> dict[str, str]:
    """Return the reason of every skipped file by absolute path."""
    with ImageIndex(folder) as index:
        return {path: reason for path, reason, _ in index.catalog.errors()}


def hashes(*paths: str | Path) -> dict[str, bytes]:
    """Return the sha256 of every picture file at or below the paths."""
    found = {}
    for path in map(Path, paths):
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.suffix in (".png", ".jpg") and file.is_file():
                found[str(file)] = hashlib.sha256(file.read_bytes()).digest()
    return found


def best(folder: str, words: str) -> str:
    """Return the path of the picture that the fake finds nearest to the words."""
    with ImageIndex(folder) as index:
        ((hit, *_),) = search.query(index, FakeModel().encoder(index.spec.dim), [Input(text=words)])
    return hit.path


# ---- the first run --------------------------------------------------------------------------------------------


def test_every_picture_is_found_by_what_is_in_it(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """After one run over a folder, each picture is the first answer to its own colour, with a cosine of 1."""
    result = run(folder, gallery)
    assert result.as_json() | {"seconds": 0} == {
        "indexed": 5,
        "reused": 0,
        "unchanged": 0,
        "skipped": 0,
        "pruned": 0,
        "seconds": 0,
        "to_do": 0,
        "to_prune": 0,
        "left_alone": [],
        "not_read": {},
    }
    assert indexed(folder) == hashes(gallery)
    for colour, name in {"red": "red.png", "blue": "blue.jpg", "white": "sub/white.png"}.items():
        assert best(folder, colour) == str(gallery / name)
    assert (fake_model.loads, fake_model.embedded) == (1, 5)


def test_the_order_of_batches_mixes_nothing_up(folder: str, tmp_path: Path, fake_model: FakeModel) -> None:
    """Whatever the batch size, each file's vector is that of its own picture, with its own size in pixels."""
    for seed in range(30):
        colours = np.random.default_rng(seed).integers(0, 256, (4, 3)).tolist()
        paint(tmp_path / "p" / f"{seed}.png", *map(tuple, colours), size=(40 + 2 * seed, 30))
    for size in (1, 4, 100):
        run(folder, tmp_path / "p", batch_size=size, rebuild=True)
        with ImageIndex(folder) as index:
            for seed in range(30):
                colours = np.random.default_rng(seed).integers(0, 256, (4, 3)).tolist()
                ((record, score),) = index.search(fakes.vector(*colours), 1)[0]
                assert record.paths == (str(tmp_path / "p" / f"{seed}.png"),)
                assert (record.width, record.height) == (40 + 2 * seed, 30)
                assert score == pytest.approx(1, abs=1e-3)


def test_the_first_line_says_how_many(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """Before any work, a run says how many pictures there are and how many of them need work."""
    notes = Notes()
    run(folder, gallery, reporter=notes)
    assert notes.lines[0].startswith("5 images, all new")
    paint(gallery / "pink.png", "pink")
    os.unlink(gallery / "red.png")
    notes = Notes()
    run(folder, gallery, reporter=notes)
    assert notes.lines[0].startswith("5 images: 1 new or changed, 4 unchanged, 1 deleted")


def test_what_is_not_read_is_told_by_kind(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RAW files and videos are named in a line when there is work, other files are not; the result counts them all."""
    monkeypatch.setattr(documents, "DOCUMENTS", ())
    for name in ("a.NEF", "b.cr3", "c.mov", "note.txt"):
        (gallery / name).write_text("x")
    notes = Notes()
    assert run(folder, gallery, reporter=notes).not_read == {"raw": 2, "video": 1, "other": 1}
    assert notes.lines[-1] == "2 RAW files and 1 video were not read (not supported yet)"
    notes = Notes()
    run(folder, gallery, reporter=notes)
    assert "not read" not in notes.text


def test_copies_that_programs_keep_are_told(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """Folders of copies are counted in a line with the option that takes them, which holds for later runs too."""
    for name in ("@eaDir", "sub/@eaDir"):
        (gallery / name).mkdir()
        paint(gallery / name / "thumb.jpg", "pink")
    notes = Notes()
    assert run(folder, gallery, reporter=notes).indexed == 5
    what = "2 folders of thumbnails and previews that other programs keep are not read"
    assert notes.lines[1] == f"{what} (include_copies=True to include them)"
    with pytest.raises(NothingToIndex, match=r"1 folder of thumbnails.*keep is not read.*include_copies"):
        run(folder + "2", gallery / "sub", walk=WalkOverrides(exclude=("*.*",)))
    assert run(folder, gallery, walk=WalkOverrides(include_copies=True)).reused == 1
    assert run(folder, gallery).unchanged == 7
    assert run(folder, gallery, walk=WalkOverrides(include_copies=False)).pruned == 2


def test_links_are_told_with_the_flag_that_follows_them(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Links that are not followed are counted in the result, in a line and, without images, in the error."""
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "gallery").symlink_to(gallery)
    with pytest.raises(NothingToIndex) as raised:
        run(folder, tmp_path / "links")
    assert "; 1 link is not followed (--follow-symlinks to follow links); " in spelled(
        raised.value.as_message
    )
    paint(tmp_path / "links" / "own.png", "red")
    (tmp_path / "links" / "blue.jpg").symlink_to(gallery / "blue.jpg")
    notes = Notes()
    assert run(folder, tmp_path / "links", reporter=notes).not_read == {"link": 2}
    assert spelled(notes.lines[1]) == "2 links are not followed (--follow-symlinks to follow links)"
    notes = Notes()
    result = run(folder, tmp_path / "links", walk=WalkOverrides(follow_symlinks=True), reporter=notes)
    assert (result.not_read, "not followed" in notes.text) == ({}, False)


def test_a_folder_of_raw_files_says_so(
    folder: str, tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are only RAW files, the error names them instead of nothing."""
    monkeypatch.setattr(documents, "DOCUMENTS", ())
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.NEF").write_text("x")
    with pytest.raises(
        NothingToIndex, match=r"no supported images in .*raw; 1 RAW file was not read \(not supported yet\); "
    ):
        run(folder, tmp_path / "raw")


def test_the_demo_model_is_not_for_photos(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A run with the demo model tells that it only knows drawings, if it has work and advice is wanted."""
    for advise, told in ((False, False), (True, True)):
        notes = Notes()
        run(folder, gallery, model=ModelOptions("demo"), rebuild=True, advise=advise, reporter=notes)
        assert ("only knows drawings of everyday things" in notes.text) == told
    notes = Notes()
    run(folder, gallery, reporter=notes)
    assert "only knows drawings" not in notes.text


@pytest.mark.parametrize("what", ["missing", "empty", "no picture", "a file of text"])
def test_nothing_to_index_leaves_no_index(
    folder: str, tmp_path: Path, fake_model: FakeModel, what: str
) -> None:
    """A path that is missing or holds no picture is one error, and no index appears for it."""
    path = tmp_path / what
    error: type[Exception] = NothingToIndex
    if what == "missing":
        error = FolderError
    elif what == "a file of text":
        path.write_text("words")
    else:
        path.mkdir()
        if what == "no picture":
            (path / "note.txt").write_text("words")
    with pytest.raises(error, match=what if error is FolderError else "no supported images in"):
        run(folder, path)
    assert not os.path.exists(folder)
    assert fake_model.loads == 0


def test_an_existing_index_survives_a_wrong_path(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A missing or empty folder leaves an index exactly as it was, also its roots."""
    run(folder, gallery)
    (gallery.parent / "empty").mkdir()
    for path, error in ((gallery / "none", FolderError), (gallery.parent / "empty", NothingToIndex)):
        with pytest.raises(error):
            run(folder, path)
        with pytest.raises(error if error is FolderError else NothingToIndex):
            run(folder, path, dry_run=True)
    assert indexed(folder) == hashes(gallery)
    with ImageIndex(folder) as index:
        assert [root.path for root in index.catalog.roots()] == [str(gallery)]


def test_odd_names_are_indexed_as_they_are(folder: str, tmp_path: Path, fake_model: FakeModel) -> None:
    """Spaces, newlines, quotes, emoji, bytes that are no UTF-8 and 255 bytes make no difference."""
    names = [
        "a b.png",
        "new\nline.png",
        "'\"`$;.png",
        "🐈.png",
        os.fsdecode(b"\xff\xfe.png"),
        "x" * 251 + ".PNG",
    ]
    for number, name in enumerate(names):
        paint(tmp_path / "p" / "red.png", (number, 20, 30))
        os.rename(tmp_path / "p" / "red.png", tmp_path / "p" / name)
    run(folder, tmp_path / "p")
    assert indexed(folder) == {
        str(tmp_path / "p" / name): hashlib.sha256((tmp_path / "p" / name).read_bytes()).digest()
        for name in names
    }
    assert run(folder).unchanged == len(names)


# ---- the second run -------------------------------------------------------------------------------------------


def test_an_unchanged_tree_loads_and_embeds_nothing(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A second run over the same files does not load the model and changes no vector."""
    run(folder, gallery)
    before = Path(folder, "vectors", "00000001.f16").read_bytes()
    for paths in ((gallery,), (), (gallery / "sub",), (gallery / "red.png",)):
        result = run(folder, *paths)
        assert (result.indexed, result.reused, result.pruned) == (0, 0, 0)
    assert (fake_model.loads, fake_model.embedded) == (1, 5)
    assert Path(folder, "vectors", "00000001.f16").read_bytes() == before


def test_a_changed_file_is_embedded_anew(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """Another size or time means another look: a new content is embedded, and the old one is no hit any more."""
    run(folder, gallery)
    paint(gallery / "red.png", "pink", size=(80, 60))
    result = run(folder, gallery)
    assert (result.indexed, result.unchanged, fake_model.embedded) == (1, 4, 6)
    assert indexed(folder) == hashes(gallery)
    assert best(folder, "pink") == str(gallery / "red.png")
    assert best(folder, "red") != str(gallery / "red.png")


def test_a_touched_file_is_read_but_not_embedded(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A file whose time alone has changed keeps its vector, and the run after that need not look again."""
    run(folder, gallery)
    os.utime(gallery / "red.png", ns=(1, 1))
    assert run(folder, gallery).reused == 1
    assert run(folder, gallery).unchanged == 5
    assert fake_model.embedded == 5


def test_moved_and_copied_files_keep_their_vector(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A moved or copied file is recognised by its bytes: nothing is embedded, and hits name the new places."""
    run(folder, gallery)
    os.rename(gallery / "red.png", gallery / "sub" / "rot.png")
    shutil.copy(gallery / "green.png", gallery / "verde.png")
    result = run(folder, gallery)
    assert (result.indexed, result.reused, result.pruned, fake_model.embedded) == (0, 2, 1, 5)
    assert indexed(folder) == hashes(gallery)
    assert best(folder, "red") == str(gallery / "sub" / "rot.png")


def test_a_moved_folder_keeps_its_vectors(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A folder that moves to another root embeds nothing there, also when it had been pruned before."""
    run(folder, gallery)
    os.rename(gallery / "sub", gallery.parent / "elsewhere")
    run(folder, gallery, prune_empty=True)
    assert run(folder, gallery.parent / "elsewhere").reused == 2
    assert fake_model.embedded == 5
    assert indexed(folder) == hashes(gallery, gallery.parent / "elsewhere")


def test_copies_within_one_run_are_embedded_once(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files with the same bytes cost one embedding, whether they meet in a batch, in a commit, or in neither."""
    for number in range(7):
        shutil.copy(gallery / "red.png", gallery / f"{number} red.png")
        shutil.copy(gallery / "green.png", gallery / f"{number} green.png")
    for batch, seconds in ((100, 100.0), (3, 100.0), (3, 0.0), (1, 0.0)):
        monkeypatch.setattr(ingest, "COMMIT_SECONDS", seconds)
        fake_model.embedded = 0
        result = run(folder, gallery, batch_size=batch, rebuild=True)
        assert (result.indexed, result.reused, fake_model.embedded) == (5, 14, 5)
        assert indexed(folder) == hashes(gallery)


def test_a_copy_decoded_before_its_original_was_committed(
    folder: str, tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that was decoded ahead while its original was not yet in the index is the same picture all the same."""
    for name in ("1.png", "2.png"):
        paint(tmp_path / "p" / name, "red")
    both = threading.Barrier(2)
    real = fakes.FakeEncoder.prepare

    def prepare(self: fakes.FakeEncoder, image: Any, budget: Any = None) -> Any:
        both.wait(timeout=30)  # neither goes on before both are decoded
        return real(self, image, budget)

    monkeypatch.setattr(fakes.FakeEncoder, "prepare", prepare)
    monkeypatch.setattr(ingest, "COMMIT_SECONDS", 0.0)
    result = run(folder, tmp_path / "p", batch_size=1)
    assert (result.indexed, result.reused, fake_model.embedded) == (1, 1, 1)
    assert indexed(folder) == hashes(tmp_path / "p")


# ---- pruning --------------------------------------------------------------------------------------------------


def test_deleted_files_are_pruned(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A deleted file is no hit after the next run; --no-prune keeps it, as a hit that is missing."""
    run(folder, gallery)
    os.unlink(gallery / "red.png")
    assert run(folder, gallery, prune=False).pruned == 0
    with ImageIndex(folder) as index:
        ((hit, *_),) = search.query(index, fake_model.encoder(), [Input(text="red")])
    assert (hit.path, hit.missing) == (str(gallery / "red.png"), True)
    assert run(folder, gallery).pruned == 1
    assert indexed(folder) == hashes(gallery)


def test_only_what_was_given_is_pruned(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A run over one folder forgets nothing of another, nor of the rest of the same root."""
    other = paint(gallery.parent / "other" / "pink.png", "pink").parent
    paint(other / "brown.png", "brown")
    run(folder, gallery, other)
    for path in (gallery / "red.png", gallery / "sub" / "white.png", other / "pink.png"):
        os.unlink(path)
    assert run(folder, gallery / "sub").pruned == 1
    assert str(gallery / "red.png") in indexed(folder)
    assert run(folder, gallery).pruned == 1
    assert str(other / "pink.png") in indexed(folder)
    assert run(folder).pruned == 1
    assert indexed(folder) == hashes(gallery, other)


def test_excluded_files_leave_the_index(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """What a new exclude or ignore file names is forgotten, and comes back without embedding."""
    run(folder, gallery)
    assert run(folder, gallery, walk=WalkOverrides(exclude=("*.jpg",))).pruned == 1
    (gallery / ".imgsearchignore").write_text("sub/\n")
    assert run(folder, gallery).pruned == 2
    assert set(indexed(folder)) == {str(gallery / "red.png"), str(gallery / "green.png")}
    (gallery / ".imgsearchignore").unlink()
    run(folder, gallery, walk=WalkOverrides(exclude=()))
    assert indexed(folder) == hashes(gallery)
    assert fake_model.embedded == 5


def test_a_folder_that_can_not_be_listed_keeps_its_pictures(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absence from a folder that could not be listed proves nothing, and the run says which folder that was."""
    run(folder, gallery)
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if str(path) == str(gallery / "sub"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    notes = Notes()
    result = run(folder, gallery, reporter=notes)
    assert (result.pruned, sum(result.kept.values())) == (0, 2)
    assert f"{gallery / 'sub'} is left alone: it can't be listed: Permission denied;" in notes.text
    monkeypatch.setattr(os, "scandir", real)
    assert indexed(folder) == hashes(gallery)


def test_a_bad_ignore_file_costs_its_folder_a_warning(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """It is neither indexed nor pruned until the file is right; line, summary and JSON name it, the rest goes on."""
    run(folder, gallery)
    before = indexed(folder)
    (gallery / "sub" / ".imgsearchignore").write_text("!\n")
    next((gallery / "sub").glob("[!.]*.*")).unlink()
    paint(gallery / "sub" / "new.png", "pink")
    paint(gallery / "new.png", "brown")
    notes = Notes()
    result = run(folder, gallery, reporter=notes)
    assert (result.indexed, result.pruned) == (1, 0)
    assert set(indexed(folder)) == {*before, str(gallery / "new.png")}
    reason = "its .imgsearchignore can't be used: line 1: '!' is not a valid pattern: it names nothing"
    assert f"{gallery / 'sub'} is left alone: {reason}; its images stay indexed" in notes.text
    assert "1 folder left alone" in result.summary()
    assert result.as_json()["left_alone"] == [{"path": str(gallery / "sub"), "reason": reason}]
    (gallery / "sub" / ".imgsearchignore").unlink()
    assert run(folder, gallery).as_json()["left_alone"] == []
    assert indexed(folder) == hashes(gallery)


def test_a_bad_ignore_file_in_the_root_ends_the_run_without_a_change(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """Where all of what was asked for is left alone there is nothing to do, and the error says why."""
    (gallery / ".imgsearchignore").write_bytes("a.jpg\n".encode("utf-16"))
    with pytest.raises(
        FolderError, match=r"left alone: its \.imgsearchignore can't be used: line 1: it is UTF-16"
    ):
        run(folder, gallery)


@pytest.mark.parametrize("how", ["emptied", "gone"])
def test_an_emptied_folder_is_kept_unless_it_is_meant(
    folder: str, gallery: Path, fake_model: FakeModel, how: str
) -> None:
    """A folder with no file left may be an unmounted drive: its pictures stay until ``prune_empty`` or its removal."""
    run(folder, gallery)
    shutil.rmtree(gallery / "sub")
    if how == "gone":
        assert run(folder, gallery).pruned == 2
        return
    (gallery / "sub" / "deep").mkdir(parents=True)
    result = run(folder, gallery)
    assert (result.pruned, sum(result.kept.values())) == (0, 2)
    assert "prune_empty=True" in next(iter(result.kept))
    assert run(folder, gallery, prune_empty=True).pruned == 2
    assert indexed(folder) == hashes(gallery)


def test_a_wholly_emptied_root_is_kept(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A root without any file left loses no picture to a plain run, given by name or not."""
    run(folder, gallery)
    before = indexed(folder)
    shutil.rmtree(gallery)
    gallery.mkdir()
    for paths in ((gallery,), ()):
        assert run(folder, *paths).pruned == 0
    assert indexed(folder) == before
    assert run(folder, prune_empty=True).pruned == 5
    assert indexed(folder) == {}


def test_a_drive_that_is_not_mounted_keeps_its_pictures(
    folder: str, gallery: Path, fake_model: FakeModel, table: MountTable
) -> None:
    """What lay on a drive below the root stays, also with other files or a lone folder at the mount point."""
    table.put(gallery / "sub", "none", "fuse")
    run(folder, gallery)
    before = indexed(folder)
    shutil.move(gallery / "sub", gallery.parent / "drive")
    (gallery / "sub").mkdir()
    table.take(gallery / "sub")
    # Written onto the mount point by mistake:
    pink = hashes(paint(gallery / "sub" / "pink.png", "pink"))
    result = run(folder, gallery, prune_empty=True)
    assert (result.pruned, result.indexed) == (0, 1)
    assert next(iter(result.kept)) == "the drive it was on is not mounted"
    assert before.items() <= indexed(folder).items()
    # Mounted again, after a boot that numbers devices differently, what is missing there is really gone.
    shutil.rmtree(gallery / "sub")
    shutil.move(gallery.parent / "drive", gallery / "sub")
    os.unlink(gallery / "sub" / "white.png")
    table.put(gallery / "sub", "none", "fuse")
    result = run(folder, gallery)
    assert (result.pruned, dict(result.kept)) == (1, {"another drive is mounted over its folder": 1})
    assert indexed(folder) == hashes(gallery) | pink


def test_device_numbers_may_change_with_every_boot(
    folder: str, gallery: Path, fake_model: FakeModel, table: MountTable
) -> None:
    """A drive that was mounted at its second indexing counts as such, whatever number it had at the first."""
    run(folder, gallery)
    table.put(
        gallery / "sub", "none", "fuse"
    )  # a copy of the folder on a drive of its own, with the same times
    assert run(folder, gallery).unchanged == 5
    table.take(gallery / "sub")
    shutil.rmtree(gallery / "sub")
    (gallery / "sub").mkdir()
    assert run(folder, gallery, prune_empty=True).pruned == 0
    assert len(indexed(folder)) == 5


def test_a_root_on_a_drive_that_is_not_mounted(
    folder: str, gallery: Path, fake_model: FakeModel, table: MountTable
) -> None:
    """A root that was a drive and is an ordinary folder now is left alone, by name with an error, else with a word."""
    table.put(gallery)
    other = paint(gallery.parent / "other" / "pink.png", "pink").parent
    run(folder, gallery, other)
    before = indexed(folder)
    table.take(gallery)
    shutil.rmtree(gallery)
    paint(gallery / "stray.png", "brown")
    with pytest.raises(FolderError, match=r"was on a drive of its own.*relocate\("):
        run(folder, gallery)
    notes = Notes()
    assert run(folder, reporter=notes).unchanged == 1
    assert "was on a drive of its own" in notes.text
    # Nor does it stand in the way of a folder around it.
    notes = Notes()
    paint(gallery.parent / "cyan.png", "cyan")
    assert run(folder, gallery.parent, reporter=notes).indexed == 1
    assert "was on a drive of its own" in notes.text
    assert indexed(folder) == before | hashes(gallery.parent / "cyan.png")


def test_a_missing_root_is_an_unmounted_drive(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A root that is not there keeps its pictures; the others are refreshed; with none there, nothing is done."""
    other = paint(gallery.parent / "other" / "pink.png", "pink").parent
    run(folder, gallery, other)
    before = indexed(folder)
    os.rename(gallery, gallery.parent / "away")
    notes = Notes()
    assert run(folder, reporter=notes).pruned == 0
    assert f"{gallery} is not there now" in notes.text
    notes = Notes()
    run(folder, gallery.parent, reporter=notes, walk=WalkOverrides(exclude=("away",)))
    assert f"{gallery} is not there now" in notes.text
    assert indexed(folder) == before
    shutil.rmtree(gallery.parent / "other")
    remove_paths([str(gallery.parent)], folder)
    run(folder, gallery.parent / "away")
    shutil.rmtree(gallery.parent / "away")
    with pytest.raises(FolderError, match="none of the index's folders is there now"):
        run(folder)


# ---- roots ----------------------------------------------------------------------------------------------------


def test_without_a_path_every_root_is_refreshed_as_it_was_asked_for(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A run without a path covers every root, each with the excludes it was given."""
    other = paint(gallery.parent / "other" / "pink.png", "pink").parent
    run(folder, gallery, walk=WalkOverrides(exclude=("*.jpg", "sub/")))
    run(folder, other, walk=WalkOverrides(include_hidden=True))
    paint(gallery / "sub" / "brown.png", "brown")
    paint(gallery / "orange.png", "orange")
    paint(gallery / ".cyan.png", "cyan")
    paint(other / ".cyan.png", "cyan")
    assert run(folder).as_json()["indexed"] == 2
    assert set(indexed(folder)) == {
        *(str(gallery / name) for name in ("red.png", "green.png", "orange.png")),
        *(str(other / name) for name in ("pink.png", ".cyan.png")),
    }


def test_without_a_path_and_a_root_there_is_nothing_to_do(folder: str, fake_model: FakeModel) -> None:
    """The very first run needs a folder, and says so."""
    with pytest.raises(FolderError, match=r"give one: index_pictures\(paths=\['FOLDER'\]\)"):
        run(folder)
    assert not os.path.exists(folder)


def test_the_same_folder_given_twice_is_one(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A folder given twice, also through a link, with dots or with one of its files, is walked once."""
    (gallery.parent / "link").symlink_to(gallery)
    result = run(
        folder,
        gallery,
        gallery,
        gallery.parent / "link",
        f"{gallery}/",
        f"{gallery}/sub/..",
        gallery / "sub",
        gallery / "red.png",
    )
    assert (result.indexed, result.reused) == (5, 0)
    assert indexed(folder) == hashes(gallery)
    assert run(folder, gallery.parent / "link").unchanged == 5


@pytest.mark.parametrize("options", [None, WalkOverrides(), WalkOverrides(exclude=("*.jpg",))])
@pytest.mark.parametrize("order", ["inner first", "outer first", "together", "together, inner first"])
def test_nested_roots_hold_each_file_once(
    folder: str, gallery: Path, fake_model: FakeModel, order: str, options: WalkOverrides | None
) -> None:
    """However a folder and one inside it are given, each file is embedded, listed and counted once."""
    inner = gallery / "sub"
    paint(inner / "deep" / "pink.png", "pink")
    orders: dict[str, list[list[Path]]] = {
        "inner first": [[inner], [gallery]],
        "outer first": [[gallery], [inner]],
        "together": [[gallery, inner]],
        "together, inner first": [[inner, gallery]],
    }
    for paths in orders[order]:
        run(folder, *paths, walk=options)
    wanted = hashes(gallery)
    if options and options.exclude:
        del wanted[str(gallery / "blue.jpg")]
    assert indexed(folder) == wanted
    assert fake_model.embedded == len(wanted)
    for paths in ([gallery], [inner], [], [inner, gallery]):
        result = run(folder, *paths)
        assert (result.indexed, result.reused, result.pruned) == (0, 0, 0)
        assert result.unchanged == (3 if paths == [inner] else len(wanted))
    os.unlink(inner / "white.png")
    os.unlink(gallery / "green.png")
    assert run(folder).pruned == 2


def test_overlapping_parts_of_a_root_are_counted_once(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """Parts of a known root that lie in each other are one part: a new file there is embedded and counted once."""
    run(folder, gallery)
    new = paint(gallery / "sub" / "deep" / "pink.png", "pink")
    result = run(folder, gallery / "sub", gallery / "sub" / "deep", new, gallery / "sub" / "white.png")
    assert (result.indexed, result.reused, result.unchanged) == (1, 0, 2)
    assert indexed(folder) == hashes(gallery)


def test_an_inner_folder_may_be_given_rules_of_its_own(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A folder inside a root that is indexed with other excludes becomes a root and keeps these from then on."""
    run(folder, gallery)
    result = run(folder, gallery / "sub", walk=WalkOverrides(exclude=("white.*",)))
    assert (result.indexed, result.reused, result.unchanged, result.pruned) == (0, 0, 1, 1)
    for paths in ((), (gallery,), (gallery / "sub",)):
        result = run(folder, *paths)
        assert (result.indexed, result.reused, result.pruned) == (0, 0, 0)
    wanted = hashes(gallery)
    del wanted[str(gallery / "sub" / "white.png")]
    assert indexed(folder) == wanted
    assert fake_model.embedded == 5


def test_a_single_file_is_indexed_alone(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A file given by itself brings in no other of its folder, then or with a later refresh."""
    assert run(folder, gallery / "red.png").indexed == 1
    assert run(folder).unchanged == 1
    assert run(folder, gallery / "green.png", gallery / "sub" / "white.png").indexed == 2
    assert run(folder).unchanged == 3
    wanted = hashes(gallery / "red.png", gallery / "green.png", gallery / "sub" / "white.png")
    assert indexed(folder) == wanted
    os.unlink(gallery / "red.png")
    paint(gallery / "green.png", "pink")
    result = run(folder)
    assert (result.indexed, result.pruned) == (1, 1)
    assert indexed(folder) == hashes(gallery / "green.png", gallery / "sub" / "white.png")


@pytest.mark.parametrize("name", ["tweet.jpg_large", "f.jpg?w=800", "noextension", "x.txt", "x.jpg~"])
@pytest.mark.parametrize("root", ["its own", "its folder's", "made anew"])
def test_a_file_that_is_given_is_read_by_its_contents(
    folder: str, gallery: Path, fake_model: FakeModel, name: str, root: str
) -> None:
    """An image is indexed when it is given whatever its name, and stays indexed; others of its folder are not."""
    given, other = gallery / "sub" / name, gallery / "sub" / "other.jpg_large"
    for path in (given, other):
        paint(gallery / "x.png", "pink" if path == given else "brown")
        (gallery / "x.png").rename(path)
    if root != "its own":
        run(folder, gallery)
        assert str(given) not in indexed(folder)
    assert run(folder, given).indexed == 1
    assert best(folder, "pink") == str(given)
    if root == "made anew":
        run(folder, rebuild=True)
    result = run(folder)
    assert (result.indexed, result.pruned, result.to_prune) == (0, 0, 0)
    assert str(given) in indexed(folder)
    assert str(other) not in indexed(folder)
    assert run(folder, gallery / "sub").pruned == 0
    given.write_bytes(other.read_bytes())
    os.utime(given, ns=(7, 7))
    assert run(folder, gallery).indexed > 0
    assert best(folder, "brown") == str(given)
    given.unlink()
    assert run(folder).pruned == 1


@pytest.mark.parametrize("name", ["notes.txt", "a.ari", "a.mxf"])
def test_a_file_that_is_given_and_holds_no_image_is_not_indexed(
    folder: str, tmp_path: Path, fake_model: FakeModel, name: str
) -> None:
    """Text and videos under names of their own stay what they are; so does a RAW file that nothing here reads."""
    (tmp_path / name).write_bytes(b"II*\0" + bytes(100) if name == "a.ari" else b"words")
    with pytest.raises(NothingToIndex, match="no supported images in"):
        run(folder, tmp_path / name)
    assert not os.path.exists(folder)


@pytest.mark.parametrize("around", ["its folder", "a folder above"])
def test_a_folder_around_a_single_file_takes_all(
    folder: str, gallery: Path, fake_model: FakeModel, around: str
) -> None:
    """A folder that is indexed after one of its files, alone, is indexed whole, each file once."""
    run(folder, gallery / "sub" / "white.png")
    run(folder, gallery / "sub" if around == "its folder" else gallery)
    assert indexed(folder) == hashes(gallery / "sub" if around == "its folder" else gallery)
    assert fake_model.embedded == (2 if around == "its folder" else 5)
    paint(gallery / "sub" / "pink.png", "pink")
    assert run(folder).indexed == 1


def test_a_single_file_of_a_known_root_is_refreshed_alone(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A file inside a root, given by itself, is the only one looked at; the root stays whole."""
    run(folder, gallery)
    paint(gallery / "red.png", "pink")
    paint(gallery / "green.png", "brown")
    os.unlink(gallery / "blue.jpg")
    result = run(folder, gallery / "red.png")
    assert (result.indexed, result.pruned) == (1, 0)
    result = run(folder)
    assert (result.indexed, result.pruned) == (1, 1)
    assert indexed(folder) == hashes(gallery)


def test_the_index_itself_is_never_indexed(gallery: Path, fake_model: FakeModel) -> None:
    """An index that lies inside the folder of pictures is passed by, whatever is put into it."""
    folder = str(gallery / "my index")
    run(folder, gallery)
    paint(Path(folder, "thumbs", "pink.png"), "pink")
    assert run(folder, gallery).unchanged == 5


@pytest.mark.parametrize("time", [2**63, 10**21, -(2**63) - 1, -62_135_596_800 * 10**9])
def test_any_date_is_indexed_once(folder: str, gallery: Path, fake_model: FakeModel, time: int) -> None:
    """A date of year 1 or 30000, on an image or on what is none, is stored, and is no reason to read it again."""
    (gallery / "text.jpg").write_text("no picture")
    for name in ("red.png", "text.jpg"):
        os.utime(gallery / name, ns=(time, time))
    result = run(folder, gallery)
    assert (result.indexed, dict(result.skipped)) == (5, {"not an image": 1})
    result = run(folder, gallery)
    assert (result.unchanged, result.unchanged_errors) == (5, 1)
    os.utime(gallery / "green.png", ns=(time, time))
    assert run(folder, gallery).reused == 1
    assert best(folder, "red") == str(gallery / "red.png")
    with ImageIndex(folder) as index:
        hit = search.similar(index, str(gallery / "red.png"), FakeModel().encoder(index.spec.dim))[0]
    assert hit.path == str(gallery / "red.png")


# ---- files that are no good -----------------------------------------------------------------------------------


def test_broken_files_are_listed_and_retried_only_when_changed(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A file that can't be decoded is skipped with its reason, not looked at again until it changes, then taken."""
    whole = (gallery / "red.png").read_bytes()
    (gallery / "cut.png").write_bytes(whole[: len(whole) // 2])
    (gallery / "zero.jpg").write_bytes(b"")
    (gallery / "text.jpg").write_text("no picture")
    result = run(folder, gallery)
    assert (result.indexed, result.skipped.total()) == (5, 3)
    wanted = {"cut.png": "corrupt", "zero.jpg": "empty file", "text.jpg": "not an image"}
    assert skipped(folder) == {str(gallery / name): reason for name, reason in wanted.items()}
    result = run(folder, gallery)
    assert (result.unchanged, result.unchanged_errors, result.skipped.total()) == (5, 3, 0)
    assert fake_model.loads == 1
    paint(gallery / "text.jpg", "pink")
    os.unlink(gallery / "zero.jpg")
    result = run(folder, gallery)
    assert (result.indexed, result.unchanged_errors, result.pruned) == (1, 1, 1)
    assert skipped(folder) == {str(gallery / "cut.png"): "corrupt"}


def test_a_folder_of_broken_files_alone_is_an_index_that_says_so(
    folder: str, tmp_path: Path, fake_model: FakeModel
) -> None:
    """A folder in which no file is any good ends as an index with nothing but their reasons."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.jpg").write_bytes(b"no picture")
    result = run(folder, tmp_path / "p")
    assert (result.indexed, dict(result.skipped)) == (0, {"not an image": 1})
    assert (indexed(folder), len(skipped(folder))) == ({}, 1)


def test_a_file_that_has_become_corrupt_loses_its_vector(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A picture overwritten by garbage is no hit any more, and listed."""
    run(folder, gallery)
    (gallery / "red.png").write_bytes(b"\x89PNG\r\n\x1a\n garbage")
    assert dict(run(folder, gallery).skipped) == {"corrupt": 1}
    assert str(gallery / "red.png") not in indexed(folder)
    assert skipped(folder) == {str(gallery / "red.png"): "corrupt"}


def test_a_picture_without_its_end_is_indexed_and_listed(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A JPEG without its last bytes is a hit, and is listed as one with something missing, also after the next run."""
    data = encode(scene(3), ".jpg", quality=95)
    (gallery / "cut.jpg").write_bytes(data[:-2])
    (gallery / "half.jpg").write_bytes(data[: len(data) // 2])
    for _ in range(2):
        run(folder, gallery)
        assert str(gallery / "cut.jpg") in indexed(folder)
        assert skipped(folder) == {
            str(gallery / "cut.jpg"): "incomplete",
            str(gallery / "half.jpg"): "corrupt",
        }


@pytest.mark.parametrize("reason", ["unreadable", "changed while it was read", "vanished"])
def test_a_passing_error_costs_no_vector(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """A file that could not be read for once keeps what is known of it, and is tried again with the next run."""
    run(folder, gallery)
    before = indexed(folder)
    paint(gallery / "red.png", "pink")
    paint(gallery / "new.png", "brown")
    real = decode.open_source

    def open_source(path: str, recognise: Any) -> Any:
        if path in (str(gallery / "red.png"), str(gallery / "new.png")):
            raise PictureError(reason, "for once")
        return real(path, recognise)

    monkeypatch.setattr(decode, "open_source", open_source)
    for _ in range(2):
        result = run(folder, gallery)
        assert dict(result.skipped) == {reason: 2}
        assert indexed(folder) == before
        both = dict.fromkeys((str(gallery / "new.png"), str(gallery / "red.png")), reason)
        assert skipped(folder) == ({} if reason == "vanished" else both)
        said = result.summary(folder)
        assert ("skipped_files" in said) == (reason != "vanished")
    with ImageIndex(folder) as index:
        details = {path: detail for path, _, detail in index.catalog.errors()}
        assert index.catalog.counts()[0] == 5
    if reason != "vanished":
        assert details[str(gallery / "red.png")] == "for once; its earlier embedding stays"
        assert details[str(gallery / "new.png")] == "for once"
    monkeypatch.setattr(decode, "open_source", real)
    assert run(folder, gallery).indexed == 2
    assert indexed(folder) == hashes(gallery)
    assert skipped(folder) == {}


def test_a_file_that_vanishes_before_it_is_read(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A file deleted between the walk and the read is skipped, leaves no trace, and the run goes on."""
    notes = Notes(then=lambda: os.unlink(gallery / "red.png"))
    result = run(folder, gallery, reporter=notes)
    assert (result.indexed, dict(result.skipped)) == (4, {"vanished": 1})
    assert indexed(folder) == hashes(gallery)
    assert skipped(folder) == {}
    assert run(folder, gallery).unchanged == 4


def test_a_file_that_changes_before_it_is_read(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A file that changes between the walk and the read is taken as it is then, and is current afterwards."""
    notes = Notes(then=lambda: paint(gallery / "red.png", "pink", size=(80, 80)) and None)
    assert run(folder, gallery, reporter=notes).indexed == 5
    assert indexed(folder) == hashes(gallery)
    assert best(folder, "pink") == str(gallery / "red.png")
    assert run(folder, gallery).unchanged == 5


def test_a_file_that_becomes_a_folder_or_a_pipe(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """Something else in a file's place when it is to be read is skipped, not waited for."""

    def swap() -> None:
        for name in ("red.png", "green.png"):
            os.unlink(gallery / name)
        (gallery / "red.png").mkdir()
        os.mkfifo(gallery / "green.png")

    result = run(folder, gallery, reporter=Notes(then=swap))
    assert (result.indexed, dict(result.skipped)) == (3, {"unreadable": 2})


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_a_row_that_is_not_finite_is_reported_and_the_rest_stored(
    folder: str, gallery: Path, fake_model: FakeModel, batch: int
) -> None:
    """Pictures for which the model gives no finite vector are listed; those of the same batch are indexed."""
    fake_model.spoilt = {fakes.COLOURS["red"], fakes.COLOURS["white"]}
    result = run(folder, gallery, batch_size=batch)
    assert (result.indexed, dict(result.skipped)) == (3, {"no finite vector": 2})
    bad = [str(gallery / "red.png"), str(gallery / "sub" / "white.png")]
    assert sorted(skipped(folder)) == bad
    wanted = {path: content for path, content in hashes(gallery).items() if path not in bad}
    assert indexed(folder) == wanted
    assert best(folder, "blue") == str(gallery / "blue.jpg")


def test_a_file_without_a_page_is_skipped(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in which a decoder finds no picture at all is listed, and not taken for a copy of something."""
    monkeypatch.setattr("imgsearch.media.formats.load_pictures", lambda *args, **options: iter(()))
    assert dict(run(folder, gallery).skipped) == {"contains no image": 5}
    assert indexed(folder) == {}


def test_a_larger_limit_brings_in_what_was_too_large(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A picture over --max-megapixels is skipped, stays so, and comes in when a run allows more."""
    paint(gallery / "large.png", "pink", size=(400, 300))
    assert dict(run(folder, gallery, max_megapixels=0.1).skipped) == {"too many pixels": 1}
    assert run(folder, gallery).unchanged_errors == 1
    assert run(folder, gallery, max_megapixels=1.0).indexed == 1


# ---- breaking off ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 2, 4])
def test_an_interrupted_run_keeps_what_was_embedded(
    folder: str, gallery: Path, fake_model: FakeModel, at: int
) -> None:
    """Ctrl-C while the model computes keeps every batch before it, and the next run does the rest only."""

    def interrupt(embedded: int) -> None:
        if embedded >= at:
            raise KeyboardInterrupt

    fake_model.before = interrupt
    with pytest.raises(
        KeyboardInterrupt, match=f"{at} of 5 images indexed. Run the same command to continue"
    ):
        run(folder, gallery, batch_size=1)
    assert len(indexed(folder)) == at
    fake_model.before = None
    result = run(folder, gallery, batch_size=1)
    assert (result.indexed, result.unchanged, fake_model.embedded) == (5 - at, at, 5)
    assert indexed(folder) == hashes(gallery)


def test_an_interrupt_right_at_a_commit_is_an_interrupt(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C that arrives as a commit ends is a KeyboardInterrupt and nothing else, and loses nothing of it."""
    monkeypatch.setattr(ingest, "COMMIT_SECONDS", 0.0)
    real = ingest.IndexWriter.commit
    left = 2

    def commit(self: ingest.IndexWriter, *args: Any) -> None:
        nonlocal left
        real(self, *args)
        left -= 1
        if left == 0:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ingest.IndexWriter, "commit", commit)
    with pytest.raises(KeyboardInterrupt):
        run(folder, gallery, batch_size=1)
    monkeypatch.undo()
    fakes.install(monkeypatch)
    done = indexed(folder)
    assert len(done) == 2
    result = run(folder, gallery)
    assert (result.indexed, result.unchanged) == (3, 2)
    assert indexed(folder) == hashes(gallery)


def test_a_full_disk_keeps_what_was_committed(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up during a run is one error; the index is as at the last commit, and a run goes on from it."""
    monkeypatch.setattr(ingest, "COMMIT_SECONDS", 0.0)
    real, left = os.pwrite, 5

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(StorageError, match="disk is full"):
        run(folder, gallery, batch_size=1)
    done = indexed(folder)
    assert 0 < len(done) < 5
    assert done.items() <= hashes(gallery).items()
    monkeypatch.setattr(os, "pwrite", real)
    assert run(folder, gallery).indexed == 5 - len(done)
    assert indexed(folder) == hashes(gallery)


def test_a_dry_run_writes_nothing(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """--dry-run says what would be done and leaves no trace, with an index and without one."""
    notes = Notes()
    result = run(folder, gallery, dry_run=True, reporter=notes)
    assert (result.to_do, result.indexed, fake_model.loads) == (5, 0, 0)
    assert notes.lines[0].startswith("5 images, all new")
    assert not os.path.exists(folder)
    run(folder, gallery)
    paint(gallery / "pink.png", "pink")
    os.unlink(gallery / "red.png")
    for rebuild, to_do in ((False, 1), (True, 5)):
        before = written(folder)
        assert run(folder, gallery, dry_run=True, rebuild=rebuild).to_do == to_do
        assert written(folder) == before
    assert fake_model.loads == 1


def written(folder: str) -> dict[str, tuple[bytes, int]]:
    """Return bytes and time of every file of an index, but for the log and its index that any reader sets up."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


# ---- spec -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (ModelOptions(model="other/model"), "--model other/model"),
        (ModelOptions(dim=5), "--dim 5"),
        (ModelOptions(instruction="Find cats"), "--instruction 'Find cats'"),
    ],
)
def test_another_spec_is_refused_with_the_commands_that_fix_it(
    folder: str, gallery: Path, fake_model: FakeModel, choice: ModelOptions, said: str
) -> None:
    """Flags that the index was not made with change nothing and are answered with both ways to go on."""
    run(folder, gallery)
    before = indexed(folder)
    paint(gallery / "pink.png", "pink")
    with pytest.raises(IndexMismatch) as caught:
        run(folder, gallery, model=choice)
    assert f"dim={choice.dim}" in str(caught.value) or choice.dim is None
    line = spelled(caught.value.as_message)
    assert f"imgsearch index {gallery} --index {folder}" in line
    assert f"{said} --rebuild" in line
    assert indexed(folder) == before
    assert run(folder, gallery, model=choice, rebuild=True).indexed == 6
    assert run(folder, gallery, model=choice).unchanged == 6
    assert indexed(folder) == hashes(gallery)


def test_a_shorter_dimension_is_cut_and_searched(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """An index of a Matryoshka dimension holds vectors of that length and answers with them."""
    run(folder, gallery, model=ModelOptions(dim=6))
    with ImageIndex(folder) as index:
        assert index.spec.dim == 6
    assert best(folder, "red") == str(gallery / "red.png")


def test_a_batch_of_nothing_is_refused(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A batch size of 0 is refused before anything is done."""
    with pytest.raises(UsageError, match="batch_size=0"):
        run(folder, gallery, batch_size=0)
    assert not os.path.exists(folder)


def test_a_link_loop_is_walked_once(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """With links followed, a loop of links ends, and a file reached on two ways is one file."""
    (gallery / "sub" / "up").symlink_to(gallery)
    (gallery / "again.png").symlink_to(gallery / "red.png")
    result = run(folder, gallery, walk=WalkOverrides(follow_symlinks=True))
    assert (result.indexed, result.reused) == (5, 0)
    assert run(folder).unchanged == 5


def test_importing_the_indexer_loads_no_torch() -> None:
    """A run over an unchanged tree can't load torch, because nothing that it imports does."""
    code = (
        "import sys, imgsearch.indexing.run, imgsearch.search, imgsearch.tools.maintenance.status\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


def test_the_first_run_on_an_accelerator_suggests_more_detail(
    gallery: Path, fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new index on an accelerator with the default pixels says what more pixels would add; a CPU's does not."""

    def lines(device: str, choice: ModelOptions, folder: str) -> list[str]:
        monkeypatch.setattr(fakes.FakeEncoder, "runtime", Runtime(device, "float16", "a test"))
        told = Notes()
        index_pictures([str(gallery)], str(tmp_path / folder), IndexOptions(model=choice), told)
        return [line for line in told.lines if "--detail standard" in spelled(line)]

    assert len(lines("cuda", ModelOptions(), "a")) == 1
    assert lines("cpu", ModelOptions(), "b") == []
    assert lines("cuda", ModelOptions(pixels=PixelBudget(4096, 57_600)), "c") == []


def test_the_model_is_loaded_once_and_in_the_main_thread(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that can't be loaded is tried once, where Ctrl-C reaches it; what needed no model is kept."""
    run(folder, gallery)
    (gallery / "red.png").rename(gallery / "a moved red.png")
    for number in range(30):
        paint(gallery / f"new-{number}.png", (number, 2 * number, 3 * number))
    tries = []

    def fail(*_: object) -> None:
        tries.append(threading.current_thread() is threading.main_thread())
        raise CheckpointError("the weights are gone")

    with monkeypatch.context() as patch:
        patch.setattr("imgsearch.indexing.run.load_encoder", fail)
        with pytest.raises(CheckpointError):
            run(folder, gallery)
    assert tries == [True]
    assert str(gallery / "a moved red.png") in indexed(folder)


def test_a_run_that_reused_most_vectors_leaves_no_rate(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """The rate by which the next run is guessed comes only from runs that were mostly embedding."""
    for number in range(12):
        paint(gallery / f"{number}.png", (9 * number, 0, 99))
        for copy in range(3):
            shutil.copy(gallery / f"{number}.png", gallery / f"{number}-{copy}.png")
    run(folder, gallery)
    last = side_db.last_run(folder, "index")
    assert last is not None
    assert last.rate == 0


def test_progress_counts_what_is_done_not_what_waits(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A picture counts when its vector is there; at the end every picture found has been counted once."""
    (gallery / "note.jpg").write_text("no picture")
    shutil.copy(gallery / "red.png", gallery / "twin.png")

    class Counter(Silent):
        total = done = 0

        def start(self, total: int, unit: str) -> None:
            if unit == "images":
                Counter.total, Counter.done = total, 0

        def advance(self, n: int = 1, where: str = "") -> None:
            Counter.done += n

    early: list[tuple[int, int]] = []
    fake_model.before = lambda embedded: early.append((embedded, Counter.done))
    run(folder, gallery, reporter=Counter(), batch_size=2)
    assert (Counter.total, Counter.done) == (7, 7)
    assert all(done <= embedded + 2 for embedded, done in early)


def test_bombs_do_not_cost_their_neighbours(folder: str, tmp_path: Path, fake_model: FakeModel) -> None:
    """A run over a folder of bombs indexes what lies between them, and the next run does not read them again."""
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    bombs = [bomb for name, bomb in BOMBS.items() if name.startswith(("jpeg 2000, 6", "jpeg, 20", "webp"))]
    for number, bomb in enumerate(bombs):
        (gallery / f"{number}{bomb.extension}").write_bytes(bomb.draw())
        paint(gallery / f"{number}x.png", "red", size=(64 + number, 64))
    count = len(list(gallery.glob("*x.png")))
    result = run(folder, gallery)
    assert (result.indexed, result.skipped.total()) == (count, len(list(gallery.iterdir())) - count)
    assert len(indexed(folder)) == count
    assert len(skipped(folder)) == result.skipped.total()
    again = run(folder, gallery)
    assert (again.indexed, again.unchanged_errors) == (0, result.skipped.total())
