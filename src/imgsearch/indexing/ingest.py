"""The work of one run, under the writer lock: decode, batch, embed, commit as it goes, prune at the end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from imgsearch.errors import ModelOutOfMemory, NonFiniteError
from imgsearch.index import side_db
from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.catalog import Catalog
from imgsearch.index.rows import TRANSIENT, FileState
from imgsearch.index.writer import DEAD_SHARE, GRACE_SECONDS, Compacted, IndexWriter
from imgsearch.indexing.decode import Decoded, Page, decode_ahead
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.plan import Plan
from imgsearch.types import (
    MAX_MEGAPIXELS,
    RGB,
    ImageEncoder,
    Input,
    Patches,
    Reporter,
    Skipped,
    SourceFile,
    Vectors,
)

# A kill loses at most one batch or this much work. A commit costs two syncs, so fast batches share one.
COMMIT_SECONDS = 5.0
_DROP_AT_ONCE = 1000


@dataclass(slots=True)
class _Waiting:
    """A decoded file that waits for its batch."""

    root: int
    decoded: Decoded
    pages: tuple[Page, ...]


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
        self.builder = AnnBuilder(writer.data, writer.spec, reporter)

    def carry_out(self, load: Callable[[], ImageEncoder]) -> IndexResult:
        """Embed what is to do, commit as it goes, and prune at the end.

        ``load`` is called when the first picture turns out to be one that the index does not have: files that
        were moved, copied, touched or can't be read need no model.
        """
        try:
            roots = self._put_roots()
            self.states += [replace(state, root=roots[number]) for number, state in self.plan.touched]
            if self.plan.todo:
                self._embed_all(load, roots)
            self._commit()
            self._prune()
            tidy(self.writer, self.builder, self.reporter, before=time.time() - GRACE_SECONDS)
        finally:
            self.builder.stop()
        return self.result

    def _put_roots(self) -> list[int]:
        roots = []
        for target in self.plan.targets:
            root = self.writer.catalog.put_root(target.path, target.stored_options(), target.mount)
            if target.split_from:
                below = os.path.relpath(target.path, target.split_from.path)
                self.writer.catalog.split_root(target.split_from.id, below, root, target.device)
            roots.append(root)
        return roots

    def _embed_all(self, load: Callable[[], ImageEncoder], roots: list[int]) -> None:
        # The decoding threads ask through a connection of their own: the writer's is in transactions.
        with closing(Catalog(self.writer.data)) as catalog:
            one_at_a_time = threading.Lock()

            def known(sha256: bytes) -> bool:
                with one_at_a_time:
                    return catalog.place(sha256) is not None

            try:
                done = self._take_known(roots, known)
                if done < len(self.plan.todo):
                    self._commit()
                    # In the main thread, where Ctrl-C ends even a long load or download.
                    encoder = load()
                    self._embed_rest(encoder, roots, known, done)
            except (KeyboardInterrupt, ModelOutOfMemory):
                # What has been computed is kept; what has not, the next run does. Memory that is too small for one
                # picture is so for all of them, since the pixel budget is the same: so that ends the run.
                self._commit()
                raise

    def _take_known(self, roots: list[int], known: Callable[[bytes], bool]) -> int:
        """Take in the files up to the first whose content the index does not have; return how many that were.

        They need no model: moved, copied, touched, or unreadable.
        """
        items = self._decoded(self.plan.todo, None, known, ahead=16)
        self.reporter.start(len(self.plan.todo), "pictures")
        done = 0
        try:
            with closing(items):
                for number, item in items:
                    if isinstance(item, Decoded) and item.pages is None:
                        break
                    self._take(item, roots[number], None)
                    done += 1
        finally:
            self.reporter.stop()
        return done

    def _embed_rest(
        self, encoder: ImageEncoder, roots: list[int], known: Callable[[bytes], bool], done: int
    ) -> None:
        todo = self.plan.todo[done:]
        size = self._size(encoder)
        items = self._decoded(todo, encoder.prepare, known, ahead=2 * size + 2)
        self.reporter.start(len(todo), "pictures")
        reused, began = self.result.reused, time.monotonic()
        try:
            with closing(items):
                asked = time.monotonic()
                for number, item in items:
                    self.result.waiting += time.monotonic() - asked
                    self._take(item, roots[number], encoder)
                    asked = time.monotonic()
                self._embed(encoder)
        finally:
            self.reporter.stop()
            self.result.batch = self._spoken_size(encoder)
            # A rate to guess the next run by: only from a run that was mostly embedding.
            enough = self.result.indexed >= 8 and self.result.indexed > self.result.reused - reused
            rate = self.result.indexed / max(time.monotonic() - began, 1e-9)
            side_db.record_run(self.writer.folder, "index", encoder.runtime, rate if enough else 0.0)

    def _decoded(
        self,
        todo: Sequence[tuple[int, SourceFile]],
        prepare: Callable[[RGB], Patches] | None,
        known: Callable[[bytes], bool],
        ahead: int,
    ) -> Generator[tuple[int, Decoded | Skipped], None, None]:
        limit = self.options.max_megapixels or MAX_MEGAPIXELS
        return decode_ahead(todo, prepare, known, self.writer.spec.pixels, limit, ahead)

    def _size(self, encoder: ImageEncoder) -> int:
        """Return how many pictures make a batch."""
        return self.options.batch_size or encoder.batch_size

    def _spoken_size(self, encoder: ImageEncoder) -> str:
        """Say how many pictures made a batch at last, and why."""
        reason = "as asked for" if self.options.batch_size else encoder.batch_reason
        return f"{self._size(encoder)} ({reason})"

    def _take(self, item: Decoded | Skipped, root: int, encoder: ImageEncoder | None) -> None:
        if isinstance(item, Skipped):
            self._skip(root, item)
        elif (
            encoder is None
            or not item.pages
            or item.sha256 in self.pending
            or self.writer.catalog.place(item.sha256)
        ):
            # The index has this content already, or has got it since the file was decoded ahead, or will have
            # it with the next commit.
            self.result.reused += 1
            self.reporter.advance()
            self.states.append(FileState(root, item.source, item.sha256))
        elif any(waiting.decoded.sha256 == item.sha256 for waiting in self.batch):
            self._embed(encoder)
            self._take(item, root, encoder)
        else:
            self.batch.append(_Waiting(root, item, item.pages))
            if sum(len(waiting.pages) for waiting in self.batch) >= self._size(encoder):
                self._embed(encoder)
        if time.monotonic() - self.committed_at >= COMMIT_SECONDS:
            self._commit()

    def _skip(self, root: int, skipped: Skipped) -> None:
        self.result.skipped[skipped.reason] += 1
        self.reporter.advance()
        if skipped.reason in TRANSIENT:
            # It may well be readable again tomorrow: what is known of it stays, a vanished file is not recorded.
            known = self.writer.catalog.file(root, skipped.source.path)
            if skipped.reason == "vanished" or (known and known.content):
                return
        self.states.append(FileState(root, skipped.source, error=skipped.reason, detail=skipped.detail))

    def _embed(self, encoder: ImageEncoder) -> None:
        """Turn the batch into vectors; an input without a finite one is skipped and the rest done again."""
        while self.batch:
            pages = [(waiting, page) for waiting in self.batch for page in waiting.pages]
            prompt = self.writer.spec.document_prompt
            began = time.monotonic()
            try:
                inputs = [Input(image=page.patches, instruction=prompt) for _, page in pages]
                # Files of many pages make batches that are larger than what fits into memory at a time.
                vectors = encoder.embed(inputs, batch_size=self._size(encoder))
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
                self.reporter.advance(len(self.batch))
                self.batch = []

    def _commit(self) -> None:
        with _uninterrupted():
            self._commit_now()

    def _commit_now(self) -> None:
        if self.contents or self.states:
            rows = (
                np.concatenate(self.vectors)
                if self.vectors
                else np.empty((0, self.writer.spec.dim), np.float32)
            )
            self.writer.commit(self.contents, rows, self.states)
            self.builder.schedule()
        self.contents, self.vectors, self.states = [], [], []
        self.pending.clear()
        self.committed_at = time.monotonic()

    def _prune(self) -> None:
        gone = self.plan.gone
        for start in range(0, len(gone), _DROP_AT_ONCE):
            self.writer.catalog.drop_files(gone[start : start + _DROP_AT_ONCE])
        self.result.pruned = len(gone)


def tidy(
    writer: IndexWriter,
    builder: AnnBuilder,
    reporter: Reporter,
    share: float = DEAD_SHARE,
    before: float | None = None,
) -> Compacted:
    """Give back the room of dead rows where there are many, and bring the derived files up to date."""
    done = Compacted()
    if writer.dead_segments(share, before):
        builder.join()
        reporter.start(0, "vectors moved")
        try:
            done = writer.compact(share, before, reporter.advance)
        finally:
            reporter.stop()
        vectors = "1 vector" if done.dropped == 1 else f"{done.dropped:,} vectors"
        reporter.say(f"compacted: {vectors} without a picture given up")
    builder.finish()
    return done


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
