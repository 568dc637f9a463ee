"""The work of one run, under the writer lock: decode, batch, embed, commit as it goes, prune at the end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from imgsearch.decoding import Decoded, decode_ahead
from imgsearch.errors import NonFiniteError
from imgsearch.index import runs
from imgsearch.index.catalog import Catalog
from imgsearch.index.image_index import IndexWriter
from imgsearch.index.rows import FileState
from imgsearch.job import IndexOptions, IndexResult
from imgsearch.media import MAX_MEGAPIXELS
from imgsearch.plan import TRANSIENT, Plan
from imgsearch.types import Encoder, Input, Reporter, Runtime, Skipped, Vectors

# A kill loses at most one batch or this much work. A commit costs two syncs, so fast batches share one.
COMMIT_SECONDS = 5.0
_DROP_AT_ONCE = 1000


class _OnDemand:
    """The encoder, loaded by the first thread that calls for it; ``seconds`` is how long that took."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load, self._lock = load, threading.Lock()
        self._encoder: Encoder | None = None
        self.seconds = 0.0

    def __call__(self) -> Encoder:
        with self._lock:
            if self._encoder is None:
                began = time.monotonic()
                self._encoder = self._load()
                self.seconds = time.monotonic() - began
            return self._encoder

    @property
    def runtime(self) -> Runtime | None:
        """Where it computes, or None while it is not loaded."""
        return self._encoder.runtime if self._encoder else None

    @property
    def device(self) -> str:
        """The runtime's device, "" while it is not loaded."""
        return self.runtime.device if self.runtime else ""


@dataclass(slots=True)
class _Waiting:
    """A decoded file that waits for its batch."""

    root: int
    decoded: Decoded


class Ingest:
    """One run over a plan, under the writer lock."""

    def __init__(self, writer: IndexWriter, plan: Plan, options: IndexOptions, reporter: Reporter) -> None:
        """Take the open index and the plan to carry out."""
        self.writer, self.plan, self.options, self.reporter = writer, plan, options, reporter
        self.result = IndexResult(
            unchanged=plan.unchanged, unchanged_errors=plan.unchanged_errors, kept=plan.kept
        )
        self.batch: list[_Waiting] = []
        # Embedded, not yet committed.
        self.contents: list[tuple[bytes, int, int, int]] = []
        self.vectors: list[Vectors] = []
        self.states: list[FileState] = []
        self.pending: set[bytes] = set()
        self.committed_at = time.monotonic()

    def carry_out(self, load: Callable[[], Encoder]) -> IndexResult:
        """Embed what is to do, commit as it goes, and prune at the end.

        ``load`` is called when the first picture turns out to be one that the index does not have: files that
        were moved, copied, touched or can't be read need no model.
        """
        roots = self._put_roots()
        self.states += [replace(state, root=roots[number]) for number, state in self.plan.touched]
        if self.plan.todo:
            self._embed_all(_OnDemand(load), roots)
        self._commit()
        self._prune()
        return self.result

    def _put_roots(self) -> list[int]:
        roots = []
        for target in self.plan.targets:
            root = self.writer.catalog.put_root(target.path, target.stored_options(), target.mount)
            if target.carved:
                below = os.path.relpath(target.path, target.carved.path)
                self.writer.catalog.split_root(target.carved.id, below, root, target.device)
            roots.append(root)
        return roots

    def _embed_all(self, encoder: _OnDemand, roots: list[int]) -> None:
        # The decoding threads ask through a connection of their own: the writer's is in transactions.
        with closing(Catalog(self.writer.folder)) as catalog:
            one_at_a_time = threading.Lock()

            def known(sha256: bytes) -> bool:
                with one_at_a_time:
                    return catalog.place(sha256) is not None

            self._embed_known(encoder, roots, known)

    def _size(self, encoder: _OnDemand) -> int:
        """Return how many pictures make a batch."""
        return self.options.batch_size or (32 if encoder.device not in ("", "cpu") else 8)

    def _embed_known(self, encoder: _OnDemand, roots: list[int], known: Callable[[bytes], bool]) -> None:
        decoded = decode_ahead(
            self.plan.todo,
            lambda pixels: encoder().prepare(pixels),
            known,
            self.writer.identity.pixels,
            self.options.max_megapixels or MAX_MEGAPIXELS,
            ahead=lambda: 2 * self._size(encoder) + 2,
        )
        self.reporter.start(len(self.plan.todo), "pictures")
        began = time.monotonic()
        try:
            asked = began
            for number, item in decoded:
                self.result.waiting += time.monotonic() - asked
                self._take(item, roots[number], encoder)
                self.reporter.advance()
                asked = time.monotonic()
            self._embed(encoder)
        except KeyboardInterrupt:
            # What has been computed is kept; what has not, the next run does.
            self._commit()
            raise
        finally:
            decoded.close()
            self.reporter.stop()
            self.result.waiting = max(0.0, self.result.waiting - encoder.seconds)
            rate = self.result.indexed / max(time.monotonic() - began - encoder.seconds, 1e-9)
            if encoder.runtime:
                enough = self.result.indexed >= 8
                runs.record(self.writer.folder, "index", encoder.runtime, rate if enough else 0.0)

    def _take(self, item: Decoded | Skipped, root: int, encoder: _OnDemand) -> None:
        if isinstance(item, Skipped):
            self._skip(root, item)
        elif not item.pages or item.sha256 in self.pending or self.writer.catalog.place(item.sha256):
            # The index has this content already, or has got it since the file was decoded ahead, or will have
            # it with the next commit.
            self.result.reused += 1
            self.states.append(FileState(root, item.source, item.sha256))
        elif any(waiting.decoded.sha256 == item.sha256 for waiting in self.batch):
            self._embed(encoder)
            self._take(item, root, encoder)
        else:
            self.batch.append(_Waiting(root, item))
            if sum(len(waiting.decoded.pages) for waiting in self.batch) >= self._size(encoder):
                self._embed(encoder)
        if time.monotonic() - self.committed_at >= COMMIT_SECONDS:
            self._commit()

    def _skip(self, root: int, skipped: Skipped) -> None:
        self.result.skipped[skipped.reason] += 1
        if skipped.reason in TRANSIENT:
            # It may well be readable again tomorrow: what is known of it stays, a vanished file is not recorded.
            known = self.writer.catalog.file(root, skipped.source.path)
            if skipped.reason == "vanished" or (known and known.content):
                return
        self.states.append(FileState(root, skipped.source, error=skipped.reason, detail=skipped.detail))

    def _embed(self, encoder: _OnDemand) -> None:
        """Turn the batch into vectors; an input without a finite one is skipped and the rest done again."""
        while self.batch:
            pages = [(waiting, page) for waiting in self.batch for page in waiting.decoded.pages]
            prompt = self.writer.identity.document_prompt
            began = time.monotonic()
            try:
                inputs = [Input(image=page.patches, instruction=prompt) for _, page in pages]
                vectors = encoder().embed(inputs, batch_size=len(inputs))
            except NonFiniteError as error:
                bad = {id(pages[row][0]) for row in error.rows}
                for waiting in [waiting for waiting in self.batch if id(waiting) in bad]:
                    self.batch.remove(waiting)
                    self._skip(waiting.root, Skipped(waiting.decoded.source, "no finite vector"))
                continue
            finally:
                self.result.embedding += time.monotonic() - began
            with _uninterrupted():
                self.vectors.append(vectors)
                for waiting, page in pages:
                    self.contents.append((waiting.decoded.sha256, page.page, page.width, page.height))
                    self.pending.add(waiting.decoded.sha256)
                for waiting in self.batch:
                    self.states.append(
                        FileState(waiting.root, waiting.decoded.source, waiting.decoded.sha256)
                    )
                self.result.indexed += len(self.batch)
                self.batch = []

    def _commit(self) -> None:
        with _uninterrupted():
            self._commit_now()

    def _commit_now(self) -> None:
        if self.contents or self.states:
            rows = (
                np.concatenate(self.vectors)
                if self.vectors
                else np.empty((0, self.writer.identity.dim), np.float32)
            )
            self.writer.commit(self.contents, rows, self.states)
        self.contents, self.vectors, self.states = [], [], []
        self.pending.clear()
        self.committed_at = time.monotonic()

    def _prune(self) -> None:
        gone = self.plan.gone
        for start in range(0, len(gone), _DROP_AT_ONCE):
            self.writer.catalog.drop_files(gone[start : start + _DROP_AT_ONCE])
        self.result.pruned = len(gone)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off until the block is done, so that what is kept and what is committed always agree."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
