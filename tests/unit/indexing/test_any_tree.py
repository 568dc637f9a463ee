"""Any tree of files, links and mounts: indexing it twice changes nothing, and what its hits show can be given back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.errors import FolderError, NothingToIndex
from imgsearch.indexing.roots import WalkOverrides
from support import FULL, fakes
from support.fakes import indexed, paint, run
from support.given_back import changes_nothing, given_back
from support.mounts import bind, unmount

FOLDERS = ("top", "top/a", "top/a/c", "top/b", "out", "out/d")
LINKS = tuple(f"{folder}/{name}" for folder in FOLDERS for name in ("l", "m.png"))
FILES = tuple(f"{folder}/{name}.png" for folder in FOLDERS for name in ("x", "y"))
TARGETS = (*FOLDERS, *FILES, *LINKS, ".", "nowhere")
MOUNTS = ("top/alias", "top/b/alias", "out/alias")
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Tree:
    """Files by their colours, links by what they lead to, and folders that are mounted elsewhere too."""

    files: dict[str, str]
    links: dict[str, tuple[str, bool]]
    mounts: dict[str, str]

    def make(self, top: Path) -> list[Path]:
        """Make it below a folder; return what was mounted."""
        for folder in FOLDERS:
            (top / folder).mkdir()
        for file, colour in self.files.items():
            paint(top / file, colour)
        for link, (target, absolute) in self.links.items():
            relative = os.path.relpath(top / target, (top / link).parent)
            (top / link).symlink_to(top / target if absolute else relative)
        mounted = []
        for alias, real in self.mounts.items():
            (top / alias).mkdir()
            if bind(top / real, top / alias):
                mounted.append(top / alias)
        return mounted


LEADS_TO = st.one_of(
    st.sampled_from(["out", "out/d"]),
    st.sampled_from(FOLDERS),
    st.sampled_from(FILES),
    st.sampled_from(TARGETS),
)
TREES = st.builds(
    Tree,
    st.dictionaries(st.sampled_from(FILES), st.sampled_from(COLOURS), min_size=4, max_size=8),
    st.dictionaries(st.sampled_from(LINKS), st.tuples(LEADS_TO, st.booleans()), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(MOUNTS), st.sampled_from(FOLDERS), max_size=2),
)
FOLLOW = st.sampled_from([True, True, True, False, None])
RUNS = st.builds(
    lambda first, others: [first, *others],
    st.tuples(st.sampled_from([["top"], ["top"], ["top/a"], ["top/b", "out"], ["out/x.png"]]), FOLLOW),
    st.lists(
        st.tuples(
            st.lists(
                st.one_of(
                    st.sampled_from(LINKS), st.sampled_from([*FOLDERS, *MOUNTS]), st.sampled_from(FILES)
                ),
                min_size=1,
                max_size=2,
            ),
            FOLLOW,
        ),
        max_size=2,
    ),
)


def check(tree: Tree, runs: Sequence[tuple[list[str], bool | None]]) -> None:
    """Index a tree with links followed, left alone, or as before, and assert what holds then."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as made:
        model, top, folder = fakes.install(patch), Path(made), f"{made}/index"
        mounted = tree.make(top)
        try:
            done = False
            for given_, follow in runs:
                paths = [top / path for path in given_]
                if follow is not None:
                    paths = [path for path in paths if path.is_dir()]
                walk = None if follow is None else WalkOverrides(follow_symlinks=follow)
                with suppress(FolderError, NothingToIndex):
                    run(folder, *paths, walk=walk)
                    done = True
                    changes_nothing(folder, *paths)
            if done:
                with suppress(NothingToIndex):
                    run(folder)  # where links are not followed any more, others may lead to the same
                if before := indexed(folder):
                    given_back(folder, model)
                    run(folder, rebuild=True)
                    assert indexed(folder) == before, "the names depend on what was indexed before"
        finally:
            for alias in reversed(mounted):
                unmount(alias)


@settings(max_examples=10)
@given(TREES, RUNS)
def test_what_is_shown_of_any_tree_can_be_given_back(
    tree: Tree, runs: Sequence[tuple[list[str], bool | None]]
) -> None:
    """Indexing again changes nothing, and every hit is found, known and removed by the name that it shows."""
    check(tree, runs)


@pytest.mark.slow("the same for many more trees")
@pytest.mark.timeout(600)  # shrinking what fails takes five minutes
@settings(max_examples=150 if FULL else 5)
@given(TREES, RUNS)
def test_what_is_shown_of_many_trees_can_be_given_back(
    tree: Tree, runs: Sequence[tuple[list[str], bool | None]]
) -> None:
    """The same law holds for many more trees."""
    check(tree, runs)


RED = dict.fromkeys(("top/x.png", "top/y.png", "top/a/x.png", "top/a/y.png"), "red")


@pytest.mark.parametrize(
    ("tree", "runs"),
    [
        (
            Tree({**RED, "out/x.png": "red", "out/y.png": "red"}, {"top/l": ("out", False)}, {}),
            [(["top"], True), (["top", "out/x.png"], None)],
        ),
        (
            Tree(
                RED,
                {"top/a/m.png": ("top/x.png", False), "top/l": ("out", False)},
                {"top/alias": "top", "out/alias": "top"},
            ),
            [(["top/a"], True), (["top/l"], False)],
        ),
        (
            Tree(RED, {"top/l": ("out", False)}, {"top/alias": "top", "top/b/alias": "top"}),
            [(["top/b", "out"], True), (["top"], True)],
        ),
        (
            Tree(
                {"top/x.png": "red", "out/y.png": "red"},
                {"top/a/l": ("out", False), "out/d/l": ("top", False)},
                {},
            ),
            [(["top/a"], True), (["top/a/l"], True)],
        ),
    ],
    ids=[
        "a file of a linked folder by itself",
        "a folder that is mounted in itself",
        "a root below that is only a mount of it",
        "a linked folder that becomes a root and has links",
    ],
)
def test_what_is_shown_of_a_tree_can_be_given_back(
    tree: Tree, runs: Sequence[tuple[list[str], bool | None]]
) -> None:
    """The same law holds for trees for which it once did not: they were found at random."""
    check(tree, runs)
