"""A store follows an index that is being made: what has been committed is put into the store while the run goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from imgsearch.errors import ImgsearchError
from imgsearch.index import manifest
from imgsearch.index.reader import ImageIndex
from imgsearch.text import Message
from imgsearch.tools.stores import MOST_AT_ONCE, VectorStore
from imgsearch.tools.stores.local import LocalStore
from imgsearch.tools.stores.sync import sound_rows
from imgsearch.types import IndexSpec, Reporter

_MOST_BYTES = 32 << 20  # of vectors in memory at a time
_EVERY = 2.0  # seconds between two looks for commits; a run commits every five
_TO_FINISH = 5.0  # seconds that a call gets at the end, before the connection is closed


class Follower:
    """Puts the images that a run commits into a store, in a thread of its own: first the index, then the store.

    It adds alone: ``sync`` compares and repairs at the end. A store that fails ends the following, never the run.
    """

    def __init__(self, folder: str, open_store: Callable[[IndexSpec], VectorStore]) -> None:
        """Note what the index in ``folder`` holds already, if there is one; put in nothing yet."""
        self.stored = 0
        """Images that the store has acknowledged."""
        self.trouble: ImgsearchError | None = None
        """Why the store is not followed any more."""
        self._folder, self._open_store = folder, open_store
        self._opened: tuple[ImageIndex, VectorStore] | None = None
        self._last = 0
        self._bug: Exception | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="store")
        if manifest.exists(folder):
            with ImageIndex(folder) as index:
                ids = index.catalog.database.query(int, "SELECT coalesce(max(id), 0) FROM content")
                self._last = ids[0]

    def __enter__(self) -> Follower:
        """Begin to follow."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop following."""
        self.stop()

    def stop(self) -> int:
        """Let the call that is under way end, and return how many images were put in."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join(_TO_FINISH)
            if self._thread.is_alive() and self._opened is not None:
                self._opened[1].close()  # it waits for a server that is gone
            self._thread.join()
        bug, self._bug = self._bug, None
        if bug is not None:
            raise bug
        return self.stored

    def _follow(self) -> None:
        try:
            while not self._end.wait(_EVERY):
                while not self._end.is_set() and self.step():
                    pass
        except ImgsearchError as error:
            self.trouble = error
        except Exception as error:
            self._bug = error
        finally:
            for one in self._opened or ():
                one.close()

    def step(self) -> bool:
        """Put in what has been committed, some images at most; return whether there were any. Raises StoreError."""
        if self._opened is None:
            self._opened = self._open()
        if self._opened is None:
            return False
        index, store = self._opened
        keys = index.catalog.database.query(
            lambda id, sha256, page: (int(id), (bytes(sha256), int(page))),
            "SELECT id, sha256, page FROM content WHERE id > ? ORDER BY id LIMIT ?",
            self._last,
            max(1, min(MOST_AT_ONCE, _MOST_BYTES // 4 // store.spec.dim)),
        )
        if not keys:
            return False
        local = LocalStore(index)
        images, rows = sound_rows(local, list(local.images([key for _, key in keys])))
        if images:
            store.upsert(images, rows)
        self.stored += len(images)
        self._last = keys[-1][0]
        return True

    def _open(self) -> tuple[ImageIndex, VectorStore] | None:
        """Open the index and the store; None while there is no whole index yet."""
        try:
            index = ImageIndex(self._folder)
        except ImgsearchError:
            return None  # if it stays so, the run itself says it
        try:
            return index, self._open_store(index.spec)
        except BaseException:
            index.close()
            raise


class Telling:
    """A reporter that also tells how far a follower is, and once that it has stopped, for whatever reason."""

    def __init__(self, reporter: Reporter, follower: Follower) -> None:
        """Pass everything on to ``reporter``."""
        self._reporter, self._follower, self._told = reporter, follower, False

    def _tell(self) -> None:
        trouble = self._follower.trouble
        if trouble is not None and not self._told:
            self._told = True
            self._reporter.say(Message(trouble.as_message, "; indexing continues without the store"))

    def say(self, line: str) -> None:
        """Pass a line on."""
        self._reporter.say(line)

    def detail(self, line: str) -> None:
        """Pass a line on."""
        self._reporter.detail(line)

    def wait(self, what: str) -> None:
        """Pass it on."""
        self._reporter.wait(what)

    def start(self, total: int, unit: str) -> None:
        """Tell first, where no bar is drawn."""
        self._tell()
        self._reporter.start(total, unit)

    def advance(self, n: int = 1, where: str = "") -> None:
        """Say behind the folder how many images are in the store."""
        self._tell()
        if stored := self._follower.stored:
            where = f"{where}; {stored:,} in the store" if where else f"{stored:,} in the store"
        self._reporter.advance(n, where)

    def stop(self) -> None:
        """Pass it on."""
        self._reporter.stop()
        self._tell()

    def approve(self, question: str) -> bool:
        """Pass it on."""
        return self._reporter.approve(question)
