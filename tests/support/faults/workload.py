"""A seeded life of a small index, step by step, with the state that must hold after each."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from unittest.mock import patch

import numpy as np

from imgsearch.errors import StorageError
from imgsearch.index import segments, side_db
from imgsearch.index.ann import rabitq
from imgsearch.index.ann import search as ann
from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.database import Database
from imgsearch.index.reader import ImageIndex
from imgsearch.index.segments import HEADER_BYTES
from imgsearch.index.writer import DELETED_SHARE, IndexWriter
from imgsearch.indexing.edit import remove_paths
from imgsearch.types import Runtime, Vectors
from support.fakes import sha, spec, state, unit

DIM = 64
ROOT = "/pictures"
# So that a few steps fill several segments and fold the log into the database in the middle of a run.
ROWS_A_SEGMENT = 24
CHECKPOINT_PAGES = 12
# From so many rows on, segments get ANN files, which are written in pieces of so many bytes.
EXACT_ROWS = 10
CHUNK = 512

State = dict[str, str | None]
"""The content of every file by its path below ROOT; None stands for one that was skipped."""


@dataclass(frozen=True)
class Step:
    """One thing that is done to the index: ``files`` are those it is about, ``before`` and ``after`` what holds."""

    kind: str
    files: State = field(default_factory=dict)
    before: State = field(default_factory=dict)
    after: State = field(default_factory=dict)


@cache
def row_of(content: str) -> Vectors:
    """Return the vector (DIM,) of a content."""
    return unit(1, zlib.crc32(content.encode()), DIM)[0]


@cache
def plan(seed: int, length: int = 30) -> tuple[Step, ...]:
    """Draw a life of ``length`` steps; the first makes the index."""
    draw = random.Random(seed)
    now: State = {}
    steps = [Step("create")]
    kinds: list[str] = []
    made = 0
    while len(steps) < length:
        if not kinds:
            kinds = [*KINDS, "put", "put", "prune", "compact", "read"]
            draw.shuffle(kinds)
        kind = kinds.pop() if len(steps) > 2 else "put"
        names, files, before = sorted(now), State(), now
        indexed = [name for name in names if now[name] is not None]
        if kind in ("put", "put and build"):
            for number in range(made, made + draw.choice([1, 3, 8, 30])):
                files[f"{draw.choice('ab')}/{number}.jpg"] = f"c{number}"
            made += len(files)
            for name in draw.sample(names, min(len(names), 4)):  # changed, skipped, copied, copied back
                files[name] = draw.choice(
                    [f"{name} changed {len(steps)}", None, "c0", *map(now.get, indexed)]
                )
            now = {**now, **files}
        elif kind in ("prune", "remove", "rebuild"):
            if len(names) < 8:
                continue
            gone = draw.sample(names, 1 if kind == "remove" else len(names) // draw.choice([2, 3, 8]))
            kept = {name: content for name, content in now.items() if name not in gone}
            files = kept if kind == "rebuild" else {name: now[name] for name in gone}
            now = kept
        steps.append(Step(kind, files, before, now))
    return tuple(steps)


@contextmanager
def small() -> Iterator[None]:
    """Make segments, and what SQLite keeps in its log, small while the block runs."""
    prepared = Database._prepare

    def prepare(self: Database, write: bool, create: bool) -> None:
        prepared(self, write, create)
        self.connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")

    with (
        patch.object(segments, "SEGMENT_BYTES", HEADER_BYTES + ROWS_A_SEGMENT * DIM * 2),
        patch.object(ann, "EXACT_ROWS", EXACT_ROWS),
        patch.object(rabitq, "_CHUNK", CHUNK),
        patch.object(Database, "_prepare", prepare),
    ):
        yield


class Session:
    """A person's hands on the index in ``folder``: carries out steps, and closes what it opened.

    ``look`` is what a reader does with the index and the state that it must find there.
    """

    def __init__(self, folder: str, look: Callable[[ImageIndex, State], None]) -> None:
        self.folder, self.look = folder, look
        self._writer: IndexWriter | None = None
        self._reader: ImageIndex | None = None
        self._rebuilt: list[State] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the writer and the reader, if they are open."""
        writer, self._writer = self._writer, None
        if writer:
            writer.close()
        reader, self._reader = self._reader, None
        if reader:
            reader.close()

    @property
    def writer(self) -> IndexWriter:
        """The open writer."""
        if self._writer is None:
            self._writer = IndexWriter(self.folder, spec(DIM))
        return self._writer

    def do(self, step: Step) -> None:
        """Carry out a step; raises what the index raises. A step that is already done changes nothing."""
        KINDS.get(step.kind, Session._create)(self, step)

    def _create(self, step: Step) -> None:
        self._root()

    def _root(self) -> int:
        return self.writer.catalog.put_root(ROOT, {})

    def _put(self, step: Step) -> None:
        catalog, root = self.writer.catalog, self._root()
        new = sorted({name for name in step.files.values() if name and catalog.locate(sha(name)) is None})
        rows = np.stack([row_of(name) for name in new]) if new else np.empty((0, DIM), np.float32)
        states = [
            state(root, path, sha(name) if name else None, size=step_size(name))
            for path, name in step.files.items()
        ]
        self.writer.commit([(sha(name), 0, 640, 480) for name in new], rows, states)

    def _prune(self, step: Step) -> None:
        catalog, root = self.writer.catalog, self._root()
        known = [catalog.file(root, path) for path in step.files]
        catalog.drop_files([row.id for row in known if row])

    def _remove(self, step: Step) -> None:
        self._release()
        remove_paths([f"{ROOT}/{path}" for path in step.files], self.folder)

    def _compact(self, step: Step) -> None:
        share = DELETED_SHARE if len(step.after) % 2 else 0.0
        # Nothing was pruned before 1970: what was moves along, as what was pruned a moment ago does.
        self.writer.compact(share, before=0.0 if len(step.after) % 3 == 0 else None)

    def _build(self, step: Step) -> None:
        builder = AnnBuilder(self.writer.data, self.writer.spec)
        builder.schedule()
        builder.finish()

    def _put_and_build(self, step: Step) -> None:
        """Commit while a thread makes ANN files."""
        builder = AnnBuilder(self.writer.data, self.writer.spec)
        builder.schedule()
        try:
            self._put(step)
        finally:
            builder.finish()

    def _rebuild(self, step: Step) -> None:
        self._release()
        self._rebuilt.append(step.before)
        self._writer = IndexWriter(self.folder, spec(DIM), rebuild=True)
        self._put(step)
        self._writer.publish()

    def _reopen(self, step: Step) -> None:
        self._release()
        assert self.writer

    def _release(self) -> None:
        writer, self._writer = self._writer, None
        if writer:
            writer.close()

    def _read(self, step: Step) -> None:
        """Open a reader that stays, so that the writer's close is not the last one; or close it."""
        assert self.writer
        if self._reader is None:
            self._reader, self._rebuilt = ImageIndex(self.folder), []
            self.look(self._reader, step.after)
            return
        reader, self._reader = self._reader, None
        try:
            # One that was opened before a rebuild may go on with what there was then.
            for now in [*self._rebuilt, step.after]:
                try:
                    self.look(reader, now)
                    break
                except AssertionError:
                    if now is step.after:
                        raise
        finally:
            reader.close()

    def _note_run(self, step: Step) -> None:
        side_db.record_run(self.folder, "index", Runtime("cpu", "float32", "a test"), 1.0)


KINDS: dict[str, Callable[[Session, Step], None]] = {
    "put": Session._put,
    "prune": Session._prune,
    "remove": Session._remove,
    "reopen": Session._reopen,
    "read": Session._read,
    "note a run": Session._note_run,
    "compact": Session._compact,
    "build": Session._build,
    "put and build": Session._put_and_build,
    "rebuild": Session._rebuild,
}


def step_size(content: str | None) -> int:
    """Return the size in bytes that a file with this content is said to have."""
    return len(content or "")


def live(
    folder: str,
    steps: tuple[Step, ...],
    first: int = 0,
    *,
    look: Callable[[ImageIndex, State], None] = lambda index, state: None,
    begin: Callable[[int], None] = lambda number: None,
    done: Callable[[int], None] = lambda number: None,
    again: bool = False,
) -> None:
    """Carry out the steps from ``first`` on, telling ``begin`` and ``done`` the number of each.

    With ``again``, a step that the disk refused is tried a second time with the same writer.
    """
    with Session(folder, look) as session:
        for number in range(first, len(steps)):
            begin(number)
            try:
                session.do(steps[number])
            except StorageError:
                if not again:
                    raise
                again = False
                session.do(steps[number])
            done(number)
