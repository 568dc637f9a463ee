"""An index does what a plain dictionary does, whatever is done to it in whatever order, and readers see it at once."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from contextlib import ExitStack
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from support import memory
from support.fakes import sha, spec, state, unit
from support.faults.checks import check_counts, check_database
from support.oracle import ROOT, Oracle, drop, put, small, vector, world_of

FULL = os.environ.get("IMGSEARCH_FAULTS") == "full"
"""Many long lives; else a few, always the same ones."""
DIM = 16

PICKS = st.lists(st.integers(0, 999), min_size=1, max_size=8)
"""Which of the files, in order of their paths, something is done to."""
FOLDERS = st.sampled_from(["a", "b", "b/c", "b-d", "\udcff"])
BELOW = st.sampled_from(
    [
        (),
        (),
        (),
        (ROOT,),
        ("/",),
        (f"{ROOT}/b",),
        (f"{ROOT}/a", f"{ROOT}/b/c"),
        (f"{ROOT}/\udcff",),
        ("/pic",),
    ]
)


class Life(RuleBasedStateMachine):
    """An index, the dictionary that it must equal, and readers that were opened some time ago.

    ``world`` are the contents by path, ``skipped`` the files that could not be read, ``begun`` the files in a
    rebuild that was broken off.
    """

    strategies: ClassVar[Counter[str]] = Counter()
    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = os.path.join(
            self.stack.enter_context(tempfile.TemporaryDirectory(dir=memory())), "index"
        )
        self.stack.enter_context(small(40, 60, dim=DIM))
        self.writer = IndexWriter(self.folder, spec(DIM))
        self.open: list[ImageIndex] = []
        self.world: dict[str, str] = {}
        self.skipped: set[str] = set()
        self.begun: dict[str, str] = {}
        self.count = 0

    def teardown(self) -> None:
        for opened in [*self.open, self.writer]:
            opened.close()
        check_database(self.writer.catalog.path)
        self.stack.close()

    # ---- what is done ---------------------------------------------------------------------------------------

    def fresh(self) -> int:
        self.count += 1
        return self.count

    def picked(self, picks: list[int]) -> list[str]:
        known = sorted([*self.world, *self.skipped], key=os.fsencode)
        return sorted({known[pick % len(known)] for pick in picks}) if known else []

    def put(self, files: dict[str, str]) -> None:
        put(self.writer, files, DIM)
        self.world.update(files)
        self.skipped -= files.keys()

    def drop(self, paths: list[str], contents: bool = False) -> None:
        drop(self.writer, paths, contents)
        for path in paths:
            self.world.pop(path, None)
        self.skipped.difference_update(paths)

    @initialize(target=readers, many=st.integers(0, 150))
    def begin(self, many: int) -> ImageIndex:
        """A tree is indexed, and a reader opened."""
        self.put({f"a/{number}.jpg": f"c{self.fresh()}" for number in range(many)})
        return self.open_reader()

    @rule(folder=FOLDERS, many=st.integers(1, 60))
    def add(self, folder: str, many: int) -> None:
        """New pictures."""
        self.put({f"{folder}/{number}.jpg": f"c{number}" for number in (self.fresh() for _ in range(many))})

    @rule(folder=FOLDERS, many=st.integers(2, 50), pick=st.integers(0, 999))
    def add_ties(self, folder: str, many: int, pick: int) -> None:
        """New pictures whose vectors equal one that may be there."""
        like = f"c{pick % max(self.count, 1)}"
        numbers = [self.fresh() for _ in range(many)]
        self.put({f"{folder}/{number}.jpg": f"{like}~{number}" for number in numbers})

    @rule(picks=PICKS)
    def change(self, picks: list[int]) -> None:
        """Files get other bytes."""
        self.put({path: f"c{self.fresh()}" for path in self.picked(picks)})

    @rule(picks=PICKS, pick=st.integers(0, 999))
    def come_back(self, picks: list[int], pick: int) -> None:
        """Files get the bytes that others had once, also ones that are gone."""
        self.put(
            {path: f"c{1 + (pick + n) % max(self.count, 1)}" for n, path in enumerate(self.picked(picks))}
        )

    @rule(picks=PICKS, folder=FOLDERS)
    def copy(self, picks: list[int], folder: str) -> None:
        """Files are copied."""
        paths = [path for path in self.picked(picks) if path in self.world]
        self.put({f"{folder}/{self.fresh()}.png": self.world[path] for path in paths})

    @rule(picks=PICKS, folder=FOLDERS)
    def move(self, picks: list[int], folder: str) -> None:
        """Files are moved; their old places go in a second step."""
        paths = [path for path in self.picked(picks) if path in self.world]
        self.put({f"{folder}/{self.fresh()}.gif": self.world[path] for path in paths})
        self.drop(paths)

    @rule(picks=PICKS)
    def skip(self, picks: list[int]) -> None:
        """Files can't be read any more."""
        paths = self.picked(picks)
        root = self.writer.catalog.put_root(ROOT, {})
        self.writer.commit([], unit(0, dim=DIM), [state(root, path, None) for path in paths])
        for path in paths:
            self.world.pop(path, None)
        self.skipped.update(paths)

    @rule(picks=PICKS, contents=st.booleans())
    def delete(self, picks: list[int], contents: bool) -> None:
        """Files go; with ``contents``, their pictures are forgotten."""
        self.drop(self.picked(picks), contents)

    @rule(first=st.integers(0, 2), step=st.integers(1, 3))
    def prune(self, first: int, step: int) -> None:
        """A great many files go."""
        self.drop(sorted([*self.world, *self.skipped], key=os.fsencode)[first::step])

    @rule(share=st.sampled_from([0.0, 0.25, 0.6]), before=st.sampled_from([None, 0.0, 1e11]))
    def compact(self, share: float, before: float | None) -> None:
        """The room of deleted rows is given back."""
        self.writer.compact(share, before)

    @rule()
    def build(self) -> None:
        """ANN files are made, as far as they are due."""
        AnnBuilder(self.writer.data, self.writer.spec).finish()

    @rule()
    def reopen(self) -> None:
        """The writer is closed and another one opened."""
        self.writer.close()
        self.writer = IndexWriter(self.folder)

    @rule(share=st.sampled_from([0.3, 1.0]))
    def rebuild(self, share: float) -> None:
        """The index is made anew from what is there now, and published; or, for a share of it, broken off."""
        self.writer.close()
        self.writer = IndexWriter(self.folder, spec(DIM), rebuild=True)
        drop(self.writer, sorted(self.begun.keys() - self.world))
        have = {path: name for path, name in self.begun.items() if path in self.world}
        assert world_of(self.writer) == {path: sha(name) for path, name in have.items()}
        todo = sorted(self.world)[: int(share * len(self.world))]
        put(self.writer, {path: self.world[path] for path in todo}, DIM)
        self.begun = {**have, **{path: self.world[path] for path in todo}}
        if share == 1:
            self.writer.publish()
            self.begun, self.skipped = {}, set()
        self.writer.close()
        self.writer = IndexWriter(self.folder)

    # ---- what must hold -------------------------------------------------------------------------------------

    @rule(target=readers)
    @precondition(lambda self: len(self.open) < 2)
    def open_reader(self) -> ImageIndex:
        """A reader is opened, and stays."""
        self.open.append(ImageIndex(self.folder))
        return self.open[-1]

    @rule(reader=consumes(readers))
    def close_reader(self, reader: ImageIndex) -> None:
        """A reader is closed."""
        self.open.remove(reader)
        reader.close()

    @rule(
        reader=readers | st.none(),
        k=st.integers(1, 12) | st.integers(13, 1000),
        dim=st.none() | st.integers(1, DIM),
        exact=st.booleans(),
        below=BELOW,
        question=st.integers(0, 300),
    )
    def search(
        self,
        reader: ImageIndex | None,
        k: int,
        dim: int | None,
        exact: bool,
        below: tuple[str, ...],
        question: int,
    ) -> None:
        """A question is asked of a reader or of the writer: a picture's vector, or one that is near nothing."""
        query = vector(f"c{question}", DIM)
        if question % 3 == 0:
            query = unit(1, question, DIM)[0]
        self.ask(reader or self.writer.index, query, k, dim, exact, below)

    def ask(
        self,
        index: ImageIndex,
        query: np.ndarray,
        k: int,
        dim: int | None = None,
        exact: bool = False,
        below: tuple[str, ...] = (),
    ) -> None:
        hits = index.search(query[None], k, dim, exact=exact, below=below)[0]
        strategy = index.strategy.name if index.strategy else ""
        assert not (exact and strategy == "codes")
        self.strategies[strategy] += 1
        locations = {content: index.catalog.locate(content) for content in map(sha, set(self.world.values()))}
        ids = {content: location.content for content, location in locations.items() if location}
        oracle = Oracle(self.world, DIM)
        wrong = oracle.wrong(hits, query, k, dim, below, complete=strategy != "codes", ids=ids)
        assert wrong == "", (wrong, k, dim, index.strategy)
        for content in list(oracle.contents)[:: 1 + len(ids) // 5]:
            found = index.vector(content)
            assert found is not None
            np.testing.assert_array_equal(found[0], oracle.stored(content))

    @invariant()
    def everybody_agrees(self) -> None:
        """Readers that were opened earlier answer with what is committed now, and every count is right."""
        query = unit(1, self.count, DIM)[0]
        wanted = {path: sha(name) for path, name in self.world.items()} | dict.fromkeys(self.skipped)
        for index in [*self.open, self.writer.index]:
            self.ask(index, query, 3, exact=True)
            self.ask(index, query, 5)
            assert world_of(index) == wanted
        check_counts(self.writer.index, {**self.world, **dict.fromkeys(self.skipped)})


@pytest.mark.timeout(3600 if FULL else 600)  # shrinking what fails takes five minutes
def test_an_index_does_what_a_dictionary_does() -> None:
    """After every step every search equals a full comparison in float64, by whichever strategy."""
    Life.strategies.clear()
    lives, steps = (1000, 60) if FULL else (5, 30)
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=lives, stateful_step_count=steps, derandomize=not FULL, report_multiple_bugs=False
        ),
    )
    print(dict(Life.strategies))
    assert set(Life.strategies) == {"exact", "prefix", "selected", "codes"}
