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

from imgsearch import ingest
from imgsearch.errors import FolderError, IndexDamaged, NothingToIndex
from imgsearch.files import WalkOptions
from imgsearch.index.image_index import ImageIndex
from imgsearch.index.rows import FileRow, Root
from imgsearch.indexer import index_pictures
from imgsearch.ingest import IndexOptions, IndexResult
from imgsearch.plan import TRANSIENT, Target, choose_targets, is_current
from imgsearch.remove import remove_paths
from imgsearch.types import Silent, SourceFile

import fakes

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
        *((row(reason), 10, 20, (False, "to be tried again")) for reason in sorted(TRANSIENT)),
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
    return Root(id, str(place / path), kept, 0)


def chosen(
    place: Path, given: list[str], roots: list[Root], options: WalkOptions | None = None
) -> dict[str, tuple[str, ...]]:
    """Return which parts of which roots a run covers, by their paths in ``place``."""
    targets = choose_targets([str(place / path) for path in given], roots, options, Silent())
    return {os.path.relpath(target.path, place): target.below for target in targets}


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
    assert chosen(place, given_, roots) == wanted


@pytest.mark.parametrize(
    ("given_", "wanted", "only"),
    [
        ([], {"a/b": ("f.png",)}, ("f.png",)),
        (["a/b/f.png"], {"a/b": ("f.png",)}, ("f.png",)),
        (["a/b"], {"a/b": ("",)}, ()),
        (["a"], {"a": ("",), "a/b": ("",)}, ()),
        (["a", "a/b/f.png"], {"a": ("",), "a/b": ("",)}, ()),
        (["a/b/c"], {"a/b/c": ("",)}, ()),
    ],
)
def test_a_root_of_single_files(
    place: Path, given_: list[str], wanted: dict[str, tuple[str, ...]], only: tuple[str, ...]
) -> None:
    """A root that stands for single files is these files, until its folder or one around it is given."""
    roots = [root(place, "a/b", only=["f.png"])]
    assert chosen(place, given_, roots) == wanted
    targets = choose_targets([str(place / path) for path in given_], roots, None, Silent())
    assert {target.only for target in targets} == {only}


def test_options_belong_to_what_was_given(place: Path) -> None:
    """New options hold for the given folder and no other; a known root that lies in it keeps its own."""
    roots = [root(place, "a", 1, exclude=["1"]), root(place, "a/b", 2, exclude=["2"])]
    new = WalkOptions(exclude=("new",))

    def options(given: str, walk: WalkOptions | None) -> dict[str, tuple[str, ...]]:
        found = choose_targets([str(place / given)], roots, walk, Silent())
        return {os.path.relpath(target.path, place): target.options.exclude for target in found}

    assert options("a", new) == {"a": ("new",), "a/b": ("2",)}
    assert options("a", None) == {"a": ("1",), "a/b": ("2",)}
    assert options("a/b/c", new) == {"a/b/c": ("new",)}
    (target,) = choose_targets([str(place / "a/b/c")], roots, new, Silent())
    assert target.carved == roots[1]


def test_what_is_stored_comes_back_as_it_was(place: Path) -> None:
    """The options of a root come back from the catalogue as they were given, single files included."""
    walk = WalkOptions(("*.tmp", "# odd"), include_hidden=True, follow_symlinks=True)
    stored = Target(str(place / "a"), walk, only=("f.png",)).stored_options()
    (target,) = choose_targets([], [Root(1, str(place / "a"), stored, 0)], None, Silent())
    assert (target.options, target.only, target.below) == (walk, ("f.png",), ("f.png",))


def test_options_that_nobody_knows_are_named(place: Path) -> None:
    """A root whose stored options hold a word that this program does not know is an error that names the root."""
    with pytest.raises(IndexDamaged, match=r"a was indexed.*newer imgsearch.*imgsearch remove"):
        choose_targets([], [root(place, "a", colour="red")], None, Silent())


@pytest.mark.parametrize("given_", ["none", "a/none", "x/f.png/y", ""])
def test_a_path_that_is_not_there_is_an_error(place: Path, given_: str) -> None:
    """A path that does not exist stops the run before anything else, even beside one that does."""
    path = str(place / given_) if given_ else ""
    with pytest.raises(FolderError):
        choose_targets([str(place / "a"), path], [], None, Silent())


# ---- a machine that plays a user ------------------------------------------------------------------------------

FOLDERS = ("", "a", "a/b", "c")
FILES = tuple(os.path.join(folder, name) for folder in FOLDERS for name in ("1.png", "2.png"))


class User(RuleBasedStateMachine):
    """Someone who adds, changes, moves, copies and deletes files and indexes and removes this and that.

    ``known`` is what the index must hold, ``seen`` the contents whose vectors it has, ``roots`` the folders it
    keeps: None for a whole one, else the single files of it that were given.
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

    def owner(self, path: str) -> str | None:
        above = [root for root in self.roots if (path + "/").startswith(root + "/")]
        return max(above, key=len, default=None)

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
        result = self.run(paths, scope, before, WalkOptions() if options else None)
        if result is None:
            return
        for path in sorted(outer):
            owner = self.owner(path)
            if owner is None or owner == path or self.roots[owner] is not None or options:
                self.roots[path] = None
            for root in self.roots:
                if root.startswith(f"{path}/"):
                    self.roots[root] = None

    @rule(path=st.sampled_from(FILES))
    def index_file(self, path: str) -> None:
        full = self.at(path)
        if not os.path.exists(full):
            return
        self.run([full], self.tree(full), {full} & self.known.keys(), None)
        folder, name = os.path.split(full)
        owner = self.owner(full)
        singles = self.roots[owner] if owner is not None else set()
        if owner == folder and singles is not None:
            singles.add(name)
        elif owner is None or singles is not None:
            self.roots[folder] = {name}

    @precondition(lambda self: self.roots)
    @rule()
    def refresh(self) -> None:
        scope, before = {}, set()
        for path, content in (self.tree() | self.known).items():
            owner = self.owner(path)
            if owner is None:
                continue
            singles = self.roots[owner]
            if singles is None or os.path.relpath(path, owner) in singles:
                before |= {path} & self.known.keys()
                if path in self.tree():
                    scope[path] = self.tree()[path]
                del content
        self.run([], scope, before, None)

    def run(
        self, paths: list[str], scope: dict[str, bytes], before: set[str], walk: WalkOptions | None
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
        remove_paths([full], self.index)
        gone = {path for path in self.known if (path + "/").startswith(full + "/")}
        contents = {self.known.pop(path) for path in gone}
        self.seen -= contents - set(self.known.values())
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
TestUser.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
