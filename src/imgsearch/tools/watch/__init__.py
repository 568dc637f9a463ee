"""Use case: follow the indexed folders and keep the index up to date with them until the process is stopped.

The watch hears of changes, waits until a changed file stays as it is, and indexes what has changed. It never relies on
that: queues of changes overflow, and network drives report none. So all folders are checked at the start, when one
comes back, after an error, and every hour.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal

from imgsearch import deep
from imgsearch.addresses import is_remote
from imgsearch.client import KeptModel
from imgsearch.errors import (
    ImgsearchError,
    IndexDamaged,
    IndexLocked,
    IndexMismatch,
    IndexMissing,
    NothingToIndex,
    UsageError,
)
from imgsearch.index import generations, manifest
from imgsearch.index.catalog import Catalog
from imgsearch.index.rows import Root
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.run import index_pictures
from imgsearch.names import single_files
from imgsearch.text import Message, Option, error_line, format_duration, plural
from imgsearch.tools.watch.changes import follow
from imgsearch.tools.watch.pending import Pending, paths_to_index
from imgsearch.types import ModelOptions, Reporter, Silent, path_json, paths_json

Follow = Callable[[Sequence[str]], Generator[set[str], None, None]]
"""Yields the changed absolute paths below some folders as they come, and an empty set every second or so: OSError."""

_FATAL = (IndexMissing, IndexDamaged, IndexMismatch, UsageError)
"""What only a person can repair: it ends the watch."""
_CHECK_SECONDS = 10.0  # between two looks at which folders are there
_RETRY_SECONDS = 10.0  # after an error; twice as long after the next one, and so on


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How to watch: a check of all folders every ``every_seconds``; the model is unloaded after ``idle_seconds``.

    Each run is as ``gentle`` as that of IndexOptions.
    """

    every_seconds: float = 3600.0
    idle_seconds: float = 900.0
    model: ModelOptions = field(default_factory=ModelOptions)
    gentle: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError for figures that can't be meant."""
        if not self.every_seconds > 0:
            raise UsageError(Option("every_seconds", self.every_seconds), ": must be above 0")
        if not self.idle_seconds > 0:
            raise UsageError(Option("idle_seconds", self.idle_seconds), ": must be above 0")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a watch has done: its ``name``, a line for a person ("" if it is not worth one), and its data.

    "started": the watch follows folders. "pass": all folders were checked. "indexed": changes were indexed. "error":
    something failed and will be tried again. "stopped" is the last one.
    """

    name: Literal["started", "pass", "indexed", "error", "stopped"]
    text: str
    data: Mapping[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {"event": self.name, **self.data}


def watch(
    folder: str,
    options: WatchOptions,
    tell: Callable[[Event], None],
    reporter: Reporter | None = None,
    *,
    following: Follow = follow,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Keep the index in ``folder`` up to date until KeyboardInterrupt; ``tell`` is told what happens.

    ``reporter`` follows the first check of all folders. Raises IndexMissing, IndexDamaged, IndexMismatch, UsageError;
    any other error is told, and what it kept from being indexed is tried again.
    """
    _Watch(os.path.abspath(folder), options, tell, reporter or Silent(), following, clock).run()


class _Watch:
    """One watch: which folders it follows, what is pending, and when all is checked next."""

    def __init__(
        self,
        folder: str,
        options: WatchOptions,
        tell: Callable[[Event], None],
        reporter: Reporter,
        following: Follow,
        clock: Callable[[], float],
    ) -> None:
        self.folder, self.options, self.tell, self.reporter = folder, options, tell, reporter
        self.following, self.clock = following, clock
        self.model = KeptModel(clock, local=options.gentle)
        self.pending = Pending()
        self.roots = self._read_roots()
        self.pass_at, self.reason = clock(), "start"
        self.failures, self.told = 0, ""

    def run(self) -> None:
        """Watch until KeyboardInterrupt."""
        names = [root.path for root in self.roots]
        every = format_duration(self.options.every_seconds)
        self.tell(
            Event(
                "started",
                f"watching {plural(len(names), 'folder')}; all are checked now and every {every}",
                {
                    "pid": os.getpid(),
                    **path_json(self.folder, "index"),
                    **paths_json(names, "roots"),
                    "every": self.options.every_seconds,
                },
            )
        )
        present = self._present()
        while True:
            self._follow(present)
            before, present = present, self._present()
            if any(present[path] != before.get(path) for path in present):
                self._check_soon("other folders", 0.0)

    def _follow(self, present: Mapping[str, tuple[int, int]]) -> None:
        """Work through changes of some folders, known by path and identity, until others are there."""
        with closing(self.following(sorted(present))) as changes:
            look_at = self.clock() + _CHECK_SECONDS
            for changed in self._heard(changes):
                self.pending.add(changed, self.clock())
                self._work()
                if self.clock() >= look_at:
                    self.roots = self._read_roots()
                    if self._present() != present:
                        return
                    look_at = self.clock() + _CHECK_SECONDS

    def _heard(self, changes: Iterator[set[str]]) -> Iterator[set[str]]:
        """Yield the changes; without any, where the system reports none."""
        try:
            yield from changes
        except OSError as error:
            why = error_line(error)
            hint = " (on Linux, raise fs.inotify.max_user_watches)" if "limit" in why else ""
            self._failed(
                f"changes can't be followed: {why}{hint}; the folders are only checked every "
                f"{format_duration(self.options.every_seconds)}"
            )
        # For some seconds, so that a system that has run out of something is not asked at once again.
        with closing(self.following(())) as nothing:
            yield from nothing

    def _work(self) -> None:
        """Check all folders if that is due, else index what has changed and stays as it is."""
        now = self.clock()
        if self.pending.overflowed:
            self.pending = Pending()
            self._check_soon("many changes", 0.0)
        if now >= self.pass_at:
            self._check_all()
        elif ready := self.pending.ready(now):
            self._index(ready)
        self.model.unload(self.options.idle_seconds)

    def _check_all(self) -> None:
        """Bring the index up to date with all folders."""
        first, reason = self.reason == "start", self.reason
        self.pass_at, self.reason = self.clock() + self.options.every_seconds, "interval"
        result = self._run([], self.reporter if first else Silent())
        if result is not None:
            summary = Message("all folders checked: ", result.summary(self.folder))
            told = summary if first or _has_done(result) else ""
            self.tell(Event("pass", told, {"reason": reason, **result.as_json()}))
        if first:
            self.roots = self._read_roots()

    def _index(self, changed: Sequence[str]) -> None:
        """Bring the index up to date with changed paths."""
        try:
            with closing(Catalog(generations.in_use(self.folder) or self.folder)) as catalog:
                own = os.path.realpath(self.folder)
                paths = paths_to_index(changed, self.roots, own, catalog)
        except ImgsearchError as error:
            self._handle(error)
            return
        if not paths:
            return
        result = self._run(paths, Silent())
        if result is not None and _has_done(result):
            data = {**paths_json(paths, "paths"), **result.as_json()}
            self.tell(Event("indexed", result.summary(self.folder), data))

    def _run(self, paths: Sequence[str], reporter: Reporter) -> IndexResult | None:
        """Index, and return what was done; None if that failed."""
        options = IndexOptions(model=self.options.model, advise=False, gentle=self.options.gentle)
        try:
            result = index_pictures(paths, self.folder, options, reporter, load_model=self.model.load)
        except NothingToIndex:
            result = IndexResult()
        except ImgsearchError as error:
            self._handle(error)
            return None
        finally:
            self.model.touch()
        if not paths:
            self.failures, self.told = 0, ""
        return result

    def _handle(self, error: ImgsearchError) -> None:
        """Tell of an error, and have all folders checked some time later. Raises what only a person can repair."""
        if isinstance(error, _FATAL):
            raise error
        self.failures += 1
        wait = min(_RETRY_SECONDS * 2 ** min(self.failures - 1, 20), self.options.every_seconds)
        if isinstance(error, IndexLocked):
            wait = min(_RETRY_SECONDS, wait)  # the other one may be done any moment
        self._check_soon("an error before" if self.reason != "start" else "start", wait)
        self._failed(error.as_message, kind=type(error).__name__, retry_in=wait)

    def _failed(self, message: str, **data: object) -> None:
        """Tell of something that failed, once until a check of all folders has succeeded."""
        if message != self.told:
            self.told = message
            self.tell(Event("error", message, {"message": str(message), **data}))

    def _check_soon(self, reason: str, wait: float) -> None:
        """Have all folders checked no later than after so many seconds."""
        if (at := self.clock() + wait) < self.pass_at:
            self.pass_at, self.reason = at, reason

    def _read_roots(self) -> list[Root]:
        """Return the known folders, without buckets, which tell of no change. Raises as opening the index."""
        manifest.read(self.folder)
        with closing(Catalog(generations.in_use(self.folder) or self.folder)) as catalog:
            return [root for root in catalog.roots() if not is_remote(root.path)]

    def _present(self) -> dict[str, tuple[int, int]]:
        """Return the followed folders that are there, with what tells each from another one in its place."""
        present = {}
        for root in self.roots:
            if single_files(root):
                continue  # they are checked with all others; their folder may hold anything
            try:
                status = deep.stat(root.path)
            except OSError:
                continue
            present[root.path] = status.st_dev, status.st_ino
        return present


def _has_done(result: IndexResult) -> bool:
    """Whether a run has changed anything in the index."""
    return bool(result.indexed or result.reused or result.skipped or result.pruned)
