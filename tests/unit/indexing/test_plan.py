"""What a run covers and what it has to do; and, by a machine that plays a user, that this is always right."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from imgsearch.cli.spelling import command
from imgsearch.errors import FolderError, IndexDamaged, NothingToIndex, UsageError
from imgsearch.files import WalkOptions
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import TRANSIENT, FileRow, Root, is_current
from imgsearch.indexing import ingest
from imgsearch.indexing.edit import remove_paths
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.plan import make_plan
from imgsearch.indexing.roots import PlannedRoot, WalkOverrides, resolve_scope
from imgsearch.indexing.run import index_pictures
from imgsearch.text import Call
from imgsearch.types import Silent, SourceFile
from support import FULL, fakes
from support.fakes import FakeModel, Notes, indexed, paint, roots, run

fake_model, gallery = fakes.fake_model, fakes.gallery

# ---- is a file current? ---------------------------------------------------------------------------------------


def row(error: str | None = None) -> FileRow:
    return FileRow(1, "a.jpg", 10, 20, 0, None if error else b"x" * 32, error)


@pytest.mark.parametrize(
    ("known", "size", "mtime", "wanted"),
    [
        (None, 10, 20, (False, "new")),
        (row(), 10, 20, (True, "same size and time")),
        (row(), 11, 20, (False, "changed")),
        (row(), 10, 21, (False, "changed")),
        (row(), 10, 19, (False, "changed")),
        (row("corrupt"), 10, 20, (True, "same size and time")),
        (row("corrupt"), 11, 20, (False, "changed")),
        *((row(reason), 10, 20, (False, "will be tried again")) for reason in sorted(TRANSIENT)),
    ],
)
def test_a_file_is_current_while_size_and_time_stand(
    known: FileRow | None, size: int, mtime: int, wanted: tuple[bool, str]
) -> None:
    """Known, of the same size and time, and not skipped for a passing reason: that, and only that, is current."""
    assert is_current(known, SourceFile("/p", "a.jpg", size, mtime)) == wanted


def test_a_mounted_device_does_not_make_a_file_new() -> None:
    """Which device a file lies on says nothing about its bytes."""
    assert is_current(row(), SourceFile("/p", "a.jpg", 10, 20, device=7))[0]


# ---- what a run covers ----------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a folder with a/b/c and x, each with a file f.png."""
    for folder in ("a", "a/b", "a/b/c", "x"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "f.png").write_bytes(b"f")
    return tmp_path


def root(place: Path, path: str, id: int = 1, only: list[str] | None = None, **options: object) -> Root:
    kept: dict[str, object] = {"exclude": [], "only": only or [], **options}
    return Root(id, str(place / path), kept, "/")


def covered(
    place: Path, given: list[str], roots: list[Root], options: WalkOverrides | None = None
) -> dict[str, tuple[str, ...]]:
    """Return which parts of which roots a run covers, by their paths in ``place``."""
    scope = resolve_scope([str(place / path) for path in given], roots, options, Silent())
    return {os.path.relpath(root.path, place): root.subpaths for root in scope.roots}


@pytest.mark.parametrize(
    ("given_", "known", "wanted"),
    [
        (["a"], [], {"a": ("",)}),
        (["a", "x"], [], {"a": ("",), "x": ("",)}),
        (["a", "a/b"], [], {"a": ("",)}),
        (["a/b/c", "a"], [], {"a": ("",)}),
        (["a", "a/f.png", "a/b/f.png"], [], {"a": ("",)}),
        (["a/f.png"], [], {"a": ("f.png",)}),
        (["a/f.png", "x/f.png"], [], {"a": ("f.png",), "x": ("f.png",)}),
        (["a/f.png", "a/b"], [], {"a": ("f.png",), "a/b": ("",)}),
        (["a/b"], ["a"], {"a": ("b",)}),
        (["a/b", "a/b/c", "a/b/f.png"], ["a"], {"a": ("b",)}),
        (["a/b/f.png"], ["a"], {"a": ("b/f.png",)}),
        (["a"], ["a/b"], {"a": ("",), "a/b": ("",)}),
        (["a"], ["a", "a/b"], {"a": ("",), "a/b": ("",)}),
        (["a/b"], ["a", "a/b/c"], {"a": ("b",), "a/b/c": ("",)}),
        (["a/b/c"], ["a", "a/b"], {"a/b": ("c",)}),
        (["a", "a/b/c"], ["a/b"], {"a": ("",), "a/b": ("",)}),
        (["a/b", "a/b/c/f.png"], ["a", "a/b/c"], {"a": ("b",), "a/b/c": ("",)}),
        ([], ["a", "x"], {"a": ("",), "x": ("",)}),
        ([], ["a", "a/b"], {"a": ("",), "a/b": ("",)}),
    ],
)
def test_what_a_run_covers(
    place: Path, given_: list[str], known: list[str], wanted: dict[str, tuple[str, ...]]
) -> None:
    """A path inside a root is a part of it, one around roots covers these too, and no part lies in another."""
    roots = [root(place, path, number) for number, path in enumerate(known, 1)]
    assert covered(place, given_, roots) == wanted


@pytest.mark.parametrize(
    ("given_", "wanted", "only"),
    [
        ([], {"a/b": ("f.png",)}, {"a/b": ("f.png",)}),
        (["a/b/f.png"], {"a/b": ("f.png",)}, {"a/b": ("f.png",)}),
        (["a/b"], {"a/b": ("",)}, {"a/b": ()}),
        (["a"], {"a": ("",), "a/b": ("f.png",)}, {"a": (), "a/b": ("f.png",)}),
        (["a", "a/b/f.png"], {"a": ("",), "a/b": ("f.png",)}, {"a": (), "a/b": ("f.png",)}),
        (["a/b/c"], {"a/b/c": ("",)}, {"a/b/c": ()}),
    ],
)
def test_a_root_of_single_files(
    place: Path, given_: list[str], wanted: dict[str, tuple[str, ...]], only: dict[str, tuple[str, ...]]
) -> None:
    """A root that stands for single files is these files, until its own folder is given."""
    roots = [root(place, "a/b", only=["f.png"])]
    assert covered(place, given_, roots) == wanted
    scope = resolve_scope([str(place / path) for path in given_], roots, None, Silent())
    assert {os.path.relpath(root.path, place): root.single_files for root in scope.roots} == only


def test_options_belong_to_what_was_given(place: Path) -> None:
    """New options hold for the given folder and no other; a known root that lies in it keeps its own."""
    roots = [root(place, "a", 1, exclude=["1"]), root(place, "a/b", 2, exclude=["2"])]
    new = WalkOverrides(exclude=("new",))

    def options(given: str, walk: WalkOverrides | None) -> dict[str, tuple[str, ...]]:
        scope = resolve_scope([str(place / given)], roots, walk, Silent())
        return {os.path.relpath(root.path, place): root.options.exclude for root in scope.roots}

    assert options("a", new) == {"a": ("new",), "a/b": ("2",)}
    assert options("a", None) == {"a": ("1",), "a/b": ("2",)}
    assert options("a/b/c", new) == {"a/b/c": ("new",)}
    (planned,) = resolve_scope([str(place / "a/b/c")], roots, new, Silent()).roots
    assert planned.split_from == roots[1]


def test_what_is_stored_comes_back_as_it_was(place: Path) -> None:
    """The options of a root come back from the catalogue as they were given, single files included."""
    walk = WalkOptions(("*.tmp", "# odd"), include_hidden=True, follow_symlinks=True, include_copies=True)
    stored = PlannedRoot(str(place / "a"), walk, single_files=("f.png",)).stored_options()
    (planned,) = resolve_scope([], [Root(1, str(place / "a"), stored, "/")], None, Silent()).roots
    assert (planned.options, planned.single_files, planned.subpaths) == (walk, ("f.png",), ("f.png",))


def test_a_root_that_was_stored_before_an_option_was_there_has_its_default(place: Path) -> None:
    """The options of a root that an earlier version stored say nothing of copies: they are left out."""
    stored = {
        "exclude": ["*.tmp"],
        "include_hidden": True,
        "follow_symlinks": False,
        "above": "",
        "anchor": "",
    }
    (planned,) = resolve_scope([], [Root(1, str(place / "a"), stored, "/")], None, Silent()).roots
    assert planned.options == WalkOptions(("*.tmp",), include_hidden=True, include_copies=False)


def test_options_that_nobody_knows_are_named(place: Path) -> None:
    """A root whose stored options hold a word that this program does not know is an error that names the root."""
    with pytest.raises(IndexDamaged, match=r"options of .*a can't be read.*newer imgsearch.*remove_paths\("):
        resolve_scope([], [root(place, "a", colour="red")], None, Silent())


@pytest.mark.parametrize("given_", ["none", "a/none", "x/f.png/y", ""])
def test_a_path_that_is_not_there_is_an_error(place: Path, given_: str) -> None:
    """A path that does not exist stops the run before anything else, even beside one that does."""
    path = str(place / given_) if given_ else ""
    with pytest.raises(FolderError):
        resolve_scope([str(place / "a"), path], [], None, Silent())


def test_every_file_of_a_plan_names_one_of_its_roots(place: Path) -> None:
    """Files name their root by its path, also where an empty folder that was asked for before them is left out."""
    (place / "0").mkdir()
    scope = resolve_scope([str(place / path) for path in ("0", "a/b", "x/f.png")], [], None, Silent())
    plan = make_plan(scope, None, {".png"})
    assert [os.path.relpath(root.path, place) for root in plan.roots] == ["a/b", "x"]
    assert plan.empty_paths == [str(place / "0")]
    files = [(os.path.relpath(source.root, place), source.path) for source in plan.to_do]
    assert files == [("a/b", "c/f.png"), ("a/b", "f.png"), ("x", "f.png")]


# ---- what takes the place of a root's options ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "wanted", "flags"),
    [
        (WalkOverrides(), WalkOptions(("a",), True, False, "/x", "/x"), ""),
        (
            WalkOverrides(exclude=("it's *",)),
            WalkOptions(("it's *",), True, False, "/x"),
            "--exclude 'it'\"'\"'s *'",
        ),
        (WalkOverrides(exclude=()), WalkOptions((), True, False, "/x"), "--exclude ''"),
        (
            WalkOverrides(include_hidden=False, follow_symlinks=True),
            WalkOptions(("a",), False, True, "/x", "/x"),
            "--no-include-hidden --follow-symlinks",
        ),
        (
            WalkOverrides(include_copies=True),
            WalkOptions(("a",), True, False, "/x", "/x", include_copies=True),
            "--include-copies",
        ),
    ],
)
def test_overrides_leave_what_they_do_not_name(
    overrides: WalkOverrides, wanted: WalkOptions, flags: str
) -> None:
    """Each option that is given replaces its own kind alone, and the flags say just what was given."""
    assert overrides.over(WalkOptions(("a",), True, False, "/x", "/x")) == wanted
    assert (
        command(Call("index_pictures", {"walk": Call.of(overrides)})) == f"imgsearch index {flags}".rstrip()
    )


def kept(folder: Path, path: Path) -> dict[str, object]:
    """Return the options with which a root is kept."""
    with ImageIndex(str(folder)) as index:
        return {root.path: root.options for root in index.catalog.roots()}[str(path)]


def test_options_without_a_path_are_for_every_root(
    tmp_path: Path, gallery: Path, fake_model: FakeModel
) -> None:
    """An option of a run without a path holds for every root and is remembered; the others stay as they were."""
    folder, other = tmp_path / "index", paint(tmp_path / "other" / ".pink.png", "pink").parent
    paint(other / "brown.jpg", "brown")
    run(folder, gallery, walk=WalkOverrides(exclude=("sub/",)))
    run(folder, other)
    run(folder, walk=WalkOverrides(include_hidden=True))
    everything = {"pictures/red.png", "pictures/green.png", "pictures/blue.jpg", "other/brown.jpg"}
    assert indexed(folder, tmp_path) == everything | {"other/.pink.png"}
    assert run(folder, walk=WalkOverrides(exclude=("*.jpg",))).pruned == 2
    run(folder)
    wanted = {*everything - {"pictures/blue.jpg", "other/brown.jpg"}, "other/.pink.png"}
    assert indexed(folder, tmp_path) == wanted | {"pictures/sub/white.png", "pictures/sub/yellow.png"}
    assert kept(folder, other)["include_hidden"] is True


def test_options_with_a_single_file_are_refused(tmp_path: Path, gallery: Path, fake_model: FakeModel) -> None:
    """An option of the walk that comes with a file is refused, and its folder keeps the options that it has."""
    folder = tmp_path / "index"
    run(folder, gallery, walk=WalkOverrides(exclude=("sub/",)))
    before = indexed(folder, gallery)
    with pytest.raises(UsageError, match=r"exclude=\('\*\.png',\) is for folders"):
        run(folder, gallery / "red.png", walk=WalkOverrides(exclude=("*.png",)))
    assert kept(folder, gallery)["exclude"] == ["sub/"]
    run(folder)
    assert indexed(folder, gallery) == before


def test_single_files_stay_single_when_a_folder_around_them_is_indexed(
    tmp_path: Path, gallery: Path, fake_model: FakeModel
) -> None:
    """A file given by itself lets in nothing beside it that a run over the folder around it leaves out."""
    folder = tmp_path / "index"
    for place in (".hidden", "node_modules", "ignored"):
        for colour in ("red", "blue"):
            paint(gallery / place / f"{colour}-{place}.png", colour)
    (gallery / ".imgsearchignore").write_text("ignored/\n")
    for place in (".hidden", "node_modules", "ignored"):
        run(folder, gallery / place / f"red-{place}.png")
    single = {f"{place}/red-{place}.png" for place in (".hidden", "node_modules", "ignored")}
    ordinary = {"red.png", "green.png", "blue.jpg", "sub/white.png", "sub/yellow.png"}
    for paths in ([gallery], [], [gallery, gallery / "ignored" / "red-ignored.png"]):
        run(folder, *paths)
        assert indexed(folder, gallery) == single | ordinary
    run(folder, gallery / "sub" / "white.png")
    (gallery / "ignored" / "red-ignored.png").unlink()
    run(folder)
    assert indexed(folder, gallery) == (single | ordinary) - {"ignored/red-ignored.png"}


def test_a_root_that_keeps_its_own_options_is_named(
    tmp_path: Path, gallery: Path, fake_model: FakeModel
) -> None:
    """Options for a folder around a known root do not reach that, and the command that would is said."""
    folder, notes = tmp_path / "index", Notes()
    run(folder, gallery / "sub")
    run(folder, gallery, walk=WalkOverrides(exclude=("*.png",)), reporter=notes)
    assert f"to change them: imgsearch index {gallery / 'sub'} --exclude '*.png'" in notes.shell
    assert indexed(folder, gallery) == {"blue.jpg", "sub/yellow.png", "sub/white.png"}


def test_a_folder_with_options_of_its_own_inherits_the_rest(
    tmp_path: Path, gallery: Path, fake_model: FakeModel
) -> None:
    """A part of a root that becomes one keeps the outer's options, patterns and ignore files as they were."""
    folder, deep = tmp_path / "index", gallery / "sub" / "deep"
    for name in ("pink", "cyan", "brown", "orange", ".black"):
        paint(deep / f"{name}.png", name.strip("."))
    (gallery / ".imgsearchignore").write_text("/sub/deep/cyan.png\n")
    (gallery / "sub" / ".imgsearchignore").write_text("brown.*\n")
    run(folder, gallery, walk=WalkOverrides(exclude=("/sub/deep/pink.png", "/pink.png")))
    run(folder, deep, walk=WalkOverrides(include_hidden=True))
    shown = {"sub/deep/orange.png", "sub/deep/.black.png"}
    for _ in range(2):
        assert {path for path in indexed(folder, gallery) if "deep" in path} == shown
        assert run(folder).pruned == 0
    assert roots(folder, gallery) == {".", "sub/deep"}
    # New patterns are relative to the folder that they are given for.
    run(folder, deep, walk=WalkOverrides(exclude=("/orange.png",)))
    shown = {"sub/deep/pink.png", "sub/deep/.black.png"}
    assert {path for path in indexed(folder, gallery) if "deep" in path} == shown
    (gallery / ".imgsearchignore").write_text("deep/\n")
    assert run(folder).pruned == 2


# ---- paths that hold nothing ------------------------------------------------------------------------------------


def test_a_folder_without_pictures_is_named_and_not_kept(
    tmp_path: Path, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the given paths, those that hold no picture are named as they were given; the others are indexed."""
    folder, notes = tmp_path / "index", Notes()
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("words")
    monkeypatch.chdir(tmp_path)
    run(folder, "empty", "pictures", "notes/a.txt", reporter=notes)
    assert [line for line in notes.lines if line.startswith("no images")] == [
        "no images in empty",
        "no images in notes/a.txt",
    ]
    assert roots(folder, tmp_path) == {"pictures"}
    with pytest.raises(NothingToIndex, match=r"no supported images in empty, notes \(1 other file\); "):
        run(folder, "empty", "notes")
    assert roots(folder, tmp_path) == {"pictures"}


def test_an_ignored_part_of_a_root_is_named_as_it_was_given(
    tmp_path: Path, gallery: Path, fake_model: FakeModel
) -> None:
    """A part of a known root in which everything is left out is what the line names, not the root."""
    folder = tmp_path / "index"
    run(folder, gallery, walk=WalkOverrides(exclude=("sub/",)))
    with pytest.raises(NothingToIndex, match=f"no supported images in {gallery}/sub; "):
        run(folder, f"{gallery}/sub")


def test_a_folder_whose_pictures_are_all_known_roots_is_kept(
    tmp_path: Path, gallery: Path, fake_model: FakeModel
) -> None:
    """A folder around a known root is kept indexed also if it has no picture besides."""
    folder = tmp_path / "index"
    run(folder, gallery)
    notes = Notes()
    run(folder, tmp_path, reporter=notes)
    assert "no picture" not in notes.text
    assert roots(folder, tmp_path) == {".", "pictures"}


def test_a_known_folder_that_lost_its_pictures_is_no_empty_one(
    tmp_path: Path, gallery: Path, fake_model: FakeModel
) -> None:
    """A given folder of which the index knows pictures is pruned and stays a root."""
    folder, notes = tmp_path / "index", Notes()
    run(folder, gallery)
    for file in gallery.rglob("*.*"):
        file.unlink()
    (gallery / "note.txt").write_text("words")
    (gallery / "sub" / "note.txt").write_text("words")
    assert run(folder, gallery, reporter=notes).pruned == 5
    assert "no picture" not in notes.text
    assert roots(folder, tmp_path) == {"pictures"}


@pytest.mark.parametrize(("name", "is_image"), [("rV", True), ("rV.png", True), ("rV", False)])
def test_a_folder_that_became_a_file(
    tmp_path: Path, fake_model: FakeModel, name: str, is_image: bool
) -> None:
    """Where a root was, a file of its name is indexed if it is a picture, and what became of the folder is said."""
    folder, notes = tmp_path / "index", Notes()
    path = tmp_path / name
    paint(path / "red.png", "red")
    run(folder, path)
    shutil.rmtree(path)
    os.rename(paint(tmp_path / "cat.png", "blue"), path)
    if is_image:
        assert run(folder, path, reporter=notes).indexed == 1
        assert indexed(folder, tmp_path) == {f"{name}/red.png", name}
    else:
        path.write_text("words")
        with pytest.raises(NothingToIndex, match=rf"no supported images in {path} \(1 other file\); "):
            run(folder, path, reporter=notes)
        assert roots(folder, tmp_path) == {"rV"}
    assert f"{path} was a folder when it was indexed and is a file now" in notes.text


# ---- rebuilding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given_", [True, False])
def test_a_rebuild_says_what_it_does_not_reach(
    tmp_path: Path, gallery: Path, fake_model: FakeModel, given_: bool
) -> None:
    """In a rebuild a root that is not there loses its pictures for now, and that, not the contrary, is said."""
    folder, notes = tmp_path / "index", Notes()
    away = paint(tmp_path / "away" / "pink.png", "pink").parent
    run(folder, gallery, away)
    os.rename(away, tmp_path / "gone")
    run(folder, *[gallery] * given_, rebuild=True, reporter=notes)
    assert f"{away} is not there now" in notes.text
    assert "its images are removed from the index until you index it again" in notes.text
    assert "stay indexed" not in notes.text
    os.rename(tmp_path / "gone", away)
    run(folder)
    assert "away/pink.png" in indexed(folder, tmp_path)


# ---- an index among the pictures --------------------------------------------------------------------------------


@pytest.mark.parametrize("place_", [".", "sub"])
def test_an_index_may_be_kept_among_the_pictures(gallery: Path, fake_model: FakeModel, place_: str) -> None:
    """A folder of pictures that is also the index's own loses none of them; what the index writes there is none."""
    folder = gallery / place_
    run(folder, gallery)
    paint(folder / "thumbs" / "1.png", "pink")
    result = run(folder, gallery)
    assert (result.unchanged, result.indexed, result.pruned) == (5, 0, 0)
    (gallery / "red.png").unlink()
    assert run(folder).pruned == 1


# ---- a machine that plays a user ------------------------------------------------------------------------------

FOLDERS = ("", "a", "a/b", "c")
FILES = tuple(os.path.join(folder, name) for folder in FOLDERS for name in ("1.png", "2.png"))


class User(RuleBasedStateMachine):
    """Someone who adds, changes, moves, copies and deletes files and indexes and removes this and that.

    ``known`` is what the index must hold, ``seen`` the contents whose vectors it has or retains, ``roots`` the folders
    it keeps: None for a whole one, else the single files of it that were given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.fake = fakes.install(self.patch)
        self.patch.setattr(ingest, "COMMIT_SECONDS", 0.0)
        self.temporary = tempfile.TemporaryDirectory()
        self.top = os.path.realpath(self.temporary.name)
        self.index = os.path.join(self.top, "index")
        self.clock = 1
        self.known: dict[str, bytes] = {}
        self.seen: set[bytes] = set()
        self.roots: dict[str, set[str] | None] = {}
        for folder in FOLDERS:
            os.makedirs(self.at(folder), exist_ok=True)
            Path(self.at(folder), "note.txt").write_text("so that no folder is empty as a whole")

    def teardown(self) -> None:
        self.patch.undo()
        self.temporary.cleanup()

    def at(self, path: str) -> str:
        return os.path.join(self.top, "pictures", path).rstrip("/")

    def tree(self, scope: str | None = None) -> dict[str, bytes]:
        """Return the content of every picture on the disk at or below a path."""
        found = {}
        for path in map(self.at, FILES):
            if os.path.exists(path) and (scope is None or (path + "/").startswith(scope + "/")):
                found[path] = hashlib.sha256(Path(path).read_bytes()).digest()
        return found

    def listed(self) -> set[str]:
        """Return the path of every file that the catalogue has, the skipped ones too."""
        if not os.path.exists(self.index):
            return set()
        with ImageIndex(self.index) as index:
            rows = [(root, row) for root in index.catalog.roots() for row in index.catalog.files(root.id)]
            return {os.path.join(root.path, row.path) for root, row in rows}

    def owner(self, path: str) -> str | None:
        """Return the root that a file belongs to: that of which it is a single file, else the deepest whole one."""
        folder, name = os.path.split(path)
        if name in (self.roots.get(folder) or ()):
            return folder
        return self.whole_above(path)

    def whole_above(self, path: str) -> str | None:
        whole = [root for root, singles in self.roots.items() if singles is None]
        return max((root for root in whole if path.startswith(root + "/")), key=len, default=None)

    # -- what happens on the disk

    @rule(path=st.sampled_from(FILES), colour=st.integers(0, 5))
    def write(self, path: str, colour: int) -> None:
        fakes.paint(self.at(path), (40 * colour, 200 - 30 * colour, 10), size=(16, 12))
        self.stamp(path)

    @rule(path=st.sampled_from(FILES))
    def spoil(self, path: str) -> None:
        Path(self.at(path)).write_bytes(b"no picture")
        self.stamp(path)

    @rule(path=st.sampled_from(FILES))
    def touch(self, path: str) -> None:
        if os.path.exists(self.at(path)):
            self.stamp(path)

    @rule(source=st.sampled_from(FILES), to=st.sampled_from(FILES), keep_time=st.booleans())
    def copy(self, source: str, to: str, keep_time: bool) -> None:
        if os.path.exists(self.at(source)) and source != to:
            shutil.copy2(self.at(source), self.at(to))
            if not keep_time:
                self.stamp(to)

    @rule(source=st.sampled_from(FILES), to=st.sampled_from(FILES))
    def move(self, source: str, to: str) -> None:
        if os.path.exists(self.at(source)):
            os.replace(self.at(source), self.at(to))

    @rule(path=st.sampled_from(FILES))
    def delete(self, path: str) -> None:
        if os.path.exists(self.at(path)):
            os.unlink(self.at(path))

    def stamp(self, path: str) -> None:
        """Give a file a time that none had before: a clock that ticks between any two changes."""
        self.clock += 1
        os.utime(self.at(path), ns=(self.clock, self.clock))

    # -- what the user asks for

    @rule(folders=st.sets(st.sampled_from(FOLDERS), min_size=1, max_size=2), options=st.booleans())
    def index_folders(self, folders: set[str], options: bool) -> None:
        paths = [self.at(folder) for folder in folders]
        outer = [path for path in paths if not any(path.startswith(f"{other}/") for other in paths)]
        scope = {path: content for top in outer for path, content in self.tree(top).items()}
        before = {path for path in self.known for top in outer if path.startswith(f"{top}/")}
        listed = self.listed()
        result = self.run(paths, scope, before, WalkOverrides(exclude=("*.tmp",)) if options else None)
        if result is None:
            return
        for path in sorted(outer):
            held = any(row.startswith(f"{path}/") for row in listed)
            if path not in self.roots and not self.tree(path) and not held:
                continue  # it holds nothing and held nothing
            if self.whole_above(path) is None or options:
                self.roots[path] = None

    @rule(path=st.sampled_from(FILES))
    def index_file(self, path: str) -> None:
        full = self.at(path)
        if not os.path.exists(full):
            return
        self.run([full], self.tree(full), {full} & self.known.keys(), None)
        folder, name = os.path.split(full)
        if self.owner(full) is None:
            self.roots[folder] = (self.roots.get(folder) or set()) | {name}

    @precondition(lambda self: self.roots)
    @rule()
    def refresh(self) -> None:
        scope, before = {}, set()
        tree = self.tree()
        for path in tree.keys() | self.known.keys():
            if self.owner(path) is not None:
                before |= {path} & self.known.keys()
                if path in tree:
                    scope[path] = tree[path]
        self.run([], scope, before, None)

    def run(
        self, paths: list[str], scope: dict[str, bytes], before: set[str], walk: WalkOverrides | None
    ) -> IndexResult | None:
        """Index, hold the result against what must come of it, and update ``known`` and ``seen``."""
        good = {path: content for path, content in scope.items() if Path(path).stat().st_size > 10}
        embedded = self.fake.embedded
        try:
            result = index_pictures(paths, self.index, IndexOptions(walk=walk, batch_size=2))
        except NothingToIndex:
            # Errors of files that are gone are forgotten too, so this may, but need not, come without pictures.
            assert not scope
            assert not before
            return None
        assert self.fake.embedded - embedded == len(set(good.values()) - self.seen)
        assert result.pruned >= len(before - scope.keys())
        found = result.indexed + result.reused + result.unchanged
        assert found == len(good)
        assert result.skipped.total() + result.unchanged_errors == len(scope) - len(good)
        self.known = {path: content for path, content in self.known.items() if path not in before} | good
        self.seen |= set(good.values())
        return result

    @precondition(lambda self: self.roots)
    @rule(path=st.sampled_from(FOLDERS + FILES))
    def remove(self, path: str) -> None:
        full = self.at(path)
        folder, name = os.path.split(full)
        singles = self.roots.get(folder)
        if singles is not None:
            singles.discard(name)
            if not singles:
                del self.roots[folder]
        remove_paths([full], self.index)
        for path in [path for path in self.known if (path + "/").startswith(full + "/")]:
            del self.known[path]
        self.roots = {
            root: kept for root, kept in self.roots.items() if not (root + "/").startswith(full + "/")
        }

    # -- what must hold

    @invariant()
    def the_index_holds_what_it_must(self) -> None:
        if not os.path.exists(self.index):
            assert not self.known
            return
        held: dict[str, bytes] = {}
        with ImageIndex(self.index) as index:
            for root in index.catalog.roots():
                for file in index.catalog.files(root.id):
                    if file.content is not None:
                        path = os.path.join(root.path, file.path)
                        assert path not in held, "twice"
                        held[path] = file.content
            hits = index.search(fakes.vector((100, 100, 100)), 100)[0]
            found = [path for record, _ in hits for path in record.paths]
            assert {root.path for root in index.catalog.roots()} == self.roots.keys()
        assert held == self.known
        assert sorted(found) == sorted(held)


TestUser = User.TestCase
TestUser.__doc__ = (
    "After any history of changes and runs, the index holds what is on the disk, each file once."
)
TestUser.pytestmark = [pytest.mark.slow("goes through histories of 30 steps")]
TestUser.settings = settings(max_examples=150 if FULL else 10, stateful_step_count=30, deadline=None)
